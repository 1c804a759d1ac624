//! What is in a worker: spans, records, initializers, subscribers of its own; and workers in a
//! sandbox.

use brigade::Kind;
use brigade::process::Builder;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::recorder::Recorder;
use crate::{TARGET, builder, pool, tells_its_number};

fn tells_in_spans(names: Vec<String>) {
    let outer = tracing::info_span!("file", name = names[0], size = tracing::field::Empty);
    outer.record("size", 12);
    let _outer = outer.entered();
    {
        let _inner = tracing::debug_span!("header").entered();
        tracing::info!(target: TARGET, "in both");
        log::info!(target: TARGET, "a record in both");
    }
    let elsewhere = tracing::info_span!(parent: None, "elsewhere");
    tracing::info!(target: TARGET, parent: &elsewhere, "in another");
    tracing::info!(target: TARGET, "in one");
    tracing::info!(target: TARGET, parent: None, "in none");
}

#[test]
fn the_spans_of_a_worker_are_a_text() {
    brigade::init();
    let (pool, recorder) = pool(Kind::Process, 1);
    let submit = || pool.submit(tells_in_spans, vec!["a.png".to_owned()]);
    recorder.listens(submit).join().expect("it returns");
    drop(pool);
    let told = recorder.of_target(TARGET);
    let told: Vec<_> = told
        .iter()
        .map(|told| {
            (
                told.message(),
                told.fields.text("worker.spans"),
                told.path(),
            )
        })
        .collect();
    let outer = "file{name=\"a.png\" size=12}";
    let both = format!("{outer}:header");
    let task = || vec!["task"];
    assert_eq!(
        told,
        [
            ("in both", both.as_str(), task()),
            ("a record in both", both.as_str(), task()),
            ("in another", "elsewhere", task()),
            ("in one", outer, task()),
            ("in none", "", task()),
        ]
    );
}

fn tells_at_its_start() {
    tracing::info!(target: TARGET, "starting");
}

#[test]
fn an_initializer_tells_in_the_span_of_its_worker() {
    brigade::init();
    let recorder = Recorder::default();
    let build = || {
        let _start = tracing::info_span!("start").entered();
        builder(Kind::Process, 2, LevelFilter::INFO)
            .initializer(tells_at_its_start)
            .build()
    };
    let pool = recorder.listens(build).expect("a pool");
    let pids = pool.pids();
    drop(pool);
    let told = recorder.of_target(TARGET);
    let mut workers: Vec<u32> = told
        .iter()
        .map(|told| {
            assert_eq!(told.path(), ["start", "worker"]);
            told.span().fields.text("worker").parse().expect("a number")
        })
        .collect();
    workers.sort_unstable();
    let mut pids = pids;
    pids.sort_unstable();
    assert_eq!(workers, pids);
}

/// A subscriber of a worker's own, which hears nothing that a test would see.
struct Own;

impl Subscriber for Own {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() == "to both" {
            brigade::process::forward_event(event);
        }
    }

    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn sets_its_own() {
    tracing::subscriber::set_global_default(Own).expect("nothing is in its way");
}

fn tells_to_both(n: u64) -> bool {
    tells_its_number(n);
    log::info!(target: TARGET, "a record");
    tracing::trace!(target: "to both", n);
    tracing::dispatcher::get_default(|dispatch| dispatch.is::<Own>())
}

#[test]
fn a_worker_keeps_a_subscriber_that_it_has_set() {
    brigade::init();
    let recorder = Recorder::default();
    let build = || {
        builder(Kind::Process, 1, LevelFilter::TRACE)
            .initializer(sets_its_own)
            .build()
    };
    let pool = recorder.listens(build).expect("a pool");
    let handle = recorder.listens(|| pool.submit(tells_to_both, 1));
    assert!(handle.join().expect("it returns"), "its own is the default");
    drop(pool);
    // It has set no logger.
    let told = recorder.of_target(TARGET);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].message(), "a record");
    let both = recorder.of_target("to both");
    assert_eq!(both.len(), 1, "{both:?}");
    assert_eq!(
        (both[0].fields.text("n"), both[0].path()),
        ("1", vec!["task"])
    );
    let said = recorder.of_target("brigade::process");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].level, Level::DEBUG);
    assert!(
        said[0].message().contains("a subscriber of its own"),
        "{said:?}"
    );
}

/// Longer than any frame, in all its parts.
fn tells_too_much(len: usize) {
    tracing::info!(target: TARGET, first = "x".repeat(len), second = ?vec![7; len], "{}", "ü".repeat(len));
}

#[test]
fn what_is_too_long_arrives_cut() {
    brigade::init();
    let recorder = Recorder::default();
    let process = Builder::new().forward_tracing(LevelFilter::INFO);
    let spawn = || process.spawn(tells_too_much, 100_000);
    let worker = recorder.listens(spawn).expect("a worker");
    worker.join().expect("it returns");
    let told = recorder.of_target(TARGET);
    assert_eq!(told.len(), 1);
    let message = told[0].message();
    assert!(
        message.starts_with("üü") && message.ends_with("ü…"),
        "{}",
        message.len()
    );
    assert!(
        message.len() > 4000 && message.len() < 8192,
        "{}",
        message.len()
    );
}

#[cfg(feature = "sandbox")]
#[test]
fn a_worker_in_a_sandbox_tells_too() {
    brigade::init();
    let (recorder, sandbox) = (Recorder::default(), brigade::Sandbox::deny_all().prefer());
    let process = Builder::new()
        .sandbox(sandbox)
        .forward_tracing(LevelFilter::INFO);
    let task = |n: u64| {
        tells_its_number(n);
        // What it may not is refused as before.
        std::fs::read("/etc/passwd").is_err()
    };
    recorder.listens(|| {
        let worker = process.spawn(task, 7).expect("a worker");
        assert!(worker.join().expect("it returns"));
        let pool = brigade::Pool::builder(Kind::Process)
            .workers(1)
            .process(process)
            .build();
        let pool = pool.expect("a pool");
        assert!(pool.submit(task, 8).join().expect("it returns"));
    });
    let told = recorder.of_target(TARGET);
    let numbers: Vec<_> = told
        .iter()
        .map(|told| (told.fields.text("n"), told.path()))
        .collect();
    assert_eq!(numbers, [("7", vec!["task"]), ("8", vec!["task"])]);
}
