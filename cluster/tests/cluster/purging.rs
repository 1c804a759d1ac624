//! A purge, and three servers that write to disk at once.

use std::time::Duration;

use brigade::JoinError;
use brigade_cluster::{Error, Pool, Purge};
use futures_util::StreamExt;

use crate::block_on;
use crate::server::Server;
use crate::status::{command, look, text, until_status};
use crate::tasks::{Gate, aborts, double, reversed, waits};
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("purging::one_application", one_application),
    ("purging::what_is_not_there", what_is_not_there),
    ("purging::three_servers", three_servers),
];

async fn pool(server: &Server, app: &str) -> Pool {
    let builder = Pool::builder(&server.url(), app).settings(settings());
    builder.connect().await.expect("it connects")
}

fn one_application() {
    let server = Server::start();
    let gate = Gate::new();
    block_on(async {
        let worker = Program::start(&server.url(), "app", 1);
        let (ours, others) = (pool(&server, "app").await, pool(&server, "other").await);
        let dir = tempfile::tempdir().unwrap();
        let crashed = soon(ours.submit(aborts, dir.path().to_owned()).await).await;
        assert!(crashed.unwrap_err().is_crash());
        assert_eq!(soon(ours.submit(double, 1).await).await.unwrap(), 2);
        let running = ours.submit(waits, gate.input()).await;
        gate.until_begun(1);
        let waiting = ours.submit(double, 2).await;
        let large = ours.submit(reversed, vec![7; 1 << 20]).await;
        let theirs = others.submit(double, 3).await;
        // What is no task goes, too.
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let sent = context.publish("brigade.app.tasks.x", "no task".into());
        sent.await.unwrap().await.unwrap();

        let purge = Purge::new(&server.url(), "app").settings(settings());
        let purged = purge.clone().run().await.unwrap();
        assert_eq!((purged.tasks, purged.dead, purged.results), (4, 1, 0));
        for end in [
            soon(running).await.map(drop),
            soon(waiting).await.map(drop),
            soon(large).await.map(drop),
        ] {
            assert!(matches!(end, Err(JoinError::Cancelled)), "{end:?}");
        }
        until_status(&server, |status| status.queued == 0 && status.running == 0).await;
        let status = look(&server).await;
        assert_eq!((status.dead, status.results), (0, 5));
        // It is usable, and the worker is free again.
        assert_eq!(soon(ours.submit(double, 4).await).await.unwrap(), 8);
        let told = worker.stop();
        assert_eq!((told.ended, told.lost), (3, 1), "{told:?}");

        let purged = purge.results(true).run().await.unwrap();
        assert_eq!((purged.tasks, purged.dead, purged.results), (0, 0, 6));
        assert_eq!(look(&server).await.results, 0);
        let objects = context.get_stream("OBJ_brigade-app-objects").await.unwrap();
        assert_eq!(objects.cached_info().state.messages, 0);

        let other = Program::start(&server.url(), "other", 1);
        assert_eq!(soon(theirs).await.unwrap(), 6);
        assert_eq!(other.stop().ended, 1);
        let told = command(&["purge", &server.url(), "other", "--results"]);
        assert_eq!(text(&told), "purged 0 tasks, 0 dead letters, 1 results\n");
    });
}

fn what_is_not_there() {
    let server = Server::start();
    block_on(async {
        let purge = Purge::new(&server.url(), "absent").settings(settings());
        let why = purge.run().await.unwrap_err();
        assert!(matches!(why, Error::Request { .. }), "{why}");
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let streams: Vec<_> = context.stream_names().collect().await;
        assert!(streams.is_empty(), "{streams:?}");
        // One that has never had a task.
        drop(pool(&server, "fresh").await);
        let purge = Purge::new(&server.url(), "fresh").settings(settings());
        assert_eq!(purge.results(true).run().await.unwrap().tasks, 0);
    });
}

/// One after another is killed without warning, and comes back.
fn three_servers() {
    let mut servers = Server::start_three(None);
    let url = servers.each_ref().map(Server::url).join(",");
    block_on(async {
        let durable = settings()
            .replicas(3)
            .request_timeout(Duration::from_secs(5));
        let pool = soon(async {
            // They have to find each other first.
            loop {
                let builder = Pool::builder(&url, "app").settings(durable.clone());
                match builder.connect().await {
                    Ok(pool) => return pool,
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        })
        .await;
        let worker = Program::start(&url, "app", 2);
        let mut results = pool.map_unordered(double, 0..60);
        let mut got = vec![0; 60];
        let mut count = 0;
        while let Some((number, result)) = soon(results.next()).await {
            assert_eq!(result.unwrap(), 2 * number as u64);
            got[number] += 1;
            count += 1;
            if count % 20 == 0 {
                let server = &mut servers[count / 20 % 3];
                server.kill();
                server.restart();
            }
        }
        assert_eq!(got, vec![1; 60]);
        drop(worker);
    });
}
