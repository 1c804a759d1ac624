//! Supervisors of supervisors.

use brigade::Kind;
use brigade::supervise::{
    Child, ChildState, Exit, Handle, Reason, Restart, Shutdown, Strategy, Supervisor, What,
};
use brigade_test_support::wait;

use crate::count::Count;
use crate::puppet::{Order, Puppet};
use crate::{LONG, SHORT, both, of, puppets, state, states, tireless, until, until_up};

fn below(of_it: &Handle, name: &str) -> Handle {
    of_it.supervisor(name).expect("it runs")
}

fn inner(puppets: &[&Puppet], kind: Kind) -> Supervisor {
    let children = puppets.iter().map(|p| p.child(kind).ready_within(LONG));
    of(
        Supervisor::new(Strategy::OneForOne).intensity(1, LONG),
        children,
    )
}

/// `tree`: a supervisor that gives up is restarted with all that it was made with, and not with
/// what was added.
#[test]
fn a_tree() {
    both(|kind| {
        let (_, [a, b, c, d]) = puppets();
        let top = Supervisor::new(Strategy::OneForAll)
            .intensity(4, LONG)
            .child(Child::supervisor("first", inner(&[&a, &b], kind)))
            .child(Child::supervisor("second", inner(&[], kind)))
            .start()
            .expect("up");
        let counts = top.counts();
        assert_eq!(
            (counts.children, counts.supervisors, counts.workers),
            (2, 2, 0)
        );
        let second = below(&top, "second");
        for puppet in [&c, &d] {
            second
                .start_child(puppet.child(kind).ready_within(LONG))
                .expect("up");
        }
        assert_eq!(below(&top, "first").counts().running, 2);
        assert_eq!(second.counts().running, 2);
        let events = top.events();
        // One is allowed, and the second is too many.
        d.order(0, Order::Panic);
        until_up(&events, "d");
        assert_eq!((a.runs.get(), c.runs.get()), (1, 1));
        c.order(0, Order::Panic);
        until_up(&events, "second");
        assert!(second.is_finished());
        assert_eq!(states(&below(&top, "first")), ["a running", "b running"]);
        assert_eq!([&a, &b, &c, &d].map(|p| p.runs.get()), [2, 2, 1, 2]);
        assert!(below(&top, "second").children().is_empty());
    });
}

/// Escalation through two levels: each gives up in its turn, and all below is stopped.
#[test]
fn escalation_to_the_top() {
    both(|kind| {
        let (_, [a, b, c]) = puppets();
        let lowest = inner(&[&a, &b], kind);
        let middle = Supervisor::new(Strategy::OneForOne)
            .intensity(1, LONG)
            .child(Child::supervisor("lowest", lowest));
        let top = Supervisor::new(Strategy::OneForOne)
            .name("top")
            .intensity(1, LONG)
            .child(c.child(kind).ready_within(LONG))
            .child(Child::supervisor("middle", middle));
        let events = top.events();
        let top = top.start().expect("up");
        let ups = top.events();
        // What comes up again after each.
        for (run, up) in (0..).zip(["a", "lowest", "a", "middle", "a", "lowest", "a"]) {
            a.order(run, Order::Panic);
            until_up(&ups, up);
        }
        a.order(7, Order::Panic);
        let report = top.join();
        let Reason::GaveUp { child, exit } = report.reason() else {
            panic!("{report}");
        };
        assert_eq!(&**child, "middle");
        let Exit::Supervisor(middle) = &**exit else {
            panic!("{exit}");
        };
        assert!(matches!(middle.reason(), Reason::GaveUp { child, .. } if &**child == "lowest"));
        // Each level doubles it: twice below, and twice again.
        assert_eq!(a.runs.get(), 8);
        assert_eq!((c.runs.get(), report.children().len()), (1, 2));
        let gave_up = |e: &brigade::supervise::Event| {
            matches!(e.what(), What::Stopped(Reason::GaveUp { .. }))
        };
        let told: Vec<_> = events
            .filter(gave_up)
            .map(|e| e.supervisor().to_owned())
            .collect();
        assert_eq!(told.iter().filter(|s| *s == "top/middle/lowest").count(), 4);
        assert_eq!(told.iter().filter(|s| *s == "top/middle").count(), 2);
        assert_eq!(told.last().map(String::as_str), Some("top"));
    });
}

/// A supervisor that gives up has failed, so a transient one is restarted; one that shuts itself
/// down has not.
#[test]
fn a_transient_supervisor() {
    both(|kind| {
        let (_, [a, b]) = puppets();
        let top = tireless(Strategy::OneForOne)
            .child(Child::supervisor("inner", inner(&[&a, &b], kind)).restart(Restart::Transient))
            .start()
            .expect("up");
        let events = top.events();
        a.order(0, Order::Panic);
        a.order(1, Order::Panic);
        until(&events, "it has given up", |e| {
            e.child() == Some("inner") && matches!(e.what(), What::Ended(Exit::Supervisor(_)))
        });
        until_up(&events, "inner");
        below(&top, "inner").shutdown();
        until(&events, "it was shut down", |e| {
            e.child() == Some("inner") && matches!(e.what(), What::Ended(exit) if exit.is_normal())
        });
        assert_eq!(state(&top, "inner"), Some(ChildState::Stopped));
    });
}

#[test]
fn one_that_does_not_start_fails_the_start_of_that_above() {
    both(|kind| {
        let (log, [a, b, mut c]) = puppets();
        c.is_ready = false;
        c.order_all(Order::Fail);
        let error = Supervisor::new(Strategy::OneForOne)
            .child(a.child(kind).ready_within(LONG))
            .child(Child::supervisor("inner", inner(&[&b, &c], kind)))
            .start()
            .expect_err("c does not start");
        assert_eq!(log.read(), "+a +b +c -b -a");
        assert!(error.to_string().contains("`c` failed"), "{error}");
    });
}

/// The order is that of the whole tree, and the report tells of all of it.
#[test]
fn a_tree_is_stopped_in_reverse_and_its_report_is_a_tree() {
    both(|kind| {
        let (log, [a, b, c, d]) = puppets();
        let deaf = c
            .child(kind)
            .ready_within(LONG)
            .shutdown(Shutdown::Grace(SHORT));
        let top = Supervisor::new(Strategy::OneForOne)
            .child(a.child(kind).ready_within(LONG))
            .child(Child::supervisor("inner", inner(&[&b], kind).child(deaf)))
            .child(d.child(kind).ready_within(LONG))
            .start()
            .expect("up");
        c.deafen(0);
        let report = top.shutdown();
        assert_eq!(log.read(), "+a +b +c +d -d -b -a");
        let names: Vec<_> = report.children().iter().map(|c| c.name()).collect();
        assert_eq!(names, ["d", "inner", "a"]);
        let Some(Exit::Supervisor(inner)) = report.children()[1].exit() else {
            panic!("{report}");
        };
        assert_eq!(inner.children().len(), 2);
        let left: Vec<_> = report.left_running().iter().map(|name| &**name).collect();
        match kind {
            Kind::Thread => assert_eq!(left, ["inner/c"]),
            Kind::Process => assert!(left.is_empty()),
        }
        c.release.add();
    });
}

/// Its grace time is over: all below it is killed.
#[test]
fn a_supervisor_that_is_not_given_the_time() {
    both(|kind| {
        let (_, [a]) = puppets();
        let endless = a
            .child(kind)
            .ready_within(LONG)
            .shutdown(Shutdown::Infinity);
        let inner = of(Supervisor::new(Strategy::OneForOne), [endless]);
        let top = Supervisor::new(Strategy::OneForOne)
            .child(Child::supervisor("inner", inner).shutdown(Shutdown::Grace(SHORT)))
            .start()
            .expect("up");
        a.deafen(0);
        let report = top.shutdown();
        let Some(Exit::Supervisor(inner)) = report.children()[0].exit() else {
            panic!("{report}");
        };
        let exit = inner.children()[0].exit().expect("it ran");
        assert!(matches!(exit, Exit::Killed | Exit::LetGo), "{exit}");
        a.release.add();
    });
}

/// What waits for a start below is stopped with what is above.
#[test]
fn dropped_while_one_below_starts() {
    both(|kind| {
        let (_, [mut a, b]) = puppets();
        a.is_ready = false;
        let top = tireless(Strategy::OneForAll)
            .child(b.child(kind).ready_within(LONG))
            .start()
            .expect("up");
        let adding = {
            let child = Child::supervisor("inner", inner(&[&a], kind));
            let handle = top.handle();
            std::thread::spawn(move || handle.start_child(child))
        };
        a.runs.wait_for(1);
        drop(top);
        assert!(adding.join().expect("no panic").is_err());
    });
}

/// A thread that a supervisor below has left behind is named as long as it runs, and no longer.
#[test]
fn what_ran_on_below_and_has_ended_is_not_named() {
    fn run_on((begun, end): (Count, Count)) {
        begun.add();
        end.wait_for(1);
    }
    brigade::init();
    for ends in [false, true] {
        let (begun, end) = (Count::new(), Count::new());
        let name = format!("runs-on-{ends}");
        let child = Child::thread(&*name, run_on, (begun.clone(), end.clone()));
        let outer = Supervisor::new(Strategy::OneForOne)
            .child(Child::supervisor("inner", of_one(child)).restart(Restart::Transient))
            .start()
            .expect("up");
        begun.wait_for(1);
        below(&outer, "inner").abort();
        wait::until("it is down", || {
            state(&outer, "inner") == Some(ChildState::Stopped)
        });
        if ends {
            end.add();
            wait::until("the thread is gone", || !has_thread(&name));
        }
        let report = outer.shutdown();
        let named: Vec<_> = report.left_running().iter().map(|name| &**name).collect();
        let runs_on = format!("inner/{name}");
        assert_eq!(named, if ends { vec![] } else { vec![&*runs_on] });
        end.add();
    }
}

fn of_one(child: Child) -> Supervisor {
    Supervisor::new(Strategy::OneForOne).child(child)
}

fn has_thread(name: &str) -> bool {
    let threads = std::fs::read_dir("/proc/self/task").expect("/proc is there");
    let names =
        threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.into_iter().any(|found| found.trim_end() == name)
}
