//! The environment of this process: environ(7).
//!
//! Problem: setenv(3) and unsetenv(3) change the array that another thread may be reading, and
//! `getenv` takes no lock. A worker may have such threads before its first task: a library's
//! constructor started them. So the environment is never changed here: another one is made, and put
//! in the place of the old one by one store. A thread that reads the old one goes on with it; it is
//! never freed. What the C library does afterwards it does to a copy, as with any array that is not
//! its own.

#![expect(unsafe_code, reason = "the C library's pointer to the environment")]

use std::ffi::{CString, OsStr, OsString, c_char};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The environment as it is now, as execve(2) takes it.
pub(crate) fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(key, value)| entry(key, &value))
        .collect()
}

/// `None`: it has a zero byte, which no environment can have.
fn entry(key: OsString, value: &OsStr) -> Option<CString> {
    let mut entry = key.into_vec();
    entry.push(b'=');
    entry.extend(value.as_bytes());
    CString::new(entry).ok()
}

/// Adds these variables to this process's environment, or puts them in place of it.
pub(crate) fn set_environment(clear: bool, vars: impl Iterator<Item = (OsString, OsString)>) {
    let vars: Vec<_> = vars.collect();
    let is_set = |key: &OsString| vars.iter().any(|(k, _)| k == key);
    let before = std::env::vars_os().filter(|(key, _)| !clear && !is_set(key));
    replace(before.chain(vars.iter().cloned()));
}

/// Takes a variable out of this process's environment, and gives its value.
pub(crate) fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    replace(std::env::vars_os().filter(|(key, _)| key != name));
    Some(value)
}

fn replace(vars: impl Iterator<Item = (OsString, OsString)>) {
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    let entries = vars.filter_map(|(key, value)| Some(entry(key, &value)?.into_raw()));
    let array = entries.chain([std::ptr::null_mut()]).collect::<Vec<_>>();
    let array = Box::leak(array.into_boxed_slice());
    // SAFETY: an aligned pointer that lives as long as the process. C reads it by plain loads,
    // which processors of 64 bits do as a whole. What it points to from now on is an array of C
    // strings that ends with a null pointer, all of it leaked.
    let place = unsafe { AtomicPtr::from_ptr(&raw mut environ) };
    place.store(array.as_mut_ptr(), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// std's, which other tests of this program may use meanwhile, stay in order.
    #[test]
    fn it_is_replaced_under_the_eyes_of_another_thread() {
        const KEPT: &str = "BRIGADE_TEST_KEPT";
        const CHANGED: &str = "BRIGADE_TEST_CHANGED";
        let set = |key: &str, value: String| {
            set_environment(false, [(key.into(), value.into())].into_iter());
        };
        set(KEPT, "kept".to_owned());
        set(CHANGED, "0".to_owned());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(std::env::var(KEPT).as_deref(), Ok("kept"));
                    let now = std::env::var(CHANGED).expect("set").parse::<u32>();
                    let now = now.expect("a number");
                    assert!(now >= last, "{now} after {last}");
                    last = now;
                }
            });
            for i in 1..=200_u32 {
                set(CHANGED, i.to_string());
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(take_variable(CHANGED), Some("200".into()));
        assert_eq!(std::env::var_os(CHANGED), None);
        assert_eq!(take_variable(CHANGED), None);
        assert_eq!(take_variable(KEPT), Some("kept".into()));
        assert!(std::env::var_os("PATH").is_some());
    }
}
