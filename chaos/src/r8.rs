//! R8: a task ignores SIGTERM, spins, and has a child that has left everybody: when its time is
//! over, both are dead, the caller is told, and soon.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use brigade::{JoinError, Kind, Pool, Shared};
use brigade_test_support::wait;

use crate::leftovers::Before;
use crate::measure::{if_asked, milliseconds, now, percentile};
use crate::table::{Table, grouped};
use crate::{Verdict, host};

/// What a task has.
const TIMEOUT: Duration = Duration::from_millis(100);
/// How much later it has to be dead and reported, at p99.
const GOAL: Duration = Duration::from_millis(50);
/// Who is not told by then hangs.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many tasks, one after the other; and as many again, two at a time.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Only count what is alive: for machines that do something else at the same time.
    #[arg(long)]
    no_time_goal: bool,
}

/// What a task tells: when it began, and who its child is.
type Said = Shared<[AtomicU64; 2]>;

/// A task: begins, has a daemon, is deaf, and spins.
fn spin(said: Said) {
    said[0].store(now(), SeqCst);
    // SAFETY: ignores a signal.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    let daemon = host::daemon().expect("a daemon starts");
    said[1].store(daemon.into(), SeqCst);
    loop {
        std::hint::spin_loop();
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    /// From the end of the time until the caller was told; in nanoseconds.
    late: Vec<u64>,
    survivors: u64,
    wrong: Vec<String>,
}

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// So many tasks, at once. `false`: one had not even a daemon before its time was over, on a
/// machine that is busy otherwise.
fn try_some(pool: &Pool, count: usize, tally: &mut Tally) -> io::Result<bool> {
    let said: Vec<Said> = (0..count)
        .map(|_| Shared::new([const { AtomicU64::new(0) }; 2]))
        .collect::<io::Result<_>>()?;
    let handles: Vec<_> = said.iter().map(|s| pool.submit(spin, s.clone())).collect();
    wait::until_found("the tasks to have begun", || {
        let mut all = said.iter().zip(&handles);
        let seen = all.all(|(s, handle)| s[1].load(SeqCst) > 0 || handle.is_finished());
        Ok(seen.then_some(()))
    })?;
    if said.iter().any(|s| s[1].load(SeqCst) == 0) {
        return Ok(false);
    }
    let workers: Vec<_> = handles.iter().map(|handle| handle.pid()).collect();
    for ((said, handle), worker) in said.iter().zip(handles).zip(workers) {
        let ended = handle.join_timeout(LIMIT);
        let told = now();
        let over = said[0].load(SeqCst) + TIMEOUT.as_nanos() as u64;
        match ended {
            Ok(Err(JoinError::TimedOut(timeout))) if timeout.after() == TIMEOUT => {
                // Its input is decoded before it can look at a clock.
                if told + 1_000_000 < over {
                    tally
                        .wrong
                        .push(format!("told {} ns too early", over - told));
                }
                tally.late.push(told.saturating_sub(over));
            }
            other => tally.wrong.push(format!("{other:?}")),
        }
        let daemon = said[1].load(SeqCst) as u32;
        for pid in worker.into_iter().chain([daemon]) {
            tally.survivors += u64::from(exists(pid));
        }
    }
    match pool.submit(|n: u64| n + 1, 41).join_timeout(LIMIT) {
        Ok(Ok(42)) => {}
        other => tally.wrong.push(format!("the next task: {other:?}")),
    }
    Ok(true)
}

pub(crate) fn run(options: &Options) -> io::Result<Verdict> {
    Pool::processes(2)?.map(|n: u64| n, 0..10_000).count();
    let before = Before::look()?;
    let start = Instant::now();
    let mut table = Table::new(&["", "told", "alive", "wrong", "p50", "p99", "longest"]);
    let (mut met, mut examples) = (true, Vec::new());
    for at_once in [1, 2] {
        let pool = Pool::builder(Kind::Process)
            .workers(at_once)
            .timeout(TIMEOUT);
        let pool = pool.build()?;
        let mut tally = Tally::default();
        for _ in 0..options.count.div_ceil(at_once as u64) {
            wait::until_found("a task that has begun in time", || {
                Ok(try_some(&pool, at_once, &mut tally)?.then_some(()))
            })?;
        }
        tally.late.sort_unstable();
        let p99 = percentile(&tally.late, 99);
        met &= tally.survivors == 0 && tally.wrong.is_empty();
        met &= options.no_time_goal || p99.is_some_and(|t| t <= GOAL);
        table.line([
            format!("{at_once} at a time"),
            grouped(tally.late.len() as u64),
            grouped(tally.survivors),
            grouped(tally.wrong.len() as u64),
            milliseconds(percentile(&tally.late, 50)),
            milliseconds(p99),
            milliseconds(percentile(&tally.late, 100)),
        ]);
        examples.extend(tally.wrong.into_iter().take(5));
    }
    println!(
        "R8: tasks that spin and are deaf, each with a daemon, timed out after {} ms, in {:.1} s",
        TIMEOUT.as_millis(),
        start.elapsed().as_secs_f64()
    );
    table.print();
    for example in &examples {
        println!("    {example}");
    }
    println!(
        "  goal: nobody alive when it is told, which is so much later than the time was over: p99 {} ms{}",
        GOAL.as_millis(),
        if_asked(options.no_time_goal)
    );
    met &= before.compare(None)?;
    Ok(Verdict::print(met))
}
