//! The streams of the C library (stdio(3)), which code in other languages may write to.

/// Has C's stdout write line by line, whatever it is: a block that ends in the middle of a line
/// would be torn by what others write. For a process that has not used it yet. setvbuf(3).
pub(crate) fn write_stdout_by_lines() {
    unsafe extern "C" {
        static mut stdout: *mut libc::FILE;
    }
    // SAFETY: the C library's own stream, unless a constructor has put another in its place, which
    // then has to be an open one; and a buffer of its own making.
    unsafe {
        libc::setvbuf(stdout, std::ptr::null_mut(), libc::_IOLBF, 0);
    }
}

/// Writes out what C's streams hold back.
pub(crate) fn flush_all() {
    // SAFETY: a null stream means all of them.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// As [`flush_stdout`], unless another thread holds it: `false`.
pub(crate) fn try_flush_stdout() -> bool {
    unsafe extern "C" {
        static mut stdout: *mut libc::FILE;
        // flockfile(3).
        fn ftrylockfile(stream: *mut libc::FILE) -> libc::c_int;
        fn funlockfile(stream: *mut libc::FILE);
    }
    // SAFETY: as in `flush_stdout`; the lock is let go by the thread that took it.
    unsafe {
        let stream = stdout;
        if stream.is_null() {
            return true;
        }
        if ftrylockfile(stream) != 0 {
            return false;
        }
        libc::fflush(stream);
        funlockfile(stream);
    }
    true
}

/// Writes out what C's stdout holds back. For when that is nearly always nothing.
pub(crate) fn flush_stdout() {
    unsafe extern "C" {
        static mut stdout: *mut libc::FILE;
        // stdio_ext(3); glibc and musl have it.
        fn __fpending(stream: *mut libc::FILE) -> libc::size_t;
    }
    // SAFETY: the C library's own stream is a static, which stays when it is closed. A task may
    // have put a stream of its own in its place; one that has closed that and left the pointer
    // there has broken the rules of C, and this touches freed memory, in the task's own process.
    // Threads that a task left behind may write to it: `fflush` locks, and a count that is out of
    // date is a flush more or less.
    unsafe {
        let stream = stdout;
        if !stream.is_null() && __fpending(stream) > 0 {
            libc::fflush(stream);
        }
    }
}
