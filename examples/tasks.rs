//! A shared library with tasks in it: a plugin of a program that has Brigade. It knows nothing of
//! Brigade itself. The program loads it, asks it for its tasks, and runs them in processes as if
//! they were its own: where a plugin crashes, that costs one task.
//!
//! ```no_run
//! # type Find = fn(&str) -> Option<fn(u32) -> u32>;
//! # unsafe fn symbol(_: &str, _: &str) -> Find { |_| None }
//! // With dlopen(3) and dlsym(3), or the crate `libloading`.
//! let find = unsafe { symbol("libtasks.so", "find_task") };
//! let double = find("double").expect("the library has it");
//! assert_eq!(brigade::process::spawn(double, 21)?.join()?, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The pointers are functions of Rust's, so that both have to be built by the same compiler.

use std::sync::atomic::{AtomicU32, Ordering};

/// Set by what the program runs first in each worker.
static ADDED: AtomicU32 = AtomicU32::new(0);

fn add(n: u32) -> u32 {
    n + ADDED.load(Ordering::Relaxed)
}

fn double(n: u32) -> u32 {
    n * 2
}

#[inline(never)]
fn crash(n: u32) -> u32 {
    match n {
        0 => std::process::abort(),
        n => crash(n - 1) + 1,
    }
}

fn fail(n: u32) -> u32 {
    panic!("the library does not like {n}")
}

/// The task of this name.
// SAFETY: no other symbol in any program has this name.
#[unsafe(no_mangle)]
pub fn find_task(name: &str) -> Option<fn(u32) -> u32> {
    match name {
        "add" => Some(add),
        "crash" => Some(crash),
        "double" => Some(double),
        "fail" => Some(fail),
        _ => None,
    }
}

/// An initializer for pools.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub fn initialize_tasks() {
    ADDED.store(1000, Ordering::Relaxed);
}

/// What a supervisor may keep running.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub fn check_number(n: u32) {
    assert_eq!(n, 7);
}
