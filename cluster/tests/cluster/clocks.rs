//! Machines whose clocks are hours apart: libfaketime sets those of worker programs and submitters.
//! Without it (Debian's package `libfaketime`) the test is skipped, and says so.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brigade::JoinError;
use brigade_cluster::{Pool, Status};
use brigade_test_support::wait::pause;
use futures_util::StreamExt;

use crate::block_on;
use crate::server::{Server, until};
use crate::status::until_status;
use crate::tasks::{Gate, dies_twice, double, hour, reversed, waits};
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[("clocks::hours_apart", hours_apart)];

/// The library, or why there is none.
fn library() -> Result<PathBuf, String> {
    let arch = std::env::consts::ARCH;
    [
        format!("/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1"),
        "/usr/lib64/faketime/libfaketime.so.1".to_owned(),
        "/usr/lib/faketime/libfaketime.so.1".to_owned(),
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .ok_or_else(|| "there is no libfaketime".to_owned())
}

/// What a program is started with whose clock is `hours` ahead of the machine's.
fn clock(hours: i32) -> [(&'static str, String); 3] {
    let library = library().expect("it was there");
    [
        ("LD_PRELOAD", library.to_str().expect("text").to_owned()),
        ("FAKETIME", format!("{hours:+}h")),
        // It counts no time of day: a clock that is wrong runs as fast as another.
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

fn hours_apart() {
    if let Err(why) = library() {
        eprintln!("SKIPPED: clocks that are hours apart: {why}");
        return;
    }
    for hours in [7, -7] {
        let server = Server::start();
        let worker = Program::start_at(&server.url(), "app", &clock(hours));
        // One whose clock is right, and one who is as wrong in the other direction.
        for submitter in [0, -hours] {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args(["--submitter", &server.url(), &hours.to_string()]);
            if submitter != 0 {
                command.envs(clock(submitter));
            }
            let mut child = command.stdin(Stdio::null()).spawn().expect("it starts");
            let status = until("the submitter ends", || child.try_wait().expect("a child"));
            assert!(
                status.success(),
                "worker {hours:+} h, submitter {submitter:+} h"
            );
        }
        // Nothing is left, in the queue or of the counts of attempts.
        block_on(until_status(&server, |status| status.queued == 0));
        let told = worker.stop();
        assert_eq!(told.dead, 0, "{told:?}");
    }
}

/// `program --submitter URL HOURS`: what `main` is then. The worker's clock is `HOURS` ahead of the
/// server's.
pub(crate) fn main(arguments: &[String]) {
    let [url, hours] = arguments else {
        panic!("{arguments:?}");
    };
    let hours: i64 = hours.parse().expect("a number");
    block_on(async {
        let builder = Pool::builder(url, "app").settings(settings());
        let pool = builder.connect().await.unwrap();
        // The clocks are what they are to be.
        let there = soon(pool.submit(hour, ()).await).await.unwrap();
        assert!(
            there.abs_diff(hour(())) >= 6,
            "{hours}: {there} and {}",
            hour(())
        );
        a_deadline_holds(&pool).await;
        a_deadline_is_over(&pool).await;
        a_worker_is_told_of(url).await;
        results_are_kept(&pool).await;
    });
}

/// An hour ahead is no reason to say that it is over.
async fn a_deadline_holds(pool: &Pool) {
    let limit = Duration::from_secs(600);
    for _ in 0..5 {
        let task = pool.task(double).deadline(limit).timeout(limit);
        assert_eq!(soon(task.submit(4).await).await.unwrap(), 8);
    }
    // Its runs that die are counted, and begun again at once.
    let task = pool.task(dies_twice).deadline(limit);
    assert_eq!(soon(task.submit(()).await).await.unwrap(), 3);
}

/// An hour behind is no reason to go on: one that runs, and one that waits behind it.
async fn a_deadline_is_over(pool: &Pool) {
    let (gate, other) = (Gate::new(), Gate::new());
    let limit = Duration::from_secs(2);
    let begun = Instant::now();
    let runs = pool.task(waits).deadline(limit).submit(gate.input()).await;
    gate.until_begun(1);
    let waiting = pool.task(waits).deadline(limit / 4).submit(other.input());
    let waiting = waiting.await;
    match soon(waiting).await {
        Err(JoinError::TimedOut(over)) => assert!(!over.had_begun(), "{over}"),
        ended => panic!("{ended:?}"),
    }
    match soon(runs).await {
        Err(JoinError::TimedOut(over)) => assert!(over.had_begun(), "{over}"),
        ended => panic!("{ended:?}"),
    }
    assert!(begun.elapsed() >= limit);
    assert_eq!(other.begun(), 0);
    // One that takes longer than a worker has without a sign of life is not given to another.
    let mut gate = Gate::new();
    let runs = pool.submit(waits, gate.input()).await;
    gate.until_begun(1);
    pause(Duration::from_secs(3));
    gate.open();
    assert_eq!(soon(runs).await.unwrap(), 1);
}

/// It is seen as long as it says that it lives.
async fn a_worker_is_told_of(url: &str) {
    pause(Duration::from_secs(2));
    let status = Status::of(url, "app", &settings()).await.unwrap();
    assert_eq!(status.workers.len(), 1, "{status}");
}

/// A large one, too; by the time of the servers.
async fn results_are_kept(pool: &Pool) {
    let job = pool.job().unwrap().to_owned();
    let handle = pool.submit(reversed, vec![7; 300 << 10]).await;
    let number = handle.number().unwrap();
    assert_eq!(soon(handle).await.unwrap().len(), 300 << 10);
    let mut results = pool.reattach(&job, reversed).unwrap();
    soon(async {
        loop {
            match results.next().await.unwrap() {
                (at, result) if at == number => {
                    assert_eq!(result.unwrap().len(), 300 << 10);
                    return;
                }
                _ => {}
            }
        }
    })
    .await;
}
