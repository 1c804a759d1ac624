//! Questions and answers: each caller has its own, whoever asks at the same time and whoever dies.

use std::time::{Duration, Instant};

use brigade::channel::{CallError, Client, RecvError, Server, Transport, request};
use brigade::{JoinError, process};
use brigade_test_support::procfs;
use serde::{Deserialize, Deserializer, Serialize};

use crate::each;

const LIMIT: Duration = Duration::from_secs(60);

fn double(server: Server<u64, (u64, Vec<u8>)>) {
    // Now and then one that goes another way than most.
    server.serve(|n| (n * 2, vec![n as u8; [0, 100, 70_000][n as usize % 3]]));
}

fn ask((client, from): (Client<u64, (u64, Vec<u8>)>, u64)) {
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let client = &client;
            scope.spawn(move || {
                for n in (from + thread..from + 60).step_by(3) {
                    let (twice, bytes) = client.call_timeout(n, LIMIT).expect("an answer");
                    assert_eq!(twice, n * 2);
                    assert!(bytes.iter().all(|&byte| byte == n as u8));
                }
            });
        }
    });
}

#[test]
fn each_caller_has_its_own_answer() {
    each(|over, kind| {
        let (client, server) = request(over, 4).expect("a pair");
        let server = kind.spawn(double, server).expect("starts");
        let clients: Vec<_> = (0..3)
            .map(|i| kind.spawn(ask, (client.clone(), i * 1000)).expect("starts"))
            .collect();
        ask((client, 5000));
        for client in clients {
            client.join().expect("all are answered");
        }
        server.join().expect("the last client is gone");
    });
}

#[test]
fn answers_come_in_any_order_and_a_late_one_is_dropped() {
    each(|over, _| {
        let (client, server) = request::<u32, u32>(over, 3).expect("a pair");
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..3)
                .map(|n| {
                    let client = &client;
                    scope.spawn(move || client.call_timeout(n, LIMIT))
                })
                .collect();
            let mut asked: Vec<_> = (0..3).map(|_| server.recv().expect("a question")).collect();
            asked.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
            for (n, responder) in asked {
                responder.answer(n + 10).expect("the client is there");
            }
            for (call, n) in calls.into_iter().zip(0..) {
                assert_eq!(call.join().expect("no panic"), Ok(n + 10));
            }
        });
        let soon = Duration::from_millis(20);
        for _ in 0..3 {
            assert_eq!(client.call_timeout(7, soon), Err(CallError::Timeout(None)));
        }
        // Each of the three is still to be answered: there is no room for a fourth.
        assert_eq!(
            client.call_timeout(8, soon),
            Err(CallError::Timeout(Some(8)))
        );
        for _ in 0..3 {
            let (_, responder) = server.recv().expect("a question");
            responder.answer(99).expect("the client is there");
        }
        std::thread::scope(|scope| {
            let call = scope.spawn(|| client.call_timeout(1, LIMIT));
            let (n, responder) = server.recv_timeout(LIMIT).expect("a question");
            responder.answer(n).expect("the client is there");
            assert_eq!(call.join().expect("no panic"), Ok(1));
        });
    });
}

#[test]
fn a_first_question_that_waits_for_room_holds_up_no_other_call() {
    brigade::init();
    for over in Transport::ALL {
        let (client, server) = request::<u32, u32>(over, 4).expect("a pair");
        let soon = Duration::from_millis(20);
        // Until there is no room for a question any more.
        let mut others = Vec::new();
        loop {
            others.push(client.clone());
            match others[others.len() - 1].call_timeout(0, soon) {
                Err(CallError::Timeout(None)) => {}
                ended => break assert_eq!(ended, Err(CallError::Timeout(Some(0)))),
            }
        }
        std::thread::scope(|scope| {
            let first = scope.spawn(|| client.call_timeout(1, LIMIT));
            let begun = Instant::now();
            for _ in 0..50 {
                let ended = client.call_timeout(2, soon);
                assert_eq!(ended, Err(CallError::Timeout(Some(2))), "over {over}");
            }
            assert!(
                begun.elapsed() < LIMIT / 2,
                "over {over}: each waited its time"
            );
            assert!(!first.is_finished());
            while !first.is_finished() {
                if let Ok((n, responder)) = server.recv_timeout(soon) {
                    // Those who have given up are there still.
                    responder.answer(n + 10).expect("the client is there");
                }
            }
            assert_eq!(first.join().expect("no panic"), Ok(11));
        });
    }
}

fn answer_one_and_die(server: Server<u32, u32>) {
    let (n, responder) = server.recv().expect("a question");
    responder.answer(n).expect("the client is there");
    let _asked = server.recv().expect("another");
    std::process::abort();
}

#[test]
fn a_dead_server_ends_each_call() {
    brigade::init();
    for over in Transport::ALL {
        let (client, server) = request(over, 4).expect("a pair");
        let other = client.clone();
        let server = process::spawn(answer_one_and_die, server).expect("starts");
        assert_eq!(client.call(1), Ok(1));
        std::thread::scope(|scope| {
            let calls = [
                scope.spawn(|| client.call(2)),
                scope.spawn(|| client.call(3)),
                scope.spawn(|| other.call(4)),
            ];
            for call in calls {
                let ended = call.join().expect("no panic");
                assert!(
                    matches!(ended, Err(CallError::Disconnected(_))),
                    "{ended:?}"
                );
            }
        });
        assert!(matches!(server.join(), Err(JoinError::Crashed(_))));
        assert_eq!(client.call(5), Err(CallError::Disconnected(Some(5))));
    }
}

fn ask_and_die((client, n): (Client<u32, u32>, u32)) {
    assert_eq!(client.call(n), Ok(n));
    std::process::abort();
}

#[test]
fn dead_clients_leave_nothing_with_the_server() {
    brigade::init();
    for over in Transport::ALL {
        let (client, server) = request::<u32, u32>(over, 4).expect("a pair");
        let descriptors = || procfs::descriptors(std::process::id()).expect("ours").len();
        let mut most = 0;
        for n in 0..80 {
            let asker = process::spawn(ask_and_die, (client.clone(), n)).expect("starts");
            let (asked, responder) = server.recv_timeout(LIMIT).expect("a question");
            responder.answer(asked).expect("the client is there");
            assert!(matches!(asker.join(), Err(JoinError::Crashed(_))));
            // Other tests have descriptors too, and fewer than 74 clients would have.
            match n {
                5 => most = descriptors() + 60,
                79 => assert!(descriptors() < most, "over {over}"),
                _ => {}
            }
        }
    }
}

/// As many as one message could not carry the senders of.
const MANY: u32 = 100;

/// The system has room for few queues.
fn for_many() -> impl Iterator<Item = Transport> {
    (Transport::ALL.into_iter()).filter(|over| *over != Transport::Queue)
}

/// Has so many clients ask once, each; all of them are there at the same time.
fn ask_once(client: &Client<u32, u32>, server: &Server<u32, u32>) {
    let clients: Vec<_> = (0..MANY).map(|_| client.clone()).collect();
    for (client, n) in clients.iter().zip(0..) {
        std::thread::scope(|scope| {
            let call = scope.spawn(|| client.call_timeout(n, LIMIT));
            let (asked, responder) = server.recv_timeout(LIMIT).expect("a question");
            responder.answer(asked).expect("the client is there");
            assert_eq!(call.join().expect("no panic"), Ok(n));
        });
    }
}

/// In a process of its own, for its descriptors are counted.
fn has_clients_that_go(_: ()) {
    for over in for_many() {
        let (client, server) = request::<u32, u32>(over, 4).expect("a pair");
        let stays = client.clone();
        let ask = |n| {
            std::thread::scope(|scope| {
                let call = scope.spawn(|| stays.call_timeout(n, LIMIT));
                let (asked, responder) = server.recv_timeout(LIMIT).expect("a question");
                responder.answer(asked).expect("the client is there");
                assert_eq!(call.join().expect("no panic"), Ok(n));
            });
        };
        ask(0);
        let descriptors = || procfs::descriptors(std::process::id()).expect("ours").len();
        let before = descriptors();
        ask_once(&client, &server);
        (0..2 * MANY).for_each(ask);
        // The clone of the client has none of its own.
        let after = descriptors();
        assert!(after <= before, "over {over}: {before}, {after}");
    }
}

#[test]
fn clients_that_are_gone_are_struck_out_though_no_other_comes() {
    brigade::init();
    let host = process::spawn(has_clients_that_go, ()).expect("starts");
    host.join().expect("it judges for itself");
}

fn answer(server: Server<u32, u32>) {
    server.serve(|n| n + 1);
}

#[test]
fn a_server_that_had_many_clients_can_be_sent_on() {
    brigade::init();
    for over in for_many() {
        let (client, server) = request::<u32, u32>(over, 4).expect("a pair");
        ask_once(&client, &server);
        let server = process::spawn(answer, server).expect("it can be sent");
        assert_eq!(client.call_timeout(4, LIMIT), Ok(5), "over {over}");
        drop(client);
        server.join().expect("the client is gone");
    }
}

#[derive(Debug, Serialize)]
struct Fussy(u32);

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fussy, D::Error> {
        match u32::deserialize(deserializer)? {
            13 => Err(serde::de::Error::custom("not thirteen")),
            n => Ok(Fussy(n)),
        }
    }
}

#[test]
fn what_cannot_be_decoded_or_is_dropped_ends_its_own_call_only() {
    brigade::init();
    for over in Transport::ALL {
        let (client, server) = request::<Fussy, Fussy>(over, 4).expect("a pair");
        let server = std::thread::spawn(move || {
            loop {
                match server.recv() {
                    // As an answer it cannot be decoded.
                    Ok((Fussy(12), responder)) => drop(responder.answer(Fussy(13))),
                    Ok((Fussy(0), responder)) => drop(responder),
                    Ok((question, responder)) => drop(responder.answer(question)),
                    Err(RecvError::Undeliverable(why)) => assert!(why.contains("thirteen")),
                    Err(RecvError::Disconnected) => return,
                }
            }
        });
        // Also as the very first question, which brings the channel for the answers.
        for _ in 0..3 {
            for (n, text) in [(13, "thirteen"), (12, "thirteen"), (0, "unanswered")] {
                let ended = client.call_timeout(Fussy(n), LIMIT);
                let e = ended.expect_err("no answer").to_string();
                assert!(
                    n == 13 && e.contains("gone") || e.contains(text),
                    "{over}: {e}"
                );
            }
            assert_eq!(
                client.call_timeout(Fussy(5), LIMIT).expect("an answer").0,
                5
            );
        }
        drop(client);
        server.join().expect("it ends");
    }
}

#[test]
fn a_server_takes_its_clients_along_when_it_is_sent_on() {
    brigade::init();
    for over in Transport::ALL {
        let (client, server) = request::<u64, (u64, Vec<u8>)>(over, 4).expect("a pair");
        std::thread::scope(|scope| {
            let first = scope.spawn(|| client.call(1));
            let (_, responder) = server.recv().expect("a question");
            responder.answer((9, Vec::new())).expect("there");
            assert_eq!(first.join().expect("no panic"), Ok((9, Vec::new())));
        });
        let server = process::spawn(double, server).expect("starts");
        assert_eq!(client.call_timeout(4, LIMIT).expect("an answer").0, 8);
        drop(client);
        server.join().expect("the client is gone");
    }
}
