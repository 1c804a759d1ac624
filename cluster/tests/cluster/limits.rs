//! What is full, refused, or foreign.

use std::time::Duration;

use async_nats::HeaderMap;
use brigade_cluster::Pool;

use crate::block_on;
use crate::server::Server;
use crate::tasks::double;
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("limits::a_full_queue", a_full_queue),
    ("limits::what_no_worker_has", what_no_worker_has),
    ("limits::what_is_no_task", what_is_no_task),
];

fn a_full_queue() {
    let server = Server::start();
    block_on(async {
        let builder = Pool::builder(&server.url(), "app").settings(settings().max_tasks(3));
        let pool = builder.connect().await.unwrap();
        let mut handles = Vec::new();
        for n in 0..3 {
            handles.push(soon(pool.try_submit(double, n)).await.unwrap());
        }
        assert_eq!(soon(pool.try_submit(double, 3)).await.unwrap_err(), 3);
        let mut waiting = Box::pin(pool.submit(double, 4));
        // It has been refused at least once, and waits.
        let polled = tokio::time::timeout(Duration::from_millis(500), &mut waiting);
        assert!(polled.await.is_err(), "there is no room");
        let worker = Program::start(&server.url(), "app", 1);
        handles.push(soon(waiting).await);
        for (handle, expected) in handles.into_iter().zip([0, 2, 4, 8]) {
            assert_eq!(soon(handle).await.unwrap(), expected);
        }
        assert_eq!(worker.stop().ended, 4);
    });
}

/// A message as a submitter would write it, of a task that this program does not have.
fn what_no_worker_has() {
    let server = Server::start();
    let worker = Program::start(&server.url(), "app", 1);
    block_on(async {
        let builder = Pool::builder(&server.url(), "app").settings(settings());
        let pool = builder.connect().await.unwrap();
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        for (number, name, types, codec, expected) in [
            (
                0,
                "absent",
                "00",
                "1",
                "the worker has no task `absent`: it has `aborts`",
            ),
            (1, "double", "00", "1", "of other types"),
            (2, "double", "00", "99", "version 99"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("Brigade-Id", format!("Elsewhere.{number}"));
            headers.insert("Brigade-Task", name);
            headers.insert("Brigade-Types", types);
            headers.insert("Brigade-Codec", codec);
            let sent = context.publish_with_headers("brigade.app.tasks", headers, "".into());
            sent.await.unwrap().await.unwrap();
            let mut results = pool.reattach("Elsewhere", double).unwrap();
            let found = async {
                loop {
                    let (got, result) = next(&mut results).await;
                    if got == number {
                        return result;
                    }
                }
            };
            let error = soon(found).await.unwrap_err();
            assert!(error.is_undeliverable(), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    });
    let told = worker.stop();
    assert_eq!((told.ended, told.refused), (3, 3), "{told:?}");
}

async fn next<T>(results: &mut brigade_cluster::Results<T>) -> T {
    futures_util::StreamExt::next(results)
        .await
        .expect("it has no end")
}

fn what_is_no_task() {
    let server = Server::start();
    block_on(async {
        let builder = Pool::builder(&server.url(), "app").settings(settings());
        let pool = builder.connect().await.unwrap();
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let sent = context.publish("brigade.app.tasks", "not a task".into());
        sent.await.unwrap().await.unwrap();
        let worker = Program::start(&server.url(), "app", 1);
        // It is behind the other.
        assert_eq!(soon(pool.submit(double, 1).await).await.unwrap(), 2);
        assert_eq!(worker.stop().ended, 1);
        let stream = context.get_stream("brigade-app-tasks").await.unwrap();
        assert_eq!(stream.get_info().await.unwrap().state.messages, 0);
    });
}
