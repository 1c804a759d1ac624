//! What the programs of a pair have in common: the work itself, which neither counts as its own.

use std::ffi::{CString, c_char, c_int};
use std::time::{Duration, Instant};

/// How many pictures there are.
pub const PICTURES: u32 = 24;

/// One side of the colour table.
const SIDE: usize = 118;

/// A table that gives each colour another.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Table(Vec<u8>);

/// A table of 5 MB.
pub fn color_table() -> Table {
    let axis = |n: usize| (n * 255 / (SIDE - 1)) as u8;
    let mut table = Vec::with_capacity(SIDE.pow(3) * 3);
    for r in 0..SIDE {
        for g in 0..SIDE {
            for b in 0..SIDE {
                table.extend([axis(b), axis(r), 255 - axis(g)]);
            }
        }
    }
    Table(table)
}

/// A picture, as bytes of red, green and blue.
pub fn picture(n: u32) -> Vec<u8> {
    (0..256 * 256 * 3_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(n) >> 24) as u8)
        .collect()
}

/// Gives a picture the colours of the table.
pub fn grade(table: &Table, mut picture: Vec<u8>) -> Vec<u8> {
    let step = |color: u8| usize::from(color) * (SIDE - 1) / 255;
    for pixel in picture.chunks_exact_mut(3) {
        let at = (step(pixel[0]) * SIDE + step(pixel[1])) * SIDE + step(pixel[2]);
        pixel.copy_from_slice(&table.0[at * 3..][..3]);
    }
    picture
}

/// FNV-1a of some bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
    })
}

/// How many rows and columns a matrix has.
pub const N: usize = 256;

/// Adds to a row of the product of two matrices.
pub fn multiply_row(row: &mut [f64], y: usize, a: &[f64], b: &[f64]) {
    for (k, &factor) in a[y * N..][..N].iter().enumerate() {
        for (sum, &x) in row.iter_mut().zip(&b[k * N..][..N]) {
            *sum += factor * x;
        }
    }
}

/// An account that cannot stand one amount.
pub fn withdraw(balance: &mut i64, amount: i64) -> i64 {
    if amount == 13 {
        std::process::abort();
    }
    *balance -= amount;
    *balance
}

/// What is withdrawn.
pub const AMOUNTS: [i64; 6] = [30, 20, 13, 1, 13, 2];

/// The texts whose words are counted.
pub const TEXTS: [&str; 8] = [
    "one two",
    "a crash here",
    "this will leak",
    "three of them",
    "it will hang",
    "a leak again",
    "and one more leak",
    "the end",
];

unsafe extern "C" {
    fn bad_count(text: *const c_char) -> c_int;
}

/// Counts the words of a text, by the bad library.
pub fn count_words(text: String) -> i32 {
    let text = CString::new(text).expect("the texts have no zero byte");
    // SAFETY: the text ends with a zero, and lives until the call returns. What else the library
    // does is what these programs are about.
    unsafe { bad_count(text.as_ptr()) }
}

/// Works for so many milliseconds, unless it is to stop.
pub fn work_unless(is_cancelled: impl Fn() -> bool, millis: u64) -> String {
    let end = Instant::now() + Duration::from_millis(millis);
    let mut rounds = 0_u64;
    while Instant::now() < end && !is_cancelled() {
        rounds = std::hint::black_box(rounds + 1);
    }
    format!("worked {millis} ms")
}

/// Works for so many milliseconds.
pub fn work(millis: u64) -> String {
    work_unless(|| false, millis)
}
