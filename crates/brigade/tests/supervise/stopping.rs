//! How children are stopped, and what is told of it.

use std::time::Instant;

use brigade::supervise::{
    Child, ChildError, Context, Exit, Reason, Report, Restart, Shutdown, Strategy, Supervisor, What,
};
use brigade::{Kind, process};

use crate::count::Count;
use crate::puppet::{Order, Puppet};
use crate::{LIMIT, LONG, SHORT, both, of, puppets, tireless, until, until_closed};

/// How each child ended, in order.
fn ends(report: &Report) -> Vec<String> {
    let ends = report.children().iter();
    ends.map(|child| match child.exit() {
        Some(exit) => format!("{} {exit}", child.name()),
        None => format!("{} -", child.name()),
    })
    .collect()
}

/// `sup_stop_timeout`, and that the order is the reverse one though the first could be quicker.
#[test]
fn in_reverse_order_each_in_its_time() {
    both(|kind| {
        let (log, [a, b, c]) = puppets();
        let children = [&a, &b, &c].map(|p| p.child(kind).ready_within(LONG));
        let [first, second, third] = children;
        let children = [first, second.shutdown(Shutdown::Grace(SHORT)), third];
        let running = of(Supervisor::new(Strategy::OneForOne), children)
            .start()
            .expect("up");
        b.deafen(0);
        let report = running.shutdown();
        let middle = match kind {
            Kind::Thread => "b did not stop, and was let go",
            Kind::Process => "b was killed",
        };
        assert_eq!(ends(&report), ["c returned", middle, "a returned"]);
        assert_eq!(log.read(), "+a +b +c -c -a");
        assert!(matches!(report.reason(), Reason::Shutdown) && !report.is_failure());
        let left: Vec<_> = report.left_running().iter().map(|name| &**name).collect();
        match kind {
            Kind::Thread => assert_eq!(left, ["b"]),
            Kind::Process => assert!(left.is_empty()),
        }
        b.release.add();
        // It says the same again.
        assert_eq!(ends(&running.shutdown()), ends(&report));
    });
}

/// `sup_stop_brutal_kill`.
#[test]
fn killed_at_once() {
    both(|kind| {
        let (log, [a, b]) = puppets();
        let children = [
            a.child(kind),
            b.child(kind).shutdown(Shutdown::Kill).ready_within(LONG),
        ];
        let running = of(Supervisor::new(Strategy::OneForOne), children)
            .start()
            .expect("up");
        // It would not stop for an hour.
        b.deafen(0);
        a.runs.wait_for(1);
        let report = running.shutdown();
        let exit = report.children()[0].exit().expect("it ran");
        match kind {
            Kind::Thread => assert!(matches!(exit, Exit::LetGo), "{exit}"),
            Kind::Process => assert!(matches!(exit, Exit::Killed), "{exit}"),
        }
        b.release.add();
        assert!(log.read().ends_with("-a"), "{}", log.read());
    });
}

/// `sup_stop_infinity`.
#[test]
fn waited_for_without_a_limit() {
    both(|kind| {
        let (_, [a]) = puppets();
        let child = a
            .child(kind)
            .shutdown(Shutdown::Infinity)
            .ready_within(LONG);
        let running = of(Supervisor::new(Strategy::OneForOne), [child])
            .start()
            .expect("up");
        a.deafen(0);
        let ending = {
            let handle = running.handle();
            std::thread::spawn(move || handle.shutdown())
        };
        // A request comes after the shutdown, and is answered while that waits.
        until_closed(&running);
        assert!(!running.is_finished());
        a.release.add();
        let report = ending.join().expect("no panic");
        assert_eq!(ends(&report), ["a returned"]);
    });
}

/// A process that knows nothing of supervisors.
#[test]
fn sigterm_ends_what_does_not_ask() {
    fn plain(begun: Count) {
        begun.add();
        loop {
            std::thread::park();
        }
    }
    both(|kind| {
        if kind == Kind::Thread {
            return;
        }
        let begun = Count::new();
        let child = Child::process("plain", plain, begun.clone()).shutdown(Shutdown::Grace(LONG));
        let running = of(Supervisor::new(Strategy::OneForOne), [child])
            .start()
            .expect("up");
        begun.wait_for(1);
        let pid = running.children()[0].pid().expect("a process");
        assert_eq!(ends(&running.shutdown()), ["plain was ended by SIGTERM"]);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    });
}

/// One that hears SIGTERM in its own way has its grace time for it.
#[test]
fn a_handler_of_its_own_ends_well() {
    fn handles(begun: Count) {
        use std::sync::atomic::{AtomicBool, Ordering};
        static TOLD: AtomicBool = AtomicBool::new(false);
        extern "C" fn tell(_: libc::c_int) {
            TOLD.store(true, Ordering::SeqCst);
        }
        // SAFETY: the handler stores to an atomic.
        unsafe { libc::signal(libc::SIGTERM, tell as extern "C" fn(libc::c_int) as usize) };
        begun.add();
        while !TOLD.load(Ordering::SeqCst) {
            // SAFETY: it comes back when a signal has.
            unsafe { libc::usleep(10_000) };
        }
    }
    both(|kind| {
        if kind == Kind::Thread {
            return;
        }
        let begun = Count::new();
        let child =
            Child::process("handles", handles, begun.clone()).shutdown(Shutdown::Grace(LONG));
        let running = of(Supervisor::new(Strategy::OneForOne), [child])
            .start()
            .expect("up");
        begun.wait_for(1);
        assert_eq!(ends(&running.shutdown()), ["handles returned"]);
    });
}

/// One that ignores SIGTERM, and leaves a child of its own.
#[test]
fn one_that_ignores_sigterm_is_killed_with_its_children() {
    #[expect(clippy::zombie_processes, reason = "it is to be left behind")]
    fn ignores((begun, inner): (Count, Count)) {
        // SAFETY: no handler is involved.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        let mut sleeper = std::process::Command::new("sleep");
        let sleeper = sleeper.arg("3600").spawn().expect("started");
        for _ in 0..sleeper.id() {
            inner.add();
        }
        begun.add();
        loop {
            std::thread::park();
        }
    }
    both(|kind| {
        if kind == Kind::Thread {
            return;
        }
        let (begun, inner) = (Count::new(), Count::new());
        let input = (begun.clone(), inner.clone());
        let child = Child::process("ignores", ignores, input).shutdown(Shutdown::Grace(SHORT));
        let running = of(Supervisor::new(Strategy::OneForOne), [child])
            .start()
            .expect("up");
        begun.wait_for(1);
        assert_eq!(ends(&running.shutdown()), ["ignores was killed"]);
        let sleeper = format!("/proc/{}/exe", inner.get());
        let start = Instant::now();
        while std::fs::read_link(&sleeper).is_ok() {
            assert!(start.elapsed() < LIMIT, "what it started still runs");
            std::thread::yield_now();
        }
    });
}

/// `simple_one_for_one_shutdown`: all are asked at once, and none waits for another's grace time.
#[test]
fn many_at_once() {
    both(|kind| {
        const MANY: usize = 20;
        let deaf: Vec<Puppet> = puppets::<MANY>().1.into();
        let grace = Shutdown::Grace(5 * SHORT);
        let children = deaf
            .iter()
            .map(|p| p.child(kind).shutdown(grace).ready_within(LONG));
        let running = of(
            Supervisor::new(Strategy::OneForOne).stop_together(true),
            children,
        )
        .start()
        .expect("up");
        for (n, puppet) in deaf.iter().enumerate() {
            if n % 2 == 0 {
                puppet.deafen(0);
            }
        }
        let start = Instant::now();
        let report = running.shutdown();
        // One after the other, those that are deaf alone would take ten times that.
        assert!(
            start.elapsed() < 5 * SHORT * (MANY as u32 / 2),
            "{:?}",
            start.elapsed()
        );
        let ended = |text: &str| ends(&report).iter().filter(|e| e.ends_with(text)).count();
        assert_eq!(ended("returned"), MANY / 2);
        assert_eq!(ended("killed") + ended("let go"), MANY / 2);
        for puppet in &deaf {
            puppet.release.add();
        }
    });
}

#[test]
fn abort_gives_nobody_time() {
    both(|kind| {
        let (_, [a, b]) = puppets();
        let children = [&a, &b].map(|p| {
            p.child(kind)
                .shutdown(Shutdown::Infinity)
                .ready_within(LONG)
        });
        let running = of(Supervisor::new(Strategy::OneForAll), children)
            .start()
            .expect("up");
        b.deafen(0);
        let ending = {
            let handle = running.handle();
            std::thread::spawn(move || handle.shutdown())
        };
        until_closed(&running);
        // It waits for `b` without a limit, until somebody has no more time.
        let report = running.abort();
        let how = match kind {
            Kind::Thread => "did not stop, and was let go",
            Kind::Process => "was killed",
        };
        // The thread `a` may have heard that it is to stop, but nobody waits for that.
        assert_eq!(report.children().len(), 2);
        assert!(ends(&report).contains(&format!("b {how}")), "{report}");
        assert_eq!(ends(&ending.join().expect("no panic")), ends(&report));
        b.release.add();
    });
}

/// A supervisor that is dropped while it restarts: in each state that a restart has.
#[test]
fn dropped_while_restarting() {
    both(|kind| {
        for strategy in [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ] {
            for round in 0..20 {
                let (_, [a, mut b, c]) = puppets();
                b.is_ready = round % 2 == 0;
                b.order(0, Order::BeReady);
                let children = [&a, &b, &c].map(|p| p.child(kind).ready_within(LONG));
                let running = of(tireless(strategy), children).start().expect("up");
                let pids: Vec<_> = running.children().iter().filter_map(|c| c.pid()).collect();
                b.order(0, Order::Panic);
                if round % 4 < 2 {
                    b.runs.wait_for(2);
                }
                drop(running);
                for pid in pids {
                    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
                }
            }
        }
    });
}

/// The start of a supervisor's child hangs, and somebody else ends its process.
#[test]
fn a_watch_that_nobody_keeps_ends_with_its_owner() {
    both(|kind| {
        let (_, [a]) = puppets();
        let running = of(Supervisor::new(Strategy::OneForOne), [a.child(kind)])
            .start()
            .expect("up");
        let handle = running.handle();
        a.runs.wait_for(1);
        drop(running);
        assert!(handle.is_finished());
        assert!(matches!(
            handle.terminate_child("a"),
            Err(ChildError::Closed)
        ));
        assert!(matches!(
            handle.start_child(a.child(kind)),
            Err(ChildError::Closed)
        ));
        assert_eq!(handle.events().count(), 0);
        assert!(!handle.shutdown().is_failure());
    });
}

/// The end of a process is told when it is gone: what it held is free.
#[test]
fn the_old_process_is_gone_before_the_new_one_is_started() {
    fn holds((begun, path): (Count, String)) -> Result<(), String> {
        // Never closed by the task: only the end of the process does that.
        let file = std::fs::File::create(path).expect("created");
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| e.to_string())?;
        let _ = std::mem::ManuallyDrop::new(file);
        begun.add();
        Ok(())
    }
    both(|kind| {
        if kind == Kind::Thread {
            return;
        }
        let begun = Count::new();
        let path = std::env::temp_dir().join(format!("brigade-supervise-{}", std::process::id()));
        let input = (begun.clone(), path.to_string_lossy().into_owned());
        let child = Child::process("holds", holds, input)
            .restart(Restart::Permanent)
            .builder(process::Builder::new().name("replaced"));
        let running = of(
            Supervisor::new(Strategy::OneForOne).intensity(100, LONG),
            [child],
        )
        .start()
        .expect("up");
        let events = running.events();
        let report = running.join();
        let failed = events.filter(|e| e.to_string().contains("failed")).count();
        assert_eq!((begun.get(), failed), (101, 0), "{report}");
        std::fs::remove_file(path).expect("removed");
    });
}

/// A thread in a process that is asked to stop may wait for that, and is woken.
#[test]
fn a_wait_ends_when_it_is_to() {
    fn waits(begun: Count) {
        begun.add();
        Context::current().wait_for_stop();
    }
    both(|kind| {
        for _ in 0..50 {
            let begun = Count::new();
            let child = Child::new(kind, "waits", waits, begun.clone());
            let running = of(Supervisor::new(Strategy::OneForOne), [child])
                .start()
                .expect("up");
            begun.wait_for(1);
            let end = running.shutdown();
            // SIGTERM may have been there before it listened.
            let exit = end.children()[0].exit().expect("it ran").clone();
            assert!(matches!(exit, Exit::Returned | Exit::Terminated), "{exit}");
            assert!(end.left_running().is_empty());
        }
    });
}

/// A limit of time is no reason to lose what is said meanwhile.
#[test]
fn one_that_stops_late_is_let_finish() {
    both(|kind| {
        let (_, [a]) = puppets();
        let child = a
            .child(kind)
            .ready_within(LONG)
            .shutdown(Shutdown::Grace(LONG));
        let running = of(Supervisor::new(Strategy::OneForOne), [child])
            .start()
            .expect("up");
        a.deafen(0);
        let (events, late) = (running.events(), a.release.clone());
        let releaser = std::thread::spawn(move || {
            until(&events, "it is asked", |e| {
                matches!(e.what(), What::Stopping)
            });
            late.add();
        });
        assert_eq!(ends(&running.shutdown()), ["a returned"]);
        releaser.join().expect("no panic");
    });
}
