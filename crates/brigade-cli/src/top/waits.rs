//! What a thread waits in: the system call, and what that is about.
//!
//! `/proc/PID/task/TID/syscall` has the number and the arguments; to read it takes the right to
//! trace the thread. `wchan` names the function of the kernel in which it sleeps.

use crate::inspect::descriptors;
use crate::inspect::picture::{Descriptor, DescriptorKind};
use crate::inspect::proc_dir::{Hidden, ProcDir};

/// What the first argument of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Descriptor,
    Other,
}

/// The calls in which threads wait, by their numbers on this processor.
const CALLS: &[(i64, &str, First)] = &[
    (libc::SYS_read, "read(2)", First::Descriptor),
    (libc::SYS_pread64, "pread(2)", First::Descriptor),
    (libc::SYS_readv, "readv(2)", First::Descriptor),
    (libc::SYS_write, "write(2)", First::Descriptor),
    (libc::SYS_pwrite64, "pwrite(2)", First::Descriptor),
    (libc::SYS_writev, "writev(2)", First::Descriptor),
    (libc::SYS_recvfrom, "recvfrom(2)", First::Descriptor),
    (libc::SYS_recvmsg, "recvmsg(2)", First::Descriptor),
    (libc::SYS_recvmmsg, "recvmmsg(2)", First::Descriptor),
    (libc::SYS_sendto, "sendto(2)", First::Descriptor),
    (libc::SYS_sendmsg, "sendmsg(2)", First::Descriptor),
    (libc::SYS_accept, "accept(2)", First::Descriptor),
    (libc::SYS_accept4, "accept4(2)", First::Descriptor),
    (libc::SYS_connect, "connect(2)", First::Descriptor),
    (libc::SYS_ioctl, "ioctl(2)", First::Descriptor),
    (libc::SYS_fcntl, "fcntl(2)", First::Descriptor),
    (libc::SYS_flock, "flock(2)", First::Descriptor),
    (libc::SYS_fsync, "fsync(2)", First::Descriptor),
    (libc::SYS_fdatasync, "fdatasync(2)", First::Descriptor),
    (libc::SYS_epoll_pwait, "epoll_pwait(2)", First::Descriptor),
    (libc::SYS_epoll_pwait2, "epoll_pwait2(2)", First::Descriptor),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait(2)", First::Descriptor),
    (
        libc::SYS_mq_timedreceive,
        "mq_receive(3)",
        First::Descriptor,
    ),
    (libc::SYS_mq_timedsend, "mq_send(3)", First::Descriptor),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll(2)", First::Other),
    (libc::SYS_ppoll, "ppoll(2)", First::Other),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select(2)", First::Other),
    (libc::SYS_pselect6, "pselect(2)", First::Other),
    (
        libc::SYS_futex,
        "futex(2): a lock, or news from another thread",
        First::Other,
    ),
    (
        libc::SYS_futex_waitv,
        "futex_waitv: one of several locks or news",
        First::Other,
    ),
    (libc::SYS_nanosleep, "nanosleep(2): a time", First::Other),
    (
        libc::SYS_clock_nanosleep,
        "clock_nanosleep(2): a time",
        First::Other,
    ),
    (
        libc::SYS_wait4,
        "wait4(2): the end of a child",
        First::Other,
    ),
    (
        libc::SYS_waitid,
        "waitid(2): the end of a child",
        First::Other,
    ),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_pause, "pause(2): a signal", First::Other),
    (
        libc::SYS_rt_sigtimedwait,
        "sigtimedwait(2): a signal",
        First::Other,
    ),
    (
        libc::SYS_rt_sigsuspend,
        "sigsuspend(2): a signal",
        First::Other,
    ),
    (libc::SYS_openat, "openat(2)", First::Other),
    (libc::SYS_mmap, "mmap(2)", First::Other),
    (libc::SYS_madvise, "madvise(2)", First::Other),
    (libc::SYS_msgrcv, "msgrcv(2)", First::Other),
    (libc::SYS_semtimedop, "semtimedop(2)", First::Other),
    (
        libc::SYS_io_uring_enter,
        "io_uring_enter(2)",
        First::Descriptor,
    ),
];

/// What `/proc/PID/task/TID/syscall` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Running,
    /// The thread is in the kernel, and not by a system call: a page fault, say.
    None,
    Number(i64, u64),
}

fn parse(text: &str) -> Option<Call> {
    let mut words = text.split_ascii_whitespace();
    match words.next()? {
        "running" => Some(Call::Running),
        "-1" => Some(Call::None),
        number => {
            let first = words.next()?.strip_prefix("0x")?;
            Some(Call::Number(
                number.parse().ok()?,
                u64::from_str_radix(first, 16).ok()?,
            ))
        }
    }
}

/// In a sentence: `in read(2) on descriptor 5, a pipe`.
pub(super) fn say(dir: &ProcDir, tid: u32) -> String {
    let call = match dir.text(&format!("task/{tid}/syscall")) {
        Ok(text) => parse(&text),
        Err(Hidden::Ended) => return "has ended".into(),
        Err(why) => return format!("what it waits in: {why}{}", in_kernel(dir, tid)),
    };
    match call {
        Some(Call::Running) => "running, or ready to run".into(),
        Some(Call::None) => format!("in the kernel, by no system call{}", in_kernel(dir, tid)),
        Some(Call::Number(number, first)) => {
            let about = CALLS.iter().find(|(known, ..)| *known == number);
            match about {
                Some((_, name, First::Descriptor)) => {
                    let descriptor = u32::try_from(first).unwrap_or(u32::MAX);
                    let found = descriptors::read_one(dir, descriptor);
                    format!("in {name} on descriptor {descriptor}{}", what(found))
                }
                Some((_, name, First::Other)) => format!("in {name}"),
                None => format!("in system call {number}{}", in_kernel(dir, tid)),
            }
        }
        None => "what it waits in is not as expected".into(),
    }
}

fn what(descriptor: Result<Descriptor, Hidden>) -> String {
    let Ok(descriptor) = descriptor else {
        return String::new();
    };
    let kind = match descriptor.kind {
        DescriptorKind::File => "a file",
        DescriptorKind::Directory => "a directory",
        DescriptorKind::Terminal => "a terminal",
        DescriptorKind::Device => "a device",
        DescriptorKind::Pipe => "a pipe",
        DescriptorKind::Socket => "a socket",
        DescriptorKind::Queue => "a message queue",
        DescriptorKind::Memory => "a memory region",
        DescriptorKind::Kernel | DescriptorKind::Unknown => {
            let name = descriptor.target.trim_start_matches("anon_inode:");
            return format!(", {}", name.trim_matches(['[', ']']));
        }
    };
    format!(", {kind}")
}

/// The function of the kernel, where that may be known.
fn in_kernel(dir: &ProcDir, tid: u32) -> String {
    match dir.text(&format!("task/{tid}/wchan")) {
        Ok(name) if !name.is_empty() && name != "0" => {
            format!(" ({})", crate::inspect::escape::visible(&name))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn lines_are_read() {
        let line = format!(
            "{} 0x5 0x7ffd 0x1 0x0 0x0 0x0 0x7ffc 0x7f12\n",
            libc::SYS_read
        );
        assert_eq!(parse(&line), Some(Call::Number(libc::SYS_read, 5)));
        assert_eq!(parse("running\n"), Some(Call::Running));
        assert_eq!(parse("-1 0x7ffc 0x7f12\n"), Some(Call::None));
        for wrong in ["", "x", "0", "0 5", "0 0xg"] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn no_number_is_there_twice() {
        let mut numbers: Vec<i64> = CALLS.iter().map(|(number, ..)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), CALLS.len());
    }

    #[test]
    fn a_thread_that_reads_from_a_pipe_is_said_to() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let number = reader.as_raw_fd();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            let _ = reader.read(&mut [0]);
        });
        let tid = told.recv().unwrap().as_raw_nonzero().get() as u32;
        let dir = ProcDir::open(std::process::id()).unwrap();
        let expected = format!("in read(2) on descriptor {number}, a pipe");
        // It says so as soon as it is there.
        while say(&dir, tid) != expected {
            assert!(!thread.is_finished(), "{}", say(&dir, tid));
            std::thread::yield_now();
        }
        drop(writer);
        thread.join().unwrap();
    }
}
