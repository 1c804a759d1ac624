//! Workers are stopped; or go on when they should have ended.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade::{JoinError, Kind, Pool, process};
use brigade_test_support::procfs::{children, has_ended, parent, state};
use brigade_test_support::signal::{go_on, send, stop};
use brigade_test_support::wait::{pause, until};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::Host;
use crate::host::run_for;
use crate::tasks::{Flag, double, flag, for_ever, is_set, join, server, until_let};

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("a_stopped_worker_is_told", told),
    ("a_stopped_worker_waits_for_whoever_stopped_it", waits),
    ("a_worker_stopped_for_a_while_has_its_time", a_while),
    ("a_stopped_worker_is_timed_out", timed_out),
    (
        "a_stopped_worker_is_timed_out_whatever_the_fork_server_does",
        both_stopped,
    ),
    ("a_stopped_worker_is_cancelled", cancelled),
    ("a_stopped_worker_is_given_its_time_of_grace", grace),
    ("a_stopped_spare_is_not_used", spare),
    ("a_stopped_worker_that_did_not_begin", not_begun),
    ("a_worker_that_has_replied_and_goes_on_is_ended", goes_on),
];

/// What was said by the pool: the name of each event, and the worker.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<Vec<(String, u64)>>>);

impl Said {
    fn has(&self, event: &str, worker: u32) -> bool {
        let said = self.0.lock().expect("not poisoned");
        said.contains(&(event.to_owned(), u64::from(worker)))
    }
}

#[derive(Default)]
struct Fields {
    name: String,
    worker: u64,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "worker" {
            self.worker = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.name = value.to_owned();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "brigade::pool" && *metadata.level() <= tracing::Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut said = self.0.lock().expect("not poisoned");
        said.push((fields.name, fields.worker));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn told() {
    let said = Said::default();
    tracing::subscriber::set_global_default(said.clone()).expect("the first");
    let pool = Pool::processes(2).expect("a pool");
    assert_eq!(pool.stats().stopped, 0);
    let (begun, gate) = (flag(), flag());
    let handle = pool.submit(until_let, (begun.clone(), gate.clone()));
    let pid = is_set(&begun);
    for _ in 0..5 {
        stop(pid);
        until("it is told", || {
            pool.stats().stopped == 1 && said.has("stopped", pid)
        });
        // Others go on.
        assert_eq!(join(pool.submit(double, 2)).expect("returns"), 4);
        go_on(pid);
        until("it is told", || {
            pool.stats().stopped == 0 && said.has("continued", pid)
        });
        said.0.lock().expect("not poisoned").clear();
    }
    // One that has nothing to do as well.
    gate.store(1, SeqCst);
    assert_eq!(join(handle).expect("returns"), 7);
    let idle = pool.pids()[0];
    stop(idle);
    until("it is told", || {
        pool.stats().stopped == 1 && said.has("stopped", idle)
    });
    send(idle, libc::SIGKILL);
    until("it is gone", || pool.stats().stopped == 0);
}

fn waits() {
    let pool = Pool::processes(1).expect("a pool");
    for pooled in [true, false] {
        let (begun, gate) = (flag(), flag());
        let input = (begun.clone(), gate.clone());
        let handle = if pooled {
            pool.submit(until_let, input)
        } else {
            process::spawn(until_let, input).expect("a process")
        };
        let pid = is_set(&begun);
        stop(pid);
        gate.store(1, SeqCst);
        // Longer than a fork server may take to answer.
        let handle = handle
            .join_timeout(Duration::from_secs(12))
            .expect_err("it stands");
        assert_eq!(state(pid).ok(), Some('T'));
        go_on(pid);
        assert_eq!(join(handle).expect("it is as if nothing were"), 7);
    }
    assert_eq!(pool.stats().restarts, 0);
}

fn a_while() {
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .timeout(Duration::from_secs(1));
    let pool = pool.build().expect("a pool");
    for _ in 0..3 {
        let handle = pool.submit(run_for, 600);
        until("it runs", || handle.pid().is_some());
        let pid = handle.pid().expect("it runs");
        for _ in 0..4 {
            pause(Duration::from_millis(60));
            stop(pid);
            pause(Duration::from_millis(400));
            go_on(pid);
        }
        assert_eq!(join(handle).expect("it had not had its time"), 600);
    }
}

fn timed_out() {
    let time = Duration::from_millis(700);
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .timeout(time)
        .build();
    let pool = pool.expect("a pool");
    for _ in 0..3 {
        let begun = flag();
        let handle = pool.submit(for_ever, begun.clone());
        let pid = is_set(&begun);
        stop(pid);
        let ended = join(handle);
        assert!(
            matches!(&ended, Err(JoinError::TimedOut(over)) if over.after() == time),
            "{ended:?}"
        );
        assert!(state(pid).is_err(), "it is gone when that is told");
        assert_eq!(join(pool.submit(double, 2)).expect("there is another"), 4);
    }
}

fn both_stopped() {
    let time = Duration::from_millis(700);
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .timeout(time)
        .build();
    let pool = pool.expect("a pool");
    let begun = flag();
    let handle = pool.submit(for_ever, begun.clone());
    let pid = is_set(&begun);
    let server = parent(pid).expect("it is there");
    stop(server);
    stop(pid);
    let ended = join(handle);
    assert_eq!(state(server).ok(), Some('T'), "it was not waited for");
    assert!(matches!(ended, Err(JoinError::TimedOut(_))), "{ended:?}");
    assert!(has_ended(pid));
    go_on(server);
    assert_eq!(join(pool.submit(double, 2)).expect("there is another"), 4);
}

fn cancelled() {
    let pool = Pool::processes(1).expect("a pool");
    for pooled in [true, false] {
        let begun = flag();
        let handle = if pooled {
            pool.submit(for_ever, begun.clone())
        } else {
            process::spawn(for_ever, begun.clone()).expect("a process")
        };
        let pid = is_set(&begun);
        stop(pid);
        handle.cancel();
        assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        assert!(state(pid).is_err());
    }
    assert_eq!(join(pool.submit(double, 2)).expect("there is another"), 4);
}

fn grace() {
    // Longer than this test may take.
    let builder = process::Builder::new().grace(Duration::from_secs(3600));
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .process(builder.clone())
        .build();
    let pool = pool.expect("a pool");
    for pooled in [true, false] {
        let begun = flag();
        let handle = if pooled {
            pool.submit(for_ever, begun.clone())
        } else {
            builder.spawn(for_ever, begun.clone()).expect("a process")
        };
        let pid = is_set(&begun);
        stop(pid);
        handle.cancel();
        assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        assert!(state(pid).is_err());
    }
}

fn spare() {
    let pool = Pool::processes(1).expect("a pool");
    let worker = pool.pids()[0];
    let server = server();
    let spares = || {
        let mut all = children(server).expect("children");
        all.retain(|&pid| pid != worker);
        all
    };
    until("there are spares", || spares().len() >= 4);
    let spares = spares();
    for &pid in &spares {
        stop(pid);
    }
    // The fork server tells of a stop when it has taken notice of all that came before.
    for _ in 0..2 {
        stop(worker);
        until("it has looked", || pool.stats().stopped == 1);
        go_on(worker);
        until("it has looked", || pool.stats().stopped == 0);
    }
    for n in 0..10 {
        let handle = process::spawn(double, n).expect("a process");
        assert_eq!(join(handle).expect("another did it"), n * 2);
    }
    until("they are gone", || {
        spares.iter().all(|&pid| state(pid).is_err())
    });
}

fn not_begun() {
    let pool = Pool::processes(2).expect("a pool");
    let idle = pool.pids();
    stop(idle[0]);
    // It was given some of these, perhaps, and another does them.
    for (n, ended) in (0..).zip(pool.map(double, 0..1000)) {
        assert_eq!(ended.expect("it returns"), n * 2);
    }
    go_on(idle[0]);
    let (begun, gate) = (flag(), flag());
    let both: Vec<_> = (0..2)
        .map(|_| pool.submit(until_let, (begun.clone(), gate.clone())))
        .collect();
    gate.store(1, SeqCst);
    for handle in both {
        assert_eq!(join(handle).expect("it returns"), 7);
    }
}

/// A task that returns, and whose worker can then not end: the system calls for that are refused,
/// and where the C library has nothing else it faults, which is caught.
fn stays((begun, _): (Flag, u32)) -> u32 {
    extern "C" fn stand(_: i32) {
        loop {
            std::thread::park();
        }
    }
    const ALLOW: u32 = 0x7fff_0000;
    const REFUSE: u32 = 0x0005_0000 | 1;
    let filter = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let is = |call: libc::c_long, skip: u8| {
        filter(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            skip,
            0,
            call as u32,
        )
    };
    let mut filters = [
        // The number of the call comes first: seccomp(2).
        filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        is(libc::SYS_exit_group, 2),
        is(libc::SYS_exit, 1),
        filter(libc::BPF_RET | libc::BPF_K, 0, 0, ALLOW),
        filter(libc::BPF_RET | libc::BPF_K, 0, 0, REFUSE),
    ];
    let program = libc::sock_fprog {
        len: filters.len() as u16,
        filter: filters.as_mut_ptr(),
    };
    // SAFETY: the handler only waits; the program lives across the call.
    unsafe {
        for fault in [libc::SIGSEGV, libc::SIGILL, libc::SIGTRAP] {
            libc::signal(fault, stand as extern "C" fn(i32) as usize);
        }
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
        assert_eq!(set, 0);
    }
    begun.store(std::process::id(), SeqCst);
    7
}

fn goes_on() {
    let server = server();
    for turn in 0..4 {
        let begun = flag();
        let handle = process::spawn(stays, (begun.clone(), turn)).expect("a process");
        let pid = is_set(&begun);
        if turn == 3 {
            // Nobody wants to know; and it has said all that it had to say.
            until("it has replied", || handle.is_finished());
            drop(handle);
        } else {
            assert_eq!(join(handle).expect("it returned"), 7);
        }
        until("it is ended", || state(pid).is_err());
    }
    // One whose handle is dropped while its task runs goes on.
    let (begun, gate) = (flag(), flag());
    drop(process::spawn(until_let, (begun.clone(), gate.clone())).expect("a process"));
    let pid = is_set(&begun);
    pause(Duration::from_secs(3));
    assert!(!has_ended(pid));
    gate.store(1, SeqCst);
    until("it ends", || state(pid).is_err());
    assert_eq!(self::server(), server);
}
