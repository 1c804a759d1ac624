//! A start waits until the child says that it is ready.

use brigade::supervise::{ChildError, ChildState, Context, Exit, Strategy, Supervisor, What};
use brigade::{JoinError, Kind};

use crate::puppet::Order;
use crate::{
    LONG, SHORT, both, cannot_be_changed, of, puppets, state, states, tireless, until, until_up,
};

#[test]
fn the_next_one_waits_for_it() {
    both(|kind| {
        let (log, [mut a, b]) = puppets();
        a.is_ready = false;
        let child = a.child(kind).ready_within(LONG);
        let events;
        let running = {
            let supervisor = of(
                Supervisor::new(Strategy::RestForOne),
                [child, b.child(kind)],
            );
            events = supervisor.events();
            let starting = std::thread::spawn(|| supervisor.start());
            a.runs.wait_for(1);
            assert_eq!(log.read(), "+a");
            assert!(events.try_next().is_none() && !starting.is_finished());
            a.order(0, Order::BeReady);
            starting.join().expect("no panic").expect("up")
        };
        until_up(&events, "a");
        until_up(&events, "b");
        b.runs.wait_for(1);
        assert_eq!(running.counts().running, 2);
    });
}

#[test]
fn one_that_is_not_ready_in_time_has_not_started() {
    both(|kind| {
        let (_, [mut a]) = puppets();
        a.is_ready = false;
        let child = a.child(kind).ready_within(SHORT);
        let error = of(tireless(Strategy::OneForOne), [child.clone()])
            .start()
            .expect_err("not ready");
        assert!(
            error.to_string().contains("was not ready within"),
            "{error}"
        );
        let running = Supervisor::new(Strategy::OneForOne).start().expect("up");
        match running.start_child(child) {
            Err(ChildError::NotStarted(Exit::NotReady(limit))) => assert_eq!(limit, SHORT),
            other => panic!("{other:?}"),
        }
        assert!(running.children().is_empty(), "it is forgotten");
    });
}

/// The end of a restart that never becomes ready: it is tried again until the supervisor gives up.
#[test]
fn restarts_that_are_not_ready_in_time() {
    both(|kind| {
        let (_, [mut a]) = puppets();
        a.is_ready = false;
        a.order(0, Order::BeReady);
        let child = a.child(kind).ready_within(SHORT);
        let running = of(
            Supervisor::new(Strategy::OneForOne).intensity(2, LONG),
            [child],
        )
        .start()
        .expect("up");
        a.order(0, Order::Fail);
        assert!(running.join().is_failure());
        assert_eq!(a.runs.get(), 3);
    });
}

/// `hanging_restart_loop`: the supervisor hears all that it is asked meanwhile.
#[test]
fn a_child_whose_restart_hangs_holds_up_no_other_and_no_request() {
    both(|kind| {
        let (_, [mut a, b, c]) = puppets();
        a.is_ready = false;
        a.order(0, Order::BeReady);
        let children = [&a, &b].map(|p| p.child(kind).ready_within(LONG));
        let running = of(tireless(Strategy::OneForOne), children)
            .start()
            .expect("up");
        let events = running.events();
        a.order(0, Order::Panic);
        a.runs.wait_for(2);
        assert_eq!(states(&running), ["a starting", "b running"]);
        b.order(0, Order::Panic);
        until_up(&events, "b");
        running.start_child(c.child(kind)).expect("up");
        cannot_be_changed(&running, "a");
        running.terminate_child("a").expect("stopped");
        assert_eq!(state(&running, "a"), Some(ChildState::Stopped));
        // And once more, into the shutdown.
        let restarting = {
            let handle = running.handle();
            std::thread::spawn(move || handle.restart_child("a"))
        };
        a.runs.wait_for(3);
        assert_eq!(state(&running, "a"), Some(ChildState::Starting));
        assert!(!running.shutdown().is_failure());
        let answer = restarting.join().expect("no panic");
        assert!(matches!(answer, Err(ChildError::Closed)), "{answer:?}");
    });
}

/// What is said just before the end counts.
#[test]
fn one_that_is_ready_and_ends_at_once_was_up() {
    fn brief(_: u32) -> Result<(), String> {
        Context::current().ready();
        Err("soon".to_owned())
    }
    both(|kind| {
        for _ in 0..100 {
            let child = brigade::supervise::Child::new(kind, "brief", brief, 1).ready_within(LONG);
            let supervisor = of(
                Supervisor::new(Strategy::OneForOne).intensity(0, LONG),
                [child],
            );
            let events = supervisor.events();
            // Whether the supervisor was up when its only child was gone again is a race.
            if let Ok(running) = supervisor.start() {
                running.join();
            }
            let told: Vec<_> = events.map(|e| e.what().to_string()).collect();
            assert!(
                told.iter().any(|what| what == "has ended: failed: soon"),
                "{told:#?}"
            );
            assert!(
                !told
                    .iter()
                    .any(|what| what.contains("did not start: failed")),
                "{told:#?}"
            );
        }
    });
}

#[test]
fn a_crash_before_it_is_ready() {
    fn crash(_: u32) {
        std::process::abort();
    }
    both(|kind| {
        if kind == Kind::Thread {
            return;
        }
        let child = brigade::supervise::Child::process("crash", crash, 1).ready_within(LONG);
        let running = Supervisor::new(Strategy::OneForOne).start().expect("up");
        match running.start_child(child) {
            Err(ChildError::NotStarted(Exit::Died(died))) => match &*died {
                JoinError::Crashed(crash) => assert!(crash.task().contains("(crash)"), "{crash}"),
                other => panic!("{other}"),
            },
            other => panic!("{other:?}"),
        }
    });
}

/// Another thread of the child speaks for it.
#[test]
fn a_context_goes_to_other_threads() {
    fn delegate(_: u32) {
        let context = Context::current();
        assert!(context.is_supervised());
        std::thread::spawn(move || {
            assert!(!Context::current().is_supervised());
            assert!(!context.should_stop());
            context.ready();
            context.wait_for_stop();
        })
        .join()
        .expect("no panic");
    }
    both(|kind| {
        let child =
            brigade::supervise::Child::new(kind, "delegate", delegate, 1).ready_within(LONG);
        let running = of(Supervisor::new(Strategy::OneForOne), [child])
            .start()
            .expect("up");
        let report = running.shutdown();
        let exit = report.children()[0].exit().expect("it ran");
        assert!(matches!(exit, Exit::Returned), "{exit}");
    });
}

/// A task can be run by itself.
#[test]
fn without_a_supervisor_nothing_is_said() {
    fn alone(n: u32) -> u32 {
        brigade::supervise::ready();
        brigade::supervise::alive();
        brigade::supervise::ignore();
        assert!(!brigade::supervise::should_stop());
        assert!(!Context::current().wait_for_stop_timeout(std::time::Duration::ZERO));
        n
    }
    both(|kind| {
        let handle = kind.spawn(alone, 3).expect("started");
        assert_eq!(handle.join().expect("no panic"), 3);
    });
}

#[test]
fn how_it_is_told() {
    both(|kind| {
        let (_, [a]) = puppets();
        let supervisor = of(
            Supervisor::new(Strategy::OneForOne),
            [a.child(kind).ready_within(LONG)],
        );
        let events = supervisor.events();
        let running = supervisor.start().expect("up");
        let up = until_up(&events, "a");
        assert_eq!(up.pid().is_some(), kind == Kind::Process);
        assert_eq!(up.pid(), running.children()[0].pid());
        until(&events, "the supervisor is up", |e| {
            e.child().is_none() && matches!(e.what(), What::Started)
        });
    });
}
