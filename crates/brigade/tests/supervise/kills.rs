//! Children die from outside, at any moment.

use std::collections::BTreeSet;

use brigade::Kind;
use brigade::supervise::{Child, ChildState, Exit, Handle, Shutdown, Strategy, What};
use brigade_test_support::{procfs, signal, wait};

use crate::puppet::{Order, Puppet};
use crate::{LONG, SHORT, alone, both, of, puppets, state, tireless, until, until_ended, until_up};

const CHILDREN: usize = 4;
const ROUNDS: u32 = 200;

/// A number that follows another: xorshift.
fn next(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 33) as usize
}

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Ends the child's last run, as nobody expects it.
fn hit(handle: &Handle, puppet: &Puppet, kind: Kind) {
    match kind {
        Kind::Thread => puppet.order_last(Order::Panic),
        Kind::Process => {
            let children = handle.children();
            let child = children.iter().find(|c| c.name() == puppet.name());
            let pid = child.and_then(|c| c.pid()).expect("it runs");
            // SAFETY: no memory is involved.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
    }
}

#[test]
fn two_hundred_rounds_for_each_strategy() {
    both(|kind| {
        let rounds = match kind {
            Kind::Thread => ROUNDS,
            Kind::Process => ROUNDS,
        };
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            let (_, puppets) = puppets::<CHILDREN>();
            let children = puppets.each_ref().map(|p| p.child(kind).ready_within(LONG));
            let running = of(tireless(strategy), children).start().expect("up");
            let events = running.events();
            let mut seed = 0x9E37_79B9_7F4A_7C15;
            let mut expected = [1_u32; CHILDREN];
            let mut seen = BTreeSet::new();
            for round in 0..rounds {
                let victim = next(&mut seed) % CHILDREN;
                let before: Vec<_> = running.children().iter().map(|c| c.pid()).collect();
                hit(&running, &puppets[victim], kind);
                let group = match strategy {
                    Strategy::OneForOne => victim..victim + 1,
                    Strategy::OneForAll => 0..CHILDREN,
                    Strategy::RestForOne => victim..CHILDREN,
                };
                let mut up = Vec::new();
                while up.len() < group.len() {
                    let event = until(&events, "its group is up", |e| {
                        matches!(e.what(), What::Started | What::Ended(_))
                    });
                    match event.what() {
                        What::Started => up.push(event.child().expect("a child").to_owned()),
                        // The victim as it was killed, the others as they were asked.
                        What::Ended(exit) => assert_eq!(
                            event.child() == Some(&puppets[victim].name()),
                            matches!(exit, Exit::Died(_)),
                            "{event}"
                        ),
                        _ => unreachable!("looked for"),
                    }
                }
                let names: Vec<_> = puppets[group.clone()].iter().map(Puppet::name).collect();
                assert_eq!(up, names, "round {round} of {strategy:?}");
                for n in group.clone() {
                    expected[n] += 1;
                }
                assert_eq!(puppets.each_ref().map(|p| p.runs.get()), expected);
                assert_eq!(running.counts().running, CHILDREN);
                let after: Vec<_> = running.children().iter().map(|c| c.pid()).collect();
                for n in 0..CHILDREN {
                    assert_eq!(after[n].is_some(), kind == Kind::Process);
                    if kind == Kind::Process {
                        assert_eq!(before[n] != after[n], group.contains(&n));
                        assert!(exists(after[n].expect("a process")));
                        seen.insert(after[n]);
                        if group.contains(&n) {
                            assert!(!exists(before[n].expect("a process")), "it is gone before");
                        }
                    }
                }
            }
            assert!(events.try_next().is_none(), "nothing else has happened");
            let report = running.shutdown();
            assert!(report.left_running().is_empty(), "{report}");
            for pid in seen.into_iter().flatten() {
                assert!(!exists(pid));
            }
        }
    });
}

/// Killed while others are: wherever a restart is at that moment. In the end all are up, and each
/// once.
#[test]
fn storms() {
    both(|kind| {
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            let (_, puppets) = puppets::<CHILDREN>();
            let children = puppets.each_ref().map(|p| p.child(kind).ready_within(LONG));
            let running = of(tireless(strategy), children).start().expect("up");
            let mut seed = 0x2545_F491_4F6C_DD1D;
            for _ in 0..20 {
                for _ in 0..4 {
                    let victim = &puppets[next(&mut seed) % CHILDREN];
                    match kind {
                        Kind::Thread => victim.order_last(Order::Panic),
                        Kind::Process => {
                            let pids = running.children();
                            let at = next(&mut seed) % CHILDREN;
                            if let Some(pid) = pids.get(at).and_then(|c| c.pid()) {
                                // SAFETY: no memory is involved.
                                unsafe { libc::kill(pid as i32, libc::SIGKILL) };
                            }
                        }
                    }
                }
                let start = std::time::Instant::now();
                while running.counts().running < CHILDREN {
                    assert!(start.elapsed() < crate::LIMIT, "{:?}", running.children());
                    std::thread::yield_now();
                }
            }
            let pids: BTreeSet<_> = running.children().iter().filter_map(|c| c.pid()).collect();
            match kind {
                Kind::Thread => assert!(pids.is_empty()),
                Kind::Process => assert!(pids.len() <= CHILDREN),
            }
            assert!(!running.shutdown().is_failure());
        }
    });
}

fn stop(handle: &Handle, child: &str) {
    let children = handle.children();
    let child = children.iter().find(|c| c.name() == child);
    let pid = child.and_then(|c| c.pid()).expect("it runs");
    assert!(signal::send(pid, libc::SIGSTOP));
    wait::until("it is stopped", || procfs::state(pid).ok() == Some('T'));
}

/// SIGSTOP, a debugger: it says nothing, and is silent as any other that hangs.
#[test]
fn a_stopped_process_is_ended_by_its_watchdog() {
    alone(Kind::Process, |kind| {
        let (_, [a]) = puppets();
        a.order_all(Order::Live);
        let running = of(
            tireless(Strategy::OneForOne),
            [a.child(kind).ready_within(LONG).watchdog(SHORT)],
        )
        .start()
        .expect("up");
        let events = running.events();
        for _ in 0..3 {
            stop(&running, "a");
            let exit = until_ended(&events, "a");
            assert!(matches!(exit, Exit::NotAlive(_)), "{exit}");
            until_up(&events, "a");
        }
        assert_eq!(running.shutdown().children().len(), 1);
    });
}

/// It is left alone without a watchdog. One that listens cannot hear that it is to stop, and is
/// killed after its grace time; with SIGTERM comes SIGCONT.
#[test]
fn a_stopped_process_ends_when_it_is_to_stop() {
    fn deaf(_: u8) {
        loop {
            std::thread::park();
        }
    }
    alone(Kind::Process, |kind| {
        let (_, [a]) = puppets();
        let children = [
            a.child(kind).ready_within(LONG),
            Child::new(kind, "deaf", deaf, 0),
        ]
        .map(|child| child.shutdown(Shutdown::Grace(SHORT)));
        let running = of(tireless(Strategy::OneForOne), children)
            .start()
            .expect("up");
        let events = running.events();
        for child in ["a", "deaf"] {
            stop(&running, child);
            assert_eq!(state(&running, child), Some(ChildState::Running));
            running.terminate_child(child).expect("it is there");
            let exit = until_ended(&events, child);
            match child {
                "a" => assert!(matches!(exit, Exit::Killed), "{exit}"),
                _ => assert!(matches!(exit, Exit::Terminated), "{exit}"),
            }
        }
        assert!(!running.shutdown().is_failure());
    });
}
