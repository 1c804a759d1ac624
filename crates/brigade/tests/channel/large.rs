//! Messages that travel in memory files, which their senders use again: none arrives changed.

use brigade::channel::{RecvError, Sender, channel};
use brigade::{Kind, process};

use crate::{LIMIT, each};

/// Around the size from which files are used again, and that of a huge page.
const SIZES: [usize; 7] = [
    (256 << 10) - 9,
    256 << 10,
    300_001,
    (2 << 20) - 1,
    2 << 20,
    (2 << 20) + 5,
    5_000_000,
];
const ROUNDS: usize = 3;

/// Messages of different senders and numbers differ at nearly all places.
fn bytes(from: usize, n: usize) -> Vec<u8> {
    let len = SIZES[(from + n) % SIZES.len()];
    // So long that no page is like the one before.
    let unit: Vec<u8> = (0..1021).map(|at| (at + from * 50 + n * 3) as u8).collect();
    let mut bytes = unit.repeat(len / unit.len() + 1);
    bytes.truncate(len);
    bytes
}

fn send_bytes((to, from): (Sender<Vec<u8>>, usize)) {
    to.send(vec![from as u8]).expect("received");
    for n in 0..SIZES.len() * ROUNDS {
        to.send(bytes(from, n)).expect("received");
    }
}

type Several = (usize, usize, Vec<u64>, Vec<Vec<u8>>);

fn several(from: usize, n: usize) -> Several {
    let numbers = (0..40_000 + n as u64)
        .map(|k| k << 8 | from as u64)
        .collect();
    (
        from,
        n,
        numbers,
        vec![bytes(from, n), Vec::new(), bytes(from, n + 1)],
    )
}

fn send_several((to, from): (Sender<Several>, usize)) {
    for n in 0..6 {
        to.send(several(from, n)).expect("received");
    }
}

#[test]
fn bytes_of_every_size_from_one_sender() {
    each(|over, kind| {
        let (to, receiver) = channel(over, 3).expect("a channel");
        let task = kind.spawn(send_bytes, (to, 1)).expect("starts");
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(vec![1]));
        for n in 0..SIZES.len() * ROUNDS {
            let came = receiver.recv_timeout(LIMIT).expect("sent");
            assert!(came == bytes(1, n), "message {n}");
        }
        assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
        task.join().expect("returns");
    });
}

#[test]
fn messages_of_several_senders_that_are_held_for_a_while() {
    each(|over, kind| {
        let (to, receiver) = channel(over, 4).expect("a channel");
        let tasks: Vec<_> = (0..3)
            .map(|from| {
                kind.spawn(send_several, (to.clone(), from))
                    .expect("starts")
            })
            .collect();
        drop(to);
        let mut came = [0; 3];
        let mut held = Vec::new();
        for message in &receiver {
            held.push(message.expect("whole"));
            if held.len() == 4 {
                for message in held.drain(..) {
                    let (from, n, ..) = message;
                    assert_eq!(n, came[from]);
                    assert!(message == several(from, n), "{n} from {from}");
                    came[from] += 1;
                }
            }
        }
        assert_eq!((came.iter().sum::<usize>(), held.len()), (16, 2));
        for task in tasks {
            task.join().expect("returns");
        }
    });
}

fn send_for_ever(to: Sender<Vec<u8>>) {
    for n in 0.. {
        if to.send(bytes(2, n % 60)).is_err() {
            return;
        }
    }
}

#[test]
fn of_a_sender_that_is_killed_each_message_is_whole_or_does_not_come() {
    each(|over, kind| {
        if kind == Kind::Thread {
            return;
        }
        for most in [0, 1, 5, 20] {
            let (to, receiver) = channel(over, 4).expect("a channel");
            let worker = process::spawn(send_for_ever, to).expect("starts");
            let mut came = 0;
            for message in &receiver {
                if came == most {
                    worker.cancel();
                }
                // What was not sent whole is an error of its own.
                if let Ok(message) = message {
                    assert!(message == bytes(2, came % 60), "message {came}");
                    came += 1;
                }
            }
            assert!(came >= most, "{came}");
            assert!(worker.join().is_err());
        }
    });
}
