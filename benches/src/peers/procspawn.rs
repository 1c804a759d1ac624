//! procspawn: a process a call, by executing the program again; and a pool of such processes.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Instant;

use crate::rounds::{each, microseconds};
use crate::work;

pub(crate) const NAME: &str = "procspawn 1.0.2";
pub(crate) const POOL: &str = "procspawn 1.0.2, Pool";

pub(crate) fn spawn() -> io::Result<()> {
    procspawn::spawn((), |()| ())
        .join()
        .map_err(io::Error::other)
}

/// Its pool.
pub(crate) struct Pool(procspawn::Pool);

/// Tasks that are submitted before the first of them is joined: each has four descriptors open.
const AHEAD: usize = 64;

impl Pool {
    pub(crate) fn new(processes: usize) -> io::Result<Pool> {
        procspawn::Pool::new(processes)
            .map(Pool)
            .map_err(io::Error::other)
    }

    /// Microseconds for a task that does nothing, one at a time.
    pub(crate) fn one_at_a_time(&self, count: u32) -> io::Result<f64> {
        each(count, || {
            self.0
                .spawn((), work::nothing)
                .join()
                .map_err(io::Error::other)
        })
    }

    /// Microseconds for one of so many tasks that take so many steps.
    pub(crate) fn all(&self, count: u32, steps: u32) -> io::Result<f64> {
        let start = Instant::now();
        let mut waiting = VecDeque::with_capacity(AHEAD);
        for _ in 0..count {
            if waiting.len() == AHEAD {
                join_first(&mut waiting)?;
            }
            waiting.push_back(self.0.spawn(steps, work::steps));
        }
        while !waiting.is_empty() {
            join_first(&mut waiting)?;
        }
        Ok(microseconds(start.elapsed()) / f64::from(count))
    }
}

fn join_first(waiting: &mut VecDeque<procspawn::JoinHandle<()>>) -> io::Result<()> {
    match waiting.pop_front() {
        Some(first) => first.join().map_err(io::Error::other),
        None => Ok(()),
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
