//! `local:` is the same program: what a task ends with, and in which words, is what it ends with on
//! other machines.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use brigade_cluster::{JoinHandle, Pool};
use futures_util::StreamExt;

use crate::block_on;
use crate::server::Server;
use crate::tasks::{
    Fragile, Gate, aborts, double, fails, fragile, not_exported, panics, reversed, waits,
};
use crate::worker::{Program, settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[("parity::ends_and_words", ends_and_words)];

fn ends_and_words() {
    let server = Server::start();
    let worker = Program::start(&server.url(), "app", 1);
    block_on(async {
        let remote = Pool::builder(&server.url(), "app").settings(settings());
        let local = brigade::Pool::processes(1).unwrap();
        let local = Pool::builder("local:", "app").local(local);
        let told = [
            ends(&local.connect().await.unwrap()).await,
            ends(&remote.connect().await.unwrap()).await,
        ];
        let differ = |(local, remote): (&String, &String)| {
            (local != remote).then(|| format!("{local}\n    {remote}"))
        };
        let differ: Vec<_> = told[0].iter().zip(&told[1]).filter_map(differ).collect();
        assert!(
            differ.is_empty(),
            "local:, and elsewhere:\n{}",
            differ.join("\n")
        );
        assert_eq!(told[0].len(), told[1].len());
    });
    drop(worker);
}

/// How a task ended, without numbers: those of processes, addresses, times and places.
async fn ended<R: brigade::Message + Debug>(what: &str, handle: JoinHandle<R>) -> String {
    let told = match soon(handle).await {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{} {error}", kind(&error)),
    };
    // Where it was when its time was over is a matter of time.
    let told = told.split(", in ").next().unwrap_or_default();
    let mut plain = String::new();
    for c in told.chars() {
        match c.is_ascii_digit() {
            true if plain.ends_with('#') => {}
            true => plain.push('#'),
            false => plain.push(c),
        }
    }
    format!("{what}: {plain}")
}

fn kind(error: &brigade::JoinError) -> String {
    let debug = format!("{error:?}");
    debug
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default()
        .to_owned()
}

async fn ends(pool: &Pool) -> Vec<String> {
    let pointer: fn(u64) -> u64 = not_exported;
    let trace = pool.task(double).trace_context("ä", None);
    let gate = Gate::new();
    let short = Duration::from_millis(300);
    let dir = tempfile::tempdir().unwrap();
    let mut all = vec![
        ended("a result", pool.submit(double, 2).await).await,
        ended(
            "a large one",
            pool.submit(reversed, vec![1; 300 << 10]).await,
        )
        .await,
        ended("not exported", pool.submit(not_exported, 1).await).await,
        ended("a pointer", pool.submit(pointer, 1).await).await,
        ended("a trace", trace.submit(1).await).await,
        ended(
            "its own error",
            pool.submit(fails, "no luck".to_owned()).await,
        )
        .await,
        ended(
            "a panic",
            pool.submit(panics, "of old age".to_owned()).await,
        )
        .await,
        ended("an input", pool.submit(fragile, Fragile(None)).await).await,
        ended(
            "an input there",
            pool.submit(fragile, Fragile(Some(13))).await,
        )
        .await,
        ended(
            "a result there",
            pool.submit(fragile, Fragile(Some(0))).await,
        )
        .await,
        ended("a crash", pool.submit(aborts, dir.path().to_owned()).await).await,
        ended(
            "a timeout",
            pool.task(waits).timeout(short).submit(gate.input()).await,
        )
        .await,
        ended(
            "a deadline",
            pool.task(waits).deadline(short).submit(gate.input()).await,
        )
        .await,
        ended(
            "none left",
            pool.task(double).deadline(Duration::ZERO).submit(1).await,
        )
        .await,
        ended(
            "offered",
            pool.task(double).only_if_offered().submit(1).await,
        )
        .await,
    ];
    let handle = pool.submit(waits, gate.input()).await;
    handle.cancel().await.unwrap();
    all.push(ended("a cancel", handle).await);
    let missing = PathBuf::from("/nonexistent");
    let results: Vec<_> = pool.map(waits, [missing]).collect().await;
    all.push(format!(
        "a map: {}",
        results[0].as_ref().unwrap_err().is_panic()
    ));
    let results: Vec<_> = pool.map_unordered(double, [1, 2]).collect().await;
    all.push(format!("another: {}", results.len()));
    all
}
