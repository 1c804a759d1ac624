//! A product of matrices, written in place by two threads.
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use side_by_side::{N, multiply_row};

fn multiply(a: &[f64], b: &[f64], first: usize, rows: &mut [f64]) {
    for (y, row) in rows.chunks_exact_mut(N).enumerate() {
        multiply_row(row, first + y, a, b);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = ThreadPoolBuilder::new().num_threads(2).build()?;
    let a: Vec<f64> = (0..N * N).map(|i| (i % 7) as f64).collect();
    let b: Vec<f64> = (0..N * N).map(|i| (i % 5) as f64).collect();
    let mut product = vec![0.0; N * N];
    let parts = product.par_chunks_mut(16 * N).enumerate();
    pool.install(|| parts.for_each(|(i, rows)| multiply(&a, &b, i * 16, rows)));
    println!("{}", product.iter().sum::<f64>());
    Ok(())
}
