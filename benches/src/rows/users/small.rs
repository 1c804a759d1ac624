//! What one call costs: of a stream beside an iterator, of an actor, of a task by name, of a task
//! that borrows a large context.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Instant;

use brigade::process::Program;
use brigade::{Actor, Kind, Pool};
use brigade_test_support::block_on;
use futures_core::Stream;

use super::{PROCESSES, THREADS};
use crate::pooled::{mapped, one_at_a_time};
use crate::report::Row;
use crate::rounds::{Contender, each, microseconds, take_turns};
use crate::rows;
use crate::traffic::join;
use crate::work::nothing;

brigade::export!("nothing", nothing);

/// Nanoseconds a task, for `count` tasks through `map_stream`.
fn streamed(pool: &Pool, count: u32) -> io::Result<f64> {
    let start = Instant::now();
    let mut results = pool.map_stream(nothing, std::iter::repeat_n((), count as usize));
    let mut came = 0;
    while let Some(result) = block_on(poll_fn(|cx| Pin::new(&mut results).poll_next(cx))) {
        result.map_err(io::Error::other)?;
        came += 1;
    }
    match came == count {
        true => Ok(microseconds(start.elapsed()) * 1e3 / f64::from(count)),
        false => Err(io::Error::other("results were lost")),
    }
}

fn streams(quick: bool) -> io::Result<Row> {
    let count = 20_000;
    let (processes, threads) = (Pool::processes(2)?, Pool::threads(2)?);
    let map = |pool| move || mapped(pool, nothing, (), count).map(|micro| micro * 1e3);
    let contenders = vec![
        Contender::new("processes, map_stream", || streamed(&processes, count)),
        Contender::new("processes, map", map(&processes)),
        Contender::new("threads, map_stream", || streamed(&threads, count)),
        Contender::new("threads, map", map(&threads)),
    ];
    let all = take_turns(if quick { 5 } else { 21 }, contenders)?;
    let what = "2 workers, 20,000 null tasks: time for one";
    Row::new("Users", what, "ns", &all, &[]).ok_or_else(rows::empty)
}

fn actors(quick: bool) -> io::Result<Row> {
    let load: fn(u64) -> u64 = |from| from;
    let add: fn(&mut u64, u64) -> u64 = |sum, n| {
        *sum += n;
        *sum
    };
    let actors = [Kind::Process, Kind::Thread].map(|kind| Actor::new(kind, load, 0));
    let [process, thread] = actors;
    let (process, thread) = (process?, thread?);
    let pools = (Pool::processes(1)?, Pool::threads(1)?);
    let count = 5000;
    let call = |actor: &Actor<u64>| {
        each(count, || {
            actor.call(add, 1).map(drop).map_err(io::Error::other)
        })
    };
    let contenders = vec![
        Contender::new("process, Actor::call", || call(&process)),
        Contender::new("process, submit + join", || one_at_a_time(&pools.0, count)),
        Contender::new("thread, Actor::call", || call(&thread)),
        Contender::new("thread, submit + join", || one_at_a_time(&pools.1, count)),
    ];
    let all = take_turns(if quick { 5 } else { 21 }, contenders)?;
    let what = "a call of an actor, one at a time";
    Row::new("Users", what, "µs", &all, &[]).ok_or_else(rows::empty)
}

fn names(quick: bool) -> io::Result<Row> {
    let program = Program::open(std::env::current_exe()?)?;
    let named = program
        .task::<(), ()>("nothing")
        .map_err(io::Error::other)?;
    let by_name = Pool::builder(Kind::Process)
        .workers(2)
        .process(program.builder())
        .build()?;
    let own = Pool::processes(2)?;
    let count = 5000;
    let contenders = vec![
        Contender::new("submit_named + join", || {
            each(count, || join(by_name.submit_named(&named, ())))
        }),
        Contender::new("submit + join", || one_at_a_time(&own, count)),
        Contender::new("Program::task: the look-up", || {
            each(count, || {
                let found = program.task::<(), ()>("nothing");
                found.map(drop).map_err(io::Error::other)
            })
        }),
    ];
    let all = take_turns(if quick { 5 } else { 21 }, contenders)?;
    let what = "a task by name, one at a time";
    Row::new("Users", what, "µs", &all, &[]).ok_or_else(rows::empty)
}

const CONTEXT: usize = 64 << 20;
const TASKS: usize = 10_000;

fn context(quick: bool) -> io::Result<Row> {
    let table = vec![7_u8; CONTEXT];
    let (processes, threads) = (Pool::processes(2)?, Pool::threads(2)?);
    let look: fn(&Vec<u8>, usize) -> u8 = |table, n| table[n];
    // A new context each time: it is encoded, carried to each worker, and decoded there.
    let with = |pool: &Pool| {
        let table = table.clone();
        let start = Instant::now();
        let sum = pool
            .map_with(table, look, 0..TASKS)
            .map(|found| found.map(u64::from))
            .sum::<Result<u64, _>>()
            .map_err(io::Error::other)?;
        match sum == 7 * TASKS as u64 {
            true => Ok(microseconds(start.elapsed()) / 1e3),
            false => Err(io::Error::other("a task saw another table")),
        }
    };
    // One by one, and few of them: as much for 10,000.
    let sent = |pool: &Pool| {
        let few = 2;
        each(few, || {
            let sent = join(pool.submit(|table: Vec<u8>| table[0], table.clone()))?;
            (sent == 7)
                .then_some(())
                .ok_or_else(|| io::Error::other("another table"))
        })
        .map(|micro| micro * TASKS as f64 / 1e3)
    };
    let before = processes.stats().context_bytes;
    let contenders = vec![
        Contender::new(PROCESSES, || with(&processes)),
        Contender::new("processes, sent each time", || sent(&processes)).every(3),
        Contender::new(THREADS, || with(&threads)),
    ];
    let rounds = if quick { 3 } else { 9 };
    let all = take_turns(rounds, contenders)?;
    // With the first turn, which is not counted.
    let carried = (processes.stats().context_bytes - before) / (rounds as u64 + 1);
    let what = "2 workers, 10,000 tasks that look into a table of 64 MiB";
    let row = Row::new("Users", what, "ms", &all, &[]).ok_or_else(rows::empty)?;
    Ok(row.note(format!(
        "carried each time, by PoolStats::context_bytes: {carried} bytes; sent each time: from 2 tasks"
    )))
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    Ok(vec![
        streams(quick)?,
        actors(quick)?,
        names(quick)?,
        context(quick)?,
    ])
}
