//! Tests of the ring, with both sides in one process.

use super::memory::RingMemory;
use super::producer::{GRAIN, WARM};
use super::*;
use crate::sim::shared::Ordering;
use crate::sys::mapping::{Mapping, sized_memfd};

const PLACE: RingPlace = RingPlace {
    control: 0,
    data: 4096,
    capacity: 1024,
};

fn mapping() -> Mapping {
    let fd = sized_memfd("ring-test", 8192).expect("memfd");
    Mapping::writable(fd, 8192).expect("mmap")
}

#[test]
fn frames_of_every_size_come_whole_and_in_order() {
    let mapping = mapping();
    let (mut producer, mut consumer) = (
        Producer::new(&mapping, PLACE),
        Consumer::new(&mapping, PLACE),
    );
    let mut got = Vec::new();
    for round in 0..2000_usize {
        let sent: Vec<u8> = (0..round % 1017).map(|i| (i ^ round) as u8).collect();
        producer
            .push(round as u32, &sent)
            .expect("fits an empty ring");
        producer.publish();
        assert_eq!(consumer.pop(&mut got), Ok(Some(round as u32)));
        assert_eq!(got, sent);
        assert_eq!(consumer.pop(&mut got), Ok(None));
    }
}

#[test]
fn a_full_ring_says_so_and_loses_nothing() {
    let mapping = mapping();
    let (mut producer, mut consumer) = (
        Producer::new(&mapping, PLACE),
        Consumer::new(&mapping, PLACE),
    );
    let mut pushed = 0;
    while producer.push(pushed, &[7; 24]).is_ok() {
        pushed += 1;
    }
    assert_eq!(pushed, 1024 / 32);
    assert_eq!(producer.push(0, &[0; 2000]), Err(Full));
    producer.publish();
    let mut got = Vec::new();
    for n in 0..pushed {
        assert_eq!(consumer.pop(&mut got), Ok(Some(n)));
    }
    assert_eq!(producer.push(0, &[7; 24]), Ok(()));
}

#[test]
fn a_frame_stays_until_it_is_taken() {
    let mapping = mapping();
    let mut producer = Producer::new(&mapping, PLACE);
    let mut consumer = Consumer::new(&mapping, PLACE);
    for (tag, bytes) in [(1, "first"), (2, "second"), (3, "third")] {
        producer.push(tag, bytes.as_bytes()).expect("there is room");
    }
    producer.publish();
    let mut got = b"before ".to_vec();
    for _ in 0..2 {
        let frame = next(&mut consumer).expect("a frame");
        assert_eq!((frame.tag(), frame.len()), (1, 5));
    }
    next(&mut consumer).expect("a frame").append_to(&mut got);
    next(&mut consumer).expect("a frame").skip();
    let third = next(&mut consumer).expect("a frame");
    // A longer one, of another tag, written over the header since it was read: it is not believed.
    let at = (frame_size(5) + frame_size(6)) as u64;
    RingMemory::new(&mapping, PLACE).store(at, 9 << 32 | 500);
    assert_eq!((third.tag(), third.len()), (3, 5));
    third.append_to(&mut got);
    assert!(next(&mut consumer).is_none());
    assert_eq!(got, b"before firstthird");
}

#[test]
fn short_frames_of_one_sort_are_taken_together_wherever_the_ring_ends() {
    let mapping = mapping();
    let mut producer = Producer::new(&mapping, PLACE);
    let mut consumer = Consumer::new(&mapping, PLACE);
    let bytes = |n: usize| vec![n as u8; n % 23];
    for round in 0..500 {
        let run = round % 12;
        for n in 0..run {
            producer.push(5, &bytes(n)).expect("there is room");
        }
        producer.push(6, b"another").expect("there is room");
        producer.push(5, &[1; 300]).expect("there is room");
        producer.publish();
        let (mut got, mut count, mut held) = (vec![9; 3], 0, 0);
        loop {
            let (more, bytes) = consumer.take_frames(5, 7, &mut got);
            assert!(more <= 7);
            (count, held) = (count + more as usize, held + bytes);
            if more == 0 {
                break;
            }
        }
        assert_eq!((count, held), (run, (0..run).map(|n| bytes(n).len()).sum()));
        let mut at = 3;
        for n in 0..run {
            let (frame, next) = frame_at(&got, at).expect("a frame");
            assert_eq!(frame, bytes(n));
            at = next;
        }
        assert_eq!(at, got.len());
        // Neither another sort nor a long one is among them.
        assert_eq!(consumer.pop(&mut got), Ok(Some(6)));
        assert_eq!(consumer.take_frames(5, 7, &mut got), (0, 0));
        assert_eq!(consumer.pop(&mut got), Ok(Some(5)));
        assert_eq!(got, [1; 300]);
        assert_eq!(consumer.take_frames(5, 7, &mut got), (0, 0));
    }
}

#[test]
fn of_frames_that_cannot_be_none_is_taken_with_others() {
    let word = |len: u32, tag: u32| u64::from(len) | u64::from(tag) << 32;
    // The count of bytes, and the words: a sound frame first, or nothing that is one.
    for (tail, words, sound) in [
        (1 << 40, [word(0, 5), word(0, 5), 0], 0),
        (12, [word(0, 5), word(0, 5), 0], 0),
        (8, [word(9, 5), 0, 0], 0),
        (16, [word(0, 5), word(1, 5), 0], 1),
        (24, [word(0, 5), word(u32::MAX, 5), 0], 1),
        (24, [word(0, 5), word(0, SKIP), 0], 1),
        (24, [word(0, 5), word(0, 6), 0], 1),
    ] {
        let mapping = mapping();
        let memory = RingMemory::new(&mapping, PLACE);
        for (at, word) in (0..).step_by(WORD).zip(words) {
            memory.store(at, word);
        }
        memory.control.tail.0.store(tail, Ordering::Relaxed);
        let mut consumer = Consumer::new(&mapping, PLACE);
        let mut got = Vec::new();
        assert_eq!(consumer.take_frames(5, 100, &mut got), (sound, 0));
        assert_eq!(consumer.position(), 8 * u64::from(sound));
        assert_eq!(got.len(), 8 * sound as usize);
    }
}

fn next<'c, 'm>(consumer: &'c mut Consumer<'m>) -> Option<NextFrame<'c, 'm>> {
    consumer.next().expect("an honest producer")
}

#[test]
fn a_lying_producer_is_found_out() {
    for (tail, head_word) in [
        (8, 9_u64),
        (8, u64::from(u32::MAX)),
        (1 << 40, 0),
        (u64::MAX, 0),
        (12, 0),
        (1032, 0),
        (8, u64::from(SKIP) << 32),
        (8, u64::from(SKIP) << 32 | 1),
        (1024, u64::from(SKIP) << 32 | 1),
    ] {
        let mapping = mapping();
        let memory = RingMemory::new(&mapping, PLACE);
        memory.words[0].store(head_word, Ordering::Relaxed);
        memory.control.tail.0.store(tail, Ordering::Relaxed);
        let mut consumer = Consumer::new(&mapping, PLACE);
        assert!(consumer.is_ready());
        assert_eq!(
            consumer.pop(&mut Vec::new()),
            Err(Corrupt),
            "tail {tail}, word {head_word:#x}"
        );
    }
}

#[test]
fn a_producer_that_was_caught_up_with_begins_at_the_start() {
    let place = RingPlace {
        control: 0,
        data: 4096,
        capacity: 1 << 20,
    };
    let len = 4096 + (1 << 20);
    let mapping =
        Mapping::writable(sized_memfd("ring-test", len).expect("memfd"), len).expect("mmap");
    let (mut producer, mut consumer) = (
        Producer::new(&mapping, place),
        Consumer::new(&mapping, place),
    );
    let mut got = Vec::new();
    let mut furthest = 0;
    for n in 0..100_000_u32 {
        let bytes = n.to_ne_bytes().repeat(1 + n as usize % 40);
        producer.rewind(8 + bytes.len());
        furthest = furthest.max(producer.reach(8 + bytes.len()));
        producer
            .push_parts(n, &[7], &bytes)
            .expect("fits an empty ring");
        producer.show();
        let mut first = [0];
        assert_eq!(consumer.pop_parts(&mut first, &mut got), Ok(Some(n)));
        assert_eq!((first[0], &got), (7, &bytes));
    }
    assert!(furthest <= WARM + GRAIN + 256, "{furthest}");
}

#[test]
fn a_lying_consumer_gets_nothing_overwritten() {
    let mapping = mapping();
    let mut producer = Producer::new(&mapping, PLACE);
    producer.push(0, &[1; 1000]).expect("fits");
    for head in [u64::MAX, 1 << 32, 2048] {
        RingMemory::new(&mapping, PLACE)
            .control
            .head
            .0
            .store(head, Ordering::Relaxed);
        assert_eq!(producer.push(0, &[1; 500]), Err(Full), "head {head}");
    }
}

#[test]
fn a_sleeper_is_woken() {
    let mapping = mapping();
    let (mut producer, mut consumer) = (
        Producer::new(&mapping, PLACE),
        Consumer::new(&mapping, PLACE),
    );
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut got = Vec::new();
            for n in 0..10_000 {
                consumer.wait();
                assert_eq!(consumer.pop(&mut got), Ok(Some(n)));
            }
        });
        for n in 0..10_000 {
            while producer.push(n, b"wake up").is_err() {
                std::thread::yield_now();
            }
            producer.publish();
        }
    });
}

#[test]
fn a_consumer_that_says_that_it_has_taken_what_is_taken_back_is_found_out() {
    let mapping = mapping();
    let (mut producer, mut consumer) = (
        Producer::new(&mapping, PLACE),
        Consumer::new(&mapping, PLACE),
    );
    producer.push(1, &[1; 24]).expect("there is room");
    let second = producer.position();
    producer.push(2, &[2; 24]).expect("there is room");
    producer.publish();
    assert_eq!(consumer.pop(&mut Vec::new()), Ok(Some(1)));
    assert!(!producer.is_taken(second));
    consumer.pretend_to_have_taken(0);
    assert!(producer.is_taken(second));
    // More than the ring holds.
    while producer.position() < second + 3 * PLACE.capacity as u64 {
        producer
            .push(3, &[3; 100])
            .expect("it says that there is room");
        producer.publish();
        consumer.pretend_to_have_taken(0);
    }
    assert!(producer.is_taken(second));
    producer.take_back(second);
    assert_eq!(producer.push(4, &[4; 24]), Err(Full));
    for bytes in [8, 1 << 40, 1 << 63, u64::MAX] {
        consumer.pretend_to_have_taken(bytes);
        assert!(producer.is_taken(second), "{bytes}");
        assert_eq!(producer.push(4, &[4; 24]), Err(Full), "{bytes}");
    }
}
