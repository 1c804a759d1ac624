//! Inputs of 0 to 64 MiB, one at a time; the result is a number.

use std::io;

use brigade::Pool;

use super::{PROCESSES, THREADS};
use crate::peers::python::{self, Python, Tasks};
use crate::report::Row;
use crate::rounds::{Contender, each, take_turns};
use crate::rows;
use crate::traffic::join;

const WORKERS: usize = 2;

/// Sizes, and how many tasks for us and for Python.
const SIZES: [(&str, usize, u32, u32); 7] = [
    ("2 workers, inputs of no bytes, one at a time", 0, 2000, 200),
    ("inputs of 64 B", 64, 2000, 200),
    ("inputs of 4 KiB", 4 << 10, 2000, 200),
    ("inputs of 64 KiB", 64 << 10, 500, 100),
    ("inputs of 1 MiB", 1 << 20, 50, 20),
    ("inputs of 16 MiB", 16 << 20, 5, 2),
    ("inputs of 64 MiB", LARGEST, 2, 1),
];

/// Only where there is time for it.
const LARGEST: usize = 64 << 20;

fn len(bytes: Vec<u8>) -> usize {
    bytes.len()
}

fn one_at_a_time(pool: &Pool, source: &[u8], count: u32) -> io::Result<f64> {
    each(count, || {
        match join(pool.submit(len, source.to_vec()))? == source.len() {
            true => Ok(()),
            false => Err(io::Error::other("bytes were lost")),
        }
    })
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let (processes, threads) = (Pool::processes(WORKERS)?, Pool::threads(WORKERS)?);
    let python = Python::start();
    let mut rows = Vec::new();
    for (what, bytes, count, few) in SIZES {
        if quick && bytes == LARGEST {
            continue;
        }
        let source = vec![7_u8; bytes];
        let source = &source;
        let ours = |pool| move || one_at_a_time(pool, source, count);
        let mut contenders = vec![
            Contender::new(PROCESSES, ours(&processes)),
            Contender::new(THREADS, ours(&threads)),
        ];
        if let Ok(python) = &python {
            contenders.push(Contender::new(python::EXECUTOR, move || {
                python.pooled(python::Pool::Executor, Tasks::Size { bytes }, few)
            }));
        }
        let all = take_turns(if quick { 3 } else { 7 }, contenders)?;
        rows.push(Row::new("Input", what, "µs", &all, &[]).ok_or_else(rows::empty)?);
    }
    if let Some(first) = rows.first_mut() {
        let note = "an input is a Vec<u8>: the caller allocates each and copies it from a source; Python's are one bytes object";
        first.notes.push(note.to_owned());
        first.notes.extend(python.err());
    }
    Ok(rows)
}
