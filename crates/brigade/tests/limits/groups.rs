//! The control groups that limits are made of: where they are, and that none is left.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use brigade::process::{Builder, Enforcement, Limit, limited_by};
use brigade::{Kind, Pool};
use libtest_mimic::Trial;

use crate::{LIMIT, MIB};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        no_group_is_left,
        groups_are_had_where_they_are_promised,
        the_groups_of_pools_end_with_the_program,
        groups_are_removed_when_the_program_is_killed,
    ]
}

/// A program with a pool that is limited as a whole, which ends in its own time.
pub(crate) fn pool() {
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .memory_limit(64 * MIB);
    drop(pool.build().expect("a pool"));
    println!("{}", place().expect("there is one").display());
}

fn the_groups_of_pools_end_with_the_program() {
    if place().is_none() {
        return;
    }
    let mut again = Again::with("--pool");
    let said = again.command.output().expect("started").stdout;
    let place = PathBuf::from(String::from_utf8(said).expect("a path").trim());
    assert!(place.is_absolute());
    let begun = Instant::now();
    while place.exists() {
        assert!(begun.elapsed() < LIMIT, "{} is left", place.display());
        std::thread::yield_now();
    }
}

/// The directory of this program's groups.
pub(crate) fn place() -> Option<PathBuf> {
    match limited_by(Limit::Memory) {
        Enforcement::Enforced(by) => by.strip_prefix("control groups below ").map(PathBuf::from),
        _ => None,
    }
}

/// `scripts/kernels` says where there are some, so that nothing is skipped there.
fn groups_are_had_where_they_are_promised() {
    if std::env::var_os("BRIGADE_TEST_GROUPS").is_some() {
        for limit in [Limit::Memory, Limit::Processes] {
            let how = limited_by(limit);
            assert!(how.is_enforced(), "{how}");
        }
    }
}

/// This program again, in a control group of its own where the hierarchy is of version 2: there no
/// group can be made below one that has processes of two programs.
struct Again {
    command: Command,
    group: Option<PathBuf>,
}

impl Again {
    fn with(argument: &str) -> Again {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg(argument);
        let parent = place().and_then(|place| Some(place.parent()?.to_owned()));
        let parent = parent.filter(|parent| parent.join("cgroup.subtree_control").exists());
        let group = parent.map(|parent| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            parent.join(format!("test-{}-{number}", std::process::id()))
        });
        if let Some(group) = &group {
            fs::create_dir(group).expect("a group");
            let procs = group.join("cgroup.procs");
            let enter = move || fs::write(&procs, "0");
            // SAFETY: it makes system calls, and allocates for a path, which glibc allows in a fork
            // of a process with threads.
            unsafe { command.pre_exec(enter) };
        }
        Again { command, group }
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let Some(group) = &self.group else { return };
        let begun = Instant::now();
        // What was in it has ended, or is about to.
        while !remove_with_children(group) && !std::thread::panicking() {
            assert!(begun.elapsed() < LIMIT, "{} is left", group.display());
            std::thread::yield_now();
        }
    }
}

/// A program that was killed with its fork server leaves the group that it has moved to.
fn remove_with_children(group: &Path) -> bool {
    for below in fs::read_dir(group).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(below.path());
    }
    fs::remove_dir(group).is_ok()
}

pub(crate) fn names(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let directories = entries.filter(|e| e.path().is_dir());
    directories
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

fn no_group_is_left() {
    let Some(place) = place() else { return };
    // To ask leaves nothing, in a program of its own that ends then.
    let asked = Again::with("--ask").command.output();
    let asked = String::from_utf8(asked.expect("started").stdout).expect("a path");
    assert!(
        !asked.trim().is_empty() && !PathBuf::from(asked.trim()).exists(),
        "{asked}"
    );
    fn own(_: ()) -> u32 {
        std::process::id()
    }
    let limited = Builder::new().memory_limit(64 * MIB).processes_limit(20);
    let worker = limited.spawn(own, ()).expect("a worker");
    let pid = worker.join().expect("ok");
    let begun = Instant::now();
    while names(&place).contains(&pid.to_string()) {
        assert!(begun.elapsed() < LIMIT, "the group of worker {pid} is left");
        std::thread::yield_now();
    }
}

/// A program with a limited worker, which prints where its groups are and waits to be killed.
pub(crate) fn hold() {
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .memory_limit(256 * MIB)
        .process(Builder::new().memory_limit(64 * MIB))
        .build()
        .expect("a pool");
    let place = place().map_or_else(String::new, |p| p.display().to_string());
    println!("{place}");
    loop {
        std::thread::park();
        drop(pool.stats());
    }
}

fn groups_are_removed_when_the_program_is_killed() {
    use std::io::BufRead;
    if place().is_none() {
        return;
    }
    let mut again = Again::with("--hold");
    let mut child = again
        .command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    std::io::BufReader::new(stdout)
        .read_line(&mut line)
        .expect("it says");
    let place = PathBuf::from(line.trim());
    assert!(!names(&place).is_empty());
    child.kill().expect("killed");
    child.wait().expect("reaped");
    let begun = Instant::now();
    while place.exists() {
        assert!(begun.elapsed() < LIMIT, "{} is left", place.display());
        std::thread::yield_now();
    }
}
