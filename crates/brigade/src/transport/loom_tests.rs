//! What must hold of the ring and of the wait for room, whatever the order in which both sides take
//! their steps: run by `scripts/loom`.
//!
//! Each word of a ring's data has a cell beside it, in which loom sees whether a reader is sure
//! that no thread writes it meanwhile. So a frame that is read before it is whole fails, and so
//! does one that is overwritten before it is read.

use std::sync::atomic::AtomicBool;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::header::CapacityWait;
use super::ring::{Consumer, ModelParts, Producer, frame_size};
use crate::sim::loom_os::{Event, be};
use crate::sim::shared::{fence, fence_after_rmw};
use crate::sync::raw_lock::RawLock;

/// Two words, which differ for each frame: frames of 24 bytes, so that in a ring of 32 each begins
/// elsewhere, and wraps.
fn body(n: u32) -> Vec<u8> {
    (0..16).map(|i| (n * 16 + i) as u8).collect()
}

/// Frame `n`, of `len` bytes, once there is room for it.
fn push(producer: &mut Producer<'_>, n: u32, len: usize) {
    producer.rewind(len);
    while producer.push(n, &body(n)[..len]).is_err() {
        thread::yield_now();
        producer.rewind(len);
    }
}

/// Frame `n`, of `len` bytes, if it is there; nothing else may be.
fn pop(consumer: &mut Consumer<'_>, n: u32, len: usize) -> bool {
    let mut got = Vec::new();
    match consumer.pop(&mut got) {
        Ok(None) => false,
        Ok(Some(tag)) => {
            assert_eq!((tag, &got[..]), (n, &body(n)[..len]));
            true
        }
        Err(corrupt) => panic!("{corrupt:?}"),
    }
}

/// Frames of these lengths through a ring of `capacity` bytes, shown as soon as they are pushed.
/// Whether, in any order of steps, a rest was left out.
fn pass(capacity: usize, lengths: &'static [usize]) -> bool {
    let skipped = std::sync::Arc::new(AtomicBool::new(false));
    let note = skipped.clone();
    loom::model(move || {
        let parts = Arc::new(ModelParts::new(capacity));
        let sends = {
            let parts = parts.clone();
            thread::spawn(move || {
                let mut producer = parts.producer(0);
                for (n, len) in (0..).zip(lengths) {
                    push(&mut producer, n, *len);
                    producer.show();
                }
            })
        };
        let mut consumer = parts.consumer();
        for (n, len) in (0..).zip(lengths) {
            while !pop(&mut consumer, n, *len) {
                thread::yield_now();
            }
        }
        sends.join().expect("a thread of the model");
        assert!(!consumer.is_ready());
        let bytes: usize = lengths.iter().map(|len| frame_size(*len)).sum();
        note.fetch_or(consumer.position() > bytes as u64, Ordering::Relaxed);
    });
    skipped.load(Ordering::Relaxed)
}

#[test]
fn loom_ring_frames_come_whole_and_in_order() {
    pass(64, &[8, 16, 1]);
}

#[test]
fn loom_ring_frames_wrap_around_the_end() {
    // From 0 to 24, from 24 around to 8, and from 8 to the end: each has to wait for the one
    // before, by a word.
    pass(32, &[16, 8, 16]);
}

#[test]
fn loom_ring_begins_at_the_start_again() {
    // Of the second and third, each may find the ring empty, and leave out its rest.
    assert!(pass(64, &[16, 8, 16]));
}

#[test]
fn loom_ring_frames_are_shown_together() {
    loom::model(|| {
        let parts = Arc::new(ModelParts::new(64));
        let sends = {
            let parts = parts.clone();
            thread::spawn(move || {
                let mut producer = parts.producer(0);
                push(&mut producer, 0, 8);
                push(&mut producer, 1, 8);
                producer.show();
            })
        };
        let mut consumer = parts.consumer();
        while !consumer.is_ready() {
            thread::yield_now();
        }
        assert!(pop(&mut consumer, 0, 8) && pop(&mut consumer, 1, 8));
        sends.join().expect("a thread of the model");
    });
}

#[test]
fn loom_ring_two_senders_take_turns() {
    loom::model(|| {
        let shared = Arc::new((ModelParts::new(32), RawLock::new()));
        // As a channel's senders: each begins where it finds the tail, with the lock held.
        let sends = [2, 3].map(|process| {
            let shared = shared.clone();
            thread::spawn(move || {
                be(process);
                let (parts, lock) = &*shared;
                lock.acquire(None);
                let mut producer = parts.producer(0);
                producer.rewind(8);
                producer.push(process, &body(process)[..8]).expect("room");
                producer.show();
                lock.release();
            })
        });
        let mut consumer = shared.0.consumer();
        let (mut got, mut tags) = (Vec::new(), Vec::new());
        while tags.len() < 2 {
            match consumer.pop(&mut got) {
                Ok(Some(tag)) => {
                    assert_eq!(got, body(tag)[..8]);
                    tags.push(tag);
                }
                Ok(None) => thread::yield_now(),
                Err(corrupt) => panic!("{corrupt:?}"),
            }
        }
        tags.sort_unstable();
        assert_eq!(tags, [2, 3]);
        for thread in sends {
            thread.join().expect("a thread of the model");
        }
    });
}

#[test]
fn loom_ring_who_sleeps_is_woken() {
    loom::model(|| {
        let parts = Arc::new(ModelParts::new(64));
        let sends = {
            let parts = parts.clone();
            thread::spawn(move || {
                let mut producer = parts.producer(0);
                for n in 0..2 {
                    producer.push(n, &body(n)[..8]).expect("room");
                    producer.publish();
                }
            })
        };
        let mut consumer = parts.consumer();
        for n in 0..2 {
            // A wake-up that is lost is a deadlock, which loom reports.
            consumer.wait();
            assert!(pop(&mut consumer, n, 8));
        }
        sends.join().expect("a thread of the model");
    });
}

#[test]
fn loom_ring_who_sleeps_on_a_descriptor_is_woken() {
    loom::model(|| {
        let shared = Arc::new((ModelParts::new(64), Event::new()));
        let sends = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (parts, event) = &*shared;
                let mut producer = parts.producer(0);
                for n in 0..2 {
                    producer.push(n, &body(n)[..8]).expect("room");
                    producer.show();
                    fence(Ordering::SeqCst);
                    if let Some(announcement) = producer.announcement() {
                        event.write();
                        producer.take_announcement(announcement);
                    }
                }
            })
        };
        let (parts, event) = &*shared;
        let (mut consumer, mut announcement) = (parts.consumer(), 0);
        for n in 0..2 {
            while !pop(&mut consumer, n, 8) {
                event.read();
                announcement += 1;
                if consumer.announce(announcement) {
                    event.poll();
                }
            }
        }
        sends.join().expect("a thread of the model");
    });
}

#[test]
fn loom_ring_senders_wake_who_sleeps_after_they_let_go_of_the_lock() {
    loom::model(|| {
        let shared = Arc::new((ModelParts::new(32), RawLock::new(), Event::new()));
        let sends = [2, 3].map(|process| {
            let shared = shared.clone();
            thread::spawn(move || {
                be(process);
                let (parts, lock, event) = &*shared;
                lock.acquire(None);
                let mut producer = parts.producer(0);
                producer.push(process, &body(process)[..8]).expect("room");
                producer.show();
                lock.release();
                fence_after_rmw();
                if let Some(announcement) = producer.announcement() {
                    event.write();
                    producer.take_announcement(announcement);
                }
            })
        });
        let (parts, _, event) = &*shared;
        let (mut consumer, mut announcement) = (parts.consumer(), 0);
        let (mut got, mut taken) = (Vec::new(), 0);
        while taken < 2 {
            match consumer.pop(&mut got) {
                Ok(Some(_)) => taken += 1,
                Ok(None) => {
                    event.read();
                    announcement += 1;
                    if consumer.announce(announcement) {
                        event.poll();
                    }
                }
                Err(corrupt) => panic!("{corrupt:?}"),
            }
        }
        for thread in sends {
            thread.join().expect("a thread of the model");
        }
    });
}

/// A channel for one message, of which only the counts are left.
#[derive(Default)]
struct Counts {
    waiting: CapacityWait,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counts {
    fn has_room(&self) -> bool {
        self.sent.load(Ordering::Relaxed) - self.received.load(Ordering::Acquire) < 1
    }

    /// With the lock that senders have, where there are several.
    fn try_send(&self) -> bool {
        let room = self.has_room();
        if room {
            let sent = self.sent.load(Ordering::Relaxed);
            self.sent.store(sent + 1, Ordering::Relaxed);
        }
        room
    }

    fn wait(&self) {
        let announced = self.waiting.announce();
        if !self.has_room() {
            self.waiting.sleep(&announced, None);
        }
    }

    fn receive(&self, n: u64) {
        while self.sent.load(Ordering::Acquire) <= n {
            thread::yield_now();
        }
        self.received.store(n + 1, Ordering::Release);
        self.waiting.made_room();
    }
}

#[test]
fn loom_room_is_not_waited_for_in_vain() {
    loom::model(|| {
        let counts = Arc::new(Counts::default());
        let sends = {
            let counts = counts.clone();
            thread::spawn(move || {
                for _ in 0..3 {
                    while !counts.try_send() {
                        counts.wait();
                    }
                }
            })
        };
        counts.receive(0);
        counts.receive(1);
        sends.join().expect("a thread of the model");
    });
}

#[test]
fn loom_room_is_called_for_all_who_wait() {
    loom::model(|| {
        let shared = Arc::new((Counts::default(), RawLock::new()));
        shared.0.try_send();
        let sends = [2, 3].map(|process| {
            let shared = shared.clone();
            thread::spawn(move || {
                be(process);
                let (counts, lock) = &*shared;
                loop {
                    lock.acquire(None);
                    let sent = counts.try_send();
                    lock.release();
                    if sent {
                        break;
                    }
                    counts.wait();
                }
            })
        });
        shared.0.receive(0);
        shared.0.receive(1);
        for thread in sends {
            thread.join().expect("a thread of the model");
        }
    });
}
