//! Asking the kernel for something that would change the program that asks: in a program that ends
//! right after.

use clap::ValueEnum;
use rustix::process::{getpid, set_child_subreaper};

use crate::fail::{Failure, OrFail as _};

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Try {
    /// A user namespace.
    User,
    /// A namespace of process numbers.
    Pid,
    /// A network namespace.
    Net,
    /// A namespace of mounts.
    Mount,
    /// A namespace of System V and POSIX queues and the like.
    Ipc,
    /// A namespace of host names.
    Uts,
    /// A namespace of control groups.
    Cgroup,
    /// A namespace of clocks.
    Time,
    /// To adopt orphaned descendants.
    Subreaper,
}

impl Try {
    /// The namespaces, in the order in which they are shown.
    pub(crate) const NAMESPACES: [Self; 8] = [
        Self::User,
        Self::Pid,
        Self::Net,
        Self::Mount,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Time,
    ];

    /// The name on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Net => "net",
            Self::Mount => "mount",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
            Self::Subreaper => "subreaper",
        }
    }

    fn flag(self) -> libc::c_int {
        match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Net => libc::CLONE_NEWNET,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            // Not in the libc crate for every target; `linux/sched.h`.
            Self::Time => 0x80,
            Self::Subreaper => 0,
        }
    }
}

/// Tries it. `in_user`: inside a user namespace made in the same step, as a program without
/// privileges has to.
pub(crate) fn run(what: Try, in_user: bool) -> Result<(), Failure> {
    if what == Try::Subreaper {
        return set_child_subreaper(Some(getpid())).or_fail("PR_SET_CHILD_SUBREAPER");
    }
    let flags = what.flag() | if in_user { libc::CLONE_NEWUSER } else { 0 };
    // SAFETY: no pointers. This program does nothing more than end afterwards.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        // The bare error: who asked knows what it asked for.
        _ => Err(Failure::new(std::io::Error::last_os_error().to_string())),
    }
}
