//! Roles of the test binary that use Brigade's pools and publish them.

use std::fs;

use brigade::channel::{self, Receiver};
use brigade::{Kind, Pool};

use super::program::{wait_and_then, wait_for_the_end};

/// Runs until its sender is gone.
fn hold(until: Receiver<u8>) {
    eprintln!("first\nholding \x1b[2J");
    let _ = until.recv();
}

fn crash(number: u32) -> u32 {
    eprintln!("number {number} is too much \x1b[2J");
    std::process::abort();
}

fn add(number: u32) -> u32 {
    number + 1
}

fn kind() -> Kind {
    let kind = std::env::var("KIND").expect("a kind");
    kind.parse().expect("a kind")
}

/// One worker, one task that runs, two that wait.
pub(super) fn busy() {
    brigade::init();
    brigade::publish().expect("it is published");
    brigade::publish().expect("once more is nothing new");
    let pool = Pool::builder(kind()).workers(1).name("holder").build();
    let pool = pool.expect("a pool");
    // A pool that is gone is published no more.
    drop(Pool::threads(1).expect("a pool"));
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let (sender, receiver) = channel::pipe::<u8>(1).expect("a channel");
            (sender, pool.submit(hold, receiver))
        })
        .collect();
    while pool.stats().running == 0 {
        std::thread::yield_now();
    }
    let pids: Vec<String> = pool.pids().iter().map(u32::to_string).collect();
    wait_for_the_end(&pids.join(" "));
    drop((tasks, pool));
}

/// A task with a process of its own.
pub(super) fn spawned() {
    brigade::init();
    brigade::publish().expect("it is published");
    let (sender, receiver) = channel::pipe::<u8>(1).expect("a channel");
    let task = brigade::process::spawn(hold, receiver).expect("a process");
    // One that has ended is shown no more.
    let ended = brigade::process::spawn(add, 1).expect("a process");
    let was = ended.pid().expect("a process");
    assert_eq!(ended.join().expect("a result"), 2);
    let is = task.pid().expect("a process");
    wait_for_the_end(&format!("{is} {was}"));
    drop((sender, task));
}

pub(super) fn crashed() {
    brigade::init();
    brigade::publish().expect("it is published");
    let pool = Pool::processes(1).expect("a pool");
    let mut pids = Vec::new();
    for number in 0..20 {
        match pool.submit(crash, number).join() {
            Err(brigade::JoinError::Crashed(crash)) => pids.push(crash.pid()),
            other => panic!("{other:?}"),
        }
    }
    let last = pids.last().expect("a crash").to_string();
    wait_for_the_end(&last);
    drop(pool);
}

/// How often the thread of `publish` has run, before and after many tasks.
pub(super) fn idle() {
    brigade::init();
    brigade::publish().expect("it is published");
    let pool = Pool::new(kind(), 2).expect("a pool");
    assert_eq!(pool.map(add, 0..10).count(), 10);
    // It sleeps for the first time.
    while switches() == 0 {
        std::thread::yield_now();
    }
    let before = switches();
    assert_eq!(pool.map(add, 0..5000).count(), 5000);
    for number in 0..100 {
        pool.submit(add, number).join().expect("a result");
    }
    let after = switches();
    wait_for_the_end(&format!("{before} {after}"));
    drop(pool);
}

/// Its pools are not published.
pub(super) fn silent() {
    brigade::init();
    let pool = Pool::threads(1).expect("a pool");
    wait_for_the_end("");
    drop(pool);
}

/// A fork of a program that publishes.
pub(super) fn forked() {
    brigade::init();
    brigade::publish().expect("it is published");
    // SAFETY: the child makes one system call after another and nothing else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: as above. It is killed.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: our own child, which dies before this program.
    wait_and_then(&child.to_string(), || unsafe {
        libc::kill(child, libc::SIGKILL);
    });
}

fn switches() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("threads");
    let folders = tasks.map(|task| task.expect("a thread").path());
    let mut ours = folders.filter(|folder| {
        fs::read_to_string(folder.join("comm")).is_ok_and(|name| name == "brigade-publish\n")
    });
    let status = ours.next().expect("the thread").join("status");
    let status = fs::read_to_string(status).expect("its status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("a number").trim().parse().expect("a number")
}
