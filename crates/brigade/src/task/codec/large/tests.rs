//! Tests of values in memory files: from an honest sender they arrive as they were, and a hostile
//! one changes nothing but what its own value is.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::fs::SealFlags;

use super::*;
use crate::sys::mapping::{self, Mapping};
use crate::task::codec;

fn encoded<T: Message>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(value, &mut bytes).expect("encodes");
    bytes
}

fn in_file(parts: &[&[u8]]) -> ValueFile {
    let len = parts.iter().map(|part| part.len()).sum();
    let file = crate::sys::value_file::write(parts).expect("written");
    ValueFile::map(&file, len, true).expect("a value")
}

#[test]
fn a_large_vector_is_the_same_message_as_a_small_one() {
    macro_rules! each {
        ($($number:ty),*) => {$({
            let count = LARGE / size_of::<$number>();
            assert!(large_vector(&vec![0 as $number; count - 1]).is_none());
            for count in [count, count + 1, count * 9 + 3] {
                let vector: Vec<$number> = (0..count).map(|n| n as $number).collect();
                let large = large_vector(&vector).expect("it is large");
                let message = large.parts().concat();
                assert!(message == encoded(&vector) && message.len() == large.len());
                let there = decode_encoded::<Vec<$number>>(Encoded::Here(&message), Vec::new());
                assert!(there.as_ref() == Ok(&vector));
                let file = in_file(&large.parts());
                let back = decode_encoded::<Vec<$number>>(Encoded::File(file), Vec::new());
                assert!(back.as_ref() == Ok(&vector));
            }
        })*};
    }
    each!(
        u8, i8, u16, i16, u32, i32, u64, i64, usize, isize, u128, i128, f32, f64
    );
}

#[test]
fn what_is_no_such_vector_arrives_from_a_file_as_well() {
    type Value = (String, Vec<Vec<u32>>, Option<Box<Vec<u8>>>, Vec<bool>);
    let value: Value = (
        "ä".repeat(200_000),
        vec![vec![7; 300_000], Vec::new(), (0..400_000).collect()],
        Some(Box::new(vec![9; LARGE + 1])),
        vec![true; 3],
    );
    assert!(large_vector(&value).is_none());
    let file = in_file(&[&encoded(&value)]);
    let back = decode_encoded::<Value>(Encoded::File(file), Vec::new());
    assert!(back == Ok(value));
}

#[test]
fn a_file_that_is_another_value_than_is_wanted_is_an_error() {
    let numbers = vec![1_u32; LARGE];
    let file = || in_file(&large_vector(&numbers).expect("it is large").parts());
    let decoded = decode_encoded::<Vec<u64>>(Encoded::File(file()), Vec::new());
    assert!(
        decoded.is_ok_and(|wider| wider == vec![1_u64; LARGE]),
        "numbers may be wider"
    );
    assert!(decode_encoded::<String>(Encoded::File(file()), Vec::new()).is_err());
    assert!(decode_encoded::<Vec<String>>(Encoded::File(file()), Vec::new()).is_err());
    // Counts that are not that of what is there.
    for wrong in [0, 1, LARGE - 1, LARGE + 1, usize::MAX / 4, usize::MAX] {
        let mut head = vec![VERSION, tag::RUN + NumberKind::U32 as u8];
        tag::put_count(&mut head, wrong);
        let file = in_file(&[&head, bytemuck::cast_slice(&numbers)]);
        let decoded = decode_encoded::<Vec<u32>>(Encoded::File(file), Vec::new());
        assert!(decoded.is_err(), "{wrong}");
    }
    for short in [
        &[][..],
        &[VERSION],
        &[VERSION, tag::RUN],
        &[VERSION + 1, 0, 0],
    ] {
        assert!(decode_encoded::<Vec<u32>>(Encoded::File(in_file(&[short])), Vec::new()).is_err());
    }
}

#[test]
fn a_sender_that_writes_while_it_is_read_makes_some_value_or_an_error() {
    // Its head, its text's bytes and its counts change all the time.
    let text = encoded(&vec!["text".repeat(20_000); 4]);
    let numbers = encoded(&vec![3_u64; LARGE / 8]);
    let len = text.len().max(numbers.len());
    let file = mapping::memfd("test").expect("memfd");
    mapping::set_len(&file, len).expect("a length");
    let theirs = Mapping::writable(&file, len).expect("mapped");
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
    mapping::add_seals(&file, seals).expect("sealed");
    let bytes = |at: usize| {
        // SAFETY: within the mapping, which outlives the threads; only looked at as atomics.
        #[expect(unsafe_code, reason = "what a hostile sender would do")]
        unsafe {
            assert!(at < len);
            &*theirs.at().as_ptr().add(at).cast::<AtomicU8>()
        }
    };
    let write = |message: &[u8]| {
        for (at, byte) in message.iter().enumerate() {
            bytes(at).store(*byte, Ordering::Relaxed);
        }
    };
    write(&vec![1; len]);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = 1_u64;
            while !is_done.load(Ordering::Relaxed) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                match seed >> 62 {
                    0 => write(&text[..64]),
                    1 => write(&numbers[..64]),
                    _ => {
                        let at = (seed >> 20) as usize % if seed >> 61 & 1 == 0 { 16 } else { len };
                        bytes(at).store((seed >> 40) as u8, Ordering::Relaxed);
                    }
                }
            }
        });
        let mut whole = 0;
        for round in 0..2000 {
            if round % 50 == 0 {
                write(if round % 100 == 0 { &text } else { &numbers });
            }
            let len = if round % 100 < 50 {
                text.len()
            } else {
                numbers.len()
            };
            let file = || ValueFile::map(&file, len, true).expect("a value");
            if let Ok(numbers) = decode_encoded::<Vec<u64>>(Encoded::File(file()), Vec::new()) {
                assert!(numbers.len() <= len / 8);
                whole += 1;
            }
            if let Ok(texts) = decode_encoded::<Vec<String>>(Encoded::File(file()), Vec::new()) {
                for text in texts {
                    assert!(std::str::from_utf8(text.as_bytes()).is_ok());
                }
            }
            let frame = decode_file_frame::<Vec<u8>>(file(), Vec::new());
            assert_eq!(frame.map(|bytes| bytes.len()), Ok(len));
        }
        is_done.store(true, Ordering::Relaxed);
        assert!(whole > 0, "none was a value");
    });
}
