//! A product of matrices, written in place by two processes.
use brigade::shm::Writable;
use brigade::{Pool, Shared};
use side_by_side::{N, multiply_row};

fn multiply([a, b]: &[Shared<[f64]>; 2], mut rows: Writable<[f64]>) -> Writable<[f64]> {
    let first = rows.range().start / N;
    for (y, row) in rows.chunks_exact_mut(N).enumerate() {
        multiply_row(row, first + y, a, b);
    }
    rows
}

#[brigade::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::processes(2)?;
    let a = Shared::<[f64]>::from_fn(N * N, |i| (i % 7) as f64)?;
    let b = Shared::<[f64]>::from_fn(N * N, |i| (i % 5) as f64)?;
    let parts = Shared::<[f64]>::writable(N * N)?.into_chunks(16 * N);
    let rows: Result<Vec<_>, _> = pool.map_with([a, b], multiply, parts).collect();
    let product = Writable::join(rows?)?.freeze()?;
    println!("{}", product.iter().sum::<f64>());
    Ok(())
}
