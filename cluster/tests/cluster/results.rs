//! Results and errors are those that one machine would give.

use std::time::Duration;

use brigade::JoinError;
use brigade_cluster::Pool;
use futures_util::StreamExt;

use crate::block_on;
use crate::server::Server;
use crate::status::until_status;
use crate::tasks::{Gate, aborts_with, double, not_exported, panics, panics_with, reversed, waits};
use crate::worker::{Program, settings, soon};

pub(crate) const LOCAL: &str = "results::a_local_pool_is_the_same";

pub(crate) const TESTS: &[(&str, fn())] = &[
    (LOCAL, a_local_pool_is_the_same),
    ("results::tasks_run_elsewhere", tasks_run_elsewhere),
    ("results::maps", maps),
    ("results::errors_are_told", errors_are_told),
    ("results::large_values", large_values),
    (
        "results::large_inputs_are_collected",
        large_inputs_are_collected,
    ),
    ("results::reattached", reattached),
    ("results::cancelled_before", cancelled_before),
    ("results::cancelled_while_it_runs", cancelled_while_it_runs),
    ("results::no_server", no_server),
];

async fn pool(server: &Server, app: &str) -> Pool {
    let builder = Pool::builder(&server.url(), app).settings(settings());
    builder.connect().await.expect("it connects")
}

fn a_local_pool_is_the_same() {
    block_on(async {
        let pool = Pool::connect("local:", "app").await.unwrap();
        assert_eq!(pool.job(), None);
        assert_eq!(pool.submit(double, 21).await.await.unwrap(), 42);
        let handle = pool.try_submit(double, 4).await.unwrap();
        assert_eq!(handle.await.unwrap(), 8);
        let results: Vec<_> = pool.map(double, 0..100).collect().await;
        let expected: Vec<u64> = (0..100).map(|n| 2 * n).collect();
        assert_eq!(
            results.into_iter().collect::<Result<Vec<_>, _>>().unwrap(),
            expected
        );
        let refused = pool.submit(not_exported, 1).await.await.unwrap_err();
        assert!(refused.to_string().contains("export!"), "{refused}");
        assert!(pool.reattach("Job", double).is_err());
        assert!(Pool::connect("local:", "a.b").await.is_err());
    });
}

fn tasks_run_elsewhere() {
    let server = Server::start();
    let worker = Program::start(&server.url(), "app", 2);
    block_on(async {
        let pool = pool(&server, "app").await;
        let handle = pool.submit(double, 21).await;
        assert_eq!(handle.number(), Some(0));
        assert_eq!(soon(handle).await.unwrap(), 42);
        let refused = soon(pool.submit(not_exported, 1)).await;
        let refused = refused.await.unwrap_err();
        assert!(refused.is_undeliverable(), "{refused}");
        assert!(refused.to_string().contains("export!"), "{refused}");
    });
    let told = worker.stop();
    assert_eq!((told.ended, told.lost), (1, 0), "{told:?}");
}

fn maps() {
    let server = Server::start();
    let workers = [(), ()].map(|()| Program::start(&server.url(), "app", 2));
    block_on(async {
        let pool = pool(&server, "app").await;
        let results: Vec<_> = soon(pool.map(double, 0..300).collect()).await;
        let results: Result<Vec<_>, _> = results.into_iter().collect();
        let expected: Vec<u64> = (0..300).map(|n| 2 * n).collect();
        assert_eq!(results.unwrap(), expected);
        let mut results: Vec<_> = soon(pool.map_unordered(double, 0..300).collect()).await;
        results.sort_by_key(|(number, _)| *number);
        for (at, (number, result)) in results.into_iter().enumerate() {
            assert_eq!((number, result.unwrap()), (at, 2 * at as u64));
        }
    });
    let told = workers.map(Program::stop);
    assert_eq!(told[0].ended + told[1].ended, 600, "{told:?}");
}

fn errors_are_told() {
    let server = Server::start();
    let worker = Program::start(&server.url(), "app", 1);
    block_on(async {
        let pool = pool(&server, "app").await;
        let line = line!() + 1;
        let error = pool.submit(panics, "of old age".to_owned()).await;
        let Err(JoinError::Panicked(panic)) = soon(error).await else {
            panic!("it panics");
        };
        assert_eq!(panic.message(), "of old age");
        assert_eq!(panic.task(), "panics");
        assert_eq!(panic.started_at().line(), line);
        assert!(panic.location().is_some_and(|at| at.contains("tasks.rs")));
        assert!(panic.backtrace().is_some());
        // The worker goes on.
        assert_eq!(soon(pool.submit(double, 1)).await.await.unwrap(), 2);
    });
    assert_eq!(worker.stop().ended, 2);
}

fn large_values() {
    let server = Server::start();
    let worker = Program::start(&server.url(), "app", 2);
    block_on(async {
        let pool = pool(&server, "app").await;
        // Over what a message may have, too.
        for len in [0, 1, 256 * 1024 - 64, 256 * 1024 + 1, 300 << 10, 10 << 20] {
            let input: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let result = soon(pool.submit(reversed, input.clone()).await).await;
            let expected: Vec<u8> = input.into_iter().rev().collect();
            assert!(result.unwrap() == expected, "{len} bytes");
        }
        // Inputs are collected; results are kept.
        assert_eq!(large_inputs(&server).await, 0);
    });
    assert_eq!(worker.stop().ended, 6);
}

/// How many inputs are kept as objects.
async fn large_inputs(server: &Server) -> usize {
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let objects = context.get_object_store("brigade-app-objects").await;
    let names: Vec<_> = objects.unwrap().list().await.unwrap().collect().await;
    let names = names.into_iter().map(|object| object.unwrap().name);
    names.filter(|name| name.starts_with("input.")).count()
}

/// However their tasks end.
fn large_inputs_are_collected() {
    let server = Server::start();
    block_on(async {
        let pool = pool(&server, "app").await;
        let large = || vec![1; 300 << 10];
        let cancelled = pool.submit(reversed, large()).await;
        cancelled.cancel().await.unwrap();
        assert!(soon(cancelled).await.unwrap_err().is_cancelled());
        let late = pool.task(reversed).deadline(Duration::from_millis(100));
        let late = late.submit(large()).await;
        assert!(soon(late).await.unwrap_err().is_timeout());
        let crashes = pool.submit(aborts_with, large()).await;
        let panics = pool.submit(panics_with, large()).await;
        assert_eq!(large_inputs(&server).await, 4);
        let worker = Program::start(&server.url(), "app", 1);
        assert!(soon(crashes).await.unwrap_err().is_crash());
        assert!(soon(panics).await.unwrap_err().is_panic());
        until_status(&server, |status| status.queued == 0).await;
        assert_eq!(large_inputs(&server).await, 0);
        let told = worker.stop();
        assert_eq!((told.ended, told.lost), (2, 2), "{told:?}");
    });
}

fn reattached() {
    let server = Server::start();
    block_on(async {
        let job = {
            let pool = pool(&server, "app").await;
            for n in 0..20 {
                drop(pool.submit(double, n).await);
            }
            pool.job().unwrap().to_owned()
        };
        let worker = Program::start(&server.url(), "app", 2);
        let pool = pool(&server, "app").await;
        assert!(pool.reattach("a job.*", double).is_err());
        // Once while they come, once when all are there.
        for _ in 0..2 {
            let results = pool.reattach(&job, double).unwrap().take(20);
            let mut results: Vec<_> = soon(results.collect()).await;
            results.sort_by_key(|(number, _)| *number);
            for (at, (number, result)) in (0..).zip(results) {
                assert_eq!((number, result.unwrap()), (at, 2 * at));
            }
        }
        // With another function: no value of other types is made of them.
        let other = pool.reattach(&job, reversed).unwrap().take(1);
        let other: Vec<_> = soon(other.collect()).await;
        assert!(other[0].1.as_ref().is_err_and(JoinError::is_undeliverable));
        assert_eq!(worker.stop().ended, 20);
    });
}

fn cancelled_before() {
    let server = Server::start();
    let gate = Gate::new();
    block_on(async {
        let pool = pool(&server, "app").await;
        let handle = pool.submit(waits, gate.input()).await;
        handle.cancel().await.unwrap();
        assert!(soon(handle).await.unwrap_err().is_cancelled());
        let worker = Program::start(&server.url(), "app", 1);
        // It is behind the other.
        assert_eq!(soon(pool.submit(double, 1).await).await.unwrap(), 2);
        let told = worker.stop();
        assert_eq!((told.ended, told.lost), (1, 1), "{told:?}");
    });
    assert_eq!(gate.begun(), 0);
}

fn cancelled_while_it_runs() {
    let server = Server::start();
    let gate = Gate::new();
    let worker = Program::start(&server.url(), "app", 1);
    block_on(async {
        let pool = pool(&server, "app").await;
        let handle = pool.submit(waits, gate.input()).await;
        gate.until_begun(1);
        handle.cancel().await.unwrap();
        assert!(soon(handle).await.unwrap_err().is_cancelled());
        // The worker is free again, though the task has no end of its own.
        assert_eq!(soon(pool.submit(double, 1).await).await.unwrap(), 2);
    });
    let told = worker.stop();
    assert_eq!((told.ended, told.lost), (1, 1), "{told:?}");
}

fn no_server() {
    block_on(async {
        // A port that nobody listens at: it was free, and its socket is closed.
        let port = {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap().port()
        };
        let url = format!("nats://u:secret@127.0.0.1:{port}");
        let error = Pool::builder(&url, "app").settings(settings()).connect();
        let error = soon(error).await.unwrap_err().to_string();
        assert!(error.contains("no connection"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    });
}
