//! The tasks that requests run as: what computes, and what may break.

use std::ffi::c_char;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Mutex;

use brigade::Descriptor;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

/// What is larger is not compressed in one piece.
pub(crate) const LARGEST: u64 = 64 << 20;
const LEVEL: u32 = 6;

/// Runs once in each worker before its first request, before its sandbox closes: what tables the
/// libraries make, and what they read of the system, is had from here on.
pub(crate) fn prepare() {
    drop(compressed(b"warm"));
}

/// What a worker is given to compress. A file comes as a descriptor that the front has opened: the
/// worker needs no right to open anything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Input {
    File(Descriptor<File>),
    Bytes(Vec<u8>),
}

/// The bytes compressed as gzip, by zlib, a C library.
pub(crate) fn compress(input: Input) -> Result<Vec<u8>, String> {
    match input {
        Input::Bytes(bytes) => compressed(&bytes),
        Input::File(Descriptor(file)) => {
            let mut bytes = Vec::new();
            let read = file.take(LARGEST).read_to_end(&mut bytes);
            read.map_err(|e| e.to_string())?;
            compressed(&bytes)
        }
    }
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let into = Vec::with_capacity(bytes.len() / 2);
    let mut encoder = GzEncoder::new(into, Compression::new(LEVEL));
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.map_err(|e| e.to_string())
}

/// Ways to break a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    Segfault,
    Abort,
    Exit,
    Overflow,
    Panic,
    Hang,
    /// Opens a file that it was not given.
    Open,
    /// Keeps this many MiB.
    Leak(usize),
}

impl Fault {
    pub(crate) fn named(name: &str) -> Option<Fault> {
        Some(match name.split_once('/').unwrap_or((name, "")) {
            ("segv", "") => Fault::Segfault,
            ("abort", "") => Fault::Abort,
            ("exit", "") => Fault::Exit,
            ("overflow", "") => Fault::Overflow,
            ("panic", "") => Fault::Panic,
            ("hang", "") => Fault::Hang,
            ("open", "") => Fault::Open,
            ("leak", mib) => Fault::Leak(mib.parse().ok().filter(|mib| *mib <= 256)?),
            _ => return None,
        })
    }
}

/// Breaks the worker that runs it, as told. Returns the worker's process, or why it did not break.
pub(crate) fn break_worker(fault: Fault) -> Result<u32, String> {
    match fault {
        Fault::Segfault => read_nowhere(),
        Fault::Abort => std::process::abort(),
        Fault::Exit => leave(),
        Fault::Overflow => drop(overflow(1)),
        Fault::Panic => panic!("as it was asked to"),
        Fault::Hang => loop {
            std::hint::spin_loop();
        },
        Fault::Leak(mib) => {
            static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
            let mut kept = KEPT.lock().unwrap_or_else(|e| e.into_inner());
            kept.push(vec![1; mib << 20]);
        }
        Fault::Open => drop(File::open("/etc/passwd").map_err(|e| e.to_string())?),
    }
    Ok(std::process::id())
}

/// A mistake in C: the length of a text where there is none.
#[expect(unsafe_code, reason = "it is a real fault of a real C function")]
fn read_nowhere() {
    let nowhere = std::ptr::without_provenance::<c_char>(std::hint::black_box(0x10));
    // SAFETY: there is none. It is the mistake that processes are there for.
    let len = unsafe { libc::strlen(nowhere) };
    std::hint::black_box(len);
}

#[expect(clippy::disallowed_methods, reason = "it is what is shown")]
fn leave() -> ! {
    std::process::exit(7)
}

fn overflow(depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    let frame = std::hint::black_box([depth; 128]);
    overflow(frame[17] + 1) + frame[9]
}
