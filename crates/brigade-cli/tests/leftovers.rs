//! After a comparison nothing is left in the process table or in the file system.

mod support;

use std::collections::BTreeSet;

use brigade_test_support::procfs;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use support::{MARK, brigade, brigade_marked, rows};

#[test]
fn no_process_outlives_a_comparison() {
    // The rows that start most, and that die worst.
    let mark = format!("leftovers-{}", std::process::id());
    let arguments = [
        "compare",
        "--quick",
        "--only",
        "crash",
        "--only",
        "resources",
    ];
    let run = brigade_marked(&arguments, &mark);
    assert!(
        matches!(run.code(), Some(0 | 3)),
        "{}{}",
        run.stdout,
        run.stderr
    );
    // Other tests may run the same program at this time.
    for pid in procfs::with_variable(MARK, &mark).expect("/proc") {
        // It may be on its way out, for its program died on purpose; it gets five seconds, not
        // fifty milliseconds, for the machine may be busy. The library's own tests measure how long
        // it takes.
        let watched = Pid::from_raw(pid.cast_signed());
        let Ok(watched) = pidfd_open(watched.expect("a process id"), PidfdFlags::empty()) else {
            continue;
        };
        let five = Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        let ended = poll(&mut [PollFd::new(&watched, PollFlags::IN)], Some(&five))
            .expect("polling a process");
        assert_eq!(ended, 1, "process {pid} is still there");
    }
}

#[test]
fn no_named_object_is_left() {
    assert_eq!(rows().len(), 10);
    let before = names();
    let run = brigade(&[
        "compare",
        "--quick",
        "--only",
        "communication",
        "--only",
        "synchronisation",
    ]);
    assert!(
        matches!(run.code(), Some(0 | 3)),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let left: Vec<_> = names().difference(&before).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What could have been named: files in shared memory, message queues, temporary files.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["/dev/shm", "/dev/mqueue", "/tmp"] {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let found = entries.filter_map(|entry| Some(entry.ok()?.path().display().to_string()));
        names.extend(found.filter(|path| path.contains("brigade-compare")));
    }
    names
}
