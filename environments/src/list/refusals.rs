//! Filters of system calls, around the program: seccomp(2).

use std::fs;

use rustix::mount::MountFlags;

use super::{Environment, Need, PLAIN};
use crate::{filter, place};

pub(super) const ALL: &[Environment] = &[
    Environment {
        name: "seccomp: a container engine's profile",
        quick: true,
        needs: &[Need::Root],
        enter: |_| {
            place::become_user(20_004)?;
            filter::deny_all(&[libc::SYS_clone3], libc::ENOSYS)?;
            filter::deny_all(filter::CONTAINER, libc::EPERM)
        },
        ..PLAIN
    },
    Environment {
        name: "seccomp: a profile older than the newest calls",
        quick: true,
        enter: |_| filter::deny_all(filter::UNKNOWN_TO_OLD_PROFILES, libc::EPERM),
        ..PLAIN
    },
    Environment {
        name: "seccomp: a profile older than the newest calls, with EACCES",
        enter: |_| filter::deny_all(filter::UNKNOWN_TO_OLD_PROFILES, libc::EACCES),
        ..PLAIN
    },
    Environment {
        name: "seccomp: a service manager's filter, which kills",
        quick: true,
        enter: |_| filter::kill_for(&[filter::CONTAINER, filter::UNKNOWN_TO_SERVICES].concat()),
        ..PLAIN
    },
    Environment {
        name: "seccomp: all that there is another way for, at the same time",
        enter: |_| filter::deny_all(filter::DISPENSABLE, libc::ENOSYS),
        ..PLAIN
    },
    Environment {
        name: "Landlock: nothing may be written elsewhere",
        needs: &[Need::Root, Need::Landlock],
        // Queues are made in a file system too, by mq_open(3).
        enter: |start| {
            place::own_mounts()?;
            let queues = start.scratch.join("queues");
            fs::create_dir(&queues)?;
            place::mount("mqueue", &queues, MountFlags::empty(), c"")?;
            filter::write_only_below(&[&start.scratch, &queues])
        },
        ..PLAIN
    },
];
