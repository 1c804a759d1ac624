//! Exhaustion: a worker takes all the memory, or all the processes, that it may have. The limit
//! ends it or refuses it, and the program goes on answering meanwhile.

use std::io;
use std::time::{Duration, Instant};

use brigade::process::{Builder, Limit, limited_by};
use brigade::{Cause, JoinError, JoinHandle, Kind, Pool, process};

use crate::leftovers::Before;
use crate::measure::{if_asked, milliseconds, now, percentile};
use crate::table::{Table, grouped};
use crate::{Verdict, host};

/// What a worker may have.
const MEMORY: u64 = 64 << 20;
/// Threads count as well.
const PROCESSES: u64 = 32;
/// What a task asks for in vain, if it is not stopped: more than it may have, and no danger.
const MOST_MEMORY: usize = 1 << 30;
const MOST_PROCESSES: u64 = 300;
/// How long each answer of the program may take.
const GOAL: Duration = Duration::from_millis(100);
/// Who has no answer by then hangs.
const LIMIT: Duration = Duration::from_secs(10);

const NOTHING_LIMITED: &str = "neither memory nor processes can be limited here";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many tasks of each sort.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Only what becomes of the tasks: for machines that do something else at the same time.
    #[arg(long)]
    no_time_goal: bool,
}

/// A task: more and more memory.
fn eat(_: ()) -> u64 {
    let mut all: Vec<Vec<u8>> = Vec::new();
    while all.len() << 20 < MOST_MEMORY {
        all.push(vec![1; 1 << 20]);
    }
    std::hint::black_box(&all).len() as u64
}

/// A task: as many daemons as it can have. They end with their worker.
fn breed(_: ()) -> u64 {
    (0..MOST_PROCESSES)
        .take_while(|_| host::daemon().is_ok())
        .count() as u64
}

fn add(n: u64) -> u64 {
    n + 1
}

/// What there is to be had, and what becomes of a task that takes all of it.
struct Sort {
    name: &'static str,
    limit: Limit,
    task: fn(()) -> u64,
    ends_well: fn(&Result<u64, JoinError>) -> bool,
}

const SORTS: [Sort; 2] = [
    Sort {
        name: "memory",
        limit: Limit::Memory,
        task: eat,
        ends_well: |ended| matches!(ended, Err(JoinError::Crashed(crash)) if *crash.cause() == Cause::OutOfMemory),
    },
    Sort {
        name: "processes",
        limit: Limit::Processes,
        task: breed,
        ends_well: |ended| matches!(ended, Ok(count) if (1..PROCESSES).contains(count)),
    },
];

#[derive(Debug, Default)]
struct Tally {
    /// Of the program's answers, in nanoseconds.
    times: Vec<u64>,
    wrong: Vec<String>,
}

impl Tally {
    /// Asks the program for the result of a task, for as long as the other one runs.
    fn ask_during(&mut self, pool: &Pool, exhausts: &JoinHandle<u64>) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let asked = now();
            let pooled = pool.submit(add, 1).join_timeout(LIMIT);
            self.answered(asked, format_args!("in a pool: {pooled:?}"), &pooled);
            let asked = now();
            let alone = process::spawn(add, 1)?.join_timeout(LIMIT);
            self.answered(asked, format_args!("alone: {alone:?}"), &alone);
            if exhausts.is_finished() {
                return Ok(());
            }
            if begun.elapsed() > LIMIT {
                self.wrong.push("it goes on".to_owned());
                return Ok(());
            }
        }
    }

    fn answered<H>(
        &mut self,
        asked: u64,
        what: std::fmt::Arguments<'_>,
        answer: &Result<Result<u64, JoinError>, H>,
    ) {
        self.times.push(now().saturating_sub(asked));
        if !matches!(answer, Ok(Ok(2))) {
            self.wrong.push(what.to_string());
        }
    }
}

fn exhaust(sort: &Sort, count: u64) -> io::Result<Tally> {
    let limits = match sort.limit {
        Limit::Memory => Builder::new().memory_limit(MEMORY),
        _ => Builder::new().processes_limit(PROCESSES),
    };
    let limited = Pool::builder(Kind::Process).workers(1).process(limits);
    // Daemons end with their worker: each task has a new one.
    let limited = limited.recycle_after(1).build()?;
    let pool = Pool::processes(1)?;
    let mut tally = Tally::default();
    for _ in 0..count {
        let exhausts = limited.submit(sort.task, ());
        tally.ask_during(&pool, &exhausts)?;
        match exhausts.join_timeout(LIMIT) {
            Ok(ended) if (sort.ends_well)(&ended) => {}
            other => tally.wrong.push(format!("{other:?}")),
        }
    }
    tally.times.sort_unstable();
    Ok(tally)
}

pub(crate) fn run(options: &Options) -> io::Result<Verdict> {
    Pool::processes(2)?.map(add, 0..10_000).count();
    let before = Before::look()?;
    let start = Instant::now();
    let head = ["", "tasks", "answers", "wrong", "p50", "p99", "longest"];
    let mut table = Table::new(&head);
    let (mut met, mut tried, mut examples) = (true, 0, Vec::new());
    for sort in &SORTS {
        let by = limited_by(sort.limit);
        // Without it the task would take what others need.
        if !by.is_enforced() {
            println!("skipped: {} cannot be limited here: {by}", sort.name);
            continue;
        }
        println!("{}: {by}", sort.name);
        tried += 1;
        let tally = exhaust(sort, options.count)?;
        let longest = percentile(&tally.times, 100);
        met &= tally.wrong.is_empty();
        met &= options.no_time_goal || longest.is_some_and(|time| time < GOAL);
        table.line([
            sort.name.to_owned(),
            grouped(options.count),
            grouped(tally.times.len() as u64),
            grouped(tally.wrong.len() as u64),
            milliseconds(percentile(&tally.times, 50)),
            milliseconds(percentile(&tally.times, 99)),
            milliseconds(longest),
        ]);
        examples.extend(tally.wrong.into_iter().take(5));
    }
    if tried == 0 {
        return Err(io::Error::other(NOTHING_LIMITED));
    }
    println!(
        "Exhaustion: workers take all that they may have, in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    table.print();
    for example in &examples {
        println!("    {example}");
    }
    println!(
        "  goal: the limit is named, and each answer takes less than {} ms{}",
        GOAL.as_millis(),
        if_asked(options.no_time_goal)
    );
    met &= before.compare(None)?;
    Ok(Verdict::print(met))
}
