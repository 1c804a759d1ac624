//! Prints the numbers 0 to 4, in two threads at once.
//!
//! `cargo run --example threads`

use brigade::thread;

fn count((name, to): (String, u32)) -> u32 {
    for n in 0..to {
        println!("{name} of process {}: {n}", std::process::id());
    }
    to
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let one = thread::spawn(count, ("thread one".to_owned(), 5))?;
    let two = thread::spawn(count, ("thread two".to_owned(), 5))?;
    println!("counted {} numbers", one.join()? + two.join()?);
    Ok(())
}
