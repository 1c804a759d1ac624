//! Gives pictures the colours of a table of 5 MB, in two processes.
use brigade::Pool;
use brigade::pool::Context;
use side_by_side::{PICTURES, checksum, color_table, grade, picture};

#[brigade::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::processes(2)?;
    let table = Context::new(color_table());
    let graded = pool.map_with(&table, grade, (0..PICTURES).map(picture));
    for (n, picture) in graded.enumerate() {
        println!("picture {n}: {:08x}", checksum(&picture?));
    }
    Ok(())
}
