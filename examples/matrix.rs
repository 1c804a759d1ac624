//! A product of matrices, written in place: each worker has some rows of the result, in memory that
//! all of them map; nothing is copied and nothing is locked.
//!
//! `cargo run --release --example matrix -- process 1024`; or `thread`.

use std::time::Instant;

use brigade::shm::Writable;
use brigade::{Kind, Pool, Shared};

type Rows = Writable<[f64]>;

/// Fills rows of `a × b`, `n` by `n`.
fn multiply((a, b, mut rows): (Shared<[f64]>, Shared<[f64]>, Rows)) -> Rows {
    let n = a.len().isqrt();
    let from = rows.range().start / n;
    for (y, row) in (from..).zip(rows.chunks_exact_mut(n)) {
        for (k, &factor) in a[y * n..][..n].iter().enumerate() {
            for (sum, &x) in row.iter_mut().zip(&b[k * n..][..n]) {
                *sum += factor * x;
            }
        }
    }
    rows
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let mut args = std::env::args().skip(1);
    let kind: Kind = args.next().as_deref().unwrap_or("process").parse()?;
    let n: usize = args.next().as_deref().unwrap_or("1024").parse()?;
    let workers = std::thread::available_parallelism()?.get();

    let a = Shared::<[f64]>::from_fn(n * n, |i| (i % 7) as f64)?;
    let b = Shared::<[f64]>::from_fn(n * n, |i| (i % 5) as f64)?;
    let pool = Pool::new(kind, workers)?;

    let began = Instant::now();
    let parts = Shared::<[f64]>::writable(n * n)?.into_chunks(n.div_ceil(16) * n);
    let inputs = parts.into_iter().map(|rows| (a.clone(), b.clone(), rows));
    let product = Writable::try_join(pool.map(multiply, inputs))?.freeze()?;
    let took = began.elapsed();

    let last: f64 = (0..n).map(|k| a[(n - 1) * n + k] * b[k * n + n - 1]).sum();
    assert_eq!(product[n * n - 1], last);
    println!("{n} by {n}, {workers} workers of kind {kind}: {took:.1?}");
    Ok(())
}
