//! What is gone from the servers: all of it, or what somebody has deleted.

use brigade_cluster::{Error, Pool};
use futures_util::StreamExt;

use crate::block_on;
use crate::roles::config;
use crate::server::Server;
use crate::tasks::{Gate, double, reversed, waits};
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("lost::a_server_without_its_data", a_server_without_its_data),
    ("lost::each_stream_is_deleted", each_stream_is_deleted),
    ("lost::a_queue_that_is_purged", a_queue_that_is_purged),
    ("lost::results_elsewhere", results_elsewhere),
    ("lost::small_messages", small_messages),
];

async fn pool(server: &Server, build: Option<&str>) -> Pool {
    let mut builder = Pool::builder(&server.url(), "app").settings(settings());
    if let Some(build) = build {
        builder = builder.build(build);
    }
    builder.connect().await.expect("it connects")
}

async fn delete(server: &Server, stream: &str) {
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    assert!(context.delete_stream(stream).await.unwrap().success);
}

async fn is_lost(handle: brigade_cluster::JoinHandle<u64>) {
    let why = soon(handle).await.unwrap_err();
    assert!(why.is_undeliverable(), "{why}");
    assert!(why.to_string().contains("no longer in the queue"), "{why}");
}

/// Both programs go on: what was in the queue is lost, and that is said; what comes is done.
fn a_server_without_its_data() {
    let mut server = Server::start();
    let worker = Program::start(&server.url(), "app", 2);
    block_on(async {
        let ours = pool(&server, None).await;
        let waiting = pool(&server, Some("nobody")).await;
        for n in 0..10 {
            assert_eq!(soon(ours.submit(double, n).await).await.unwrap(), 2 * n);
        }
        let waits = soon(waiting.submit(double, 1)).await;
        server.kill();
        server.wipe();
        server.restart();
        is_lost(waits).await;
        for n in 0..10 {
            assert_eq!(soon(ours.submit(double, n).await).await.unwrap(), 2 * n);
        }
        let large = soon(ours.submit(reversed, vec![1; 300 << 10]).await).await;
        assert_eq!(large.unwrap().len(), 300 << 10);
    });
    assert!(worker.stop().ended >= 21);
}

/// One after another, while a task runs.
fn each_stream_is_deleted() {
    let server = Server::start();
    let worker = Program::start(&server.url(), "app", 2);
    block_on(async {
        let pool = pool(&server, None).await;
        for stream in [
            "brigade-app-tasks",
            "brigade-app-dead",
            "KV_brigade-app-results",
            "KV_brigade-app-attempts",
            "KV_brigade-app-workers",
            "OBJ_brigade-app-objects",
        ] {
            let mut gate = Gate::new();
            let running = pool.submit(waits, gate.input()).await;
            gate.until_begun(1);
            delete(&server, stream).await;
            assert_eq!(soon(pool.submit(double, 4).await).await.unwrap(), 8);
            let large = soon(pool.submit(reversed, vec![1; 300 << 10]).await).await;
            assert_eq!(large.unwrap().len(), 300 << 10, "{stream}");
            gate.open();
            match soon(running).await {
                Ok(runs) => assert_eq!(runs, 1, "{stream}"),
                // It is said before the task has ended.
                Err(why) => assert!(why.is_undeliverable(), "{stream}: {why}"),
            }
        }
    });
    drop(worker);
}

/// With the server's own tools, which write no ends: tasks that run still end.
fn a_queue_that_is_purged() {
    let server = Server::start();
    let worker = Program::start(&server.url(), "app", 1);
    block_on(async {
        let pool = pool(&server, None).await;
        let mut gate = Gate::new();
        let running = pool.submit(waits, gate.input()).await;
        gate.until_begun(1);
        let waiting = pool.submit(double, 1).await;
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let stream = context.get_stream("brigade-app-tasks").await.unwrap();
        assert_eq!(stream.purge().await.unwrap().purged, 2);
        gate.open();
        assert_eq!(soon(running).await.unwrap(), 1);
        is_lost(waiting).await;
        assert_eq!(soon(pool.submit(double, 4).await).await.unwrap(), 8);
    });
    drop(worker);
}

/// Two at once, and the pool itself: each has all results.
fn results_elsewhere() {
    let server = Server::start();
    block_on(async {
        let first = pool(&server, None).await;
        let second = pool(&server, None).await;
        let mut handles = Vec::new();
        for n in 0..50 {
            handles.push(first.submit(double, n).await);
        }
        let job = first.job().unwrap().to_owned();
        let all = async |pool: &Pool| {
            let results = pool.reattach(&job, double).unwrap().take(50);
            let mut results: Vec<_> = results.collect().await;
            results.sort_by_key(|(number, _)| *number);
            let results = results.into_iter().enumerate();
            for (at, (number, result)) in results {
                assert_eq!((number, result.unwrap()), (at as u64, 2 * at as u64));
            }
        };
        let worker = Program::start(&server.url(), "app", 2);
        soon(futures_util::future::join3(
            all(&first),
            all(&second),
            all(&second),
        ))
        .await;
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(soon(handle).await.unwrap(), 2 * n);
        }
        assert_eq!(worker.stop().ended, 50);
    });
}

fn small_messages() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), "max_payload: 65536\n");
    let server = Server::start_with(&["--config", file.to_str().unwrap()], &[]);
    block_on(async {
        let builder = Pool::builder(&server.url(), "app").settings(settings());
        let refused = soon(builder.connect()).await.unwrap_err();
        assert!(
            matches!(refused, Error::SmallMessages { most: 65536 }),
            "{refused}"
        );
    });
}
