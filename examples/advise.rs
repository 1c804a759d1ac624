//! Threads or processes? Eight tasks ask for advice; where the clock decides, both ways are then
//! run here, and what was advised is compared with what was seen.
//!
//! `cargo run --release --example advise`, or with the number of one of them (1 to 8).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use brigade::{Advice, Kind, Message, Pool};

/// Mixes its input with itself for a while.
fn compute(rounds: u64) -> u64 {
    (0..rounds).fold(rounds, |hash, n| {
        (hash ^ n).wrapping_mul(0x100_0000_01b3).rotate_left(23)
    })
}

fn add_one(n: u64) -> u64 {
    n + 1
}

fn first_and_last(bytes: Vec<u8>) -> Option<(u8, u8)> {
    Some((*bytes.first()?, *bytes.last()?))
}

/// A C library's mistake, in one line.
fn crash_on_seven(n: usize) -> u64 {
    if n == 7 {
        // SAFETY: there is nothing at that address: this is the crash.
        return unsafe { std::ptr::read_volatile(n as *const u64) };
    }
    compute(10_000)
}

fn leak(n: u64) -> u64 {
    let kept = Box::leak(vec![n; 10_000].into_boxed_slice());
    kept.iter().sum()
}

/// As one that asks a server does.
#[expect(
    clippy::disallowed_methods,
    reason = "a task that waits for something outside"
)]
fn wait(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

/// A cache that all tasks use, and all fill.
fn count(n: u64) -> u64 {
    static SUM: AtomicU64 = AtomicU64::new(0);
    SUM.fetch_add(compute(n), Ordering::SeqCst)
}

/// Some compute, some wait, and one in a hundred crashes.
fn mixed(n: u64) -> u64 {
    match n % 100 {
        99 => std::process::abort(),
        n if n % 3 == 0 => wait(1),
        _ => compute(20_000),
    }
}

/// What is best, if that is known without a clock.
type Known = Option<Kind>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let chosen: Option<usize> = std::env::args().nth(1).map(|n| n.parse()).transpose()?;
    let mut wrong = 0;
    for number in 1..=8 {
        if chosen.is_some_and(|chosen| chosen != number) {
            continue;
        }
        let is_right = match number {
            1 => ask("CPU-bound", compute, vec![200_000; 16], None),
            2 => ask("tiny", add_one, (0..1000).collect(), None),
            3 => ask(
                "large input",
                first_and_last,
                vec![vec![1; 4 << 20]; 8],
                None,
            ),
            4 => ask(
                "crashing",
                crash_on_seven,
                (0..32).collect(),
                Some(Kind::Process),
            ),
            5 => ask("leaking", leak, (0..32).collect(), Some(Kind::Process)),
            6 => ask("I/O-bound", wait, vec![5; 16], None),
            7 => ask("shared state", count, vec![1000; 64], Some(Kind::Thread)),
            _ => ask("mixed", mixed, (0..200).collect(), Some(Kind::Process)),
        }?;
        wrong += usize::from(!is_right);
    }
    match wrong {
        0 => Ok(()),
        wrong => {
            Err(format!("{wrong} of the tasks were not advised what was seen to be best").into())
        }
    }
}

fn ask<A: Message + Clone, R: Message>(
    name: &str,
    task: fn(A) -> R,
    inputs: Vec<A>,
    known: Known,
) -> Result<bool, Box<dyn std::error::Error>> {
    let advice = brigade::advise(task, inputs.clone())?;
    println!("== {name}\n{advice}");
    let (is_right, seen) = match known {
        Some(kind) => (
            advice.kind() == kind,
            format!("it is for a {kind} by what it does"),
        ),
        None => by_the_clock(&advice, task, &inputs)?,
    };
    println!("{}: {seen}\n", if is_right { "Right" } else { "WRONG" });
    Ok(is_right)
}

/// Both ways with the pools that were advised, in turns. A tie within 10 % counts as either.
fn by_the_clock<A: Message + Clone, R: Message>(
    advice: &Advice,
    task: fn(A) -> R,
    inputs: &[A],
) -> Result<(bool, String), Box<dyn std::error::Error>> {
    let workers = advice.workers();
    let (threads, processes) = (Pool::threads(workers)?, Pool::processes(workers)?);
    let copies = (20_000 / inputs.len()).min(20);
    let run = |pool: &Pool| {
        let all: Vec<A> = (0..copies).flat_map(|_| inputs.to_vec()).collect();
        let begin = Instant::now();
        pool.map_unordered(task, all).for_each(drop);
        begin.elapsed().as_secs_f64()
    };
    run(&threads);
    run(&processes);
    let mut ratios: Vec<f64> = (0..9).map(|_| run(&processes) / run(&threads)).collect();
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    let is_right = match advice.kind() {
        Kind::Thread => ratio > 1.0 / 1.1,
        Kind::Process => ratio < 1.1,
    };
    let seen = format!("run both ways, processes take {ratio:.2} times as long as threads");
    Ok((is_right, seen))
}
