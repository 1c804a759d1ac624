//! The stream of events.

use brigade::supervise::{Child, Strategy, Supervisor, What};

use crate::puppet::Order;
use crate::{LONG, both, of, puppets, tireless, until_ended, until_up};

#[test]
fn from_the_start_to_the_end() {
    both(|kind| {
        let (_, [a, b]) = puppets();
        let supervisor = of(
            tireless(Strategy::RestForOne).name("pair"),
            [&a, &b].map(|p| p.child(kind).ready_within(LONG)),
        );
        let events = supervisor.events();
        let late = {
            let running = supervisor.start().expect("up");
            let mut second = running.events();
            a.order(0, Order::Fail);
            until_up(&second, "b");
            running.shutdown();
            second.by_ref().count()
        };
        let told: Vec<_> = events.map(|event| event.to_string()).collect();
        assert_eq!(
            told,
            [
                "`a` of pair is up",
                "`b` of pair is up",
                "pair is up",
                "`a` of pair has ended: failed: as it was told",
                "`a` of pair is restarted",
                "`b` of pair is to stop",
                "`b` of pair has ended: returned",
                "`a` of pair is up",
                "`b` of pair is up",
                "`b` of pair is to stop",
                "`b` of pair has ended: returned",
                "`a` of pair is to stop",
                "`a` of pair has ended: returned",
                "pair has ended: it was shut down",
            ]
        );
        assert_eq!(late, 5);
    });
}

/// Nobody reads, and nobody is held up; what is lost is told.
#[test]
fn that_nobody_reads() {
    both(|kind| {
        fn brief(_: u8) {}
        let child = Child::new(kind, "brief", brief, 0);
        // Three events for each run.
        let supervisor = of(
            Supervisor::new(Strategy::OneForOne).intensity(600, LONG),
            [child],
        );
        let unread = supervisor.events();
        drop(supervisor.events());
        let running = supervisor.start().expect("up");
        running.join();
        let events: Vec<_> = unread.collect();
        assert_eq!(events.len(), 1024 + 1);
        match events[0].what() {
            // 601 runs: up and ended; 600 restarts; the supervisor up and ended.
            What::Missed(missed) => assert_eq!(missed + 1024, 601 * 2 + 600 + 2),
            other => panic!("{other}"),
        }
        assert!(matches!(events[1024].what(), What::Stopped(_)));
    });
}

#[test]
fn a_reader_may_wait_and_may_not() {
    both(|kind| {
        let (_, [a]) = puppets();
        let running = of(tireless(Strategy::OneForOne), [a.child(kind)])
            .start()
            .expect("up");
        let events = running.events();
        assert!(events.try_next().is_none());
        assert!(
            events
                .next_timeout(std::time::Duration::from_millis(1))
                .is_none()
        );
        a.order(0, Order::Return);
        until_ended(&events, "a");
        // Read by another thread, to the end.
        let reader = std::thread::spawn(|| events.last());
        drop(running);
        let last = reader.join().expect("no panic").expect("there was one");
        assert!(matches!(last.what(), What::Stopped(_)), "{last}");
    });
}

/// Whoever listens to a supervisor below hears of all its runs; whoever listens to one run hears of
/// that.
#[test]
fn of_a_supervisor_below() {
    both(|kind| {
        let (_, [a]) = puppets();
        let inner = of(
            Supervisor::new(Strategy::OneForOne).intensity(0, LONG),
            [a.child(kind).ready_within(LONG)],
        );
        let of_all_runs = inner.events();
        let outer = tireless(Strategy::OneForOne)
            .name("outer")
            .child(Child::supervisor("inner", inner))
            .start()
            .expect("up");
        let of_outer = outer.events();
        let first = outer.supervisor("inner").expect("it runs");
        let of_first = first.events();
        a.order(0, Order::Fail);
        until_up(&of_outer, "inner");
        let told: Vec<_> = of_first.map(|event| event.to_string()).collect();
        assert_eq!(
            told,
            [
                "`a` of outer/inner has ended: failed: as it was told",
                "outer/inner has ended: it gave up: too many restarts, and `a` failed: \
                 as it was told",
            ]
        );
        // Asking one that has ended is nobody else's end.
        assert_eq!(first.events().count(), 0);
        let second = outer.supervisor("inner").expect("it runs");
        let of_second = second.events();
        outer.shutdown();
        assert_eq!(of_second.count(), 3);
        assert_eq!(of_all_runs.count(), 4 + 5);
    });
}

#[test]
fn of_one_that_is_never_started() {
    let events = Supervisor::new(Strategy::OneForOne).events();
    assert_eq!(events.count(), 0);
}
