//! Who else is restarted with a child.

use brigade::Kind;
use brigade::supervise::{ChildState, Restart, Strategy, Supervisor, What};

use crate::puppet::{Order, Puppet};
use crate::{LONG, both, of, puppets, state, states, tireless, until, until_ended, until_up};

fn ready(puppets: &[Puppet; 4], kind: Kind) -> [brigade::supervise::Child; 4] {
    puppets.each_ref().map(|p| p.child(kind).ready_within(LONG))
}

#[test]
fn one_for_one() {
    both(|kind| {
        let (log, puppets) = puppets::<4>();
        let running = of(tireless(Strategy::OneForOne), ready(&puppets, kind))
            .start()
            .expect("up");
        let events = running.events();
        puppets[1].order(0, Order::Panic);
        until_up(&events, "b");
        assert_eq!(log.read(), "+a +b +c +d +b");
    });
}

#[test]
fn one_for_all() {
    both(|kind| {
        let (log, puppets) = puppets::<4>();
        let running = of(tireless(Strategy::OneForAll), ready(&puppets, kind))
            .start()
            .expect("up");
        let events = running.events();
        puppets[1].order(0, Order::Panic);
        until_up(&events, "d");
        assert_eq!(log.read(), "+a +b +c +d -d -c -a +a +b +c +d");
        assert_eq!(running.counts().running, 4);
    });
}

#[test]
fn rest_for_one() {
    both(|kind| {
        let (log, puppets) = puppets::<4>();
        let running = of(tireless(Strategy::RestForOne), ready(&puppets, kind))
            .start()
            .expect("up");
        let events = running.events();
        puppets[1].order(0, Order::Panic);
        until_up(&events, "d");
        assert_eq!(log.read(), "+a +b +c +d -d -c +b +c +d");
        puppets[3].order(1, Order::Return);
        until_up(&events, "d");
        assert_eq!(log.read(), "+a +b +c +d -d -c +b +c +d +d");
    });
}

/// `temporary_bystander`.
#[test]
fn a_temporary_bystander_is_stopped_and_forgotten() {
    both(|kind| {
        for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
            let (log, [a, b, c]) = puppets();
            let children = [
                a.child(kind),
                b.child(kind).restart(Restart::Temporary),
                c.child(kind),
            ];
            let running = of(tireless(strategy), children.map(|c| c.ready_within(LONG)))
                .start()
                .expect("up");
            let events = running.events();
            a.order(0, Order::Panic);
            until_up(&events, "c");
            assert_eq!(states(&running), ["a running", "c running"]);
            assert_eq!(log.read(), "+a +b +c -c -b +a +c");
        }
    });
}

/// As in OTP, those of the group that do not run are started too.
#[test]
fn what_was_down_comes_up_with_its_group() {
    both(|kind| {
        let (_, [a, b, c]) = puppets();
        let children = [
            a.child(kind),
            b.child(kind).restart(Restart::Transient),
            c.child(kind),
        ];
        let running = of(
            tireless(Strategy::OneForAll),
            children.map(|c| c.ready_within(LONG)),
        )
        .start()
        .expect("up");
        let events = running.events();
        b.order(0, Order::Return);
        until_ended(&events, "b");
        running.terminate_child("c").expect("stopped");
        assert_eq!(states(&running), ["a running", "b stopped", "c stopped"]);
        a.order(0, Order::Fail);
        until_up(&events, "c");
        assert_eq!(running.counts().running, 3);
    });
}

/// Two children, of which the second does not become ready when both are restarted, and then
/// returns. What happened, and what runs then.
fn second_fails_in_a_restart(strategy: Strategy, kind: Kind) -> String {
    let (log, [a, mut b]) = puppets();
    b.is_ready = false;
    b.order(0, Order::BeReady);
    let children = [&a, &b].map(|p| p.child(kind).ready_within(LONG));
    let running = of(tireless(strategy), children).start().expect("up");
    let events = running.events();
    b.order(2, Order::BeReady);
    a.order(0, Order::Panic);
    until_up(&events, "a");
    b.runs.wait_for(2);
    // The restart hangs here. The supervisor does not.
    assert_eq!(states(&running), ["a running", "b starting"]);
    b.order(1, Order::Return);
    until_up(&events, "b");
    assert_eq!(running.counts().running, 2);
    log.read()
}

/// `one_for_all_other_child_fails_restart`: one that is up again is stopped once more when another
/// does not start.
#[test]
fn another_child_that_fails_while_all_are_restarted() {
    both(|kind| {
        let log = second_fails_in_a_restart(Strategy::OneForAll, kind);
        assert_eq!(log, "+a +b -b +a +b -a +a +b");
    });
}

/// `rest_for_one_other_child_fails_restart`: there it is not.
#[test]
fn another_child_that_fails_while_the_rest_is_restarted() {
    both(|kind| {
        let log = second_fails_in_a_restart(Strategy::RestForOne, kind);
        assert_eq!(log, "+a +b -b +a +b +b");
    });
}

/// It was up again, and others still are being started.
#[test]
fn one_that_fails_again_in_the_middle_of_its_groups_restart() {
    both(|kind| {
        let (log, [a, mut b, c]) = puppets();
        b.is_ready = false;
        b.order(0, Order::BeReady);
        let children = [&a, &b, &c].map(|p| p.child(kind).ready_within(LONG));
        let running = of(tireless(Strategy::OneForAll), children)
            .start()
            .expect("up");
        let events = running.events();
        a.order(0, Order::Panic);
        b.runs.wait_for(2);
        b.order(2, Order::BeReady);
        a.order(1, Order::Panic);
        until_up(&events, "c");
        assert_eq!(log.read(), "+a +b +c -c -b +a +b -b +a +b +c");
    });
}

/// One of the group ends by itself while it waits to be stopped: that is no second restart.
#[test]
fn two_that_fail_at_once_are_one_restart() {
    both(|kind| {
        let (_, [a, b, c]) = puppets();
        let children = [&a, &b, &c].map(|p| p.child(kind).ready_within(LONG));
        let running = of(
            Supervisor::new(Strategy::OneForAll).intensity(1, LONG),
            children,
        )
        .start()
        .expect("up");
        let events = running.events();
        // The last one takes its time, so that the others wait to be stopped.
        c.deafen(0);
        a.order(0, Order::Fail);
        until(&events, "c is asked", |e| {
            e.child() == Some("c") && matches!(e.what(), What::Stopping)
        });
        b.order(0, Order::Fail);
        until_ended(&events, "b");
        c.release.add();
        until_up(&events, "c");
        assert_eq!(state(&running, "b"), Some(ChildState::Running));
        assert_eq!([&a, &b, &c].map(|p| p.runs.get()), [2, 2, 2]);
    });
}
