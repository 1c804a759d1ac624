//! What a sandbox is built from, and what protects processes of one user from each other.

use std::io;

use super::{Finding, Status};
use crate::procfs;

pub(super) fn look() -> Vec<Finding> {
    vec![landlock(), seccomp(), ptrace()]
}

fn landlock() -> Finding {
    let (id, name) = ("landlock", "Landlock");
    // LANDLOCK_CREATE_RULESET_VERSION: gives the version of the interface and makes nothing.
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel wants a null pointer and a size of 0, and looks at no
    // memory.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            VERSION,
        )
    };
    match version {
        1.. => {
            let can = match version {
                1..=2 => "files",
                3 => "files, truncation included",
                4..=5 => "files and TCP",
                6.. => "files, TCP, signals and abstract sockets",
                _ => "",
            };
            let status = if version >= 6 {
                Status::Yes
            } else {
                Status::Partly
            };
            Finding::new(
                id,
                name,
                status,
                format!("ABI {version}"),
                format!(
                    "A sandbox can forbid, without privileges: {can}. The rest is for seccomp and namespaces."
                ),
            )
        }
        _ => Finding::new(
            id,
            name,
            Status::No,
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    "built in, but switched off at boot".to_owned()
                }
                error => format!("not there ({error})"),
            },
            "A sandbox cannot forbid paths without privileges here. It takes Linux 5.13 with lsm=landlock.",
        ),
    }
}

fn seccomp() -> Finding {
    let (id, name) = ("seccomp", "seccomp filters");
    let actions = [
        (libc::SECCOMP_RET_KILL_PROCESS, "kill"),
        (libc::SECCOMP_RET_ERRNO, "errno"),
        (libc::SECCOMP_RET_LOG, "log"),
        (libc::SECCOMP_RET_USER_NOTIF, "notify"),
    ];
    let there: Vec<&str> = actions
        .into_iter()
        .filter(|(action, _)| has_action(*action))
        .map(|(_, name)| name)
        .collect();
    let needed = ["kill", "errno"].iter().all(|name| there.contains(name));
    if there.is_empty() {
        let means = "A sandbox cannot filter system calls here.";
        return Finding::new(
            id,
            name,
            Status::No,
            "not there, or forbidden by a container",
            means,
        );
    }
    let own = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filtered = own
        .lines()
        .any(|line| line.starts_with("Seccomp:") && line.trim_end().ends_with('2'));
    let found = format!(
        "actions: {}{}",
        there.join(", "),
        if filtered {
            "; this program itself runs under a filter"
        } else {
            ""
        }
    );
    Finding::new(
        id,
        name,
        if needed { Status::Yes } else { Status::Partly },
        found,
        "A sandbox can refuse system calls, with an error or with death, without privileges.",
    )
}

fn has_action(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 through the pointer, which lives through the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    answer == 0
}

fn ptrace() -> Finding {
    let (id, name) = ("ptrace-scope", "memory apart");
    match procfs::number("/proc/sys/kernel/yama/ptrace_scope") {
        Some(scope @ 1..) => Finding::new(
            id,
            name,
            Status::Yes,
            format!("Yama, ptrace_scope {scope}"),
            "A worker process without a sandbox cannot read its host's memory through the kernel.",
        ),
        scope => Finding::new(
            id,
            name,
            Status::Partly,
            scope.map_or("no Yama", |_| "Yama, ptrace_scope 0"),
            "A process may read the memory of another of the same user. Only a sandbox keeps a hostile worker from it.",
        ),
    }
}
