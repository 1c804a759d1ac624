//! Children are added, stopped, started, forgotten and counted.

use std::mem::ManuallyDrop;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};

use brigade::Kind;
use brigade::supervise::{
    self, AutoShutdown, Child, ChildError, Handle, Reason, Restart, Strategy, Supervisor,
};

use crate::puppet::{Order, Puppet};
use crate::{LONG, both, cannot_be_changed, of, puppets, states, tireless, until_ended, until_up};

/// `child_adm`.
#[test]
fn the_life_of_a_child() {
    both(|kind| {
        let (_, [a, b]) = puppets();
        let running = Supervisor::new(Strategy::OneForOne).start().expect("up");
        let child = || a.child(kind).ready_within(LONG);
        let info = running.start_child(child()).expect("up");
        assert_eq!((info.name(), info.kind()), ("a", Some(kind)));
        assert_eq!(info.pid().is_some(), kind == Kind::Process);
        assert!(matches!(
            running.start_child(child()),
            Err(ChildError::Running)
        ));
        cannot_be_changed(&running, "a");

        running.terminate_child("a").expect("stopped");
        running.terminate_child("a").expect("it is");
        assert_eq!(states(&running), ["a stopped"]);
        assert!(matches!(
            running.start_child(child()),
            Err(ChildError::AlreadyPresent)
        ));
        running.restart_child("a").expect("up");
        assert_eq!(states(&running), ["a running"]);

        running.terminate_child("a").expect("stopped");
        running.delete_child("a").expect("forgotten");
        assert!(running.children().is_empty());
        for refused in [
            running.terminate_child("a"),
            running.delete_child("a"),
            running.restart_child("a").map(drop),
        ] {
            assert!(matches!(refused, Err(ChildError::NotFound)), "{refused:?}");
        }
        running.start_child(child()).expect("as new");
        running.start_child(b.child(kind)).expect("up");
        let counts = running.counts();
        assert_eq!((counts.children, counts.running), (2, 2));
        assert_eq!((counts.supervisors, counts.workers), (0, 2));
    });
}

/// `hanging_restart_loop`, where the restart waits.
#[test]
fn while_a_restart_waits() {
    both(|kind| {
        let (_, [a]) = puppets();
        let running = of(tireless(Strategy::OneForOne), [a.child(kind)])
            .backoff(LONG, LONG)
            .start()
            .expect("up");
        let events = running.events();
        a.order(0, Order::Panic);
        until_ended(&events, "a");
        assert_eq!(states(&running), ["a restarting"]);
        assert_eq!(running.counts().running, 0);
        assert!(matches!(
            running.start_child(a.child(kind)),
            Err(ChildError::AlreadyPresent)
        ));
        assert!(matches!(
            running.restart_child("a"),
            Err(ChildError::Restarting)
        ));
        assert!(matches!(
            running.delete_child("a"),
            Err(ChildError::Restarting)
        ));
        running.terminate_child("a").expect("stopped");
        assert_eq!(states(&running), ["a stopped"]);
        running.restart_child("a").expect("up");
        assert_eq!(states(&running), ["a running"]);
    });
}

/// `do_not_save_child_specs_for_temporary_children`.
#[test]
fn a_temporary_child_is_forgotten_however_it_ends() {
    both(|kind| {
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            let (_, [a]) = puppets();
            let running = tireless(strategy).start().expect("up");
            let events = running.events();
            for n in 0..4 {
                let child = a.child(kind).restart(Restart::Temporary).ready_within(LONG);
                running.start_child(child).expect("it is not known");
                match [
                    Some(Order::Return),
                    Some(Order::Fail),
                    Some(Order::Panic),
                    None,
                ][n]
                {
                    Some(order) => {
                        a.order_last(order);
                        until_ended(&events, "a");
                    }
                    None => running.terminate_child("a").expect("stopped"),
                }
                assert!(running.children().is_empty());
            }
        }
    });
}

#[test]
fn a_child_that_does_not_start_when_it_is_asked_to_is_no_restart() {
    both(|kind| {
        let (log, [a, mut b]) = puppets();
        b.is_ready = false;
        b.order_all(Order::Fail);
        let running = of(
            Supervisor::new(Strategy::OneForAll).intensity(0, LONG),
            [a.child(kind).ready_within(LONG)],
        )
        .start()
        .expect("up");
        let child = b.child(kind).ready_within(LONG);
        let refused = running.start_child(child);
        assert!(
            matches!(refused, Err(ChildError::NotStarted(_))),
            "{refused:?}"
        );
        assert_eq!(states(&running), ["a running"]);
        assert_eq!(log.read(), "+a +b");
    });
}

/// Added while others of its group are restarted: it comes when its turn does.
#[test]
fn added_in_the_middle_of_a_restart() {
    both(|kind| {
        let (log, [mut a, b]) = puppets();
        a.is_ready = false;
        a.order(0, Order::BeReady);
        let running = of(
            tireless(Strategy::OneForAll),
            [a.child(kind).ready_within(LONG)],
        )
        .start()
        .expect("up");
        a.order(0, Order::Panic);
        a.runs.wait_for(2);
        let adding = {
            let (handle, child) = (running.handle(), b.child(kind).ready_within(LONG));
            std::thread::spawn(move || handle.start_child(child))
        };
        while running.children().len() < 2 {}
        assert_eq!(states(&running), ["a starting", "b starting"]);
        // That start fails, and it goes on waiting.
        a.order(2, Order::BeReady);
        a.order(1, Order::Panic);
        adding.join().expect("no panic").expect("up");
        assert_eq!(log.read(), "+a +a +a +b");
        assert_eq!(running.counts().running, 2);
    });
}

#[test]
fn stopped_while_it_is_being_started() {
    both(|kind| {
        let (_, [mut a]) = puppets();
        a.is_ready = false;
        let running = tireless(Strategy::OneForOne).start().expect("up");
        for restart in [Restart::Temporary, Restart::Permanent] {
            let runs = a.runs.get();
            let adding = {
                let child = a.child(kind).restart(restart).ready_within(LONG);
                let handle = running.handle();
                std::thread::spawn(move || handle.start_child(child))
            };
            a.runs.wait_for(runs + 1);
            running.terminate_child("a").expect("stopped");
            let answer = adding.join().expect("no panic");
            assert!(matches!(answer, Err(ChildError::Stopped)), "{answer:?}");
        }
        assert_eq!(states(&running), ["a stopped"]);
    });
}

fn ends_itself(auto_shutdown: AutoShutdown, puppets: &[&Puppet], kind: Kind) -> Supervisor {
    let children = puppets.iter().map(|p| {
        let child = p.child(kind).restart(Restart::Transient).significant(true);
        child.ready_within(LONG)
    });
    of(
        tireless(Strategy::OneForOne).auto_shutdown(auto_shutdown),
        children,
    )
}

#[test]
fn a_significant_child_ends_its_supervisor() {
    both(|kind| {
        let (_, [a, b, c]) = puppets();
        let running = ends_itself(AutoShutdown::AnySignificant, &[&a, &b], kind)
            .child(c.child(kind).restart(Restart::Transient))
            .start()
            .expect("up");
        let events = running.events();
        // Neither one that is not, nor one that is restarted.
        c.order_all(Order::Return);
        until_ended(&events, "c");
        a.order(0, Order::Fail);
        until_up(&events, "a");
        running
            .terminate_child("b")
            .expect("nor one that is stopped");
        a.order(1, Order::Return);
        let report = running.join();
        assert!(!report.is_failure());
        assert!(matches!(report.reason(), Reason::AutoShutdown { child } if &**child == "a"));
    });
}

#[test]
fn the_last_significant_child_ends_its_supervisor() {
    both(|kind| {
        let (_, [a, b, c]) = puppets();
        let running = ends_itself(AutoShutdown::AllSignificant, &[&a, &b], kind)
            .child(c.child(kind).restart(Restart::Transient))
            .start()
            .expect("up");
        let events = running.events();
        b.order(0, Order::Return);
        until_ended(&events, "b");
        assert!(!running.is_finished());
        a.order(0, Order::Return);
        let report = running.join();
        assert!(matches!(report.reason(), Reason::AutoShutdown { child } if &**child == "a"));
        let ends: Vec<_> = report.children().iter().map(|c| c.name()).collect();
        assert_eq!(ends, ["a", "b", "c"]);
    });
}

/// Requests of many at once; each is answered, also those that the end overtakes.
#[test]
fn asked_by_many_while_it_ends() {
    both(|kind| {
        for round in 0..10 {
            let (_, [a, b]) = puppets();
            let running = of(tireless(Strategy::RestForOne), [a.child(kind)])
                .start()
                .expect("up");
            let askers: Vec<_> = (0..4)
                .map(|n| {
                    let (handle, child) = (running.handle(), b.child(kind));
                    std::thread::spawn(move || {
                        loop {
                            let answers = [
                                handle.start_child(child.clone()).map(drop),
                                handle.terminate_child("b"),
                                handle.restart_child("b").map(drop),
                                handle.delete_child("b"),
                            ];
                            if answers.iter().any(|a| matches!(a, Err(ChildError::Closed))) {
                                return n;
                            }
                        }
                    })
                })
                .collect();
            b.runs.wait_for(1 + round);
            running.shutdown();
            for asker in askers {
                asker.join().expect("no panic");
            }
        }
    });
}

/// The supervisor's own thread clones inputs, and drops them: what that code asks cannot be
/// answered.
#[test]
fn its_own_thread_is_not_kept_waiting_for_itself() {
    #[derive(Default)]
    struct Nosy {
        of: Arc<OnceLock<Handle>>,
        refused: Arc<AtomicU32>,
    }
    impl Nosy {
        fn ask(&self) {
            let Some(of) = self.of.get() else { return };
            let answer = of.terminate_child("a").map(drop);
            if matches!(answer, Err(ChildError::Closed)) && of.children().is_empty() {
                self.refused.fetch_add(1, SeqCst);
            }
        }
    }
    impl Clone for Nosy {
        fn clone(&self) -> Nosy {
            self.ask();
            let (of, refused) = (Arc::clone(&self.of), Arc::clone(&self.refused));
            Nosy { of, refused }
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.ask();
            // It waits for the end, which waits for this.
            if let Some(of) = self.of.get() {
                of.shutdown();
            }
        }
    }
    fn waits(copy: Nosy) {
        // Its destructor is for the supervisor.
        let _copy = ManuallyDrop::new(copy);
        supervise::wait_for_stop();
    }
    both(|kind| {
        let (_, [a]) = puppets();
        let running = of(tireless(Strategy::OneForOne), [a.child(kind)])
            .start()
            .expect("up");
        let nosy = Nosy::default();
        nosy.of.set(running.handle()).expect("the first");
        let refused = Arc::clone(&nosy.refused);
        running
            .start_child(Child::thread("nosy", waits, nosy))
            .expect("up");
        assert_eq!(refused.load(SeqCst), 1);
        assert_eq!(running.counts().running, 2);
        drop(running);
        assert_eq!(refused.load(SeqCst), 2);
    });
}
