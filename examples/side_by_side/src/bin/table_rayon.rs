//! Gives pictures the colours of a table of 5 MB, in two threads.
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use side_by_side::{PICTURES, checksum, color_table, grade, picture};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = ThreadPoolBuilder::new().num_threads(2).build()?;
    let table = color_table();
    let pictures = (0..PICTURES).into_par_iter().map(picture);
    let graded: Vec<_> = pool.install(|| pictures.map(|it| grade(&table, it)).collect());
    for (n, picture) in graded.iter().enumerate() {
        println!("picture {n}: {:08x}", checksum(picture));
    }
    Ok(())
}
