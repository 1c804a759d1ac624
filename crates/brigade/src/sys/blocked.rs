//! What a thread of another process waits for, seen from outside: /proc/PID/task/TID/{status,
//! syscall,wchan} and /proc/PID/fd, proc(5).
//!
//! All processes may read `status`; which of them may read the others, ptrace(2) decides: the
//! parent of a process may in nearly all cases, also where Yama keeps others from it. What cannot
//! be read is left out.

use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::asking;
use super::numbers;

/// Why a thread cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The thread was stopped by a signal, or is held by a debugger.
    Stopped,
    /// The thread blocks the signal.
    Blocks,
    /// The process has no handler: it has become another program, or has taken the handler away.
    /// The signal would end it.
    NoHandler,
    /// The thread has ended.
    Ended,
}

impl NoAnswer {
    pub(crate) const ALL: [NoAnswer; 4] = [
        NoAnswer::Stopped,
        NoAnswer::Blocks,
        NoAnswer::NoHandler,
        NoAnswer::Ended,
    ];
}

/// A thread, seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Why it cannot answer, if that is so.
    pub(crate) cannot_answer: Option<NoAnswer>,
    /// Where in the kernel it is: `in read(2) on descriptor 5, a pipe`. Empty: it is running, or
    /// cannot be looked at.
    pub(crate) place: String,
}

/// The longest name of a file that is given.
const MAX_NAME: usize = 120;

/// Looks at a thread. Nothing here waits for it.
pub(crate) fn look(process: u32, thread: u32) -> Look {
    let Some(number) = numbers::in_proc(process) else {
        return Look::default();
    };
    // Of threads other than the first nothing says what an outer namespace's /proc calls them.
    if thread != process && number != process {
        return Look::default();
    }
    let (process, thread) = (number, if thread == process { number } else { thread });
    let of_thread = format!("/proc/{process}/task/{thread}");
    let Ok(status) = fs::read_to_string(format!("{of_thread}/status")) else {
        return Look::default();
    };
    let state = line(&status, "State:").and_then(|state| state.chars().next());
    let cannot_answer = match state {
        Some('T' | 't') => Some(NoAnswer::Stopped),
        Some('Z' | 'X') => Some(NoAnswer::Ended),
        _ if !has_signal(&status, "SigCgt:") => Some(NoAnswer::NoHandler),
        // Where it answers another question it hears of this one next.
        _ if has_signal(&status, "SigBlk:") && !answers(&status) => Some(NoAnswer::Blocks),
        _ => None,
    };
    let place = match state {
        Some('T') => "stopped by a signal".to_owned(),
        Some('t') => "held by a debugger".to_owned(),
        Some('Z' | 'X') => String::new(),
        _ => place(process, &of_thread).unwrap_or_default(),
    };
    Look {
        cannot_answer,
        place,
    }
}

fn place(process: u32, of_thread: &str) -> Option<String> {
    match fs::read_to_string(format!("{of_thread}/syscall")) {
        Ok(told) => match told.split_ascii_whitespace().next()? {
            "running" => None,
            // In the kernel, and in no call: it fetches a page, or is being started.
            "-1" => kernel_function(of_thread),
            number => {
                let mut words = told.split_ascii_whitespace().skip(1);
                let argument = words.next().and_then(hexadecimal);
                Some(call(number.parse().ok()?, argument, |descriptor| {
                    file(process, descriptor)
                }))
            }
        },
        Err(_) => kernel_function(of_thread),
    }
}

fn kernel_function(of_thread: &str) -> Option<String> {
    let name = fs::read_to_string(format!("{of_thread}/wchan")).ok()?;
    let name = name.trim();
    let is_name = name
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || b"_.".contains(&c));
    (is_name && !name.is_empty() && name != "0").then(|| format!("in the kernel's `{name}`"))
}

/// In which system call it is; its first argument; and what a descriptor is.
fn call(
    number: libc::c_long,
    argument: Option<u64>,
    file: impl Fn(i32) -> Option<String>,
) -> String {
    let Some((_, name, of_descriptor)) = CALLS.iter().find(|(of, ..)| *of == number) else {
        return format!("in system call {number}");
    };
    let mut text = format!("in {name}(2)");
    match argument {
        Some(descriptor) if *of_descriptor => {
            let descriptor = descriptor as i32;
            let _ = write!(text, " on descriptor {descriptor}");
            if let Some(file) = file(descriptor) {
                let _ = write!(text, ", {file}");
            }
        }
        _ if *name == "futex" => text.push_str(", which waits for a lock or for another thread"),
        _ => {}
    }
    text
}

/// What a descriptor of a process is.
fn file(process: u32, descriptor: i32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{process}/fd/{descriptor}")).ok()?;
    let name = String::from_utf8_lossy(link.as_os_str().as_bytes());
    let kinds = [
        ("pipe:[", "a pipe"),
        ("socket:[", "a socket"),
        ("mqueue:", "a message queue"),
        ("/memfd:", "a memory file"),
        ("anon_inode:[eventfd]", "an event descriptor"),
        ("anon_inode:[eventpoll]", "an epoll instance"),
        ("anon_inode:[timerfd]", "a timer"),
        ("anon_inode:[signalfd]", "a signal descriptor"),
        ("anon_inode:[pidfd]", "a process"),
        ("anon_inode:inotify", "an inotify instance"),
    ];
    let known = kinds.iter().find(|(begin, _)| name.starts_with(begin));
    if let Some((_, kind)) = known {
        return Some((*kind).to_owned());
    }
    // It may be printed on a terminal.
    let printed = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    let mut shown: String = name.chars().take(MAX_NAME).map(printed).collect();
    if shown.len() < name.len() && name.chars().count() > MAX_NAME {
        shown.push('…');
    }
    Some(shown)
}

/// What stands behind a name, in a file of lines.
fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.trim()))
}

/// A set of signals: the first is the lowest bit.
fn set(status: &str, name: &str) -> Option<u64> {
    u64::from_str_radix(line(status, name)?, 16).ok()
}

/// Whether the signal by which threads are asked is in this set.
fn has_signal(status: &str, name: &str) -> bool {
    set(status, name).is_some_and(|set| set >> (asking::signal() - 1) & 1 == 1)
}

/// Whether a thread is in the handler of that signal: it blocks what is blocked there, and not what
/// a thread blocks too that wants to hear no signal at all.
fn answers(status: &str) -> bool {
    // Which of the others there are, the C library decides.
    const STANDARD: u64 = (1 << 31) - 1;
    let bits = |signals: &[i32]| signals.iter().fold(0_u64, |all, s| all | 1 << (s - 1));
    let never = bits(&[libc::SIGKILL, libc::SIGSTOP]);
    let there = STANDARD & !never & !bits(&asking::LET_THROUGH);
    set(status, "SigBlk:").is_some_and(|set| set & STANDARD == there)
}

fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

macro_rules! calls {
    ($($(#[$only:meta])? $number:ident $name:literal $of_descriptor:literal,)*) => {
        /// Calls in which threads wait: number, name, whether the first argument is a descriptor.
        const CALLS: &[(libc::c_long, &str, bool)] = &[
            $($(#[$only])? (libc::$number, $name, $of_descriptor),)*
        ];
    };
}

calls! {
    SYS_read "read" true,
    SYS_write "write" true,
    SYS_readv "readv" true,
    SYS_writev "writev" true,
    SYS_pread64 "pread" true,
    SYS_pwrite64 "pwrite" true,
    SYS_preadv "preadv" true,
    SYS_pwritev "pwritev" true,
    SYS_preadv2 "preadv2" true,
    SYS_pwritev2 "pwritev2" true,
    SYS_recvfrom "recv" true,
    SYS_recvmsg "recvmsg" true,
    SYS_recvmmsg "recvmmsg" true,
    SYS_sendto "send" true,
    SYS_sendmsg "sendmsg" true,
    SYS_sendmmsg "sendmmsg" true,
    SYS_accept "accept" true,
    SYS_accept4 "accept" true,
    SYS_connect "connect" true,
    SYS_flock "flock" true,
    SYS_fcntl "fcntl" true,
    SYS_ioctl "ioctl" true,
    SYS_fsync "fsync" true,
    SYS_fdatasync "fdatasync" true,
    SYS_ftruncate "ftruncate" true,
    SYS_fallocate "fallocate" true,
    SYS_getdents64 "getdents64" true,
    SYS_close "close" true,
    SYS_epoll_pwait "epoll_wait" true,
    SYS_epoll_pwait2 "epoll_wait" true,
    SYS_mq_timedsend "mq_send" true,
    SYS_mq_timedreceive "mq_receive" true,
    SYS_splice "splice" true,
    SYS_vmsplice "vmsplice" true,
    SYS_sendfile "sendfile" true,
    SYS_copy_file_range "copy_file_range" true,
    SYS_futex "futex" false,
    SYS_futex_waitv "futex" false,
    SYS_ppoll "poll" false,
    SYS_pselect6 "select" false,
    SYS_nanosleep "nanosleep" false,
    SYS_clock_nanosleep "clock_nanosleep" false,
    SYS_wait4 "wait4" false,
    SYS_waitid "waitid" false,
    SYS_openat "openat" false,
    SYS_openat2 "openat2" false,
    SYS_statx "statx" false,
    SYS_newfstatat "stat" false,
    SYS_unlinkat "unlinkat" false,
    SYS_renameat2 "rename" false,
    SYS_mkdirat "mkdirat" false,
    SYS_execve "execve" false,
    SYS_clone "clone" false,
    SYS_clone3 "clone3" false,
    SYS_msgrcv "msgrcv" false,
    SYS_msgsnd "msgsnd" false,
    SYS_semop "semop" false,
    SYS_semtimedop "semtimedop" false,
    SYS_rt_sigtimedwait "sigtimedwait" false,
    SYS_rt_sigsuspend "sigsuspend" false,
    SYS_io_getevents "io_getevents" false,
    SYS_io_uring_enter "io_uring_enter" true,
    SYS_getrandom "getrandom" false,
    SYS_msync "msync" false,
    SYS_mmap "mmap" false,
    SYS_munmap "munmap" false,
    SYS_sched_yield "sched_yield" false,
    SYS_restart_syscall "restart_syscall" false,
    #[cfg(target_arch = "x86_64")] SYS_poll "poll" false,
    #[cfg(target_arch = "x86_64")] SYS_select "select" false,
    #[cfg(target_arch = "x86_64")] SYS_epoll_wait "epoll_wait" true,
    #[cfg(target_arch = "x86_64")] SYS_pause "pause" false,
    #[cfg(target_arch = "x86_64")] SYS_open "open" false,
    #[cfg(target_arch = "x86_64")] SYS_stat "stat" false,
    #[cfg(target_arch = "x86_64")] SYS_vfork "vfork" false,
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sys::futex;
    use crate::sys::process::thread_number;

    #[test]
    fn a_thread_that_reads_a_pipe_says_which() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let number = reader.as_raw_fd();
        let (send, tids) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            send.send(thread_number()).expect("heard");
            rustix::io::read(&reader, &mut [0; 1]).expect("read")
        });
        let tid = tids.recv().expect("it has begun");
        let expected = format!("in read(2) on descriptor {number}, a pipe");
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let look = look(std::process::id(), tid);
            if look.place == expected {
                // Nothing of this test has a handler.
                assert_eq!(look.cannot_answer, Some(NoAnswer::NoHandler));
                break;
            }
            assert!(Instant::now() < limit, "{look:?}");
            futex::rest(Duration::from_millis(1));
        }
        drop(writer);
        assert_eq!(thread.join().expect("it ends"), 0);
    }

    #[test]
    fn calls_are_told_by_name() {
        let no_file = |_| None;
        assert_eq!(
            call(libc::SYS_recvfrom, Some(5), |_| Some("a socket".to_owned())),
            "in recv(2) on descriptor 5, a socket"
        );
        assert_eq!(call(libc::SYS_wait4, Some(5), no_file), "in wait4(2)");
        assert_eq!(call(9999, None, no_file), "in system call 9999");
    }

    #[test]
    fn who_answers_does_not_block() {
        // As of a thread in the handler; and as of one that has blocked all there is.
        assert!(answers("SigBlk:\tfffffffc3f7bfa07\n"));
        assert!(!answers("SigBlk:\tfffffffe7ffbfeff\n"));
        assert!(!answers("SigBlk:\t0000000000000000\n"));
        assert!(!answers(""));
    }

    #[test]
    fn nobody_is_nowhere() {
        assert_eq!(look(u32::MAX >> 1, u32::MAX >> 1), Look::default());
    }
}
