//! In place of Linux's `limits`: of the limits of other systems nothing is known.

/// What makes a thread.
pub(crate) const THREAD: &str = "std::thread::Builder::spawn";

pub(super) fn is_denial(_: i32) -> bool {
    false
}

pub(super) fn in_the_way(_: &str, _: i32) -> Option<String> {
    None
}

pub(super) fn advice(_: &str, _: i32) -> Option<&'static str> {
    None
}
