//! What the program is started with: signals, descriptors, arguments, attributes of its process,
//! capabilities.

use std::fs;
use std::io;

use rustix::process::Resource;
use rustix::thread::CapabilitySet;

use super::{Environment, Need, PLAIN, Runs};
use crate::inherited;
use crate::place::{self, Start};

/// The names of functions are in the program's file, where the backtrace of a panic has them from.
const UNREADABLE: &[(&str, &str)] = &[
    ("ends::it_panics", "names are in the file"),
    (
        "a_panic_is_an_error_and_the_others_go_on",
        "names are in the file",
    ),
    (
        "a_backtrace_is_there_if_it_is_asked_for",
        "names are in the file",
    ),
];

/// `PR_SET_MDWE`, and its value by which no memory becomes code: PR_SET_MDWE(2const), Linux 6.3.
const MDWE: (libc::c_int, libc::c_ulong) = (65, 1);
/// uname(2) and /proc/cpuinfo as in 32 bits: personality(2).
const PER_LINUX32: libc::c_int = 8;
/// A million of nanoseconds is a millisecond.
const MILLISECOND: libc::c_ulong = 1_000_000;

pub(super) const ALL: &[Environment] = &[
    Environment {
        name: "all signals blocked",
        quick: true,
        enter: |start| {
            start.as_a_file()?;
            inherited::block_signals()
        },
        ..PLAIN
    },
    Environment {
        name: "SIGCHLD ignored, and what nohup ignores",
        quick: true,
        enter: |start| {
            start.as_a_file()?;
            inherited::ignore(&[libc::SIGCHLD, libc::SIGHUP])
        },
        ..PLAIN
    },
    Environment {
        name: "signals of faults ignored",
        enter: |start| {
            start.as_a_file()?;
            inherited::ignore(&[
                libc::SIGSEGV,
                libc::SIGBUS,
                libc::SIGILL,
                libc::SIGFPE,
                libc::SIGABRT,
                libc::SIGSYS,
                libc::SIGXCPU,
                libc::SIGXFSZ,
            ])
        },
        ..PLAIN
    },
    Environment {
        name: "no environment, and no name",
        without: &[(
            "one_builder_many_workers",
            "it looks for a variable of the program's",
        )],
        enter: |start| {
            start.no_environment = true;
            start.name = Some("".into());
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "an environment of 1.9 MB",
        enter: |start| {
            for number in 0..19 {
                start.variable(&format!("LARGE_{number}"), "x".repeat(100_000));
            }
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "a working directory that is gone",
        quick: true,
        enter: |start| {
            let gone = start.scratch.join("gone");
            fs::create_dir(&gone)?;
            std::env::set_current_dir(&gone)?;
            fs::remove_dir(gone)
        },
        ..PLAIN
    },
    Environment {
        name: "umask of 777",
        enter: |_| {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777));
            Ok(())
        },
        ..PLAIN
    },
    Environment {
        name: "10,000 open descriptors",
        needs: &[Need::Root],
        enter: |_| {
            place::limit(Resource::Nofile, 20_000)?;
            inherited::open_descriptors(10_000)
        },
        ..PLAIN
    },
    Environment {
        name: "no room for pipes, an ordinary user",
        needs: &[Need::Root],
        enter: |_| {
            place::become_user(20_011)?;
            inherited::use_up_pipes()
        },
        ..PLAIN
    },
    Environment {
        name: "addresses that are not random",
        enter: |start| {
            start.as_a_file()?;
            inherited::personality(libc::ADDR_NO_RANDOMIZE)
        },
        ..PLAIN
    },
    Environment {
        name: "no memory becomes code (MDWE)",
        enter: |_| inherited::attribute(MDWE.0, MDWE.1),
        ..PLAIN
    },
    Environment {
        name: "no huge pages",
        enter: |_| inherited::attribute(libc::PR_SET_THP_DISABLE, 1),
        ..PLAIN
    },
    Environment {
        name: "timers that may be late by 50 ms",
        enter: |_| inherited::attribute(libc::PR_SET_TIMERSLACK, 50 * MILLISECOND),
        ..PLAIN
    },
    Environment {
        name: "a program that ends with its parent",
        enter: |_| inherited::attribute(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong),
        ..PLAIN
    },
    Environment {
        name: "real time on one processor",
        needs: &[Need::Root],
        runs: Runs::Checks("environments-checks", "contract"),
        enter: |_| {
            place::one_processor()?;
            inherited::real_time()
        },
        ..PLAIN
    },
    Environment {
        name: "a kernel that says it is 2.6, of 32 bits",
        enter: |start| {
            start.as_a_file()?;
            inherited::personality(libc::UNAME26 | PER_LINUX32)
        },
        ..PLAIN
    },
    Environment {
        name: "stderr that nobody reads, with SIGPIPE at its default",
        enter: |start| {
            start.as_a_file()?;
            inherited::stderr_without_reader()
        },
        ..PLAIN
    },
    Environment {
        name: "root without capabilities",
        quick: true,
        needs: &[Need::Root],
        enter: |_| inherited::no_capabilities_but(CapabilitySet::empty()),
        ..PLAIN
    },
    Environment {
        name: "root with the capabilities of a container's",
        needs: &[Need::Root],
        enter: |_| inherited::no_capabilities_but(inherited::OF_CONTAINERS),
        ..PLAIN
    },
    Environment {
        name: "an ordinary user with an ambient capability",
        needs: &[Need::Root],
        enter: |_| inherited::ambient_capability(CapabilitySet::NET_BIND_SERVICE, 20_014),
        ..PLAIN
    },
    Environment {
        name: "a program that may be executed and not read",
        without: UNREADABLE,
        needs: &[Need::Root],
        enter: |start| unreadable(start),
        ..PLAIN
    },
    Environment {
        name: "a program that is not dumpable",
        needs: &[Need::Root],
        enter: |start| {
            start.preload("not_dumpable");
            place::become_user(20_013)
        },
        ..PLAIN
    },
    Environment {
        name: "a program whose memory is locked",
        needs: &[Need::Root],
        enter: |start| {
            start.preload("locked_memory");
            Ok(())
        },
        ..PLAIN
    },
];

/// For another user than its owner.
fn unreadable(start: &mut Start) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&start.program, PermissionsExt::from_mode(0o711))?;
    place::become_user(20_012)
}
