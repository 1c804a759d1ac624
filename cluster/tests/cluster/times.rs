//! Timeouts, deadlines and traces that a task takes along.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use brigade::JoinError;
use brigade_cluster::{Pool, Worker};
use brigade_test_support::wait::pause;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::block_on;
use crate::server::Server;
use crate::status::{look, until_status};
use crate::tasks::{Gate, double, waits};
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("times::a_timeout", a_timeout),
    ("times::a_deadline_while_it_runs", a_deadline_while_it_runs),
    ("times::a_deadline_in_the_queue", a_deadline_in_the_queue),
    (
        "times::a_deadline_without_a_worker",
        a_deadline_without_a_worker,
    ),
    (
        "times::a_deadline_whose_worker_is_stopped",
        a_deadline_whose_worker_is_stopped,
    ),
    ("times::a_deadline_that_holds", a_deadline_that_holds),
    ("times::only_if_offered", only_if_offered),
    ("times::a_trace", a_trace),
];

async fn pool(server: &Server) -> Pool {
    let builder = Pool::builder(&server.url(), "app").settings(settings());
    builder.connect().await.expect("it connects")
}

/// What is told of a task that was over its time.
fn over<T: Debug>(result: Result<T, JoinError>) -> brigade::Timeout {
    match result {
        Err(JoinError::TimedOut(over)) => over,
        other => panic!("{other:?}"),
    }
}

fn a_timeout() {
    let server = Server::start();
    let gate = Gate::new();
    let worker = Program::start(&server.url(), "app", 1);
    block_on(async {
        let pool = pool(&server).await;
        let limit = Duration::from_millis(700);
        let handle = pool.task(waits).timeout(limit).submit(gate.input()).await;
        let over = over(soon(handle).await);
        assert_eq!(over.after(), limit);
        assert!(over.had_begun() && over.pid().is_some(), "{over:?}");
        assert_eq!(gate.begun(), 1);
        assert_eq!(soon(pool.submit(double, 1).await).await.unwrap(), 2);
    });
    assert_eq!(worker.stop().ended, 2);
}

fn a_deadline_while_it_runs() {
    let server = Server::start();
    let gate = Gate::new();
    let worker = Program::start(&server.url(), "app", 1);
    block_on(async {
        let pool = pool(&server).await;
        until_status(&server, |status| status.workers.len() == 1).await;
        let limit = Duration::from_secs(3);
        let began = Instant::now();
        let handle = pool.task(waits).deadline(limit).submit(gate.input()).await;
        let over = over(soon(handle).await);
        assert!(over.had_begun(), "{over:?}");
        // In whole microseconds of the servers' clock and the worker's.
        assert!(over.after() >= limit - Duration::from_millis(1), "{over:?}");
        assert!(began.elapsed() >= limit);
        assert_eq!(gate.begun(), 1);
    });
    // One that takes its time to find out where the task was has lost.
    let told = worker.stop();
    assert_eq!(told.ended + told.lost, 1, "{told:?}");
}

/// A worker is there, and busy.
fn a_deadline_in_the_queue() {
    let server = Server::start();
    let mut gate = Gate::new();
    let other = Gate::new();
    let worker = Program::start(&server.url(), "app", 1);
    block_on(async {
        let pool = pool(&server).await;
        let first = pool.submit(waits, gate.input()).await;
        gate.until_begun(1);
        let limit = Duration::from_millis(300);
        let late = pool.task(waits).deadline(limit).submit(other.input());
        let late = late.await;
        let job = pool.job().unwrap().to_owned();
        // Nobody awaits its handle: its worker alone can say how it ended.
        drop(late);
        pause(2 * limit);
        gate.open();
        assert_eq!(soon(first).await.unwrap(), 1);
        let mut results = pool.reattach(&job, waits).unwrap();
        let result = soon(async {
            loop {
                let next = futures_util::StreamExt::next(&mut results).await;
                if let Some((1, result)) = next {
                    return result;
                }
            }
        });
        let over = over(result.await);
        assert!(!over.had_begun(), "{over:?}");
        assert_eq!((over.after(), over.pid()), (limit, None));
        assert_eq!(other.begun(), 0);
    });
    let told = worker.stop();
    assert_eq!((told.ended, told.lost), (2, 0), "{told:?}");
}

/// The handle says so, and the worker that comes later does not run it.
fn a_deadline_without_a_worker() {
    let server = Server::start();
    let gate = Gate::new();
    block_on(async {
        let pool = pool(&server).await;
        let limit = Duration::from_millis(200);
        let task = pool.task(waits).deadline(limit);
        let over_in_time = over(soon(task.submit(gate.input()).await).await);
        assert!(!over_in_time.had_begun());
        assert_eq!(over_in_time.after(), limit);
        let worker = Program::start(&server.url(), "app", 1);
        assert_eq!(soon(pool.submit(double, 1).await).await.unwrap(), 2);
        assert_eq!(gate.begun(), 0);
        let told = worker.stop();
        assert_eq!((told.ended, told.lost), (1, 1), "{told:?}");
        // One that has none at all.
        let none = pool.task(waits).deadline(Duration::ZERO);
        let over = over(soon(none.submit(gate.input()).await).await);
        assert!(!over.had_begun());
        assert_eq!(gate.begun(), 0);
    });
}

/// It cannot say anything, and nobody else may run it afterwards.
fn a_deadline_whose_worker_is_stopped() {
    let server = Server::start();
    let gate = Gate::new();
    block_on(async {
        let pool = pool(&server).await;
        let worker = Program::start(&server.url(), "app", 1);
        until_status(&server, |status| status.workers.len() == 1).await;
        let limit = Duration::from_secs(3);
        let handle = pool.task(waits).deadline(limit).submit(gate.input()).await;
        gate.until_begun(1);
        worker.pause();
        let over = over(soon(handle).await);
        assert!(over.had_begun(), "{over:?}");
        assert_eq!(over.after(), limit);
        let other = Program::start(&server.url(), "app", 1);
        assert_eq!(soon(pool.submit(double, 1).await).await.unwrap(), 2);
        assert_eq!(other.stop().ended, 1);
        worker.go_on();
        assert_eq!(worker.stop().ended, 0);
        assert_eq!(gate.begun(), 1);
    });
}

fn a_deadline_that_holds() {
    let server = Server::start();
    let _worker = Program::start(&server.url(), "app", 2);
    block_on(async {
        let pool = pool(&server).await;
        let local = Pool::connect("local:", "app").await.unwrap();
        for pool in [pool, local] {
            for limit in [Duration::from_secs(600), Duration::MAX] {
                let task = pool.task(double).deadline(limit).timeout(limit);
                let handle = soon(task.try_submit(4)).await.unwrap();
                assert_eq!(soon(handle).await.unwrap(), 8);
            }
            let task = pool.task(double).deadline(Duration::ZERO);
            let over = over(soon(task.submit(1).await).await);
            assert!(!over.had_begun(), "{over:?}");
        }
    });
}

fn only_if_offered() {
    let server = Server::start();
    block_on(async {
        let pool = pool(&server).await;
        let ask = async || {
            let handle = pool.task(double).only_if_offered().submit(2).await;
            soon(handle).await
        };
        let why = ask().await.unwrap_err().to_string();
        assert!(why.contains("there is none of any build"), "{why}");
        let other = Program::start_build(&server.url(), "app", "other");
        until_status(&server, |status| status.workers.len() == 1).await;
        let why = ask().await.unwrap_err().to_string();
        assert!(why.contains("there are workers of `other`"), "{why}");
        let ours = Program::start(&server.url(), "app", 1);
        until_status(&server, |status| status.workers.len() == 2).await;
        assert_eq!(ask().await.unwrap(), 4);
        assert_eq!((ours.stop().ended, other.stop().ended), (1, 0));
        // What was refused is not in the queue.
        assert_eq!(look(&server).await.queued, 0);
    });
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn a_trace() {
    let server = Server::start();
    block_on(async {
        let pool = pool(&server).await;
        let task = pool.task(double).trace_context(PARENT, Some("a=b"));
        let handle = task.submit(5).await;
        let client = async_nats::connect(server.url()).await.unwrap();
        let stream = async_nats::jetstream::new(client);
        let stream = stream.get_stream("brigade-app-tasks").await.unwrap();
        let headers: HeaderMap = stream.get_raw_message(1).await.unwrap().headers;
        assert_eq!(headers.get("traceparent").unwrap().as_str(), PARENT);
        assert_eq!(headers.get("tracestate").unwrap().as_str(), "a=b");

        // A worker of this program, whose spans are kept.
        let spans = Spans::default();
        let subscriber = tracing::subscriber::set_global_default(spans.clone());
        subscriber.expect("no other test has one");
        let local = brigade::Pool::processes(1).unwrap();
        let worker = Worker::new(&server.url(), "app", local).settings(settings());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let worker = tokio::spawn(worker.run_until(async {
            let _ = stopped.await;
        }));
        assert_eq!(soon(handle).await.unwrap(), 10);
        stop.send(()).unwrap();
        assert_eq!(soon(worker).await.unwrap().unwrap().ended(), 1);
        let spans = spans.0.lock().unwrap().clone();
        let span = spans.iter().find(|span| span.contains_key("traceparent"));
        let span = span.unwrap_or_else(|| panic!("{spans:?}"));
        assert_eq!(span["traceparent"], PARENT);
        assert_eq!(span["tracestate"], "a=b");
        assert_eq!(span["name"], "double");

        for wrong in ["", "a\r\nNats-Msg-Id: b", "ä"] {
            let task = pool.task(double).trace_context(wrong, None);
            let why = soon(task.submit(5).await).await.unwrap_err();
            assert!(why.is_undeliverable(), "{why}");
        }
    });
}

/// Keeps the fields of spans.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("brigade_cluster")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(BTreeMap::new());
        span.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
