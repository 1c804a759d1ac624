//! A pool tells what its workers do, and they go on.

use std::time::{Duration, Instant};

use brigade::pool::WorkerStack;
use brigade::{Kind, Phase, Pool, process};
use brigade_test_support::signal;

use crate::{has_begun, join, number, tasks};

fn pool(workers: usize) -> Pool {
    brigade::init();
    Pool::processes(workers).expect("a pool")
}

/// The worker that runs a task, of a pool in which one does.
#[track_caller]
pub(crate) fn running(pool: &Pool) -> WorkerStack {
    let stacks = pool.stacks();
    let mut running = stacks.into_iter().filter(|worker| worker.task().is_some());
    running.next().expect("one runs")
}

/// The same, once it is so: a task that has said that it has begun may not have come as far, and
/// where there is no processor for it in time, it is asked again.
#[track_caller]
pub(crate) fn told(pool: &Pool, is_so: impl Fn(&WorkerStack) -> bool) -> WorkerStack {
    let deadline = Instant::now() + crate::LIMIT;
    loop {
        let stack = running(pool);
        if is_so(&stack) {
            return stack;
        }
        assert!(Instant::now() < deadline, "{stack}");
    }
}

/// Whether it is in a function of this name.
pub(crate) fn is_in(stack: &WorkerStack, name: &str) -> bool {
    stack.backtrace().is_some_and(|text| text.contains(name))
}

/// Asks, many times, about a task that runs until it is let go; then it is told that it `is_so`.
#[track_caller]
fn ask_about(task: fn(tasks::Gate) -> u32, result: u32, is_so: impl Fn(&WorkerStack) -> bool) {
    let pool = pool(1);
    let gate = (number(), number());
    let lets_go = tasks::LetsGo(gate.1.clone());
    let handle = pool.submit(task, gate.clone());
    has_begun(&gate.0);
    for _ in 0..100 {
        drop(pool.stacks());
    }
    let stack = told(&pool, is_so);
    assert_eq!(stack.pid(), pool.pids().first().copied());
    drop(lets_go);
    assert_eq!(join(handle).expect("it was not disturbed"), result);
    assert_eq!(pool.stats().restarts, 0);
}

#[test]
fn one_that_spins_and_one_that_idles() {
    let pool = pool(2);
    let gate = (number(), number());
    let lets_go = tasks::LetsGo(gate.1.clone());
    let handle = pool.submit(tasks::spins_until, gate.clone());
    has_begun(&gate.0);
    // The pool may have replaced one that did not begin its task in time.
    let is_idle = |worker: &WorkerStack| worker.state() == "idle";
    let deadline = Instant::now() + crate::LIMIT;
    let stacks = loop {
        let stacks = pool.stacks();
        if stacks.workers().len() == 2 && stacks.workers().iter().any(is_idle) {
            break stacks;
        }
        assert!(Instant::now() < deadline, "{stacks}");
    };
    let stack = told(&pool, |stack| is_in(stack, "tasks::spin_until"));
    assert_eq!(stack.kind(), Kind::Process);
    assert_eq!(stack.state(), "running");
    assert_eq!(stack.task(), Some("stacks::tasks::spins_until"));
    assert_eq!(stack.phase(), Some(Phase::Running));
    assert!(stack.age().is_some_and(|age| age < Duration::from_secs(60)));
    assert!(stack.started_at().is_some_and(|at| at.file() == file!()));
    let idle = stacks
        .workers()
        .iter()
        .find(|worker| worker.task().is_none());
    let idle = idle.expect("the other has nothing to do");
    assert_eq!((idle.state(), idle.backtrace()), ("idle", None));
    assert_eq!(idle.why_no_backtrace(), None);
    let text = stacks.to_string();
    for line in [
        format!("process {}, idle\n", idle.pid().expect("a process")),
        format!(
            "process {}, running: task `stacks::tasks::spins_until`, for ",
            stack.pid().expect("a process")
        ),
    ] {
        assert!(text.contains(&line), "no {line} in\n{text}");
    }
    drop(lets_go);
    assert_eq!(join(handle).expect("it ends"), 7);
}

#[test]
fn a_task_that_is_asked_goes_on() {
    ask_about(tasks::spins_until, 7, |stack| {
        is_in(stack, "tasks::spin_until")
    });
}

#[test]
fn a_call_that_is_interrupted_is_restarted() {
    ask_about(tasks::waits_until, 8, |stack| {
        let is_in_futex = |text: &str| text.starts_with("in futex(2)");
        stack.blocked().is_some_and(is_in_futex) && is_in(stack, "tasks::waits_until")
    });
    // One that has no time limit of its own, by the C library alone.
    let pool = pool(1);
    let (begun, (reader, writer)) = (number(), tasks::pipe());
    let handle = pool.submit(tasks::reads_once, (begun.clone(), reader));
    has_begun(&begun);
    let is_in_read = |text: &str| text.starts_with("in read(2) on descriptor ");
    told(&pool, |stack| stack.blocked().is_some_and(is_in_read));
    told(&pool, |stack| stack.backtrace().is_some());
    (0..20).for_each(|_| drop(pool.stacks()));
    rustix::io::write(&writer, b"x").expect("written");
    assert_eq!(join(handle).expect("not interrupted"), Ok(1));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_stack_that_leads_nowhere_ends_no_worker() {
    // As far as it goes.
    ask_about(tasks::breaks_its_stack, 9, |stack| {
        is_in(stack, "breaks_its_stack")
    });
}

#[test]
fn one_that_is_deaf_says_why() {
    for (task, why) in [
        (
            tasks::blocks_signals as fn(()),
            "its thread blocks the signal that asks it",
        ),
        (
            tasks::forgets_handlers,
            "it has become another program, or has no handler for the signal that asks it",
        ),
    ] {
        let pool = pool(1);
        let handle = pool.submit(task, ());
        let deadline = Instant::now() + crate::LIMIT;
        // It may be asked before it is deaf, and may have no processor then.
        let stack = loop {
            let stacks = pool.stacks();
            let stack = stacks.workers().first().expect("a worker").clone();
            if stack.why_no_backtrace() == Some(why) && stack.task().is_some() {
                break stack;
            }
            assert!(Instant::now() < deadline, "{stack}");
        };
        assert!(stack.to_string().contains(why), "{stack}");
        assert!(!handle.is_finished());
        pool.abort();
    }
}

#[test]
fn one_that_is_stopped() {
    let pool = pool(1);
    let gate = (number(), number());
    let handle = pool.submit(tasks::spins_until, gate.clone());
    has_begun(&gate.0);
    let lets_go = tasks::LetsGo(gate.1.clone());
    let pid = pool.pids()[0];
    assert!(signal::stop(pid));
    let stack = running(&pool);
    assert_eq!(stack.blocked(), Some("stopped by a signal"));
    assert_eq!(stack.why_no_backtrace(), Some("it is stopped"));
    signal::go_on(pid);
    told(&pool, |stack| stack.backtrace().is_some());
    drop(lets_go);
    assert_eq!(join(handle).expect("it ends"), 7);
}

#[test]
fn an_initializer_that_hangs_later() {
    fn hang_in_the_second() {
        let file = std::env::var("BRIGADE_TEST_FIRST").expect("set");
        if std::fs::remove_file(file).is_err() {
            tasks::spins(());
        }
    }
    brigade::init();
    let first = std::env::temp_dir().join(format!("brigade-first-{}", std::process::id()));
    std::fs::write(&first, "").expect("written");
    let process = process::Builder::new().env("BRIGADE_TEST_FIRST", &first);
    let pool = Pool::builder(Kind::Process).workers(1).process(process);
    let pool = pool
        .initializer(hang_in_the_second)
        .build()
        .expect("a pool");
    signal::kill(pool.pids()[0]);
    let deadline = Instant::now() + crate::LIMIT;
    loop {
        let stacks = pool.stacks();
        let worker = stacks.workers().first();
        let backtrace = worker.and_then(|worker| worker.backtrace());
        if backtrace.is_some_and(|text| text.contains("hang_in_the_second")) {
            assert_eq!(worker.map(WorkerStack::state), Some("starting"));
            break;
        }
        assert!(Instant::now() < deadline, "{stacks}");
    }
    pool.abort();
}

/// Many ask while tasks come, end and die.
#[test]
fn whoever_asks_disturbs_nobody() {
    fn dies_now_and_then(n: u32) -> u32 {
        if n % 50 == 7 {
            std::process::abort();
        }
        (0..n % 20 * 500).fold(n, |sum, n| std::hint::black_box(sum ^ n) ^ n)
    }
    let pool = pool(3);
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..200 {
                        for worker in pool.stacks() {
                            let Some(backtrace) = worker.backtrace() else {
                                continue;
                            };
                            // What calls the task is ours, and is not shown with it; that is all
                            // there is where the worker decodes, or tells the result.
                            let is_the_task = backtrace.contains("dies_now_and_then");
                            let is_ours = backtrace.contains("brigade::worker");
                            assert!(!is_the_task || !is_ours, "{worker}");
                            assert_ne!(worker.phase(), Some(Phase::Idle), "{worker}");
                        }
                    }
                })
            })
            .collect();
        while !askers.iter().all(|asker| asker.is_finished()) {
            let failed = pool.map(dies_now_and_then, 0..500).filter(Result::is_err);
            assert_eq!(failed.count(), 10);
        }
    });
    assert_eq!(pool.stats().died_idle, 0);
}

#[test]
fn threads_are_told_without_their_stacks() {
    brigade::init();
    let pool = Pool::threads(1).expect("a pool");
    let gate = (number(), number());
    let lets_go = tasks::LetsGo(gate.1.clone());
    let handle = pool.submit(tasks::spins_until, gate.clone());
    has_begun(&gate.0);
    let stack = running(&pool);
    assert_eq!((stack.kind(), stack.pid()), (Kind::Thread, None));
    assert!(stack.thread().is_some_and(|thread| thread != 0));
    assert_eq!(stack.task(), Some("stacks::tasks::spins_until"));
    assert_eq!((stack.backtrace(), stack.phase()), (None, None));
    let why = stack.why_no_backtrace().expect("it was not allowed");
    assert!(why.contains("thread_stacks"), "{why}");
    drop(lets_go);
    assert_eq!(join(handle).expect("it ends"), 7);
}
