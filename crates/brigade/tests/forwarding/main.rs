//! What tasks tell by `tracing` and `log`, wherever they run, is told to the program's subscriber,
//! in the span of the task.
#![cfg(target_os = "linux")]

mod ends;
mod recorder;
mod workers;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use brigade::process::Builder;
use brigade::{Kind, Pool, PoolBuilder};
use brigade_test_support::wait;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use recorder::{Recorder, Told};

/// What tasks here tell.
const TARGET: &str = "a_task";

fn builder(kind: Kind, workers: usize, level: LevelFilter) -> PoolBuilder {
    Pool::builder(kind).workers(workers).forward_tracing(level)
}

/// A pool that forwards everything, and the subscriber that was the default when it was built.
fn pool(kind: Kind, workers: usize) -> (Pool, Recorder) {
    let recorder = Recorder::default();
    let build = || builder(kind, workers, LevelFilter::TRACE).build();
    let pool = recorder.listens(build).expect("a pool");
    (pool, recorder)
}

#[track_caller]
fn until(recorder: &Recorder, what: &str, is_so: impl FnMut() -> bool) {
    let told = || recorder.told();
    assert!(
        wait::comes_about(is_so),
        "waited in vain until {what}: {:#?}",
        told()
    );
}

/// Tells something of each sort. Gives the line of that.
fn tells_all(n: u64) -> u32 {
    tracing::warn!(
        target: TARGET,
        n,
        small = -3_i8,
        huge = u128::MAX,
        ratio = 0.5,
        yes = true,
        text = "a \"text\"",
        shown = %format_args!("{}!", n),
        debugged = ?Some(n),
        absent = tracing::field::Empty,
        "told by {n}"
    );
    line!() - 13
}

fn has_arrived(told: &Told, n: u64, line: u32) {
    assert_eq!((told.level, told.target.as_str()), (Level::WARN, TARGET));
    assert_eq!(told.module.as_deref(), Some("forwarding"));
    let file = told.file.as_deref().unwrap_or_default();
    assert!(file.ends_with("tests/forwarding/main.rs"), "{file}");
    assert_eq!(told.line, Some(line));
    let values = [
        ("message", format!("debug told by {n}")),
        ("n", format!("u64 {n}")),
        ("small", "i64 -3".to_owned()),
        ("huge", format!("u128 {}", u128::MAX)),
        ("ratio", "f64 0.5".to_owned()),
        ("yes", "bool true".to_owned()),
        ("text", "str a \"text\"".to_owned()),
        ("shown", format!("debug {n}!")),
        ("debugged", format!("debug Some({n})")),
    ];
    for (name, value) in &values {
        assert_eq!(told.fields.get(name), value, "{told:?}");
    }
    assert_eq!(told.fields.0.len(), values.len(), "{told:?}");
}

#[test]
fn an_event_lies_in_the_span_of_its_task() {
    brigade::init();
    for kind in Kind::ALL {
        let (pool, recorder) = pool(kind, 1);
        let (first, second) = recorder.listens(|| {
            let request = tracing::info_span!("request", id = 7);
            let first = request.in_scope(|| pool.submit(tells_all, 1));
            (first, pool.submit(tells_all, 2))
        });
        // In a pool of threads the events are those of its threads, which have no subscriber here.
        let line = first.join().expect("it returns");
        second.join().expect("it returns");
        let pid = pool.pids().first().copied();
        drop(pool);
        if kind == Kind::Thread {
            until(&recorder, "all is closed", || {
                recorder.open_spans().is_empty()
            });
            assert_eq!(recorder.opened(), 3);
            continue;
        }
        let told = recorder.of_target(TARGET);
        let [first, second] = &told[..] else {
            panic!("two were sent: {told:#?}");
        };
        has_arrived(first, 1, line);
        has_arrived(second, 2, line);
        assert_eq!(first.path(), ["request", "task"]);
        assert_eq!(first.spans[0].fields.get("id"), "i64 7");
        assert_eq!(second.path(), ["task"]);
        for (number, told) in (0..).zip(&told) {
            let fields = &told.span().fields;
            assert_eq!(told.task(), Some(number));
            assert_eq!(fields.text("kind"), "process");
            assert_eq!(fields.text("worker"), pid.expect("a process").to_string());
            assert!(fields.text("name").contains("tells_all"), "{fields:?}");
            assert_eq!(
                fields.get("pool"),
                told.spans.last().expect("a span").fields.get("pool")
            );
        }
        until(&recorder, "all is closed", || {
            recorder.open_spans().is_empty()
        });
    }
}

/// In threads the program's subscriber hears the task itself: the span is the same.
#[test]
fn an_event_in_a_thread_lies_in_the_span_of_its_task() {
    const ROLE: &str = "BRIGADE_TEST_FORWARDING_THREADS";
    let name = "an_event_in_a_thread_lies_in_the_span_of_its_task";
    if std::env::var_os(ROLE).is_none() {
        // A program of its own, for it has a global subscriber.
        let mut again = std::process::Command::new(std::env::current_exe().expect("this program"));
        let ran = again
            .args(["--exact", name])
            .env(ROLE, "1")
            .output()
            .expect("it runs");
        assert!(ran.status.success(), "{ran:?}");
        return;
    }
    brigade::init();
    let recorder = Recorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).expect("the first");
    let pool = builder(Kind::Thread, 2, LevelFilter::INFO)
        .name("pond")
        .build();
    let pool = pool.expect("a pool");
    let request = tracing::info_span!("request", id = 7).entered();
    let line = pool.submit(tells_all, 0).join().expect("it returns");
    assert_eq!(pool.map(tells_all, 1..5).flatten().count(), 4);
    let scoped = pool.scope(|scope| scope.spawn(|| tells_all(5)).join());
    assert_eq!(scoped.expect("threads").expect("it returns"), line);
    drop(request);
    drop(pool);
    let mut told = recorder.of_target(TARGET);
    told.sort_by_key(Told::task);
    assert_eq!(told.len(), 6);
    for (n, told) in (0..).zip(&told) {
        has_arrived(told, n, line);
        assert_eq!(told.path(), ["request", "task"]);
        assert_eq!(told.task(), Some(n));
        let fields = &told.span().fields;
        assert_eq!(fields.text("kind"), "thread");
        let name = fields.text("name");
        let function = if n < 5 { "tells_all" } else { "main.rs" };
        assert!(name.contains(function) && name.contains("pond"), "{name}");
    }
    until(&recorder, "all is closed", || {
        recorder.open_spans().is_empty()
    });
}

/// How many events a warning says were lost.
fn lost(told: &Told) -> usize {
    assert_eq!(
        (told.level, told.span().name),
        (Level::WARN, "worker"),
        "{told:?}"
    );
    told.fields.text("lost").parse().expect("a number")
}

fn tells_its_number(n: u64) -> u64 {
    tracing::info!(target: TARGET, n);
    n
}

fn checks_numbers(recorder: &Recorder, count: u64) {
    let told = recorder.of_target(TARGET);
    let numbers: BTreeSet<u64> = told.iter().filter_map(Told::task).collect();
    assert_eq!(numbers.len(), told.len());
    // They may come faster than this subscriber takes them.
    let lost: usize = recorder
        .of_target("brigade::process")
        .iter()
        .map(lost)
        .sum();
    assert_eq!((told.len() + lost) as u64, count);
    assert!(
        told.len() as u64 >= count.min(500),
        "{} were told",
        told.len()
    );
    for told in &told {
        assert_eq!(
            told.fields.text("n"),
            told.task().expect("a task").to_string()
        );
        assert_eq!(told.path(), ["all", "task"]);
    }
    until(recorder, "all is closed", || {
        recorder.open_spans().is_empty()
    });
}

/// Tasks lie ahead of workers, are taken back, and are given to others: each event is that of the
/// task that sent it.
#[test]
fn each_of_many_tasks_has_its_own() {
    brigade::init();
    const COUNT: u64 = 3000;
    let (pool, recorder) = pool(Kind::Process, 3);
    let mapped = recorder.listens(|| {
        let _all = tracing::info_span!("all").entered();
        // Its numbers are given as its inputs are pulled.
        let mut mapped = pool.map_unordered(tells_its_number, 0..COUNT / 2);
        let first: Vec<_> = mapped.by_ref().take(COUNT as usize / 4).collect();
        assert_eq!(first.len() as u64, COUNT / 4);
        mapped
    });
    // Nobody listens to the events of the pool itself from here on.
    assert_eq!(mapped.count() as u64, COUNT / 4);
    let handles: Vec<_> = recorder.listens(|| {
        let _all = tracing::info_span!("all").entered();
        (COUNT / 2..COUNT)
            .map(|n| pool.submit(tells_its_number, n))
            .collect()
    });
    for handle in handles {
        handle.join().expect("it returns");
    }
    drop(pool);
    checks_numbers(&recorder, COUNT);
}

#[test]
fn unused_workers_tell_too() {
    brigade::init();
    let recorder = Recorder::default();
    let build = || {
        builder(Kind::Process, 2, LevelFilter::INFO)
            .fresh_per_task(true)
            .build()
    };
    let pool = recorder.listens(build).expect("a pool");
    recorder.listens(|| {
        let _all = tracing::info_span!("all").entered();
        assert_eq!(pool.map(tells_its_number, 0..20).flatten().count(), 20);
    });
    drop(pool);
    checks_numbers(&recorder, 20);
}

static FORMATTED: AtomicU32 = AtomicU32::new(0);

struct Counted;

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        FORMATTED.fetch_add(1, Ordering::SeqCst);
        f.write_str("counted")
    }
}

fn tells_by_level(_: ()) -> (bool, u32) {
    tracing::error!(target: TARGET, what = %Counted);
    tracing::info!(target: TARGET, what = %Counted);
    tracing::debug!(target: TARGET, what = %Counted);
    log::info!(target: TARGET, "a record {Counted}");
    log::debug!(target: TARGET, "a record {Counted}");
    let is_enabled = tracing::enabled!(target: TARGET, Level::DEBUG);
    (is_enabled, FORMATTED.load(Ordering::SeqCst))
}

#[test]
fn what_is_above_the_level_costs_the_worker_nothing() {
    brigade::init();
    let recorder = Recorder::default();
    let build = || builder(Kind::Process, 1, LevelFilter::INFO).build();
    let pool = recorder.listens(build).expect("a pool");
    let submit = || pool.submit(tells_by_level, ());
    let ran = recorder.listens(submit).join().expect("it returns");
    assert_eq!(ran, (false, 3));
    drop(pool);
    let levels: Vec<_> = recorder
        .of_target(TARGET)
        .iter()
        .map(|told| told.level)
        .collect();
    assert_eq!(levels, [Level::ERROR, Level::INFO, Level::INFO]);
    let record = &recorder.of_target(TARGET)[2];
    assert_eq!(record.message(), "a record counted");
    assert_eq!((record.path(), record.task()), (vec!["task"], Some(0)));
    let file = record.file.as_deref().unwrap_or_default();
    assert!(
        file.ends_with("main.rs") && record.line.is_some(),
        "{record:?}"
    );
}

/// Nothing is told that was not asked for, and there is no thread for it.
#[test]
fn it_is_off_by_default() {
    brigade::init();
    let recorder = Recorder::default();
    let task = |n: u64| {
        tells_its_number(n);
        tracing::enabled!(Level::ERROR)
    };
    recorder.listens(|| {
        let pool = Pool::processes(1).expect("a pool");
        assert!(!pool.submit(task, 1).join().expect("it returns"));
        let off = Builder::new().forward_tracing(LevelFilter::OFF);
        assert!(
            !off.spawn(task, 1)
                .expect("a worker")
                .join()
                .expect("it returns")
        );
    });
    assert!(recorder.of_target(TARGET).is_empty());
}

/// The builder of processes says so for a pool as well.
#[test]
fn a_pool_has_it_from_its_builder_of_processes() {
    brigade::init();
    let recorder = Recorder::default();
    let process = Builder::new().forward_tracing(LevelFilter::INFO);
    recorder.listens(|| {
        let pool = Pool::builder(Kind::Process)
            .workers(1)
            .process(process)
            .build();
        let pool = pool.expect("a pool");
        pool.submit(tells_its_number, 5).join().expect("it returns");
    });
    let told = recorder.of_target(TARGET);
    assert_eq!(told.len(), 1, "{:#?}", recorder.told());
    assert_eq!(told[0].fields.text("n"), "5");
}
