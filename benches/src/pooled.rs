//! What our pools are given: tasks one at a time, or many at once. And a program that has nothing
//! but a pool.

use std::io::{self, Read};
use std::iter::repeat_n;
use std::process::Command;
use std::time::{Duration, Instant};

use brigade::{Message, Pool};
use brigade_test_support::{procfs, wait};

use crate::footprint;
use crate::helper::{Helper, Role, answer};
use crate::peers::memory;
use crate::rounds::{each, microseconds};
use crate::traffic::join;
use crate::work::nothing;

/// Microseconds for a task that does nothing, one at a time.
pub(crate) fn one_at_a_time(pool: &Pool, count: u32) -> io::Result<f64> {
    each(count, || join(pool.submit(nothing, ())))
}

/// Microseconds a task, for `count` tasks through `map`.
pub(crate) fn mapped<A: Message + Clone, R: Message>(
    pool: &Pool,
    task: fn(A) -> R,
    input: A,
    count: u32,
) -> io::Result<f64> {
    let start = Instant::now();
    let mut results = 0;
    for result in pool.map(task, repeat_n(input, count as usize)) {
        result.map_err(io::Error::other)?;
        results += 1;
    }
    per_task(start, count, results)
}

/// Microseconds a task: the caller submits `count` tasks, then joins them all.
pub(crate) fn submitted<A: Message + Clone, R: Message>(
    pool: &Pool,
    task: fn(A) -> R,
    input: A,
    count: u32,
) -> io::Result<f64> {
    let start = Instant::now();
    let handles: Vec<_> = (0..count)
        .map(|_| pool.submit(task, input.clone()))
        .collect();
    let mut results = 0;
    for handle in handles {
        join(handle)?;
        results += 1;
    }
    per_task(start, count, results)
}

fn per_task(start: Instant, count: u32, results: u32) -> io::Result<f64> {
    let taken = microseconds(start.elapsed());
    if results == count {
        Ok(taken / f64::from(count))
    } else {
        let why = format!("{count} tasks had {results} results");
        Err(io::Error::other(why))
    }
}

/// How long the machine is left alone before an idle pool is looked at: by then, everybody who
/// looked for a moment has gone to sleep.
const SETTLED: Duration = Duration::from_millis(200);
/// How long it is looked at.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// Microseconds of processor time while the pool has no task: its workers', the spare ones' and
/// their server's, and those of this program's threads but this.
fn idle(pool: &Pool) -> io::Result<f64> {
    let server = join(pool.submit(|()| std::os::unix::process::parent_id(), ()))?;
    let mut processes = pool.pids();
    wait::pause(SETTLED);
    processes.extend(procfs::children(server)?);
    processes.push(server);
    processes.sort_unstable();
    processes.dedup();
    let me = rustix::thread::gettid().as_raw_pid().cast_unsigned();
    let used = || -> io::Result<f64> {
        let mut sum = footprint::processor_time(std::process::id(), Some(me))?;
        for &process in &processes {
            sum += footprint::processor_time(process, None)?;
        }
        Ok(sum)
    };
    let before = used()?;
    wait::pause(IDLE);
    Ok(used()? - before)
}

const ONE_AT_A_TIME: u8 = b'o';
const FUTEX: u8 = b'f';
const LOOK: u8 = b'i';

/// In the program of its own: answers requests with microseconds.
pub(crate) fn play() -> io::Result<()> {
    let pool = Pool::processes(2)?;
    loop {
        let mut request = [0; 5];
        io::stdin().read_exact(&mut request)?;
        let [what, count @ ..] = request;
        let count = u32::from_ne_bytes(count);
        let figure = match what {
            ONE_AT_A_TIME => one_at_a_time(&pool, count)?,
            FUTEX => memory::there_and_back(count, 0)?,
            LOOK => idle(&pool)?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        answer(&figure.to_ne_bytes())?;
    }
}

/// A program that has nothing but a pool of two processes.
#[derive(Debug)]
pub(crate) struct Alone(Helper);

impl Alone {
    pub(crate) fn start() -> io::Result<Alone> {
        Helper::start(Alone::command()).map(Alone)
    }

    /// It, and all that it starts, on one processor.
    pub(crate) fn start_on_one_processor() -> io::Result<Alone> {
        Helper::start_on_one_processor(Alone::command()).map(Alone)
    }

    fn command() -> Command {
        Role::Pool.command()
    }

    fn ask(&mut self, what: u8, count: u32) -> io::Result<f64> {
        let mut request = vec![what];
        request.extend(count.to_ne_bytes());
        self.0.tell(&request)?;
        self.0.hear().map(f64::from_ne_bytes)
    }

    /// Microseconds for a task that does nothing, one at a time.
    pub(crate) fn one_at_a_time(&mut self, count: u32) -> io::Result<f64> {
        self.ask(ONE_AT_A_TIME, count)
    }

    /// Microseconds for 64 bytes to another process and back, where both sleep at once.
    pub(crate) fn futex(&mut self, count: u32) -> io::Result<f64> {
        self.ask(FUTEX, count)
    }

    /// Microseconds of processor time in [`IDLE`], while the pool has no task.
    pub(crate) fn idle(&mut self) -> io::Result<f64> {
        self.ask(LOOK, 0)
    }
}
