//! Waiting for several receivers, and in async code.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use brigade::channel::{Receiver, RecvError, Select, Sender, Transport, channel, select};
use brigade::sync::{Barrier, Semaphore};
use brigade::{Kind, Shared};
use brigade_test_support::block_on;
use futures_core::Stream;

use crate::{LIMIT, all, each};

fn count((to, from, upto): (Sender<u32>, u32, u32)) {
    for n in from..upto {
        to.send(n).expect("received");
    }
}

#[test]
fn a_receiver_is_a_stream() {
    each(|over, kind| {
        let (sender, mut receiver) = channel(over, 2).expect("a channel");
        let task = kind.spawn(count, (sender, 0, 300)).expect("starts");
        let mut next = || {
            block_on(poll_fn(|context| {
                Pin::new(&mut receiver).poll_next(context)
            }))
        };
        for n in 0..300 {
            assert_eq!(next(), Some(Ok(n)));
        }
        assert_eq!(next(), None);
        assert_eq!(next(), None);
        task.join().expect("returns");
    });
}

#[test]
fn a_message_is_awaited() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 2).expect("a channel");
        let task = kind.spawn(count, (sender, 0, 300)).expect("starts");
        block_on(async {
            for n in 0..300 {
                assert_eq!(receiver.recv_async().await, Ok(n));
            }
            assert_eq!(receiver.recv_async().await, Err(RecvError::Disconnected));
        });
        task.join().expect("returns");
    });
}

/// Waits until the other side waits too, so that what it does next finds it asleep, or nearly.
fn meet(at: &Shared<Barrier>) {
    at.wait().expect("both come");
}

fn send_late((to, at): (Sender<u32>, Shared<Barrier>)) {
    meet(&at);
    to.send(1).expect("received");
}

#[test]
fn a_message_that_comes_late_wakes_who_awaits_it() {
    each(|over, kind| {
        for _ in 0..20 {
            let (sender, receiver) = channel(over, 1).expect("a channel");
            let at = Shared::new(Barrier::new(2)).expect("a region");
            let task = kind.spawn(send_late, (sender, at.clone())).expect("starts");
            meet(&at);
            assert_eq!(block_on(receiver.recv_async()), Ok(1));
            assert_eq!(
                block_on(receiver.recv_async()),
                Err(RecvError::Disconnected)
            );
            task.join().expect("returns");
        }
    });
}

#[test]
fn the_first_of_several_is_selected() {
    each(|over, kind| {
        let mut receivers = Vec::new();
        let mut tasks = Vec::new();
        for (i, through) in Transport::ALL.into_iter().enumerate() {
            let (sender, receiver) = channel(through, 2).expect("a channel");
            let from = i as u32 * 1000;
            tasks.push(
                kind.spawn(count, (sender, from, from + 100))
                    .expect("starts"),
            );
            receivers.push(receiver);
        }
        let (extra, from_extra) = channel::<u32>(over, 1).expect("a channel");
        receivers.push(from_extra);
        let mut next: Vec<u32> = (0..4).map(|i| i * 1000).collect();
        let mut open: Vec<&Receiver<u32>> = receivers.iter().collect();
        while open.len() > 1 {
            match select(&open) {
                (_, Ok(n)) => {
                    let next = &mut next[n as usize / 1000];
                    assert_eq!(n, *next);
                    *next += 1;
                }
                (gone, Err(RecvError::Disconnected)) => {
                    open.remove(gone);
                }
                (_, Err(lost)) => panic!("{lost}"),
            }
        }
        assert_eq!(next, [100, 1100, 2100, 3100]);
        extra.send(5).expect("received");
        assert_eq!(select(&open), (0, Ok(5)));
        for task in tasks {
            task.join().expect("returns");
        }
    });
}

#[test]
fn a_selection_times_out_and_finds_what_comes_late() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 1).expect("a channel");
        let (idle, from_idle) = channel::<String>(over, 1).expect("a channel");
        let mut select = Select::new();
        select.recv(&from_idle);
        let ours = select.recv(&receiver);
        assert!(select.try_ready().is_err());
        assert!(select.ready_timeout(Duration::from_millis(10)).is_err());
        let at = Shared::new(Barrier::new(2)).expect("a region");
        let task = kind.spawn(send_late, (sender, at.clone())).expect("starts");
        meet(&at);
        assert_eq!(select.ready_timeout(LIMIT), Ok(ours));
        assert_eq!(receiver.try_recv(), Ok(1));
        task.join().expect("returns");
        assert_eq!(select.ready(), ours, "disconnected");
        drop(idle);
    });
}

#[test]
fn threads_share_a_receiver() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 3).expect("a channel");
        let task = kind.spawn(count, (sender, 0, 1000)).expect("starts");
        let sum: u64 = std::thread::scope(|scope| {
            let sums: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| all(&receiver).into_iter().map(u64::from).sum::<u64>()))
                .collect();
            sums.into_iter().map(|s| s.join().expect("sums")).sum()
        });
        assert_eq!(sum, (0..1000).sum::<u64>());
        task.join().expect("returns");
    });
}

#[test]
fn words_name_transports() {
    for over in Transport::ALL {
        assert_eq!(over.to_string().parse(), Ok(over));
    }
    let wrong = "carrier pigeon".parse::<Transport>().expect_err("no word");
    assert!(wrong.to_string().contains("`pipe`"), "{wrong}");
    let _ = Kind::ALL;
}

/// Takes its time to be decoded: until the test lets it.
struct Slow;

static DECODED: Semaphore = Semaphore::new(0);

impl serde::Serialize for Slow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Slow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        DECODED.acquire().forget();
        Ok(Slow)
    }
}

#[test]
fn one_who_selects_is_told_of_what_another_left() {
    each(|over, _| {
        let (sender, receiver) = channel::<Slow>(over, 4).expect("a channel");
        std::thread::scope(|scope| {
            let first = scope.spawn(|| receiver.recv().is_ok());
            let mut select = Select::new();
            select.recv(&receiver);
            let selecting = scope.spawn(move || select.ready_timeout(LIMIT));
            sender.send(Slow).expect("received");
            sender.send(Slow).expect("received");
            // The first is not decoded yet.
            assert_eq!(selecting.join().expect("ends"), Ok(0));
            DECODED.add_permits(1);
            assert!(first.join().expect("ends"));
            DECODED.add_permits(1);
            assert!(receiver.recv_timeout(LIMIT).is_ok());
        });
    });
}
