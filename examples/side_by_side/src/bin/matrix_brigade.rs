//! A product of matrices, written in place by two processes.
use brigade::shm::Writable;
use brigade::{Pool, Shared};
use side_by_side::{N, multiply_row};

fn multiply([a, b]: &[Shared<[f64]>; 2], mut rows: Writable<[f64]>) -> Writable<[f64]> {
    let numbered = (rows.range().start / N..).zip(rows.chunks_exact_mut(N));
    numbered.for_each(|(y, row)| multiply_row(row, y, a, b));
    rows
}

#[brigade::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::processes(2)?;
    let a = Shared::<[f64]>::from_fn(N * N, |i| (i % 7) as f64)?;
    let b = Shared::<[f64]>::from_fn(N * N, |i| (i % 5) as f64)?;
    let parts = Shared::<[f64]>::writable(N * N)?.into_chunks(16 * N);
    let product = Writable::try_join(pool.map_with([a, b], multiply, parts))?.freeze()?;
    println!("{}", product.iter().sum::<f64>());
    Ok(())
}
