//! A child that does not say that it lives is restarted.

use brigade::Kind;
use brigade::supervise::{Exit, Reason, Strategy, Supervisor, What};

use crate::puppet::Order;
use crate::{LONG, SHORT, both, of, puppets, tireless, until, until_ended, until_up};

#[test]
fn a_silent_child_is_replaced() {
    both(|kind| {
        let (_, [a]) = puppets();
        let running = of(
            tireless(Strategy::OneForOne),
            [a.child(kind).watchdog(SHORT)],
        )
        .start()
        .expect("up");
        let events = running.events();
        let exit = until_ended(&events, "a");
        assert!(
            matches!(exit, Exit::NotAlive(limit) if limit == SHORT),
            "{exit}"
        );
        a.order_all(Order::Live);
        until_up(&events, "a");
    });
}

/// It lives for many times its limit; then it hangs.
#[test]
fn a_child_that_says_that_it_lives_is_left_alone() {
    both(|kind| {
        let (_, [a, b]) = puppets();
        a.order(0, Order::Live);
        let children = [
            a.child(kind).ready_within(LONG).watchdog(SHORT),
            // It tells the time: each of its ends is one limit.
            b.child(kind).ready_within(LONG).watchdog(SHORT),
        ];
        let running = of(tireless(Strategy::OneForOne), children)
            .start()
            .expect("up");
        let events = running.events();
        for _ in 0..5 {
            let exit = until_ended(&events, "b");
            assert!(matches!(exit, Exit::NotAlive(_)), "{exit}");
            until_up(&events, "b");
        }
        assert_eq!(a.runs.get(), 1);
        a.deafen(0);
        let exit = until_ended(&events, "a");
        assert!(matches!(exit, Exit::NotAlive(_)), "{exit}");
        a.release.add();
    });
}

/// A thread that hangs is let go, and named at the end if it still runs.
#[test]
fn what_hangs_and_runs_on_is_named() {
    both(|kind| {
        let (_, [a, b]) = puppets();
        for puppet in [&a, &b] {
            puppet.order(0, Order::BeDeaf);
        }
        let children = [&a, &b].map(|p| p.child(kind).watchdog(SHORT));
        let running = of(tireless(Strategy::OneForOne), children)
            .start()
            .expect("up");
        let events = running.events();
        for puppet in [&a, &b] {
            puppet.order_all(Order::Live);
        }
        for _ in 0..2 {
            until(&events, "both are up", |e| {
                matches!(e.what(), What::Started)
            });
        }
        a.release.add();
        if kind == Kind::Thread {
            // It goes, a moment after it was released.
            let handle = running.handle();
            let report = handle.shutdown();
            assert!(
                report.left_running().iter().any(|name| &**name == "b"),
                "{report}"
            );
        } else {
            assert!(running.shutdown().left_running().is_empty());
        }
        b.release.add();
    });
}

/// A silent child in one-for-all takes the others along, and too often is too often.
#[test]
fn it_counts_as_any_other_end() {
    both(|kind| {
        let (_, [a, b]) = puppets();
        let children = [
            a.child(kind).ready_within(LONG),
            b.child(kind).ready_within(LONG).watchdog(SHORT),
        ];
        let running = of(
            Supervisor::new(Strategy::OneForAll).intensity(2, LONG),
            children,
        )
        .start()
        .expect("up");
        let report = running.join();
        assert!(matches!(report.reason(), Reason::GaveUp { child, .. } if &**child == "b"));
        assert_eq!([&a, &b].map(|p| p.runs.get()), [3, 3]);
    });
}
