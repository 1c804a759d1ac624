//! What `brigade-cluster status` tells.

use std::process::{Command, Output};
use std::time::Duration;

use brigade_cluster::{Pool, Status};
use serde_json::{Value, json};

use crate::block_on;
use crate::server::Server;
use crate::tasks::{Gate, double, waits};
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("status::an_application", an_application),
    (
        "status::a_worker_that_is_gone_or_stopped",
        a_worker_that_is_gone_or_stopped,
    ),
    ("status::hostile_names", hostile_names),
    ("status::what_cannot_be_told", what_cannot_be_told),
];

pub(crate) async fn look(server: &Server) -> Status {
    let status = Status::of(&server.url(), "app", &settings()).await;
    status.expect("there is such an application")
}

/// Looks until it is so.
pub(crate) async fn until_status(server: &Server, is_so: impl Fn(&Status) -> bool) {
    soon(async {
        while !is_so(&look(server).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub(crate) fn command(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_brigade-cluster");
    let ran = Command::new(program).args(arguments).output();
    ran.expect("it runs")
}

pub(crate) fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

async fn pool(server: &Server) -> Pool {
    let builder = Pool::builder(&server.url(), "app").settings(settings());
    builder.connect().await.expect("it connects")
}

fn an_application() {
    let server = Server::start();
    let mut gate = Gate::new();
    block_on(async {
        let pool = pool(&server).await;
        let first = pool.submit(waits, gate.input()).await;
        let others = [1, 2].map(|n| pool.submit(double, n));
        let others = futures_util::future::join_all(others).await;
        let url = server.url();
        let pending = || text(&command(&["status", &url, "app", "--pending"]));
        assert_eq!(pending(), "3\n", "no worker has been there");
        let worker = Program::start(&server.url(), "app", 1);
        gate.until_begun(1);
        until_status(&server, |status| status.workers.len() == 1).await;
        assert_eq!(pending(), "2\n");
        let told = text(&command(&["status", &url, "app", "--json"]));
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["queued"], 3);
        assert_eq!(told["pending"], 2);
        assert_eq!(told["running"], 1);
        assert_eq!(told["builds"][0]["pending"], 2);
        assert_eq!(told["builds"][0]["workers"], 1);
        assert_eq!(told["builds"][0]["slots"], 1);
        assert_eq!(told["builds"][0]["name"], told["workers"][0]["build"]);
        assert_eq!(told["workers"][0]["pid"], worker.pid());
        assert!(told["workers"][0]["tasks"]["double"].is_string());
        let table = text(&command(&["status", &url, "app"]));
        assert!(table.contains("3 of 100000 tasks queued"), "{table}");
        gate.open();
        assert_eq!(soon(first).await.unwrap(), 1);
        for (handle, doubled) in others.into_iter().zip([2, 4]) {
            assert_eq!(soon(handle).await.unwrap(), doubled);
        }
        until_status(&server, |status| status.queued == 0).await;
        assert_eq!(look(&server).await.results, 3);
        until_status(&server, |status| {
            status.workers.iter().any(|worker| worker.ended == 3)
        })
        .await;
        worker.stop();
        assert_eq!(look(&server).await.workers.len(), 0);
    });
}

fn a_worker_that_is_gone_or_stopped() {
    let server = Server::start();
    block_on(async {
        drop(pool(&server).await);
        let worker = Program::start(&server.url(), "app", 1);
        let other = Program::start(&server.url(), "app", 2);
        until_status(&server, |status| status.workers.len() == 2).await;
        assert_eq!(look(&server).await.builds[0].slots, 3);
        worker.kill();
        other.pause();
        until_status(&server, |status| status.workers.is_empty()).await;
        other.go_on();
        until_status(&server, |status| status.workers.len() == 1).await;
        assert_eq!(look(&server).await.workers[0].slots, 2);
    });
}

/// Whoever may write there chooses what is in it.
fn hostile_names() {
    let server = Server::start();
    block_on(async {
        let hostile = "\x1b]0;title\x07\x1b[2J\nbuild\u{202e}";
        let lifetime = settings().ack_wait(Duration::from_secs(600));
        let builder = Pool::builder(&server.url(), "app").settings(lifetime);
        drop(builder.connect().await.unwrap());
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let bucket = context.get_key_value("brigade-app-workers").await.unwrap();
        let worker = json!({
            "name": hostile, "host": hostile, "pid": 1, "build": hostile, "version": hostile,
            "codec": 1, "slots": u64::MAX, "running": 1, "ended": 1, "given_back": 1, "lost": 1,
            "refused": 1, "dead": 1, "tasks": { hostile: hostile },
        });
        let worker = worker.to_string();
        for (key, value) in [("a", worker.as_str()), ("b", worker.as_str()), ("c", "{}")] {
            bucket.put(key, value.to_owned().into()).await.unwrap();
        }
        let letter = json!({ "task": hostile, "name": hostile, "attempts": 3, "error": hostile });
        for letter in [letter.to_string(), "no letter".to_owned()] {
            let sent = context.publish("brigade.app.dead", letter.into());
            sent.await.unwrap().await.unwrap();
        }
        let sent = context.publish("brigade.app.tasks.a\x1b[2Jb", "".into());
        sent.await.unwrap().await.unwrap();

        let table = text(&command(&["status", &server.url(), "app"]));
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!table.contains(steers), "{table:?}");
        assert!(table.contains(r"\u{1b}[2J\nbuild\u{202e}"), "{table}");
        assert!(table.contains(r"a\u{1b}[2Jb"), "{table}");
        assert!(table.contains("dead: "), "{table}");
        let told = text(&command(&["status", &server.url(), "app", "--json"]));
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["workers"].as_array().unwrap().len(), 2);
        assert_eq!(told["dead"], 2);
        assert_eq!(told["dead_letters"].as_array().unwrap().len(), 1);
        assert_eq!(told["dead_letters"][0]["name"], hostile);
    });
}

fn what_cannot_be_told() {
    let server = Server::start();
    let ran = command(&["status", &server.url(), "absent"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    let why = String::from_utf8_lossy(&ran.stderr);
    assert!(why.contains("could not look at the queue"), "{why}");
    // It has made nothing.
    assert_eq!(
        command(&["status", &server.url(), "absent"]).status.code(),
        Some(1)
    );
    let ran = command(&["status", "nats://127.0.0.1:1", "app"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    for wrong in [
        &["status"][..],
        &[],
        &["status", "a", "b", "--other"],
        &["a", "b", "c"],
    ] {
        assert_eq!(command(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
