//! The start of a supervisor.

use std::io;

use brigade::supervise::{
    AutoShutdown, Child, Exit, Reason, Restart, StartError, Strategy, Supervisor,
};
use brigade::{JoinError, Kind, process};

use crate::puppet::Order;
use crate::{LONG, both, of, puppets, states, tireless};

/// `sup_start_normal`.
#[test]
fn without_children() {
    both(|_| {
        let running = Supervisor::new(Strategy::OneForOne)
            .start()
            .expect("started");
        assert!(running.children().is_empty() && !running.is_finished());
        let report = running.shutdown();
        assert!(!report.is_failure() && report.children().is_empty());
        assert!(running.is_finished());
    });
}

#[test]
fn in_order() {
    both(|kind| {
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            let (log, puppets) = puppets::<4>();
            // The next one waits for their readiness.
            let children = puppets.each_ref().map(|p| p.child(kind).ready_within(LONG));
            let running = of(Supervisor::new(strategy), children).start().expect("up");
            assert_eq!(log.read(), "+a +b +c +d");
            assert_eq!(
                states(&running),
                ["a running", "b running", "c running", "d running"]
            );
            running.shutdown();
            assert_eq!(log.read(), "+a +b +c +d -d -c -b -a");
        }
    });
}

/// `sup_start_ignore_child`, `sup_start_ignore_temporary_child`.
#[test]
fn a_start_that_is_to_be_ignored() {
    both(|kind| {
        let (_, [a, b, c]) = puppets();
        b.order_all(Order::BeIgnored);
        c.order_all(Order::BeIgnored);
        let ([a, mut b, mut c], permanent) = ([a, b, c], Restart::Permanent);
        (b.is_ready, c.is_ready) = (false, false);
        let children = [
            b.child(kind).restart(permanent).ready_within(LONG),
            c.child(kind).restart(Restart::Temporary).ready_within(LONG),
            a.child(kind).ready_within(LONG),
        ];
        let running = of(Supervisor::new(Strategy::OneForAll), children)
            .start()
            .expect("it goes on without them");
        assert_eq!(states(&running), ["b stopped", "a running"]);
        // It may be needed later.
        b.order_all(Order::BeReady);
        running.restart_child("b").expect("up");
        assert_eq!(states(&running), ["b running", "a running"]);
    });
}

/// `sup_start_ignore_temporary_child_start_child`.
#[test]
fn a_child_that_is_added_and_to_be_ignored() {
    both(|kind| {
        let (_, [mut a, mut b]) = puppets();
        let running = Supervisor::new(Strategy::OneForOne).start().expect("up");
        for puppet in [&mut a, &mut b] {
            puppet.is_ready = false;
            puppet.order_all(Order::BeIgnored);
        }
        let child = a.child(kind).ready_within(LONG);
        let info = running.start_child(child).expect("no error");
        assert_eq!(info.state().to_string(), "stopped");
        let child = b.child(kind).ready_within(LONG).restart(Restart::Temporary);
        running.start_child(child).expect("no error");
        assert_eq!(states(&running), ["a stopped"]);
    });
}

/// `sup_start_error_return`: those that were started are stopped again, in reverse.
#[test]
fn a_child_that_fails() {
    both(|kind| {
        for (order, ready) in [
            (Order::Fail, false),
            (Order::Panic, false),
            (Order::Return, false),
        ] {
            let (log, [a, b, mut c, d]) = puppets();
            c.is_ready = ready;
            c.order_all(order);
            let children = [&a, &b, &c, &d].map(|p| p.child(kind).ready_within(LONG));
            let error = of(tireless(Strategy::OneForOne), children)
                .start()
                .expect_err("c does not start");
            assert_eq!(log.read(), "+a +b +c -b -a");
            let error = error.get_ref().and_then(|e| e.downcast_ref::<StartError>());
            let report = error.expect("what a start fails with").report();
            let Reason::NotStarted { child, exit } = report.reason() else {
                panic!("{report}");
            };
            assert_eq!(&**child, "c");
            assert!(matches!(
                (order, &**exit),
                (Order::Fail, Exit::Failed(_))
                    | (Order::Panic, Exit::Died(_))
                    | (_, Exit::Returned)
            ));
            let names: Vec<_> = report.children().iter().map(|c| c.name()).collect();
            assert_eq!(names, ["c", "d", "b", "a"]);
        }
    });
}

#[test]
fn what_the_system_refuses() {
    both(|kind| {
        let (log, [a, b]) = puppets();
        let refused = match kind {
            Kind::Process => b
                .child(kind)
                .builder(process::Builder::new().current_dir("/nowhere/at/all")),
            // What the kernel could not be told.
            Kind::Thread => Child::thread("b\0", |()| (), ()),
        };
        let error = of(
            tireless(Strategy::OneForOne),
            [a.child(kind).ready_within(LONG), refused],
        )
        .start()
        .expect_err("refused");
        assert!(
            error.to_string().contains("could not be started"),
            "{error}"
        );
        assert_eq!(log.read(), "+a -a");
    });
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Brittle;

impl Clone for Brittle {
    fn clone(&self) -> Brittle {
        panic!("brittle")
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("brittle too")
    }
}

#[test]
fn an_input_that_panics_where_it_is_cloned_and_dropped() {
    both(|kind| {
        let child = Child::new(kind, "brittle", |_: Brittle| (), Brittle);
        let error = of(Supervisor::new(Strategy::OneForOne), [child])
            .start()
            .expect_err("it cannot be cloned");
        let error = error.get_ref().and_then(|e| e.downcast_ref::<StartError>());
        match error.expect("what a start fails with").report().reason() {
            Reason::NotStarted { exit, .. } => match &**exit {
                Exit::Died(died) => assert!(matches!(**died, JoinError::Panicked(_)), "{died}"),
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        }
    });
}

/// `sup_start_map_faulty_specs`.
#[test]
fn what_contradicts_itself() {
    both(|kind| {
        let (log, [a, b]) = puppets();
        let supervisor = || Supervisor::new(Strategy::OneForOne);
        let any = AutoShutdown::AnySignificant;
        let significant = a.child(kind).significant(true);
        for faulty in [
            of(supervisor(), [a.child(kind), b.child(kind), a.child(kind)]),
            of(
                supervisor(),
                [significant.clone().restart(Restart::Transient)],
            ),
            of(supervisor().auto_shutdown(any), [significant]),
        ] {
            let error = faulty.start().expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
        assert_eq!(log.read(), "");
    });
}
