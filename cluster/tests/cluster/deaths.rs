//! Whoever dies or is stopped, a task ends once.

use std::time::Duration;

use async_nats::HeaderMap;
use brigade::{Cause, JoinError};
use brigade_cluster::Pool;
use brigade_test_support::wait::pause;
use futures_util::StreamExt;

use crate::block_on;
use crate::server::Server;
use crate::tasks::{Gate, aborts, begun, dies_twice, double, waits};
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[
    (
        "deaths::a_worker_program_is_killed",
        a_worker_program_is_killed,
    ),
    ("deaths::a_paused_worker_loses", a_paused_worker_loses),
    ("deaths::what_kills_its_worker", what_kills_its_worker),
    (
        "deaths::a_task_is_told_its_attempt",
        a_task_is_told_its_attempt,
    ),
    ("deaths::what_kills_its_machine", what_kills_its_machine),
    ("deaths::a_long_task_runs_once", a_long_task_runs_once),
    ("deaths::told_to_stop", told_to_stop),
    ("deaths::duplicates_end_once", duplicates_end_once),
    ("deaths::the_server_is_restarted", the_server_is_restarted),
    ("deaths::many_workers_are_killed", many_workers_are_killed),
];

async fn pool(server: &Server) -> Pool {
    let builder = Pool::builder(&server.url(), "app").settings(settings());
    builder.connect().await.expect("it connects")
}

/// The dead letters, each as JSON.
async fn letters(server: &Server) -> Vec<serde_json::Value> {
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("brigade-app-dead").await.unwrap();
    let count = stream.get_info().await.unwrap().state.messages;
    let mut letters = Vec::new();
    for sequence in 1..=count {
        let letter = stream.get_raw_message(sequence).await.unwrap();
        letters.push(serde_json::from_slice(&letter.payload).unwrap());
    }
    letters
}

/// How many messages the queue has.
async fn queued(server: &Server) -> u64 {
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("brigade-app-tasks").await.unwrap();
    stream.get_info().await.unwrap().state.messages
}

fn a_task_is_told_its_attempt() {
    let server = Server::start();
    block_on(async {
        let worker = Program::start(&server.url(), "app", 1);
        let pool = pool(&server).await;
        let handle = pool.submit(dies_twice, ()).await;
        assert_eq!(soon(handle).await.unwrap(), 3);
        let told = worker.stop();
        assert_eq!((told.ended, told.dead), (1, 0), "{told:?}");
    });
}

fn a_worker_program_is_killed() {
    let server = Server::start();
    let mut gate = Gate::new();
    block_on(async {
        let first = Program::start(&server.url(), "app", 1);
        let pool = pool(&server).await;
        let handle = pool.submit(waits, gate.input()).await;
        gate.until_begun(1);
        first.kill();
        let second = Program::start(&server.url(), "app", 1);
        gate.until_begun(2);
        gate.open();
        assert_eq!(soon(handle).await.unwrap(), 2);
        let told = second.stop();
        assert_eq!((told.ended, told.lost), (1, 0), "{told:?}");
        assert_eq!(queued(&server).await, 0);
    });
}

fn a_paused_worker_loses() {
    let server = Server::start();
    let mut gate = Gate::new();
    block_on(async {
        let paused = Program::start(&server.url(), "app", 1);
        let pool = pool(&server).await;
        let handle = pool.submit(waits, gate.input()).await;
        gate.until_begun(1);
        paused.pause();
        let other = Program::start(&server.url(), "app", 1);
        gate.until_begun(2);
        gate.open();
        assert_eq!(soon(handle).await.unwrap(), 2);
        paused.go_on();
        let told = [other.stop(), paused.stop()];
        assert_eq!((told[0].ended, told[0].lost), (1, 0), "{told:?}");
        assert_eq!((told[1].ended, told[1].lost), (0, 1), "{told:?}");
        // The task's result is still that of the other.
        let results = pool.reattach(pool.job().unwrap(), waits).unwrap();
        let results: Vec<_> = soon(results.take(1).collect()).await;
        assert_eq!(results[0].1.as_ref().unwrap(), &2);
        assert_eq!(queued(&server).await, 0);
    });
}

fn what_kills_its_worker() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let worker = Program::start(&server.url(), "app", 1);
    block_on(async {
        let pool = pool(&server).await;
        let handle = pool.submit(aborts, dir.path().to_owned()).await;
        let Err(JoinError::Crashed(crash)) = soon(handle).await else {
            panic!("it aborts");
        };
        assert_eq!(crash.cause(), &Cause::Abort);
        assert_eq!(crash.task(), "aborts");
        assert!(crash.pid() != 0);
        assert_eq!(begun(dir.path()), 3);
        let letters = letters(&server).await;
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert_eq!(letters[0]["name"], "aborts");
        assert_eq!(letters[0]["attempts"], 3);
        assert!(letters[0]["error"].as_str().unwrap().contains("abort()"));
        assert_eq!(soon(pool.submit(double, 1).await).await.unwrap(), 2);
    });
    let told = worker.stop();
    assert_eq!((told.ended, told.dead), (2, 1), "{told:?}");
    assert_eq!(told.given_back, 2, "{told:?}");
}

/// Nothing is known of how its runs ended: whole programs were gone.
fn what_kills_its_machine() {
    let server = Server::start();
    let gate = Gate::new();
    block_on(async {
        let pool = pool(&server).await;
        let handle = pool.submit(waits, gate.input()).await;
        for run in 1..=3 {
            let worker = Program::start(&server.url(), "app", 1);
            gate.until_begun(run);
            worker.kill();
        }
        let worker = Program::start(&server.url(), "app", 1);
        let Err(JoinError::Crashed(crash)) = soon(handle).await else {
            panic!("it was begun too often");
        };
        assert_eq!(crash.cause(), &Cause::Lost);
        assert_eq!(letters(&server).await.len(), 1);
        assert_eq!(gate.begun(), 3);
        let told = worker.stop();
        assert_eq!((told.ended, told.dead), (1, 1), "{told:?}");
    });
}

/// As long as its worker lives, nobody else gets it.
fn a_long_task_runs_once() {
    let server = Server::start();
    let mut gate = Gate::new();
    block_on(async {
        let pool = pool(&server).await;
        let handle = pool.submit(waits, gate.input()).await;
        let workers = [(), ()].map(|()| Program::start(&server.url(), "app", 1));
        gate.until_begun(1);
        // Three times what a worker has without a sign of life.
        pause(Duration::from_secs(3));
        gate.open();
        assert_eq!(soon(handle).await.unwrap(), 1);
        let told = workers.map(Program::stop);
        assert_eq!(told[0].ended + told[1].ended, 1, "{told:?}");
        assert_eq!(told[0].lost + told[1].lost, 0, "{told:?}");
    });
}

/// What runs is ended first, and what is queued is left to others.
fn told_to_stop() {
    let server = Server::start();
    let mut gate = Gate::new();
    block_on(async {
        let pool = pool(&server).await;
        let first = pool.submit(waits, gate.input()).await;
        let second = pool.submit(double, 1).await;
        let worker = Program::start_serving(&server.url(), "app");
        gate.until_begun(1);
        worker.terminate();
        gate.open();
        assert_eq!(soon(first).await.unwrap(), 1);
        let told = worker.stop();
        assert_eq!((told.ended, told.lost), (1, 0), "{told:?}");
        assert_eq!(queued(&server).await, 1);
        let other = Program::start_serving(&server.url(), "app");
        assert_eq!(soon(second).await.unwrap(), 2);
        other.terminate();
        assert_eq!(other.stop().ended, 1);
    });
}

fn duplicates_end_once() {
    let server = Server::start();
    let mut gate = Gate::new();
    block_on(async {
        let pool = pool(&server).await;
        let handle = pool.submit(waits, gate.input()).await;
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let stream = context.get_stream("brigade-app-tasks").await.unwrap();
        let original = stream.get_raw_message(1).await.unwrap();
        let copy = async |with_its_id: bool| {
            let mut headers = HeaderMap::new();
            for (name, values) in original.headers.iter() {
                if with_its_id || name.to_string() != "Nats-Msg-Id" {
                    headers.insert(name.clone(), values[0].clone());
                }
            }
            let body = original.payload.clone();
            let subject = original.subject.clone();
            let sent = context.publish_with_headers(subject, headers, body);
            sent.await.unwrap().await.unwrap().duplicate
        };
        assert!(copy(true).await, "the server keeps one");
        for _ in 0..4 {
            assert!(
                !copy(false).await,
                "the server cannot tell it from another task"
            );
        }
        assert_eq!(queued(&server).await, 5);
        // All copies run at a time, in two programs.
        let workers = [2, 3].map(|count| Program::start(&server.url(), "app", count));
        gate.until_begun(5);
        gate.open();
        assert_eq!(soon(handle).await.unwrap(), 5);
        let told = workers.map(Program::stop);
        assert_eq!(told[0].ended + told[1].ended, 1, "{told:?}");
        assert_eq!(told[0].lost + told[1].lost, 4, "{told:?}");
        assert_eq!(queued(&server).await, 0);
        // One that comes when all is over does not run.
        assert!(!copy(false).await);
        let worker = Program::start(&server.url(), "app", 1);
        assert_eq!(soon(pool.submit(double, 1).await).await.unwrap(), 2);
        let told = worker.stop();
        assert_eq!((told.ended, told.lost), (1, 1), "{told:?}");
        assert_eq!(gate.begun(), 5);
    });
}

fn the_server_is_restarted() {
    let mut server = Server::start();
    let worker = Program::start(&server.url(), "app", 2);
    block_on(async {
        let pool = pool(&server).await;
        let mut results = pool.map(double, 0..400);
        let mut got = Vec::new();
        for _ in 0..3 {
            for _ in 0..50 {
                got.push(soon(results.next()).await.unwrap().unwrap());
            }
            server.kill();
            server.restart();
        }
        while let Some(result) = soon(results.next()).await {
            got.push(result.unwrap());
        }
        let expected: Vec<u64> = (0..400).map(|n| 2 * n).collect();
        assert_eq!(got, expected);
    });
    drop(worker);
}

fn many_workers_are_killed() {
    let server = Server::start();
    block_on(async {
        let pool = pool(&server).await;
        let mut results = pool.map_unordered(double, 0..300);
        let mut got = vec![0; 300];
        let mut worker = Program::start(&server.url(), "app", 2);
        let mut count = 0;
        while let Some((number, result)) = soon(results.next()).await {
            assert_eq!(result.unwrap(), 2 * number as u64);
            got[number] += 1;
            count += 1;
            if count % 60 == 0 {
                worker.kill();
                worker = Program::start(&server.url(), "app", 2);
            }
        }
        assert_eq!(got, vec![1; 300]);
    });
}
