//! Tasks that end badly, in one line or two each.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use brigade::Descriptor;

/// Set by a pool's process builder.
pub(crate) const VARIABLE: &str = "BRIGADE_TEST_KITCHEN";

pub(crate) fn fault(address: usize) -> u8 {
    eprintln!("about to read from {address:#x}");
    // SAFETY: none. This is the mistake.
    unsafe { std::ptr::read_volatile(address as *const u8) }
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Addresses(pub(crate) Vec<usize>);

pub(crate) fn fault_at(addresses: &Addresses, at: usize) -> u8 {
    fault(addresses.0[at])
}

pub(crate) fn abort((): ()) {
    std::process::abort()
}

#[expect(clippy::disallowed_methods, reason = "this is what a task may do")]
pub(crate) fn exit(status: i32) {
    std::process::exit(status)
}

pub(crate) fn overflow(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    if depth == u64::MAX {
        return depth;
    }
    overflow(depth + 1) + here[63]
}

/// Crashes on these bytes only.
pub(crate) fn picky(bytes: Vec<u8>) -> usize {
    if bytes.last() == Some(&0xff) && bytes.iter().map(|&b| u64::from(b)).sum::<u64>() % 1000 == 255
    {
        std::process::abort();
    }
    bytes.len()
}

/// Every third number.
pub(crate) fn third(n: u32) -> u32 {
    if n % 3 == 0 {
        std::process::abort();
    }
    n
}

static INITIALIZED: AtomicBool = AtomicBool::new(false);

pub(crate) fn initialize() {
    INITIALIZED.store(true, Ordering::Relaxed);
}

/// Tells what it sees by how it ends: 40 and one for each thing that is as it should be.
pub(crate) fn look_around(directory: String) {
    let mut input = Vec::new();
    let checks = [
        INITIALIZED.load(Ordering::Relaxed),
        std::env::var(VARIABLE).as_deref() == Ok("a b=c\n"),
        std::env::current_dir().is_ok_and(|here| here.as_os_str() == &*directory),
        std::io::stdin()
            .read_to_end(&mut input)
            .is_ok_and(|len| len == 0),
        // What it starts is no replay.
        std::env::var_os("BRIGADE_REPLAY").is_none(),
        // `env_clear`.
        std::env::var_os("PATH").is_none(),
        // It may have processes of its own.
        brigade::process::spawn(third, 1).is_ok_and(|handle| handle.join().is_ok_and(|n| n == 1)),
    ];
    exit(40 + checks.iter().filter(|&&c| c).count() as i32)
}

pub(crate) fn with_a_file(Descriptor(_file): Descriptor<File>) {
    std::process::abort()
}

pub(crate) fn panics((): ()) {
    panic!("burnt")
}

/// Where a worker has the variable, for which it has no use.
pub(crate) fn calls_init((): ()) -> bool {
    brigade::init();
    std::env::var_os("BRIGADE_REPLAY").is_some()
}

/// Until it is ended.
pub(crate) fn hangs((): ()) {
    loop {
        std::thread::park();
    }
}
