//! The fork server is stopped: nobody waits for it for ever.

use std::pin::pin;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use brigade::sync::Mutex;
use brigade::{Cause, JoinError, Kind, Pool, Shared, process};
use brigade_test_support::procfs::{has_ended, parent, state};
use brigade_test_support::signal::{go_on, send, stop};
use brigade_test_support::wait::{LIMIT, pause, until};

use crate::Host;
use crate::tasks::{
    self, Flag, crash_of, double, flag, for_ever, is_set, join, running, until_let,
};

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("server_stopped_and_continued_goes_on", continued),
    ("server_stopped_while_idle_is_replaced_when_needed", idle),
    ("server_stopped_while_workers_are_asked_for", asked_for),
    ("server_stopped_time_is_over_all_the_same", timeout),
    ("server_stopped_cancelled_all_the_same", cancel),
    ("server_stopped_with_a_time_of_grace", grace),
    ("server_stopped_join_timeout_holds", join_timeout),
    ("server_stopped_a_large_result_can_be_waited_for", large),
    ("server_stopped_its_tasks_are_lost_in_the_end", lost),
    ("server_stopped_a_pool_moves", pool_moves),
    ("server_stopped_its_socket_full", full_socket),
    ("server_stopped_a_pool_is_dropped", dropped),
    ("server_stopped_a_pool_is_aborted", aborted),
    ("server_stopped_a_pool_is_built", built),
    ("server_stopped_who_waits_for_a_dead_workers_lock", lock),
    ("server_stopped_again_and_again", again),
];

/// That it has not been replaced: it was this one that nobody waited for.
fn is_still_stopped(server: u32) {
    assert_eq!(state(server).ok(), Some('T'), "it was not waited for");
}

/// That everything goes on, with another fork server.
fn is_replaced(server: u32) {
    until("it is given up", || {
        // Its last spares may do, or go with it.
        let ended = join(process::spawn(double, 4).expect("a process"));
        assert!(ended.map_or_else(
            |e| crash_of::<u32>(Err(e)).cause() == &Cause::Lost,
            |n| n == 8
        ));
        has_ended(server)
    });
    let other = tasks::server();
    assert_ne!(other, server);
    until("the old one is gone", || has_ended(server));
}

fn continued() {
    let server = tasks::server();
    let (handle, pid) = running();
    let pool = Pool::processes(2).expect("a pool");
    for _ in 0..5 {
        stop(server);
        pause(Duration::from_millis(1200));
        go_on(server);
        assert_eq!(pool.map(double, 0..100).filter(|r| r.is_ok()).count(), 100);
        assert_eq!(tasks::server(), server);
    }
    assert!(!has_ended(pid) && !handle.is_finished());
    handle.cancel();
    assert!(matches!(join(handle), Err(JoinError::Cancelled)));
    assert!(has_ended(pid));
    assert_eq!(parent(pool.pids()[0]).expect("it is there"), server);
}

fn idle() {
    let server = tasks::server();
    // Until it has made new spares, and it was seen that nobody needs it.
    pause(Duration::from_secs(3));
    stop(server);
    // Nobody asks it anything: it is nobody's business how long it is stopped.
    pause(Duration::from_secs(12));
    is_still_stopped(server);
    is_replaced(server);
}

fn asked_for() {
    let server = tasks::server();
    stop(server);
    // More than there are spares.
    let threads: Vec<_> = (0..12)
        .map(|n| std::thread::spawn(move || process::spawn(double, n)))
        .collect();
    for (n, thread) in (0..).zip(threads) {
        let spawned = thread.join().expect("no panic");
        match join(spawned.expect("from another fork server, if need be")) {
            Ok(doubled) => assert_eq!(doubled, n * 2),
            Err(other) => assert_eq!(crash_of::<u32>(Err(other)).cause(), &Cause::Lost),
        }
    }
    is_replaced(server);
}

fn timeout() {
    for timeout in [Duration::from_millis(50), Duration::from_millis(700)] {
        let pool = Pool::builder(Kind::Process).workers(1).timeout(timeout);
        let pool = pool.build().expect("a pool");
        let begun = flag();
        let handle = pool.submit(
            until_stopped,
            (begun.clone(), parent(pool.pids()[0]).expect("it is there")),
        );
        let pid = is_set(&begun);
        let server = parent(pid).expect("it is there");
        let ended = join(handle);
        is_still_stopped(server);
        assert!(
            matches!(&ended, Err(JoinError::TimedOut(over)) if over.after() == timeout),
            "{ended:?}"
        );
        assert!(has_ended(pid));
        go_on(server);
        assert_eq!(
            join(pool.submit(double, 4)).expect("there is another worker"),
            8
        );
        assert_eq!(tasks::server(), server);
    }
}

/// A task that stops its fork server, and never ends.
fn until_stopped((begun, server): (Flag, u32)) -> u32 {
    stop(server);
    for_ever(begun)
}

fn cancel() {
    let server = tasks::server();
    let pool = Pool::processes(2).expect("a pool");
    for pooled in [false, true] {
        let begun = flag();
        let handle = if pooled {
            pool.submit(for_ever, begun.clone())
        } else {
            process::spawn(for_ever, begun.clone()).expect("a process")
        };
        let pid = is_set(&begun);
        stop(server);
        handle.cancel();
        let ended = join(handle);
        is_still_stopped(server);
        assert!(matches!(ended, Err(JoinError::Cancelled)), "{ended:?}");
        assert!(has_ended(pid));
        go_on(server);
        assert_eq!(join(pool.submit(double, 4)).expect("there is a worker"), 8);
        until("it is reaped", || state(pid).is_err());
        assert_eq!(tasks::server(), server);
    }
}

fn grace() {
    let server = tasks::server();
    // Ends by the signal, and nobody has to wait for the end of its time.
    let builder = process::Builder::new().grace(Duration::from_secs(3600));
    let begun = flag();
    let handle = builder.spawn(for_ever, begun.clone()).expect("a process");
    let pid = is_set(&begun);
    stop(server);
    handle.cancel();
    assert!(matches!(join(handle), Err(JoinError::Cancelled)));
    is_still_stopped(server);
    assert!(has_ended(pid));
    go_on(server);
    assert_eq!(tasks::server(), server);
    // One that is deaf is killed when its time is over.
    let builder = process::Builder::new().grace(Duration::from_millis(300));
    let begun = flag();
    let handle = builder
        .spawn(
            |begun: Flag| {
                // SAFETY: ignores a signal.
                unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
                for_ever(begun)
            },
            begun.clone(),
        )
        .expect("a process");
    let pid = is_set(&begun);
    stop(server);
    handle.cancel();
    assert!(matches!(join(handle), Err(JoinError::Cancelled)));
    is_still_stopped(server);
    assert!(has_ended(pid));
    go_on(server);
    assert_eq!(tasks::server(), server);
}

fn join_timeout() {
    let server = tasks::server();
    let pool = Pool::processes(1).expect("a pool");
    for pooled in [false, true] {
        let begun = flag();
        let mut handle = if pooled {
            pool.submit(for_ever, begun.clone())
        } else {
            process::spawn(for_ever, begun.clone()).expect("a process")
        };
        let pid = is_set(&begun);
        stop(server);
        send(pid, libc::SIGKILL);
        for _ in 0..3 {
            handle = match handle.join_timeout(Duration::from_millis(100)) {
                Err(handle) => handle,
                Ok(ended) => panic!("nobody can know how: {ended:?}"),
            };
        }
        is_still_stopped(server);
        go_on(server);
        let crash = crash_of(join(handle));
        assert_eq!(crash.cause(), &Cause::Killed(libc::SIGKILL));
    }
    // It breaks the protocol, or is cancelled when it has: nobody waits longer than he likes.
    let begun = flag();
    let handle = process::spawn(scribble, begun.clone()).expect("a process");
    is_set(&begun);
    stop(server);
    begun.store(0, SeqCst);
    // It wakes nobody; whoever looks again sees it.
    let mut handle = Some(handle);
    let mut ended = None;
    until("it is seen", || {
        match handle
            .take()
            .expect("once")
            .join_timeout(Duration::from_millis(20))
        {
            Ok(e) => ended = Some(e),
            Err(h) => handle = Some(h),
        }
        ended.is_some()
    });
    let ended = ended.expect("it was seen");
    assert_eq!(crash_of(ended).cause(), &Cause::Lost);
    is_still_stopped(server);
    go_on(server);
    assert_eq!(tasks::server(), server);
}

/// Writes over its mailbox when it is let, and goes on.
fn scribble(begun: Flag) -> u32 {
    begun.store(std::process::id(), SeqCst);
    while begun.load(SeqCst) != 0 {
        pause(Duration::from_millis(1));
    }
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    for line in maps.lines().filter(|l| l.contains("memfd:brigade-mailbox")) {
        let range = line.split_once(' ').expect("a range").0;
        let (low, high) = range.split_once('-').expect("two ends");
        let hex = |digits| usize::from_str_radix(digits, 16).expect("hex");
        let (low, high) = (hex(low), hex(high));
        // SAFETY: none: it is mapped and writable, and not ours to write.
        unsafe { std::ptr::write_bytes(low as *mut u8, 0xff, high - low) };
    }
    loop {
        std::thread::park();
    }
}

/// Returns a large value when its fork server is stopped. No descriptor comes with its input, so
/// that nobody has asked for its descriptor socket.
fn large_when_stopped(server: u32) -> Vec<u8> {
    until("the fork server is stopped", || {
        state(server).ok() == Some('T')
    });
    vec![3; 1 << 20]
}

fn large() {
    let server = tasks::server();
    let pool = Pool::processes(1).expect("a pool");
    for pooled in [false, true] {
        let mut handle = if pooled {
            pool.submit(large_when_stopped, server)
        } else {
            process::spawn(large_when_stopped, server).expect("a process")
        };
        stop(server);
        until("it has replied", || pooled || handle.is_finished());
        let start = Instant::now();
        for _ in 0..3 {
            handle = match handle.join_timeout(Duration::from_millis(100)) {
                Err(handle) => handle,
                Ok(ended) => panic!("it cannot be had yet: {}", ended.is_ok()),
            };
        }
        let mut polled = pin!(handle);
        let poll = polled
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
        // Nobody was held up by the fork server, which would have been replaced.
        assert!(start.elapsed() < LIMIT);
        is_still_stopped(server);
        go_on(server);
        let mut value = None;
        until("it is there", || {
            match polled
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(ended) => value = Some(ended.expect("it returned")),
                Poll::Pending => {}
            }
            value.is_some()
        });
        assert_eq!(value, Some(vec![3; 1 << 20]));
        assert_eq!(tasks::server(), server);
    }
}

fn lost() {
    let server = tasks::server();
    let (one, pid) = running();
    let (other, other_pid) = running();
    stop(server);
    send(pid, libc::SIGKILL);
    // Of one it is not known how it died; the other lives, and goes with its fork server.
    assert_eq!(crash_of(join(one)).cause(), &Cause::Lost);
    assert_eq!(crash_of(join(other)).cause(), &Cause::Lost);
    until("they are gone", || has_ended(pid) && has_ended(other_pid));
    is_replaced(server);
}

fn pool_moves() {
    let pool = Pool::processes(3).expect("a pool");
    let server = parent(pool.pids()[0]).expect("it is there");
    let begun: Vec<Flag> = (0..3).map(|_| flag()).collect();
    let handles: Vec<_> = begun
        .iter()
        .map(|b| pool.submit(for_ever, b.clone()))
        .collect();
    let pids: Vec<u32> = begun.iter().map(is_set).collect();
    let behind: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
    stop(server);
    for handle in handles {
        assert_eq!(crash_of(join(handle)).cause(), &Cause::Lost);
    }
    for (n, handle) in (0..).zip(behind) {
        assert_eq!(join(handle).expect("it was not begun"), n * 2);
    }
    until("the old workers are gone", || {
        pids.iter().all(|&pid| has_ended(pid))
    });
    assert_ne!(parent(pool.pids()[0]).expect("it is there"), server);
    is_replaced(server);
}

fn full_socket() {
    // A request for each of them is more than a socket holds.
    let pool = Pool::processes(600).expect("a pool");
    let server = parent(pool.pids()[0]).expect("it is there");
    let pids = pool.pids();
    stop(server);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let (begun, finished) = (flag(), flag());
        let theirs = finished.clone();
        let pool = Pool::builder(Kind::Thread)
            .workers(1)
            .build()
            .expect("a pool");
        let other = pool.submit(until_let, (begun.clone(), finished.clone()));
        is_set(&begun);
        scope.spawn(move || {
            // Whoever needs the host's side of it meanwhile is not held up either.
            let spawned = process::spawn(double, 1).expect("there are spares");
            assert_eq!(join(spawned).expect("it returns"), 2);
            theirs.store(1, SeqCst);
        });
        assert_eq!(join(other).expect("it is let"), 7);
    });
    drop(pool);
    assert!(start.elapsed() < LIMIT);
    until("all are dead", || pids.iter().all(|&pid| has_ended(pid)));
    go_on(server);
    until("all are reaped", || {
        pids.iter().all(|&pid| state(pid).is_err())
    });
}

fn dropped() {
    let pool = Pool::processes(4).expect("a pool");
    let pids = pool.pids();
    let server = parent(pids[0]).expect("it is there");
    let last = pool.submit(double, 3);
    stop(server);
    drop(pool);
    is_still_stopped(server);
    assert_eq!(join(last).expect("what was accepted is finished"), 6);
    assert!(pids.iter().all(|&pid| has_ended(pid)));
    go_on(server);
    assert_eq!(tasks::server(), server);
}

fn aborted() {
    let pool = Pool::processes(2).expect("a pool");
    let begun: Vec<Flag> = (0..2).map(|_| flag()).collect();
    let handles: Vec<_> = begun
        .iter()
        .map(|b| pool.submit(for_ever, b.clone()))
        .collect();
    let pids: Vec<u32> = begun.iter().map(is_set).collect();
    let server = parent(pids[0]).expect("it is there");
    stop(server);
    pool.abort();
    is_still_stopped(server);
    for handle in handles {
        assert!(matches!(join(handle), Err(JoinError::Cancelled)));
    }
    assert!(pids.iter().all(|&pid| has_ended(pid)));
    go_on(server);
}

fn built() {
    let server = tasks::server();
    stop(server);
    let pool = Pool::processes(20).expect("from another fork server");
    assert_eq!(
        pool.map(double, 0..1000).filter(|r| r.is_ok()).count(),
        1000
    );
    until("the old one is gone", || has_ended(server));
}

fn lock() {
    fn hold((begun, mutex): (Flag, Shared<Mutex<u32>>)) {
        let _held = mutex.lock();
        for_ever(begun);
    }
    let server = tasks::server();
    let mutex = Shared::new(Mutex::new(0)).expect("a region");
    let begun = flag();
    let handle = process::spawn(hold, (begun.clone(), mutex.clone())).expect("a process");
    let pid = is_set(&begun);
    stop(server);
    send(pid, libc::SIGKILL);
    assert!(mutex.lock().is_err(), "its holder has died");
    drop(handle);
    is_replaced(server);
}

fn again() {
    // It may be stopped at any moment, and for any time: each task ends once.
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .retries(20)
        .build()
        .expect("a pool");
    let mut server = parent(pool.pids()[0]).expect("it is there");
    for turn in 0..40_u32 {
        let handles: Vec<_> = (0..20).map(|n| pool.submit(double, n)).collect();
        let spawned = process::spawn(double, turn).expect("a process");
        stop(server);
        if turn % 4 == 0 {
            send(pool.pids()[0], libc::SIGKILL);
        }
        pause(Duration::from_millis(u64::from(turn % 7) * 20));
        go_on(server);
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(join(handle).expect("it is run again"), n * 2);
        }
        assert_eq!(join(spawned).expect("it returns"), turn * 2);
        until("there is a worker", || !pool.pids().is_empty());
        let now = tasks::server();
        assert_eq!(now, server, "it was never stopped for long");
        server = now;
    }
}
