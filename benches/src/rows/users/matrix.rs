//! A product of matrices of 1,024 by 1,024, written in place, as `examples/matrix.rs` does it.

use std::io;
use std::time::Instant;

use brigade::shm::Writable;
use brigade::{Pool, Shared};
use rayon::prelude::*;

use super::{PROCESSES, THREADS};
use crate::report::Row;
use crate::rounds::{Contender, microseconds, take_turns};
use crate::rows;

const N: usize = 1024;
/// Rows that are one task.
const STRIPE: usize = N / 16;

type Rows = Writable<[f64]>;

/// Adds rows of `a × b`, from row `from` on.
fn add_rows(a: &[f64], b: &[f64], rows: &mut [f64], from: usize) {
    for (y, row) in (from..).zip(rows.chunks_exact_mut(N)) {
        for (k, &factor) in a[y * N..][..N].iter().enumerate() {
            for (sum, &x) in row.iter_mut().zip(&b[k * N..][..N]) {
                *sum += factor * x;
            }
        }
    }
}

fn multiply((a, b, mut rows): (Shared<[f64]>, Shared<[f64]>, Rows)) -> Rows {
    let from = rows.range().start / N;
    add_rows(&a, &b, &mut rows, from);
    rows
}

/// Milliseconds, and the last number.
fn ours(pool: &Pool, a: &Shared<[f64]>, b: &Shared<[f64]>) -> io::Result<(f64, f64)> {
    let start = Instant::now();
    let parts = Shared::<[f64]>::writable(N * N)?.into_chunks(STRIPE * N);
    let inputs = parts.into_iter().map(|rows| (a.clone(), b.clone(), rows));
    let product = Writable::try_join(pool.map(multiply, inputs)).map_err(io::Error::other)?;
    let product = product.freeze().map_err(io::Error::other)?;
    Ok((milliseconds(start), product[N * N - 1]))
}

fn rayons(pool: &rayon::ThreadPool, a: &[f64], b: &[f64]) -> (f64, f64) {
    let start = Instant::now();
    let mut product = vec![0.0; N * N];
    pool.install(|| {
        let stripes = product.par_chunks_mut(STRIPE * N).enumerate();
        stripes.for_each(|(i, rows)| add_rows(a, b, rows, i * STRIPE));
    });
    (milliseconds(start), product[N * N - 1])
}

fn milliseconds(since: Instant) -> f64 {
    microseconds(since.elapsed()) / 1e3
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let workers = std::thread::available_parallelism()?.get();
    let a = Shared::<[f64]>::from_fn(N * N, |i| (i % 7) as f64)?;
    let b = Shared::<[f64]>::from_fn(N * N, |i| (i % 5) as f64)?;
    let last: f64 = (0..N).map(|k| a[(N - 1) * N + k] * b[k * N + N - 1]).sum();
    let checked = |(time, number): (f64, f64)| match number == last {
        true => Ok(time),
        false => Err(io::Error::other("another product")),
    };
    let (processes, threads) = (Pool::processes(workers)?, Pool::threads(workers)?);
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
    let rayon = rayon.map_err(io::Error::other)?;
    let contenders = vec![
        Contender::new(PROCESSES, || ours(&processes, &a, &b).and_then(checked)),
        Contender::new("rayon 1.12.0, par_chunks_mut", || {
            checked(rayons(&rayon, &a, &b))
        }),
        Contender::new(THREADS, || ours(&threads, &a, &b).and_then(checked)),
        Contender::new("one thread", || {
            let start = Instant::now();
            let mut product = vec![0.0; N * N];
            add_rows(&a, &b, &mut product, 0);
            checked((milliseconds(start), product[N * N - 1]))
        })
        .every(2),
    ];
    let all = take_turns(if quick { 3 } else { 15 }, contenders)?;
    let what = "product of two matrices of 1,024 by 1,024, in place";
    let row = Row::new("Users", what, "ms", &all, &[]).ok_or_else(rows::empty)?;
    Ok(vec![row.note(format!("{workers} workers, 16 stripes"))])
}
