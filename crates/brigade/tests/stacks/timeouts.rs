//! A process whose task ran over its time is asked where it is before it is killed.

use std::time::{Duration, Instant};

use brigade::{JoinError, Phase, Timeout, process};

use crate::{LIMIT, SHORT, join, tasks, timed, timeout_of};

/// Runs a task that never ends, and gives what is told of that.
#[track_caller]
fn timeout_in<R: brigade::Message + std::fmt::Debug>(task: fn(()) -> R) -> Timeout {
    let pool = timed().build().expect("a pool");
    let before = pool.pids();
    let timeout = timeout_of(join(pool.submit(task, ())));
    assert_eq!(timeout.pid(), before.first().copied());
    assert_eq!(timeout.phase(), Some(Phase::Running));
    assert_eq!(timeout.after(), SHORT);
    let text = timeout.to_string();
    let begin = format!(
        "task `{}` ran longer than its timeout of 200ms",
        timeout.task()
    );
    assert!(text.starts_with(&begin) && !text.contains('\n'), "{text}");
    assert_eq!(
        join(pool.submit(|n: u32| n + 1, 1)).expect("the next runs"),
        2
    );
    timeout
}

/// The same, when it has answered.
#[track_caller]
fn answer_of<R: brigade::Message + std::fmt::Debug>(task: fn(()) -> R) -> Timeout {
    until_answered(|| Err::<R, _>(JoinError::TimedOut(timeout_in(task))))
}

/// Where there was no processor for it in time, the task runs again.
#[track_caller]
fn until_answered<R: std::fmt::Debug>(run: impl Fn() -> Result<R, JoinError>) -> Timeout {
    let deadline = Instant::now() + LIMIT;
    loop {
        let timeout = timeout_of(run());
        if timeout.backtrace().is_some() {
            return timeout;
        }
        assert!(Instant::now() < deadline, "{timeout}");
    }
}

/// That it was in this function, which a function of this task called.
#[track_caller]
fn is_in(timeout: &Timeout, function: &str, task: &str) {
    let backtrace = timeout.backtrace().expect("it has answered");
    let at = |name: &str| {
        let found = backtrace.find(&format!("stacks::tasks::{name}"));
        found.unwrap_or_else(|| panic!("no {name} in\n{backtrace}"))
    };
    assert!(at(function) < at(task), "{backtrace}");
    assert!(
        !backtrace.contains("brigade::"),
        "ours is not told\n{backtrace}"
    );
}

#[test]
fn one_that_spins() {
    let timeout = answer_of(tasks::spins);
    is_in(&timeout, "spin_until", "spins");
    let text = timeout.to_string();
    assert!(
        text.contains(", in stacks::tasks::spin_until at "),
        "{text}"
    );
    assert_eq!(timeout.blocked(), None);
}

#[test]
fn one_that_waits_for_itself() {
    let timeout = answer_of(tasks::deadlocks);
    is_in(&timeout, "lock_twice", "deadlocks");
    let blocked = timeout.blocked().expect("it waits");
    assert_eq!(
        blocked,
        "in futex(2), which waits for a lock or for another thread"
    );
    let text = timeout.to_string();
    assert!(
        text.contains(", in stacks::tasks::lock_twice at "),
        "{text}"
    );
    assert!(text.ends_with(blocked), "{text}");
}

#[test]
fn one_that_reads_from_a_pipe() {
    let timeout = answer_of(tasks::reads);
    is_in(&timeout, "read_from", "reads");
    let blocked = timeout.blocked().expect("it waits");
    assert!(
        blocked.starts_with("in read(2) on descriptor ") && blocked.ends_with(", a pipe"),
        "{blocked}"
    );
}

#[test]
fn one_that_was_called_by_c() {
    is_in(
        &answer_of(tasks::spins_below_c),
        "spin_until",
        "spins_below_c",
    );
}

#[test]
fn one_that_hears_no_signals_is_killed_all_the_same() {
    let timeout = timeout_in(tasks::blocks_signals);
    assert_eq!(timeout.backtrace(), None);
}

#[test]
fn one_without_the_handler_is_not_ended_by_the_question() {
    let timeout = timeout_in(tasks::forgets_handlers);
    assert_eq!(timeout.backtrace(), None);
}

#[test]
fn one_that_is_stopped() {
    let timeout = timeout_in(tasks::stops);
    assert_eq!(timeout.backtrace(), None);
    assert_eq!(timeout.blocked(), Some("stopped by a signal"));
    let text = timeout.to_string();
    assert!(text.ends_with("of 200ms, stopped by a signal"), "{text}");
}

#[test]
fn one_that_has_not_begun_to_run() {
    let pool = timed().build().expect("a pool");
    let timeout = until_answered(|| join(pool.submit(tasks::takes_endless, tasks::Endless)));
    assert_eq!(timeout.phase(), Some(Phase::Decoding));
    let backtrace = timeout.backtrace().expect("it has answered");
    assert!(
        backtrace.contains("stacks::tasks::spin_until"),
        "{backtrace}"
    );
}

#[test]
fn each_of_a_map() {
    let pool = timed().workers(2).build().expect("a pool");
    for ended in pool.map(tasks::spins, [(), (), ()]) {
        let timeout = timeout_of(ended);
        if timeout.backtrace().is_some() {
            is_in(&timeout, "spin_until", "spins");
        }
    }
}

#[test]
fn a_time_of_grace_comes_after_the_answer() {
    let with_grace = |grace| {
        let process = process::Builder::new().grace(grace);
        timed().process(process).build().expect("a pool")
    };
    let pool = with_grace(SHORT);
    let timeout = until_answered(|| join(pool.submit(tasks::ignores_sigterm, ())));
    is_in(&timeout, "spin_until", "ignores_sigterm");
    // So long that nobody waits for it: it left because it was asked to.
    let pool = with_grace(Duration::from_secs(3600));
    let timeout = until_answered(|| join(pool.submit(tasks::leaves_at_sigterm, ())));
    is_in(&timeout, "spin_until", "leaves_at_sigterm");
}

#[test]
fn what_it_printed_is_told() {
    fn speaks(_: ()) {
        eprintln!("here I am");
        tasks::spins(());
    }
    let timeout = timeout_in(speaks);
    assert_eq!(timeout.stderr(), "here I am\n");
}

#[cfg(feature = "sandbox")]
#[test]
fn one_in_a_sandbox() {
    use brigade::Sandbox;

    let process = process::Builder::new().sandbox(Sandbox::deny_all().prefer());
    let pool = timed().process(process).build().expect("a pool");
    let timeout = until_answered(|| join(pool.submit(tasks::deadlocks, ())));
    is_in(&timeout, "lock_twice", "deadlocks");
    assert!(
        timeout
            .blocked()
            .is_some_and(|text| text.starts_with("in futex(2)"))
    );
}
