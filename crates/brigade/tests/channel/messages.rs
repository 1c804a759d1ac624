//! What arrives is what was sent: whole, in order, whatever its size.

use brigade::channel::{Receiver, Sender, channel};

use crate::{LIMIT, each, text};

const SIZES: [usize; 14] = [
    0, 1, 63, 64, 100, 4_000, 4_079, 4_080, 4_081, 8_200, 32_768, 33_000, 300_000, 5_000_000,
];

fn send_sizes(to: Sender<String>) {
    for (seed, len) in SIZES.into_iter().enumerate() {
        to.send(text(len, seed)).expect("received");
    }
}

#[test]
fn messages_of_every_size_arrive_whole() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 3).expect("a channel");
        let task = kind.spawn(send_sizes, sender).expect("starts");
        for (seed, len) in SIZES.into_iter().enumerate() {
            let got = receiver.recv_timeout(LIMIT).expect("sent");
            assert!(got == text(len, seed), "{len} bytes");
        }
        assert!(receiver.recv().is_err());
        task.join().expect("returns");
    });
}

fn echo((from, to): (Receiver<Vec<u8>>, Sender<Vec<u8>>)) {
    for bytes in from {
        let bytes = bytes.expect("some bytes");
        to.send(bytes).expect("received");
    }
}

#[test]
fn bytes_come_back_as_they_were() {
    each(|over, kind| {
        let (there, from_us) = channel(over, 2).expect("a channel");
        let (to_us, back) = channel(over, 2).expect("a channel");
        let task = kind.spawn(echo, (from_us, to_us)).expect("starts");
        for len in [0, 1, 64, 5_000, 70_000, 1 << 20, (1 << 20) + 1, 3 << 20] {
            let bytes: Vec<u8> = text(len, len).into_bytes();
            there.send(bytes.clone()).expect("received");
            assert!(
                back.recv_timeout(LIMIT).expect("sent back") == bytes,
                "{len}"
            );
        }
        drop(there);
        task.join().expect("returns");
    });
}

#[test]
#[ignore = "takes 3 GiB of memory and some seconds"]
fn a_gibibyte_arrives_whole() {
    each(|over, kind| {
        let (there, from_us) = channel(over, 1).expect("a channel");
        let (to_us, back) = channel(over, 1).expect("a channel");
        let task = kind.spawn(echo, (from_us, to_us)).expect("starts");
        there.send(vec![7; 1 << 30]).expect("received");
        let got = back.recv().expect("sent back");
        assert!(got.len() == 1 << 30 && got.iter().all(|&b| b == 7));
        drop(there);
        task.join().expect("returns");
    });
}

const EACH_SENDS: usize = 150;

fn send_numbered((to, me): (Sender<(usize, usize, String)>, usize)) {
    for n in 0..EACH_SENDS {
        // Now and then one that does not fit the mechanism.
        let len = if n % 50 == 49 { 100_000 } else { n * 61 % 9000 };
        to.send((me, n, text(len, n))).expect("received");
    }
}

#[test]
fn messages_of_several_senders_are_never_mixed_up() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 5).expect("a channel");
        let tasks: Vec<_> = (0..4)
            .map(|me| {
                kind.spawn(send_numbered, (sender.clone(), me))
                    .expect("starts")
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        for message in &receiver {
            let (from, n, got) = message.expect("whole");
            assert_eq!(n, next[from], "in the order of its sender");
            let len = if n % 50 == 49 { 100_000 } else { n * 61 % 9000 };
            assert!(got == text(len, n));
            next[from] += 1;
        }
        assert_eq!(next, [EACH_SENDS; 4]);
        for task in tasks {
            task.join().expect("returns");
        }
    });
}
