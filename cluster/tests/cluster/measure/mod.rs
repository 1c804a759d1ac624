//! What a task costs over the servers, beside the same in this program's own pool and in Dask's
//! distributed scheduler, in one run: `scripts/cluster measure [--rounds N]`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brigade_cluster::{Pool, Settings};
use brigade_test_support::wait::LIMIT;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use crate::block_on;
use crate::server::Server;
use crate::tasks::{double, length, works};
use crate::worker::Program;

/// How many tasks each figure is of, and how many worker processes run them.
#[derive(Clone, Copy, Debug, Serialize)]
struct Counts {
    workers: usize,
    null: usize,
    milliseconds: usize,
    mebibytes: usize,
    one_at_a_time: usize,
}

const COUNTS: Counts = Counts {
    workers: 2,
    null: 3_000,
    milliseconds: 1_000,
    mebibytes: 60,
    one_at_a_time: 200,
};

/// What is measured in one round: tasks a second, and the times of tasks one at a time, in seconds.
#[derive(Debug, Deserialize)]
struct Figures {
    null: f64,
    milliseconds: f64,
    mebibytes: f64,
    one_at_a_time: Vec<f64>,
}

/// Where the tasks run.
#[derive(Clone, Copy, Debug)]
enum Place {
    ThisProgram,
    /// Servers, and on how many each stream is kept; each write is on a disk before it is
    /// confirmed.
    Servers {
        replicas: usize,
        is_durable: bool,
    },
    Dask,
}

const PLACES: [(Place, &str); 6] = [
    (Place::ThisProgram, "`local:`, the pool of this program"),
    (servers(1, false), "one server"),
    (servers(1, true), "one server, `sync_interval: always`"),
    (servers(3, false), "three servers, 3 replicas"),
    (
        servers(3, true),
        "three servers, 3 replicas, `sync_interval: always`",
    ),
    (Place::Dask, "Dask distributed"),
];

const fn servers(replicas: usize, is_durable: bool) -> Place {
    Place::Servers {
        replicas,
        is_durable,
    }
}

/// `program --measure [--rounds N]`.
pub(crate) fn main(arguments: &[String]) {
    let rounds = match arguments {
        [] => 3,
        [word, count] if word == "--rounds" => count.parse().expect("a number of rounds"),
        _ => panic!("{arguments:?}: only --rounds N"),
    };
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing");
    }
    let mut seen: Vec<Vec<Figures>> = PLACES.iter().map(|_| Vec::new()).collect();
    // In turn, so that what else the machine does falls on all.
    for round in 1..=rounds {
        for ((place, name), seen) in PLACES.iter().zip(&mut seen) {
            eprintln!("round {round} of {rounds}: {name}");
            match measure(*place) {
                Ok(figures) => seen.push(figures),
                Err(why) => eprintln!("skipped: {name}: {why}"),
            }
        }
    }
    println!(
        "medians of {rounds} rounds; {} worker processes; {} null tasks, {} of 1 ms, {} with 1 MiB",
        COUNTS.workers, COUNTS.null, COUNTS.milliseconds, COUNTS.mebibytes
    );
    println!("| where | null tasks/s | tasks of 1 ms/s | inputs of 1 MiB/s | one task | its p99 |");
    println!("|---|---:|---:|---:|---:|---:|");
    for ((_, name), seen) in PLACES.iter().zip(&seen) {
        if seen.is_empty() {
            continue;
        }
        let of = |figure: fn(&Figures) -> f64| median(seen.iter().map(figure).collect());
        let mut times: Vec<f64> = seen
            .iter()
            .flat_map(|figures| figures.one_at_a_time.iter().copied())
            .collect();
        times.sort_by(f64::total_cmp);
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {:.0} µs | {:.0} µs |",
            of(|figures| figures.null),
            of(|figures| figures.milliseconds),
            of(|figures| figures.mebibytes),
            1e6 * at(&times, 50),
            1e6 * at(&times, 99),
        );
    }
}

fn measure(place: Place) -> Result<Figures, String> {
    match place {
        Place::ThisProgram => {
            let pool = brigade::Pool::processes(COUNTS.workers).map_err(|e| e.to_string())?;
            let pool = Pool::builder("local:", "measure").local(pool);
            let mut figures = None;
            block_on(async {
                let pool = pool.connect().await.expect("a pool");
                figures = Some(run(&pool).await);
            });
            figures.ok_or_else(|| "it was not run".to_owned())
        }
        Place::Servers {
            replicas,
            is_durable,
        } => {
            let servers = match (replicas, is_durable) {
                (1, false) => vec![Server::start()],
                (1, true) => vec![Server::start_with(&["--config", Server::DURABLE], &[])],
                (_, false) => Vec::from(Server::start_three_lazy()),
                (_, true) => Vec::from(Server::start_three(None)),
            };
            let urls: Vec<String> = servers.iter().map(Server::url).collect();
            let mut figures = None;
            block_on(async {
                let settings = Settings::default().replicas(replicas);
                let pool = connect(&urls.join(","), settings).await;
                let worker = Program::start(&urls[0], "measure", COUNTS.workers);
                figures = Some(run(&pool).await);
                worker.stop();
            });
            figures.ok_or_else(|| "it was not run".to_owned())
        }
        Place::Dask => dask(),
    }
}

/// Three servers need a moment until they agree on a leader.
async fn connect(url: &str, settings: Settings) -> Pool {
    let end = Instant::now() + LIMIT;
    loop {
        let builder = Pool::builder(url, "measure").settings(settings.clone());
        match builder.connect().await {
            Ok(pool) => return pool,
            Err(e) => assert!(Instant::now() < end, "no pool: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn run(pool: &Pool) -> Figures {
    // The workers are there, and each has run the task.
    for _ in 0..2 * COUNTS.workers {
        pool.submit(double, 1).await.await.expect("a result");
    }
    let null = a_second(COUNTS.null, async {
        let mut results = pool.map_unordered(double, 0..COUNTS.null as u64);
        while let Some((_, result)) = results.next().await {
            result.expect("a result");
        }
    });
    let null = null.await;
    let milliseconds = a_second(COUNTS.milliseconds, async {
        let mut results = pool.map_unordered(works, (0..COUNTS.milliseconds).map(|_| 1));
        while let Some((_, result)) = results.next().await {
            result.expect("a result");
        }
    });
    let milliseconds = milliseconds.await;
    let mebibytes = a_second(COUNTS.mebibytes, async {
        let inputs = (0..COUNTS.mebibytes).map(|n| vec![n as u8; 1 << 20]);
        let mut results = pool.map_unordered(length, inputs);
        while let Some((_, result)) = results.next().await {
            assert_eq!(result.expect("a result"), 1 << 20);
        }
    });
    let mebibytes = mebibytes.await;
    let mut one_at_a_time = Vec::new();
    for n in 0..COUNTS.one_at_a_time as u64 {
        let begun = Instant::now();
        let result = pool.submit(double, n).await.await;
        one_at_a_time.push(begun.elapsed().as_secs_f64());
        assert_eq!(result.expect("a result"), 2 * n);
    }
    Figures {
        null,
        milliseconds,
        mebibytes,
        one_at_a_time,
    }
}

async fn a_second(tasks: usize, run: impl Future<Output = ()>) -> f64 {
    let begun = Instant::now();
    run.await;
    tasks as f64 / begun.elapsed().as_secs_f64()
}

/// The same by Dask, which `BRIGADE_DASK`, a Python that has it, runs.
fn dask() -> Result<Figures, String> {
    let python = std::env::var("BRIGADE_DASK")
        .map_err(|_| "no Python with Dask; `scripts/cluster measure` installs one".to_owned())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/measure/in_dask.py");
    let log = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    let counts = serde_json::to_string(&COUNTS).expect("JSON");
    let ran = Command::new(python)
        .arg(script)
        .arg(counts)
        .stdin(Stdio::null())
        .stderr(File::create(log.path()).map_err(|e| e.to_string())?)
        .output()
        .map_err(|e| e.to_string())?;
    if !ran.status.success() {
        let log = std::fs::read_to_string(log.path()).unwrap_or_default();
        return Err(format!("{}: {log}", ran.status));
    }
    serde_json::from_slice(&ran.stdout).map_err(|e| e.to_string())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    at(&values, 50)
}

fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100]
}
