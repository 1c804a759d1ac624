//! A pipe that ends in part of a frame: no receiver waits for the rest, and nothing that was sent
//! is lost.

use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::channel::{Receiver, RecvTimeoutError, Sender, pipe};
use crate::transport::FrameHeader;
use crate::{Descriptor, Message};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs this in a thread of its own, and is not patient for ever.
fn within_limit<R: Send + 'static>(part: impl FnOnce() -> R + Send + 'static) -> R {
    let (say, said) = mpsc::channel();
    std::thread::spawn(move || say.send(part()));
    said.recv_timeout(LIMIT).expect("no hang, and no panic")
}

/// How many bytes were not read.
fn inside<T>(sender: &Sender<T>) -> u64 {
    rustix::io::ioctl_fionread(mechanism(sender)).expect("a pipe")
}

fn mechanism<T>(sender: &Sender<T>) -> BorrowedFd<'_> {
    sender.side().descriptor().expect("a pipe")
}

/// As a hostile receiver does, or one with another idea of what is good for it.
fn make_smaller<T>(sender: &Sender<T>) {
    rustix::pipe::fcntl_setpipe_size(mechanism(sender), 4096).expect("it is empty");
}

/// So that a frame of it is cut in a pipe of a page.
fn long(n: u8) -> Vec<u8> {
    vec![n; 10_000]
}

/// As a sender that dies in the middle of a frame, of which it has written this many bytes, or as
/// many as there is room for; the frame would have been as long as one of [`long`].
fn die_putting<T>(sender: &Sender<T>, written: usize) {
    let shared = sender.side().shared();
    shared.lock().acquire(None).expect("no deadline");
    let Some(number) = shared.next_number(&AtomicU64::new(0)) else {
        shared.lock().release();
        return;
    };
    let header = FrameHeader {
        number,
        len: 10_000,
        descriptors: 0,
        large: false,
    };
    let mut frame = header.to_bytes().to_vec();
    frame.resize(FrameHeader::SIZE + 10_000, 0xee);
    // As all do: no sender writes into a pipe that is torn.
    if shared.died_putting() {
        shared.tear();
    }
    shared.count_bytes_sent(frame.len());
    shared.set_putting(!shared.is_torn());
    if written > 0 && !shared.is_torn() {
        let _ = rustix::io::write(mechanism(sender), &frame[..written]);
    }
    shared.lock().release();
}

/// Where a frame may be cut off: in each part of its header, behind it, and before its end.
const CUTS: [usize; 15] = [
    0, 1, 7, 8, 9, 11, 12, 13, 15, 16, 17, 4095, 4096, 10_000, 10_015,
];
/// All of it was written, and the sender died before it could say so.
const WHOLE: usize = 10_016;

fn expect<T: Message + PartialEq + std::fmt::Debug>(receiver: &Receiver<T>, message: T) {
    assert_eq!(receiver.recv_timeout(LIMIT), Ok(message));
}

#[test]
fn a_pipe_that_was_made_smaller_makes_nobody_wait() {
    within_limit(|| {
        let (sender, receiver) = pipe(64).expect("a channel");
        make_smaller(&sender);
        for n in 0..20 {
            sender.try_send(long(n)).expect("there is room");
        }
        sender.send_timeout(vec![20], LIMIT).expect("there is room");
        assert!(sender.side().shared().is_torn());
        for n in 0..20 {
            expect(&receiver, long(n));
        }
        expect(&receiver, vec![20]);
        assert_eq!(receiver.len(), 0);
        // And on, through a pipe that is whole again.
        for n in 0..100 {
            sender.try_send(vec![n; 100]).expect("there is room");
            sender.try_send(long(n)).expect("there is room");
            expect(&receiver, vec![n; 100]);
            expect(&receiver, long(n));
        }
        assert!(!sender.side().shared().is_torn());
        drop(sender);
        assert!(receiver.recv().expect_err("the end").is_disconnected());
        assert_eq!(receiver.fault(), None);
    });
}

#[test]
fn descriptors_wait_for_a_torn_pipe_no_longer_than_they_are_told_to() {
    within_limit(|| {
        let (sender, receiver) = pipe::<(Vec<u8>, Option<Descriptor>)>(64).expect("a channel");
        make_smaller(&sender);
        let with_file = |n| {
            let null = std::fs::File::open("/dev/null").expect("it is there");
            (long(n), Some(Descriptor(null.into())))
        };
        // Of the first, part is in the pipe.
        let began = Instant::now();
        let refused = sender.try_send(with_file(0)).expect_err("it waits");
        assert!(refused.is_full());
        sender
            .send_timeout(refused.into_inner(), Duration::from_millis(50))
            .expect_err("it waits in vain");
        assert!(began.elapsed() < LIMIT / 2);
        // What has none goes on.
        sender.try_send((long(1), None)).expect("there is room");
        let waits = {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(with_file(2)))
        };
        let (bytes, none) = receiver.recv_timeout(LIMIT).expect("sent");
        assert_eq!((bytes, none.is_none()), (long(1), true));
        let (bytes, file) = receiver.recv_timeout(LIMIT).expect("sent");
        assert_eq!((bytes, file.is_some()), (long(2), true));
        waits.join().expect("no panic").expect("sent");
        assert_eq!(
            receiver.recv_timeout(Duration::ZERO).map(drop),
            Err(RecvTimeoutError::Timeout)
        );
    });
}

#[test]
fn a_sender_that_dies_in_a_frame_costs_no_other_message() {
    for cut in CUTS.into_iter().chain([WHOLE]) {
        eprintln!("{cut} bytes:");
        within_limit(move || {
            let (sender, receiver) = pipe(64).expect("a channel");
            for round in 0..3 {
                sender.send(vec![1, round]).expect("sent");
                sender.send(long(round)).expect("sent");
                die_putting(&sender, cut);
                sender.send(vec![2, round]).expect("sent");
                sender.send(long(round + 1)).expect("sent");
                for message in [vec![1, round], long(round), vec![2, round], long(round + 1)] {
                    expect(&receiver, message);
                }
                let soon = Duration::from_millis(2);
                assert_eq!(
                    receiver.recv_timeout(soon),
                    Err(RecvTimeoutError::Timeout),
                    "nothing that was not sent"
                );
                assert_eq!(receiver.fault(), None);
            }
        });
    }
}

#[test]
fn a_receiver_that_has_part_of_a_frame_goes_on_when_another_sends() {
    for cut in CUTS {
        within_limit(move || {
            let (sender, receiver) = pipe(64).expect("a channel");
            std::thread::scope(|scope| {
                die_putting(&sender, cut);
                // It waits for the rest, or is about to.
                let waits = scope.spawn(|| receiver.recv());
                while cut > 0 && inside(&sender) > 0 {
                    std::thread::yield_now();
                }
                sender.send(long(5)).expect("sent");
                assert_eq!(waits.join().expect("no panic"), Ok(long(5)), "{cut} bytes");
            });
            // The last sender dies: part of its message is none.
            die_putting(&sender, cut);
            drop(sender);
            assert!(receiver.recv().expect_err("the end").is_disconnected());
        });
    }
}

#[test]
fn many_threads_send_through_a_pipe_that_is_torn_again_and_again() {
    within_limit(|| {
        let (sender, receiver) = pipe::<(u8, u32, Vec<u8>)>(32).expect("a channel");
        let threads: Vec<_> = (0..3_u8)
            .map(|me| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for n in 0..400_u32 {
                        let len = [10, 5_000, 12_000, 300][n as usize % 4];
                        sender.send((me, n, vec![me; len])).expect("received");
                        if n % 16 == 0 {
                            die_putting(&sender, CUTS[n as usize / 16 % CUTS.len()]);
                        }
                    }
                })
            })
            .collect();
        let mut next = [0; 3];
        for message in 0..1200 {
            let (me, n, bytes) = receiver
                .recv_timeout(LIMIT)
                .unwrap_or_else(|e| panic!("message {message}: {e}"));
            assert_eq!(n, next[usize::from(me)], "in its sender's order");
            next[usize::from(me)] += 1;
            assert_eq!(bytes.len(), [10, 5_000, 12_000, 300][n as usize % 4]);
            assert!(bytes.iter().all(|&b| b == me));
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
}

#[test]
fn a_receiver_moves_with_part_of_a_frame() {
    for cut in CUTS {
        within_limit(move || {
            let (sender, receiver) = pipe(64).expect("a channel");
            sender.send(vec![1]).expect("sent");
            die_putting(&sender, cut);
            // With what it has read, which is all.
            expect(&receiver, vec![1]);
            let mut bytes = Vec::new();
            let descriptors = crate::task::codec::encode(&receiver, &mut bytes).expect("encodes");
            let moved: Receiver<Vec<u8>> =
                crate::task::codec::decode(&bytes, descriptors).expect("decodes");
            drop(receiver);
            sender.send(long(2)).expect("sent");
            sender.send(vec![3]).expect("sent");
            expect(&moved, long(2));
            expect(&moved, vec![3]);
            assert_eq!(moved.fault(), None, "{cut} bytes");
        });
    }
}
