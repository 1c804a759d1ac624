//! Which ends are followed by a restart, and how often.

use std::time::Duration;

use brigade::supervise::{ChildState, Exit, Reason, Restart, Strategy, Supervisor, What};
use brigade::{JoinError, Kind};

use crate::puppet::{Order, Puppet};
use crate::{
    LIMIT, LONG, SHORT, both, of, puppets, state, states, tireless, until, until_ended, until_up,
};

/// `permanent_normal`, `permanent_abnormal`, `transient_normal` … `temporary_abnormal`.
#[test]
fn each_kind_of_restart_after_each_kind_of_end() {
    both(|kind| {
        for (restart, order, restarted) in [
            (Restart::Permanent, Order::Return, true),
            (Restart::Permanent, Order::Fail, true),
            (Restart::Permanent, Order::Panic, true),
            (Restart::Transient, Order::Return, false),
            (Restart::Transient, Order::Fail, true),
            (Restart::Transient, Order::Panic, true),
            (Restart::Temporary, Order::Return, false),
            (Restart::Temporary, Order::Fail, false),
            (Restart::Temporary, Order::Panic, false),
        ] {
            let (_, [a]) = puppets();
            let running = of(
                tireless(Strategy::OneForOne),
                [a.child(kind).restart(restart).ready_within(LONG)],
            )
            .start()
            .expect("up");
            let events = running.events();
            a.order(0, order);
            let exit = until_ended(&events, "a");
            assert_eq!(exit.is_normal(), order == Order::Return, "{exit}");
            match (order, &exit) {
                (Order::Return, Exit::Returned) => {}
                (Order::Fail, Exit::Failed(why)) => assert_eq!(why, "as it was told"),
                (Order::Panic, Exit::Died(died)) => match &**died {
                    JoinError::Panicked(panic) => {
                        assert_eq!(panic.message(), "as it was told");
                        // Its own function, and its name.
                        assert!(panic.task().contains("puppet (a)"), "{}", panic.task());
                    }
                    other => panic!("{other}"),
                },
                other => panic!("{other:?}"),
            }
            if restarted {
                until_up(&events, "a");
            }
            let left = match (restarted, restart) {
                (true, _) => Some(ChildState::Running),
                (false, Restart::Temporary) => None,
                (false, _) => Some(ChildState::Stopped),
            };
            assert_eq!(state(&running, "a"), left, "{restart:?} {order:?}");
            running.shutdown();
            assert_eq!(a.runs.get(), 1 + u32::from(restarted));
        }
    });
}

/// `one_for_one_escalation`, and the end of every other strategy.
#[test]
fn too_many_restarts() {
    both(|kind| {
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            let (log, [a, b]) = puppets();
            let running = of(
                Supervisor::new(strategy).intensity(2, LONG),
                [&a, &b].map(|p| p.child(kind)),
            )
            .start()
            .expect("up");
            let mut events = running.events();
            for n in 0..3 {
                b.runs.wait_for(n + 1);
                b.order(n, Order::Fail);
            }
            let report = running.join();
            assert!(report.is_failure(), "{report}");
            match report.reason() {
                Reason::GaveUp { child, exit } => {
                    assert_eq!(&**child, "b");
                    assert!(matches!(**exit, Exit::Failed(_)), "{exit}");
                }
                other => panic!("{other}"),
            }
            assert_eq!(b.runs.get(), 3, "{}", log.read());
            let ends: Vec<_> = report.children().iter().map(|c| c.name()).collect();
            assert_eq!(ends, ["b", "a"]);
            assert!(matches!(
                events.by_ref().last().expect("there were some").what(),
                What::Stopped(Reason::GaveUp { .. })
            ));
            assert!(running.is_finished() && running.children().is_empty());
        }
    });
}

#[test]
fn none_at_all_are_allowed() {
    both(|kind| {
        let (_, [a]) = puppets();
        let running = of(
            Supervisor::new(Strategy::OneForOne).intensity(0, LONG),
            [a.child(kind)],
        )
        .start()
        .expect("up");
        a.order_all(Order::Return);
        assert!(running.join().is_failure());
        assert_eq!(a.runs.get(), 1);
    });
}

/// OTP's defaults: one restart in five seconds.
#[test]
fn one_is_allowed_if_nothing_is_said() {
    both(|kind| {
        let (_, [a]) = puppets();
        let running = of(Supervisor::new(Strategy::OneForOne), [a.child(kind)])
            .start()
            .expect("up");
        a.order_all(Order::Panic);
        assert!(running.join().is_failure());
        assert_eq!(a.runs.get(), 2);
    });
}

/// A restart whose start fails is tried again, and each time counts.
#[test]
fn a_restart_that_fails_is_tried_again() {
    both(|kind| {
        let (_, [mut a]) = puppets();
        a.is_ready = false;
        a.order(0, Order::BeReady);
        let child = a.child(kind).ready_within(LONG);
        let running = of(
            Supervisor::new(Strategy::OneForOne).intensity(3, LONG),
            [child],
        )
        .start()
        .expect("up");
        let events = running.events();
        a.order_all(Order::Panic);
        a.order(0, Order::Return);
        let report = running.join();
        assert!(report.is_failure());
        assert_eq!(a.runs.get(), 4);
        let failed = events
            .filter(|e| matches!(e.what(), What::NotStarted(_)))
            .count();
        assert_eq!(failed, 3);
    });
}

fn flaky(puppet: &Puppet, kind: Kind) -> Supervisor {
    of(tireless(Strategy::OneForOne), [puppet.child(kind)])
}

#[test]
fn back_off_grows_and_holds_up_neither_requests_nor_the_end() {
    both(|kind| {
        let (_, [a, b]) = puppets();
        let running = flaky(&a, kind)
            .child(b.child(kind))
            .backoff(SHORT, LONG)
            .start()
            .expect("up");
        let events = running.events();
        let restarting = || {
            let event = until(&events, "a waits", |e| {
                matches!(e.what(), What::Restarting { .. })
            });
            match event.what() {
                What::Restarting { after } => *after,
                _ => unreachable!("looked for"),
            }
        };
        a.order_all(Order::Fail);
        let first = restarting();
        assert!(first >= SHORT / 2 && first <= SHORT, "{first:?}");
        assert_eq!(state(&running, "b"), Some(ChildState::Running));
        let second = restarting();
        assert!(second >= SHORT && second <= 2 * SHORT, "{second:?}");
        running.terminate_child("a").expect("stopped");
        assert_eq!(states(&running), ["a stopped", "b running"]);
    });
}

#[test]
fn a_supervisor_that_waits_to_restart_ends_at_once() {
    both(|kind| {
        let (_, [a]) = puppets();
        let running = flaky(&a, kind).backoff(LONG, LONG).start().expect("up");
        let events = running.events();
        a.order_all(Order::Fail);
        until(&events, "it waits", |e| {
            matches!(e.what(), What::Restarting { .. })
        });
        assert_eq!(states(&running), ["a restarting"]);
        let start = std::time::Instant::now();
        drop(running);
        assert!(start.elapsed() < LIMIT);
    });
}

/// Each run is given its input anew.
#[test]
fn the_input_comes_anew() {
    fn count((mut numbers, put, left): (Vec<u32>, crate::count::Count, u32)) {
        numbers.push(left);
        assert_eq!(numbers, [1, 2, 3]);
        put.add();
    }
    both(|kind| {
        let runs = crate::count::Count::new();
        let input = (vec![1, 2], runs.clone(), 3);
        let child = brigade::supervise::Child::new(kind, "count", count, input);
        let running = of(tireless(Strategy::OneForOne), [child])
            .backoff(Duration::from_millis(1), Duration::from_millis(10))
            .start()
            .expect("up");
        runs.wait_for(5);
        assert!(!running.shutdown().is_failure());
    });
}

/// A wait whose end no clock can say.
#[test]
fn a_wait_without_end_ends_with_the_supervisor() {
    both(|kind| {
        let (_, [a]) = puppets();
        let running = of(
            tireless(Strategy::OneForOne).backoff(Duration::MAX, Duration::MAX),
            [a.child(kind).ready_within(LONG)],
        )
        .start()
        .expect("up");
        let events = running.events();
        a.order(0, Order::Fail);
        until_ended(&events, "a");
        assert_eq!(state(&running, "a"), Some(ChildState::Restarting));
        assert!(!running.shutdown().is_failure());
    });
}
