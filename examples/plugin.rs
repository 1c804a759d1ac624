//! Brigade inside a shared library, as in a plugin or an extension module of a language: threads
//! work there. A process of the program itself cannot be started, for the program that is started
//! again does not have the library yet; the error says so. Workers of another program that the
//! plugin brings along can.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;

use brigade::{Kind, Pool, process, thread};

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
    told(match (doubled, process::spawn(double, 21)) {
        (Ok(Ok(42)), Err(e)) => e.to_string(),
        (Ok(Ok(42)), Ok(_)) => format!("a {} was started", Kind::Process),
        (failed, _) => format!("a {} has failed: {failed:?}", Kind::Thread),
    })
}

/// Has a pool of workers of the program at `path` run its task `double`, and gives what came of it
/// as a C string, which is never freed.
///
/// # Safety
/// `path` is a C string.
// SAFETY: no other symbol in any program has this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn brigade_plugin_call(path: *const c_char) -> *const c_char {
    // SAFETY: as the caller promises.
    let path = unsafe { CStr::from_ptr(path) };
    let path = OsStr::from_bytes(path.to_bytes());
    let doubled = || -> Result<Vec<u32>, Box<dyn std::error::Error>> {
        let program = process::Program::open(path)?;
        let double = program.task::<u32, u32>("double")?;
        let pool = Pool::builder(Kind::Process)
            .workers(2)
            .process(program.builder())
            .build()?;
        let mut all = vec![program.spawn(&double, 1)?.join()?];
        for doubled in pool.map_named(&double, 2..100) {
            all.push(doubled?);
        }
        Ok(all)
    };
    told(match doubled() {
        Ok(all) => format!("{} numbers, {} in all", all.len(), all.iter().sum::<u32>()),
        Err(e) => format!("it has failed: {e}"),
    })
}

fn told(text: String) -> *const c_char {
    CString::new(text).unwrap_or_default().into_raw()
}
