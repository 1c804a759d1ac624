//! Limits: setrlimit(2), control groups, processors.

use rustix::process::Resource;

use super::{Environment, Expected, Need, PLAIN, Runs};
use crate::place;

/// A test that starts 128 at once: how many of them live at the same time is chance.
pub(super) const HUNDREDS: &[(&str, &str)] = &[(
    "hundreds_at_once_from_many_threads",
    "it may start more than that",
)];

pub(super) const ALL: &[Environment] = &[
    Environment {
        name: "RLIMIT_NOFILE of 256",
        without: HUNDREDS,
        one_by_one: true,
        enter: |_| place::limit(Resource::Nofile, 256),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_NOFILE of 9",
        quick: true,
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["RLIMIT_NOFILE"]),
        enter: |_| place::limit(Resource::Nofile, 9),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_AS of 4 GiB",
        one_by_one: true,
        enter: |_| place::limit(Resource::As, 4 << 30),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_FSIZE of 256 MiB",
        quick: true,
        enter: |_| place::limit(Resource::Fsize, 256 << 20),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_FSIZE of 4 KiB",
        quick: true,
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["RLIMIT_FSIZE"]),
        enter: |_| place::limit(Resource::Fsize, 4096),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_NPROC of 100",
        without: HUNDREDS,
        one_by_one: true,
        needs: &[Need::Root],
        enter: |_| {
            place::limit(Resource::Nproc, 100)?;
            place::become_user(20_002)
        },
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_NPROC of 3",
        quick: true,
        needs: &[Need::Root],
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["RLIMIT_NPROC"]),
        enter: |_| {
            place::limit(Resource::Nproc, 3)?;
            place::become_user(20_003)
        },
        ..PLAIN
    },
    Environment {
        name: "pids.max of 100",
        without: HUNDREDS,
        one_by_one: true,
        needs: &[Need::Root, Need::Controller("pids")],
        enter: |start| place::control_group(&start.group, "pids", &[("pids.max", "100")]),
        ..PLAIN
    },
    Environment {
        name: "pids.max of 3",
        needs: &[Need::Root, Need::Controller("pids")],
        runs: Runs::Checks("environments-checks", "refused"),
        expected: Expected::Refused(&["pids.max"]),
        enter: |start| place::control_group(&start.group, "pids", &[("pids.max", "3")]),
        ..PLAIN
    },
    Environment {
        name: "64 MiB of memory: a host of 40, a task of 200",
        quick: true,
        needs: &[Need::Root, Need::Controller("memory")],
        runs: Runs::Checks("environments-checks", "memory"),
        enter: |start| {
            let limits = [
                ("memory.limit_in_bytes", "67108864"),
                ("memory.max", "67108864"),
                ("memory.swap.max", "0"),
            ];
            place::control_group(&start.group, "memory", &limits)
        },
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_STACK of 1 MiB",
        enter: |_| place::limit(Resource::Stack, 1 << 20),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_CORE without a limit",
        enter: |start| {
            // Where the kernel writes them, if they are files.
            std::env::set_current_dir(start.scratch.join("tmp"))?;
            place::no_limit(Resource::Core)
        },
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_DATA of 1 GiB",
        one_by_one: true,
        enter: |_| place::limit(Resource::Data, 1 << 30),
        ..PLAIN
    },
    Environment {
        name: "RLIMIT_SIGPENDING and RLIMIT_MEMLOCK of 0, an ordinary user",
        needs: &[Need::Root],
        enter: |_| {
            place::limit(Resource::Sigpending, 0)?;
            place::limit(Resource::Memlock, 0)?;
            place::become_user(20_031)
        },
        ..PLAIN
    },
    Environment {
        name: "a quarter of a processor's time",
        needs: &[Need::Root, Need::Controller("cpu")],
        runs: Runs::Checks("environments-checks", "contract"),
        enter: |start| {
            let limits = [("cpu.cfs_quota_us", "25000"), ("cpu.max", "25000 100000")];
            place::control_group(&start.group, "cpu", &limits)
        },
        ..PLAIN
    },
    Environment {
        name: "one processor",
        quick: true,
        enter: |_| place::one_processor(),
        ..PLAIN
    },
];
