//! What process workers are built from: handles of processes, sealed memory, futexes, `/proc`.

use std::io;
use std::os::fd::AsFd as _;

use brigade::process::StartMethod;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::{Finding, Status};
use crate::fail::{Failure, OrFail as _};
use crate::helper::{Try, launch};
use crate::raw::queue;
use crate::workers::collect;

pub(super) fn look() -> Vec<Finding> {
    vec![
        proc(),
        pidfd(),
        seals(),
        worker(),
        start_method(),
        futex_waitv(),
        subreaper(),
        queues(),
    ]
}

fn proc() -> Finding {
    let (id, name) = ("proc", "/proc");
    match (std::fs::read_link("/proc/self/exe"), std::fs::read_dir("/proc/self/fd")) {
        (Ok(exe), Ok(_)) => Finding::new(
            id,
            name,
            Status::Yes,
            format!("mounted; this program is {}", exe.display()),
            "Worker processes are started from /proc/self/exe, so replacing the file on disk does no harm.",
        ),
        (Err(error), _) | (_, Err(error)) => Finding::new(
            id,
            name,
            Status::No,
            format!("/proc/self cannot be used: {error}"),
            "A program finds itself by /proc/self/exe. Mount /proc, in a container too.",
        ),
    }
    .required()
}

fn pidfd() -> Finding {
    let (id, name) = ("pidfd", "pidfd");
    let opened = pidfd_open(getpid(), PidfdFlags::empty()).and_then(|own| {
        // A process that runs is not readable; asking shows that waiting on it works.
        poll(
            &mut [PollFd::new(&own, PollFlags::IN)],
            Some(&rustix::time::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )?;
        Ok(own)
    });
    match opened {
        Ok(own) => {
            let copies = match std::fs::File::open("/dev/null") {
                Ok(file) => {
                    use std::os::fd::AsRawFd as _;
                    match pidfd_getfd(own.as_fd(), file.as_raw_fd(), PidfdGetfdFlags::empty()) {
                        Ok(_) => "pidfd_getfd too".to_owned(),
                        Err(error) => format!("without pidfd_getfd ({error})"),
                    }
                }
                Err(error) => format!("pidfd_getfd not tried ({error})"),
            };
            Finding::new(
                id,
                name,
                Status::Yes,
                format!("pidfd_open and poll work; {copies}"),
                "The end of a worker is noticed at once, and no other process is ever signalled by mistake.",
            )
        }
        Err(error) => Finding::new(
            id,
            name,
            Status::No,
            format!("pidfd_open: {error}"),
            "The ends of processes cannot be watched safely. It takes Linux 5.3, and a container that allows the call.",
        ),
    }
    .required()
}

fn seals() -> Finding {
    let (id, name) = ("memfd", "sealed anonymous memory");
    let sealed = || -> Result<(), Errno> {
        let memory = memfd_create(
            "brigade-doctor",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?;
        ftruncate(&memory, 4096)?;
        fcntl_add_seals(
            &memory,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        match ftruncate(&memory, 0) {
            Err(Errno::PERM) => Ok(()),
            // The seal does not hold.
            _ => Err(Errno::NOTSUP),
        }
    };
    match sealed() {
        Ok(()) => {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
            let noexec = memfd_create("brigade-doctor", flags).is_ok();
            Finding::new(
                id,
                name,
                Status::Yes,
                format!("memfd_create with seals{}", if noexec { ", and memory that can never be executed" } else { "" }),
                "Workers share memory that has no name and that no worker can take away under the host's feet.",
            )
        }
        Err(error) => Finding::new(
            id,
            name,
            Status::No,
            format!("memfd_create with seals: {error}"),
            "Host and workers cannot share memory safely.",
        ),
    }
    .required()
}

/// How workers come to be, of which this program has only what is preloaded into it to show.
fn start_method() -> Finding {
    let (id, name) = ("start-method", "how workers are made");
    match brigade::process::start_method() {
        Ok(StartMethod::Fork) => Finding::new(
            id,
            name,
            Status::Yes,
            "forked from a fork server with one thread",
            "Making one is as quick as fork(2). A library that starts a thread before main would change that: process::start_method() tells of a program of yours.",
        ),
        Ok(other) => Finding::new(
            id,
            name,
            Status::Partly,
            other.to_string(),
            "Everything works; many fresh processes in a row are some times slower.",
        ),
        Err(e) => Finding::new(
            id,
            name,
            Status::No,
            format!("there is no fork server: {e}"),
            "No process worker can be made.",
        ),
    }
}

/// The thing itself: a task in a process of the library's.
fn worker() -> Finding {
    let (id, name) = ("process-worker", "a process worker");
    let ran = || -> Result<u32, Failure> {
        let handle = brigade::process::spawn(own_id, 0).or_fail("starting it")?;
        collect(handle, "running a task in it")
    };
    match ran() {
        Ok(pid) if pid != std::process::id() => Finding::new(
            id,
            name,
            Status::Yes,
            format!("a task ran in process {pid}, not in this one"),
            "brigade::process::spawn works here.",
        ),
        Ok(_) => Finding::new(
            id,
            name,
            Status::No,
            "the task ran in this very process",
            "Something is wrong with Brigade itself: please report it.",
        ),
        Err(reason) => Finding::new(
            id,
            name,
            Status::No,
            reason.to_string(),
            "brigade::process::spawn fails here; what is missing above may say why.",
        ),
    }
    .required()
}

/// A task: says in which process it runs.
fn own_id(_: u32) -> u32 {
    std::process::id()
}

fn futex_waitv() -> Finding {
    let (id, name) = ("futex-waitv", "futex_waitv");
    // SAFETY: a wait for nothing: no address is looked at, and the kernel answers that none is not
    // a number of waiters.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            std::ptr::null::<u8>(),
            0,
            0,
            std::ptr::null::<u8>(),
            0,
        )
    };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL) if asked < 0 => Finding::new(
            id,
            name,
            Status::Yes,
            "present",
            "A waiter can watch a lock and the death of its holder in one wait.",
        ),
        _ => Finding::new(
            id,
            name,
            Status::No,
            format!("not present ({error})"),
            "Waits look again now and then instead. It takes Linux 5.16, and a container that allows the call.",
        ),
    }
}

fn subreaper() -> Finding {
    let (id, name) = ("subreaper", "adopting orphans");
    match launch::run(&["probe".to_owned(), Try::Subreaper.name().to_owned()]) {
        Ok(ended) if ended.status.success() => Finding::new(
            id,
            name,
            Status::Yes,
            "PR_SET_CHILD_SUBREAPER works (tried in a program of its own)",
            "What a worker started itself is found and ended with it.",
        ),
        Ok(ended) => Finding::new(
            id,
            name,
            Status::No,
            format!("PR_SET_CHILD_SUBREAPER: {}", ended.stderr.trim()),
            "A worker's own children may outlive it.",
        ),
        Err(reason) => Finding::new(
            id,
            name,
            Status::No,
            reason.to_string(),
            "A worker's own children may outlive it.",
        ),
    }
}

fn queues() -> Finding {
    let (id, name) = ("message-queues", "POSIX message queues");
    let limits = match queue::Limits::read() {
        Ok(limits) => limits,
        Err(error) => {
            return Finding::new(
                id,
                name,
                Status::No,
                format!("the kernel has none ({error})"),
                "Only the transport over queues is missing; pipe, socket and shared memory are not affected.",
            );
        }
    };
    let text = format!(
        "msg_max {}, msgsize_max {} bytes",
        limits.messages, limits.size
    );
    match queue::anonymous(limits) {
        Ok(_) => Finding::new(
            id,
            name,
            Status::Yes,
            format!("{text}; {}", mounted()),
            format!(
                "Queues of up to {} messages of up to {} bytes without privileges; larger messages go in pieces.",
                limits.messages, limits.size
            ),
        ),
        Err(error) => Finding::new(
            id,
            name,
            Status::No,
            format!("{text}, but making one fails: {error}"),
            "Often RLIMIT_MSGQUEUE is used up, or a container forbids the call. The other transports are not affected.",
        ),
    }
}

fn mounted() -> &'static str {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if mounts.contains(" - mqueue ") {
        "/dev/mqueue is mounted"
    } else {
        "/dev/mqueue is not mounted, and need not be"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_says_what_it_found_and_what_it_means() {
        for finding in [proc(), pidfd(), seals(), futex_waitv(), queues()] {
            assert!(
                !finding.found.is_empty() && !finding.means.is_empty(),
                "{finding:?}"
            );
        }
    }
}
