//! Children die from outside, at any moment.

use std::collections::BTreeSet;

use brigade::Kind;
use brigade::supervise::{Exit, Handle, Strategy, What};

use crate::puppet::{Order, Puppet};
use crate::{LONG, both, of, puppets, tireless, until};

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
