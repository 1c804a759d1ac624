//! Workers are killed by others: when they have nothing to do, when they have, one at a time and
//! all at once.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use brigade::{Cause, JoinError, Kind, Phase, Pool, process};
use brigade_test_support::{procfs, signal};

use crate::{Count, crash_of, double, exists, join, kill, occupy, pool, processes, until, works};

#[test]
fn killed_while_it_runs_a_task() {
    processes(|| {
        let pool = pool(Kind::Process, 2);
        for _ in 0..20 {
            let (handle, _gate) = occupy(&pool);
            let pid = handle.pid().expect("a process");
            kill(pid);
            let crash = crash_of(join(handle));
            assert_eq!(crash.cause(), &Cause::Killed(libc::SIGKILL));
            assert_eq!((crash.phase(), crash.pid()), (Phase::Running, pid));
            assert!(crash.to_string().contains("outside"), "{crash}");
            assert!(!exists(pid));
        }
        works(&pool);
    });
}

#[test]
fn killed_while_it_has_nothing_to_do_it_costs_no_task() {
    processes(|| {
        for workers in [1, 2, 4] {
            let pool = pool(Kind::Process, workers);
            for n in 0..30_usize {
                let pids = pool.pids();
                // One, or all; and at once the next tasks, whether or not anybody has noticed.
                for &pid in pids
                    .iter()
                    .take(if n % 3 == 0 { workers } else { 1 + n % workers })
                {
                    kill(pid);
                }
                let handles: Vec<_> = (0..n as u32).map(|n| pool.submit(double, n)).collect();
                for (n, handle) in (0..).zip(handles) {
                    assert_eq!(join(handle).expect("it was not running"), n * 2);
                }
                assert_eq!(
                    pool.map(double, 0..100)
                        .filter(|ended| ended.is_ok())
                        .count(),
                    100
                );
            }
            works(&pool);
            let stats = pool.stats();
            assert!(
                stats.crashed.is_empty() && stats.restarts >= 30,
                "{stats:?}"
            );
        }
    });
}

#[test]
fn a_pool_that_nobody_uses_replaces_its_dead() {
    processes(|| {
        let pool = pool(Kind::Process, 3);
        let before: BTreeSet<u32> = pool.pids().into_iter().collect();
        before.iter().for_each(|&pid| kill(pid));
        until("there are three others", || {
            let now: BTreeSet<u32> = pool.pids().into_iter().collect();
            now.len() == 3 && now.is_disjoint(&before)
        });
        until("the dead are gone", || {
            !before.iter().any(|&pid| exists(pid))
        });
        // And so ended: by somebody who never used it.
        pool.pids().into_iter().for_each(kill);
        drop(pool);
    });
}

/// What became of tasks while workers were killed: at most one for each death.
fn costs(ended: impl Iterator<Item = (u32, Result<u32, JoinError>)>, count: u32) -> u32 {
    let (mut seen, mut lost) = (0, 0);
    for (n, ended) in ended {
        seen += 1;
        match ended {
            Ok(doubled) => assert_eq!(doubled, n * 2),
            Err(JoinError::Crashed(crash)) => {
                assert_eq!(crash.cause(), &Cause::Killed(libc::SIGKILL), "{crash}");
                lost += 1;
            }
            Err(other) => panic!("{n}: {other}"),
        }
    }
    assert_eq!(seen, count);
    lost
}

#[test]
fn all_killed_at_once_again_and_again() {
    processes(|| {
        for workers in [1, 3] {
            let pool = pool(Kind::Process, workers);
            let over = AtomicBool::new(false);
            let mut deaths = 0;
            let lost = std::thread::scope(|scope| {
                let killer = scope.spawn(|| {
                    let mut deaths = 0;
                    while !over.load(SeqCst) {
                        let done = pool.stats().done;
                        for pid in pool.pids() {
                            kill(pid);
                            deaths += 1;
                        }
                        // Some work between two massacres, so that there is an end.
                        while !over.load(SeqCst) && pool.stats().done < done + 500 {
                            std::thread::yield_now();
                        }
                    }
                    deaths
                });
                let ordered = pool.map(double, 0..20_000);
                let lost = costs((0..).zip(ordered), 20_000);
                let handles: Vec<_> = (0..5000).map(|n| pool.submit(double, n)).collect();
                let lost = lost + costs((0..).zip(handles.into_iter().map(join)), 5000);
                over.store(true, SeqCst);
                deaths = killer.join().expect("no panic");
                lost
            });
            assert!(lost <= deaths, "{deaths} deaths cost {lost} tasks");
            works(&pool);
        }
    });
}

/// Kills its siblings. Whom it kills may be in the middle of the same.
fn kill_siblings((pids, n): (Vec<u32>, u32)) -> u32 {
    for pid in pids {
        if pid != std::process::id() {
            kill(pid);
        }
    }
    n * 2
}

#[test]
fn workers_that_kill_each_other() {
    processes(|| {
        let pool = pool(Kind::Process, 4);
        for _ in 0..30 {
            let pids = pool.pids();
            let handles: Vec<_> = (0..4)
                .map(|n| pool.submit(kill_siblings, (pids.clone(), n)))
                .collect();
            let innocent: Vec<_> = (0..20).map(|n| pool.submit(double, n)).collect();
            let lost = costs((0..).zip(handles.into_iter().map(join)), 4)
                + costs((0..).zip(innocent.into_iter().map(join)), 20);
            // Each of the four dies once at most; a number is not killed twice with effect.
            assert!(lost <= 4, "{lost}");
        }
        works(&pool);
    });
}

fn stop_itself(n: u32) -> u32 {
    // SAFETY: stops this process.
    unsafe { libc::raise(libc::SIGSTOP) };
    n
}

#[test]
fn one_that_is_stopped_keeps_nobody_waiting() {
    processes(|| {
        let pool = pool(Kind::Process, 2);
        let stopped = pool.submit(stop_itself, 5);
        // Some are given to it before it stops, and some after.
        let mut behind: Vec<_> = (0..250).map(|n| pool.submit(double, n)).collect();
        let has_stopped = |pid| procfs::state(pid).is_ok_and(|state| state == 'T');
        until("it has stopped", || stopped.pid().is_some_and(has_stopped));
        behind.extend((250..500).map(|n| pool.submit(double, n)));
        for (n, handle) in (0..).zip(behind) {
            assert_eq!(join(handle).expect("the other does it"), n * 2);
        }
        let pid = stopped.pid().expect("a process");
        stopped.cancel();
        assert!(matches!(join(stopped), Err(JoinError::Cancelled)));
        assert!(!exists(pid), "stopped, it is killed all the same");
        works(&pool);
    });
}

#[test]
fn one_that_is_stopped_before_it_has_a_task_keeps_nobody_waiting() {
    processes(|| {
        let pool = pool(Kind::Process, 2);
        for turn in 0..4 {
            let stopped = pool.pids()[turn % 2];
            assert!(signal::send(stopped, libc::SIGSTOP));
            let handles: Vec<_> = (0..500).map(|n| pool.submit(double, n)).collect();
            for (n, handle) in (0..).zip(handles) {
                assert_eq!(join(handle).expect("the other does it"), n * 2);
            }
            assert!(signal::send(stopped, libc::SIGCONT));
        }
        works(&pool);
    });
}

/// In a process of its own, whose fork server is nobody else's.
fn loses_its_server(turns: u32) -> u32 {
    let mut lost = 0;
    let pool = Pool::processes(2).expect("a pool");
    for turn in 0..turns {
        let handles: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
        let mut results = pool.map(double, 0..5000);
        let first: Vec<_> = results.by_ref().take(50 * turn as usize).collect();
        let server = pool.pids().into_iter().find_map(server_of);
        let killed = server.map(|server| {
            let workers = procfs::children(server).unwrap_or_default();
            kill(server);
            [vec![server], workers].concat()
        });
        let all = (0..).zip(first.into_iter().chain(results));
        for (n, ended) in all.chain((0..).zip(handles.into_iter().map(join))) {
            match ended {
                Ok(doubled) => assert_eq!(doubled, n * 2),
                // Who could say how it ended is dead.
                ended if is_lost(&ended) => lost += 1,
                Err(other) => panic!("{n}: {other}"),
            }
        }
        // They may have a moment left, in which they take on what follows.
        until("they are gone", || {
            killed.iter().flatten().all(|&pid| procfs::has_ended(pid))
        });
        until("all is as before", || join(pool.submit(double, 1)).is_ok());
        works(&pool);
    }
    lost
}

#[test]
fn the_fork_server_is_killed_in_the_middle_of_a_map() {
    processes(|| {
        let host = process::spawn(loses_its_server, 12).expect("starts");
        let lost = join(host).expect("it judges for itself");
        assert!(lost <= 12 * 2, "a worker's death costs one task: {lost}");
    });
}

/// The fork server of a worker. `None`: one of them is dead.
pub(crate) fn server_of(worker: u32) -> Option<u32> {
    let parent = procfs::parent(worker).ok()?;
    (procfs::name(parent).ok()? == "brigade-server").then_some(parent)
}

#[test]
fn the_fork_server_is_killed_while_nobody_looks() {
    fn kill_server(pool: &Pool) {
        let (running, _gate) = occupy(pool);
        // That of the very worker that runs this: one whose own server was killed the last time may
        // still be on its way out.
        let mut server = None;
        until("its server is known", || {
            server = running.pid().and_then(server_of);
            server.is_some() || running.is_finished()
        });
        server.into_iter().for_each(kill);
        let ended = join(running);
        assert!(matches!(ended, Err(JoinError::Crashed(_))), "{ended:?}");
    }
    fn idle(turns: u32) {
        let pool = Pool::processes(3).expect("a pool");
        for _ in 0..turns {
            kill_server(&pool);
            let next = join(pool.submit(double, 4));
            assert!(
                next.as_ref().is_ok_and(|n| *n == 8) || is_lost(&next),
                "{next:?}"
            );
        }
        kill_server(&pool);
        drop(pool);
        let pool = Pool::processes(1).expect("a pool");
        kill_server(&pool);
        pool.abort();
        works(&Pool::processes(1).expect("a pool"));
    }
    processes(|| {
        let host = process::spawn(idle, 5).expect("starts");
        join(host).expect("it judges for itself");
    });
}

/// It was given to a worker that was on its way out.
pub(crate) fn is_lost(ended: &Result<u32, JoinError>) -> bool {
    matches!(ended, Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Lost)
}

#[test]
fn killed_while_the_pool_ends() {
    processes(|| {
        for turn in 0..30 {
            let pool = pool(Kind::Process, 3);
            let ran = Count::new();
            let handles: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
            drop(pool.submit(crate::add, ran.clone()));
            let pids = pool.pids();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..turn * 50 {
                        std::hint::spin_loop();
                    }
                    pids.iter().for_each(|&pid| kill(pid));
                });
                if turn % 2 == 0 {
                    pool.shutdown();
                } else {
                    pool.abort();
                }
            });
            for handle in handles {
                assert!(handle.is_finished());
                match join(handle) {
                    Ok(_) | Err(JoinError::Crashed(_)) => {}
                    Err(JoinError::Cancelled | JoinError::Closed) if turn % 2 == 1 => {}
                    Err(other) => panic!("{other}"),
                }
            }
            for pid in pids {
                until("it is gone", || !exists(pid));
            }
        }
    });
}

#[test]
fn one_that_died_with_a_task_is_replaced_though_nobody_asks() {
    /// The file to which each worker adds a line.
    const VARIABLE: &str = "BRIGADE_TEST_STARTS";
    fn start() {
        let path = std::env::var_os(VARIABLE).expect("it is set");
        let file = std::fs::OpenOptions::new().append(true).open(path);
        std::io::Write::write_all(&mut file.expect("opened"), b"+").expect("written");
    }
    processes(|| {
        let path = std::env::temp_dir().join(format!("brigade-starts-{}", std::process::id()));
        std::fs::write(&path, "").expect("written");
        let pool = Pool::builder(Kind::Process)
            .workers(2)
            .process(process::Builder::new().env(VARIABLE, &path))
            .initializer(start)
            .build()
            .expect("a pool");
        let starts = || std::fs::metadata(&path).expect("it is there").len();
        for _ in 0..20 {
            let (handle, _gate) = occupy(&pool);
            let before = starts();
            kill(handle.pid().expect("a process"));
            crash_of(join(handle));
            // Nothing is asked of the pool meanwhile.
            until("there is another", || starts() > before);
        }
        drop(pool);
        std::fs::remove_file(&path).expect("removed");
    });
}
