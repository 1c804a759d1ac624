//! A pool's timeline, to look at: tasks of different lengths, one that crashes and is run again,
//! one that runs over its time.
//!
//! `cargo run --example timeline -- process run.perfetto-trace` (or `thread`, where nothing
//! crashes), and open the file at <https://ui.perfetto.dev>.

use std::time::{Duration, Instant};

use brigade::{Kind, Pool};

/// Computes for so many milliseconds.
fn compute(millis: u64) -> u64 {
    let (begin, mut rounds) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_millis(millis) {
        rounds += 1;
    }
    rounds
}

/// A C library's mistake, in one line.
fn crash(_: u64) -> u64 {
    std::process::abort()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let mut words = std::env::args().skip(1);
    let kind: Kind = words.next().as_deref().unwrap_or("process").parse()?;
    let file = words
        .next()
        .unwrap_or_else(|| "brigade.perfetto-trace".to_owned());
    let pool = Pool::builder(kind)
        .workers(3)
        .name("example")
        .timeout(Duration::from_millis(200))
        .retries(1)
        .trace(&file)
        .build()?;
    let long = pool.submit(compute, 1000);
    let crashed = (kind == Kind::Process).then(|| pool.submit(crash, 0));
    let done = pool
        .map(compute, (0..60).map(|n| n % 7))
        .filter(Result::is_ok)
        .count();
    for (what, task) in [("long", Some(long)), ("crash", crashed)] {
        if let Some(Err(why)) = task.map(|task| task.join()) {
            println!("{what}: {why}");
        }
    }
    drop(pool); // what is left is written
    println!("{done} tasks done; open {file} at https://ui.perfetto.dev");
    Ok(())
}
