//! What is told when a worker crashes, floods the program, or runs a single task; and when the
//! subscriber itself is no help.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use brigade::process::Builder;
use brigade::{JoinError, Kind};
use tracing::level_filters::LevelFilter;

use crate::recorder::Recorder;
use crate::{TARGET, builder, lost, pool, tells_its_number, until};

const LAST_WORDS: u32 = 50;

fn tells_and_dies(n: u32) {
    for last in 0..LAST_WORDS {
        tracing::error!(target: TARGET, n, last, "about to die");
    }
    std::process::abort();
}

#[test]
fn what_was_sent_before_a_crash_is_told() {
    brigade::init();
    let (pool, recorder) = pool(Kind::Process, 2);
    let ended = recorder.listens(|| pool.map(tells_and_dies, 0..3).collect::<Vec<_>>());
    assert!(
        ended
            .iter()
            .all(|end| matches!(end, Err(JoinError::Crashed(_)))),
        "{ended:?}"
    );
    drop(pool);
    let told = recorder.of_target(TARGET);
    for n in 0..3 {
        let mut of_this = told.iter().filter(|told| told.task() == Some(n));
        for last in 0..LAST_WORDS {
            let told = of_this.next().expect("all of them");
            assert_eq!(told.fields.text("n"), n.to_string());
            assert_eq!(told.fields.text("last"), last.to_string());
        }
        assert!(of_this.next().is_none());
    }
    until(&recorder, "all is closed", || {
        recorder.open_spans().is_empty()
    });
}

fn dies_the_first_time(n: u32) -> u32 {
    tracing::info!(target: TARGET, attempt = brigade::attempt());
    if brigade::attempt() == 1 {
        std::process::abort();
    }
    n
}

#[test]
fn each_run_of_a_task_has_a_span() {
    brigade::init();
    let recorder = Recorder::default();
    let build = || {
        builder(Kind::Process, 1, LevelFilter::INFO)
            .retries(1)
            .build()
    };
    let pool = recorder.listens(build).expect("a pool");
    let handle = recorder.listens(|| pool.submit(dies_the_first_time, 7));
    assert_eq!(handle.join().expect("the second time"), 7);
    drop(pool);
    let told = recorder.of_target(TARGET);
    let attempts: Vec<_> = told
        .iter()
        .map(|told| told.fields.text("attempt"))
        .collect();
    assert_eq!(attempts, ["1", "2"]);
    assert!(told.iter().all(|told| told.task() == Some(0)), "{told:?}");
    let workers: Vec<_> = told
        .iter()
        .map(|told| told.span().fields.text("worker"))
        .collect();
    assert_ne!(workers[0], workers[1]);
    until(&recorder, "all is closed", || {
        recorder.open_spans().is_empty()
    });
}

/// The handle of a single task waits until all is told: a program may end then.
#[test]
fn a_single_task_has_told_all_when_it_is_joined() {
    brigade::init();
    let recorder = Recorder::default();
    let process = Builder::new().forward_tracing(LevelFilter::INFO);
    for n in 0..10 {
        let ended = recorder.listens(|| {
            let _request = tracing::info_span!("request", n).entered();
            let worker = process.spawn(tells_and_dies, n).expect("a worker");
            worker.join()
        });
        assert!(matches!(ended, Err(JoinError::Crashed(_))), "{ended:?}");
        let told = recorder.of_target(TARGET);
        assert_eq!(told.len() as u32, (n + 1) * LAST_WORDS);
        let last = told.last().expect("many");
        assert_eq!(last.path(), ["request", "task"]);
        assert_eq!(last.fields.text("n"), n.to_string());
        let name = last.span().fields.text("name");
        assert!(name.contains("tells_and_dies"), "{name}");
    }
    until(&recorder, "all is closed", || {
        recorder.open_spans().is_empty()
    });
}

/// One that is not joined tells all the same.
#[test]
fn a_detached_task_tells_too() {
    brigade::init();
    let recorder = Recorder::default();
    let process = Builder::new().forward_tracing(LevelFilter::INFO);
    let spawn = || process.spawn(tells_its_number, 3);
    drop(recorder.listens(spawn).expect("a worker"));
    until(&recorder, "it is told", || {
        recorder.of_target(TARGET).len() == 1
    });
    until(&recorder, "all is closed", || {
        recorder.open_spans().is_empty()
    });
}

const FLOOD: u32 = 20_000;

fn floods(_: ()) -> u32 {
    for n in 0..FLOOD {
        tracing::info!(target: TARGET, n, "one of many");
    }
    FLOOD
}

/// The subscriber does nothing at all until the task has ended: the task does not wait for it. What
/// had no room is counted.
#[test]
fn a_flood_holds_up_no_task_and_what_is_lost_is_told() {
    brigade::init();
    let (pool, recorder) = pool(Kind::Process, 1);
    let (go_on, waits) = mpsc::channel::<()>();
    let waits = Mutex::new(Some(waits));
    recorder.on_event(move |told| {
        if told.target == TARGET {
            let first = waits.lock().expect("no panic").take();
            if let Some(first) = first {
                first.recv().expect("it is let go on");
            }
        }
    });
    let handle = recorder.listens(|| pool.submit(floods, ()));
    assert_eq!(handle.join().expect("it returns"), FLOOD);
    go_on.send(()).expect("it waits");
    drop(pool);
    let told = recorder.of_target(TARGET);
    let lost: usize = recorder
        .of_target("brigade::process")
        .iter()
        .map(lost)
        .sum();
    assert_eq!(told.len() + lost, FLOOD as usize);
    // In their order.
    let numbers: Vec<u32> = told
        .iter()
        .map(|told| told.fields.text("n").parse().expect("one"))
        .collect();
    assert!(
        numbers.is_sorted() && numbers.len() > 100,
        "{}",
        numbers.len()
    );
}

/// A subscriber that panics is told the next event all the same.
#[test]
fn a_subscriber_may_panic() {
    brigade::init();
    let (pool, recorder) = pool(Kind::Process, 1);
    let heard = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&heard);
    recorder.on_event(move |told| {
        if told.target == TARGET && count.fetch_add(1, Ordering::SeqCst) == 0 {
            std::panic::resume_unwind(Box::new("the subscriber"));
        }
    });
    let run = || pool.map(tells_its_number, 0..3).flatten().count();
    assert_eq!(recorder.listens(run), 3);
    drop(pool);
    assert_eq!(heard.load(Ordering::SeqCst), 3);
    assert_eq!(recorder.of_target(TARGET).len(), 2);
}

/// It may use the pool itself, from the thread that tells.
#[test]
fn a_subscriber_may_use_a_pool() {
    brigade::init();
    let (pool, recorder) = pool(Kind::Process, 2);
    let (sender, sums) = mpsc::channel();
    let (inner, sender) = (pool.clone(), Mutex::new(sender));
    recorder.on_event(move |told| {
        if told.target == TARGET && told.fields.text("n") == "1" {
            let sum = inner.submit(|n: u64| n + 1, 41).join().expect("it returns");
            sender
                .lock()
                .expect("no panic")
                .send(sum)
                .expect("it is heard");
        }
    });
    let handle = recorder.listens(|| pool.submit(tells_its_number, 1));
    assert_eq!(handle.join().expect("it returns"), 1);
    assert_eq!(sums.recv().expect("a sum"), 42);
    // The hook has a handle of the pool: it goes with the hook.
    recorder.on_event(|_| {});
    drop(pool);
}
