//! Whoever is at the other end may die at any instruction. Who waits is woken; what was whole is
//! delivered; nothing else is.

use std::time::Instant;

use brigade::channel::{Receiver, Sender, Transport, channel};
use brigade::{JoinHandle, process};

use crate::{LIMIT, each, text};

fn over_all(row: impl Fn(Transport)) {
    brigade::init();
    for over in Transport::ALL {
        eprintln!("over {over}:");
        row(over);
    }
}

fn send_some_and_hang((to, count): (Sender<String>, usize)) {
    for n in 0..count {
        to.send(text(n * 700, n)).expect("received");
    }
    loop {
        std::thread::park();
    }
}

fn kill<R>(task: &JoinHandle<R>) {
    let pid = task.pid().expect("a process");
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

#[test]
fn a_killed_sender_is_a_disconnect_after_what_it_sent() {
    over_all(|over| {
        let (sender, receiver) = channel(over, 16).expect("a channel");
        let task = process::spawn(send_some_and_hang, (sender, 10)).expect("starts");
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(text(0, 0)));
        while receiver.len() < 9 {
            std::thread::yield_now();
        }
        kill(&task);
        assert!(task.join().is_err());
        for n in 1..10 {
            assert_eq!(receiver.recv_timeout(LIMIT), Ok(text(n * 700, n)));
        }
        assert!(receiver.recv().is_err());
    });
}

#[test]
fn a_receiver_that_waits_is_woken_by_its_senders_death() {
    over_all(|over| {
        for _ in 0..5 {
            let (sender, receiver) = channel(over, 16).expect("a channel");
            let task = process::spawn(send_some_and_hang, (sender, 1)).expect("starts");
            receiver.recv_timeout(LIMIT).expect("sent");
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| receiver.recv());
                kill(&task);
                let started = Instant::now();
                assert!(waiter.join().expect("ends").is_err());
                assert!(started.elapsed() < LIMIT);
            });
        }
    });
}

fn hold_and_hang((from, ready): (Receiver<String>, Sender<()>)) {
    let _from = from;
    ready.send(()).expect("received");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_sender_that_waits_is_woken_by_its_receivers_death_and_keeps_its_message() {
    over_all(|over| {
        for _ in 0..5 {
            let (sender, receiver) = channel(over, 1).expect("a channel");
            let (ready, is_ready) = channel(over, 1).expect("a channel");
            let task = process::spawn(hold_and_hang, (receiver, ready)).expect("starts");
            is_ready.recv_timeout(LIMIT).expect("ready");
            sender.send(text(5, 1)).expect("there is room");
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| sender.send(text(6, 2)));
                kill(&task);
                let refused = waiter.join().expect("ends").expect_err("nobody receives");
                assert_eq!(refused.0, text(6, 2));
            });
            // And one that does not wait.
            assert!(task.join().is_err());
            let refused = sender.try_send(text(7, 3)).expect_err("nobody receives");
            assert!(refused.is_disconnected(), "{refused:?}");
        }
    });
}

fn send_for_ever(to: Sender<(u64, String)>) {
    for n in 0.. {
        // Frames that are put in one step, in several, and beside the mechanism.
        let len = [10, 300, 5_000, 20_000, 50_000][n as usize % 5];
        if to.send((n, text(len, n as usize))).is_err() {
            return;
        }
    }
}

#[test]
fn senders_killed_anywhere_leave_whole_messages_and_a_working_channel() {
    over_all(|over| {
        let (sender, receiver) = channel(over, 7).expect("a channel");
        for round in 0..40_u64 {
            let victim = process::spawn(send_for_ever, sender.clone()).expect("starts");
            let mut next = None::<u64>;
            // Killed after a while, in the middle of whatever it is doing.
            for _ in 0..round % 13 {
                let (n, got) = receiver.recv_timeout(LIMIT).expect("sent");
                assert!(next.is_none_or(|next| n == next || n == 0), "{n} {next:?}");
                let len = [10, 300, 5_000, 20_000, 50_000][n as usize % 5];
                assert!(got == text(len, n as usize), "whole");
                next = Some(n + 1);
            }
            kill(&victim);
            let _ = victim.join();
            // What it had sent is still there, and then what others send.
            while let Ok((n, got)) = receiver.try_recv() {
                let len = [10, 300, 5_000, 20_000, 50_000][n as usize % 5];
                assert!(got == text(len, n as usize), "whole");
            }
            sender
                .send_timeout((0, text(10, 0)), LIMIT)
                .expect("the channel works on");
            assert_eq!(receiver.recv_timeout(LIMIT), Ok((0, text(10, 0))));
            assert_eq!(receiver.len(), 0);
        }
        drop(sender);
        assert!(receiver.recv().is_err());
    });
}

fn receive_for_ever(from: Receiver<(u64, String)>) -> usize {
    from.iter().filter(Result::is_ok).count()
}

#[test]
fn receivers_killed_anywhere_are_a_disconnect() {
    over_all(|over| {
        for round in 0..20_u64 {
            let (sender, receiver) = channel(over, 3).expect("a channel");
            let victim = process::spawn(receive_for_ever, receiver).expect("starts");
            for n in 0..round {
                sender
                    .send_timeout((n, text(3000, 1)), LIMIT)
                    .expect("received");
            }
            kill(&victim);
            // At the latest when it is full.
            let refused = (0..10).find_map(|n| sender.send((n, text(3000, 1))).err());
            assert!(refused.is_some());
            assert!(victim.join().is_err());
        }
    });
}

#[test]
fn an_end_dropped_elsewhere_is_a_disconnect_here() {
    each(|over, kind| {
        let (sender, receiver) = channel::<u8>(over, 1).expect("a channel");
        let task = kind.spawn(|_: Sender<u8>| (), sender).expect("starts");
        assert!(receiver.recv().is_err());
        task.join().expect("returns");

        let (sender, receiver) = channel::<u8>(over, 1).expect("a channel");
        let task = kind.spawn(|_: Receiver<u8>| (), receiver).expect("starts");
        task.join().expect("returns");
        let refused = (0..3).find_map(|n| sender.send(n).err());
        assert!(refused.is_some());
    });
}
