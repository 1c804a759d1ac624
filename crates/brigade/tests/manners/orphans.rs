//! What tasks leave behind, while others go on.

use std::process::Command;
use std::time::Instant;

use brigade::{JoinError, Pool, process};
use brigade_test_support::procfs;
use libtest_mimic::Trial;

use crate::hosts::{Host, until};
use crate::observe::{HANG, well_behaved};
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("leaves-orphans", leaves_orphans),
    ("leaves-zombies", leaves_zombies),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("orphans_end_with_their_worker_not_with_all", || {
            well_behaved("leaves-orphans", &[]);
        }),
        trial("ended_orphans_do_not_fill_the_process_table", || {
            well_behaved("leaves-zombies", &[]);
        }),
    ]
}

/// Forks twice, again and again: some of those end at once, others never would. Gives its worker's
/// number.
fn fork_many(_: ()) -> u32 {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (true &); (setsid sleep 1000 &); done";
    let done = Command::new("/bin/sh").args(["-c", script]).status();
    assert!(done.expect("sh starts").success());
    std::process::id()
}

fn is_worker(child: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
    status.contains("Name:\tbrigade-worker") && !status.contains("State:\tZ")
}

fn leaves_orphans(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let goes_on = process::spawn(
        |()| -> u32 {
            loop {
                std::thread::park();
            }
        },
        (),
    )?;
    let pid = goes_on.pid().ok_or("it has a process")?;
    let server = procfs::parent(pid)?;
    for _ in 0..5 {
        process::spawn(fork_many, ())?.join()?;
    }
    // Workers are all that is left there, and none of them has ended.
    until(
        || Ok(procfs::children(server)?.into_iter().all(is_worker)),
        "the orphans to be reaped",
    )?;
    if !procfs::children(server)?.contains(&pid) {
        return Err("the task that goes on has ended".into());
    }
    goes_on.cancel();
    match goes_on.join() {
        Err(JoinError::Cancelled) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// A process table has room for some thousands, a control group's often for some hundreds.
fn leaves_zombies(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let pool = Pool::processes(1)?;
    let task = |kept: u32| {
        let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (true &); done";
        let done = Command::new("/bin/sh").args(["-c", script]).status();
        assert!(done.expect("sh starts").success());
        (
            kept,
            std::process::id(),
            std::os::unix::process::parent_id(),
        )
    };
    let (mut server, mut done) = (0, 0);
    let limit = Instant::now() + HANG;
    // It counts them now and then, so that how many tasks that takes depends on the machine.
    while pool.stats().recycled == 0 {
        let (kept, _, parent) = pool.submit(task, done).join()?;
        assert_eq!(kept, done);
        (server, done) = (parent, done + 1);
        assert!(Instant::now() < limit, "{done} tasks, and no other worker");
    }
    let stats = pool.stats();
    assert_eq!((stats.done, stats.crashed.len()), (done.into(), 0));
    until(
        || Ok(procfs::children(server)?.into_iter().all(is_worker)),
        "the orphans to be reaped",
    )
}
