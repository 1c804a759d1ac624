//! Brigade inside a shared library, as in a plugin or an extension module of a language: threads
//! work there. A process cannot be started, for the program that is started again does not have
//! the library yet; the error says so.

use std::ffi::{CString, c_char};

use brigade::{Kind, process, thread};

fn double(n: u32) -> u32 {
    n * 2
}

/// Doubles a number in a thread, tries to do it in a process, and gives the error as a C string,
/// which is never freed.
// SAFETY: no other symbol in any program has this name.
#[unsafe(no_mangle)]
pub extern "C" fn brigade_plugin_try() -> *const c_char {
    brigade::init();
    let doubled = thread::spawn(double, 21).map(|handle| handle.join());
    let told = match (doubled, process::spawn(double, 21)) {
        (Ok(Ok(42)), Err(e)) => e.to_string(),
        (Ok(Ok(42)), Ok(_)) => format!("a {} was started", Kind::Process),
        (failed, _) => format!("a {} has failed: {failed:?}", Kind::Thread),
    };
    CString::new(told).unwrap_or_default().into_raw()
}
