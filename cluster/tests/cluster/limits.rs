//! What is full, refused, or foreign.

use std::time::Duration;

use async_nats::HeaderMap;
use brigade_cluster::Pool;

use crate::block_on;
use crate::server::Server;
use crate::tasks::{double, reversed};
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("limits::a_full_queue", a_full_queue),
    ("limits::what_no_worker_has", what_no_worker_has),
    ("limits::a_server_that_is_stopped", a_server_that_is_stopped),
    (
        "limits::a_task_that_is_kept_no_longer",
        a_task_that_is_kept_no_longer,
    ),
    ("limits::what_is_no_task", what_is_no_task),
    (
        "limits::many_begin_at_the_same_time",
        many_begin_at_the_same_time,
    ),
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

/// Every request has an end, also where nothing answers and no connection breaks.
fn a_server_that_is_stopped() {
    let server = Server::start();
    block_on(async {
        let impatient = settings()
            .request_timeout(Duration::from_secs(1))
            .patience(Duration::from_secs(3));
        // To make the streams may take longer than the other pool waits.
        let first = Pool::builder(&server.url(), "app").settings(settings());
        drop(first.connect().await.unwrap());
        let builder = Pool::builder(&server.url(), "app").settings(impatient.clone());
        let pool = builder.connect().await.unwrap();
        let before = soon(pool.submit(double, 1)).await;
        server.pause();
        let small = soon(pool.submit(double, 2)).await;
        let large = soon(pool.submit(reversed, vec![1; 1 << 20])).await;
        let ends = [soon(small).await.map(drop), soon(large).await.map(drop)];
        for end in ends {
            let why = end.unwrap_err();
            assert!(why.is_undeliverable(), "{why}");
            assert!(why.to_string().contains("not handed over"), "{why}");
        }
        assert!(soon(before.cancel()).await.is_err());
        let another = Pool::builder(&server.url(), "app").settings(impatient);
        assert!(soon(another.connect()).await.is_err());
        server.go_on();
        let worker = Program::start(&server.url(), "app", 1);
        // It may have been cancelled: the server has got the request, and is asked no more.
        match soon(before).await {
            Ok(two) => assert_eq!(two, 2),
            Err(why) => assert!(why.is_cancelled(), "{why}"),
        }
        assert_eq!(soon(pool.submit(double, 3).await).await.unwrap(), 6);
        drop(worker);
    });
}

/// Without a worker.
fn a_task_that_is_kept_no_longer() {
    let server = Server::start();
    block_on(async {
        let short = settings().task_lifetime(Duration::from_secs(1));
        let builder = Pool::builder(&server.url(), "app").settings(short);
        let pool = builder.connect().await.unwrap();
        let handle = pool.submit(double, 1).await;
        let why = soon(handle).await.unwrap_err();
        assert!(why.is_undeliverable(), "{why}");
        assert!(
            why.to_string().contains("no worker has ended it in 1s"),
            "{why}"
        );
        assert!(
            why.to_string().contains("there is none of any build"),
            "{why}"
        );
    });
}

/// A message as a submitter would write it, of a task that this program does not have.
fn what_no_worker_has() {
    let server = Server::start();
    let worker = Program::start_build(&server.url(), "app", "mine");
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
            let sent = context.publish_with_headers("brigade.app.tasks.mine", headers, "".into());
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
        let builder = Pool::builder(&server.url(), "app")
            .settings(settings())
            .build("mine");
        let pool = builder.connect().await.unwrap();
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let sent = context.publish("brigade.app.tasks.mine", "not a task".into());
        sent.await.unwrap().await.unwrap();
        let worker = Program::start_build(&server.url(), "app", "mine");
        // It is behind the other.
        assert_eq!(soon(pool.submit(double, 1).await).await.unwrap(), 2);
        assert_eq!(worker.stop().ended, 1);
        let stream = context.get_stream("brigade-app-tasks").await.unwrap();
        assert_eq!(stream.get_info().await.unwrap().state.messages, 0);
    });
}

/// All of them make the streams.
fn many_begin_at_the_same_time() {
    let server = Server::start();
    block_on(async {
        for app in ["one", "two", "three", "four", "five"] {
            let connect = |_| Pool::builder(&server.url(), app).settings(settings());
            let connecting = (0..8).map(connect).map(|builder| builder.connect());
            for connected in soon(futures_util::future::join_all(connecting)).await {
                connected.unwrap();
            }
        }
    });
}
