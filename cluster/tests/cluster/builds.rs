//! Builds side by side: each has workers of its own.

use brigade_cluster::{Error, Pool, Worker};

use crate::block_on;
use crate::server::Server;
use crate::status::{look, until_status};
use crate::tasks::double;
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("builds::side_by_side", side_by_side),
    ("builds::a_rolling_upgrade", a_rolling_upgrade),
    ("builds::names", names),
];

async fn pool(server: &Server, build: &str) -> Pool {
    let builder = Pool::builder(&server.url(), "app").settings(settings());
    builder.build(build).connect().await.expect("it connects")
}

fn side_by_side() {
    let server = Server::start();
    block_on(async {
        let old = Program::start_build(&server.url(), "app", "old");
        let new = Program::start_build(&server.url(), "app", "new");
        let pools = [pool(&server, "old").await, pool(&server, "new").await];
        for (count, pool) in [(3, &pools[0]), (5, &pools[1])] {
            for n in 0..count {
                assert_eq!(soon(pool.submit(double, n).await).await.unwrap(), 2 * n);
            }
        }
        assert_eq!((old.stop().ended, new.stop().ended), (3, 5));
    });
}

/// The old build's tasks wait for its workers, whoever else is there; that is said.
fn a_rolling_upgrade() {
    let server = Server::start();
    block_on(async {
        let first = Program::start_build(&server.url(), "app", "old");
        let old = pool(&server, "old").await;
        assert_eq!(soon(old.submit(double, 1).await).await.unwrap(), 2);
        first.stop();
        let new_worker = Program::start_build(&server.url(), "app", "new");
        let handle = old.submit(double, 2).await;
        let new = pool(&server, "new").await;
        assert_eq!(soon(new.submit(double, 3).await).await.unwrap(), 6);
        until_status(&server, |status| {
            status.workers.len() == 1 && status.running == 0
        })
        .await;
        let status = look(&server).await;
        let builds: Vec<_> = status.builds.iter().map(|b| &*b.name).collect();
        assert_eq!(builds, ["new", "old"]);
        assert_eq!((status.builds[1].pending, status.builds[1].workers), (1, 0));
        assert_eq!((status.builds[0].pending, status.builds[0].workers), (0, 1));
        let text = status.to_string();
        let line = text.lines().find(|line| line.starts_with("old"));
        assert!(
            line.is_some_and(|line| line.ends_with("no worker of this build is running")),
            "{text}"
        );
        let last = Program::start_build(&server.url(), "app", "old");
        assert_eq!(soon(handle).await.unwrap(), 4);
        assert_eq!((last.stop().ended, new_worker.stop().ended), (1, 1));
    });
}

fn names() {
    block_on(async {
        for name in ["", "a.b", "*"] {
            let connecting = Pool::builder("local:", "app").build(name).connect();
            let refused = connecting.await.unwrap_err();
            assert!(matches!(refused, Error::Build(_)), "{refused}");
            let local = brigade::Pool::threads(1).unwrap();
            let worker = Worker::new("nats://127.0.0.1:1", "app", local).build(name);
            let refused = worker.run_until(std::future::pending()).await.unwrap_err();
            assert!(matches!(refused, Error::Build(_)), "{refused}");
        }
    });
}
