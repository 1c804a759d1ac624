//! Prints the numbers 0 to 4, in a process of its own.
//!
//! `cargo run --example process`

use brigade::process;

fn count(to: u32) -> u32 {
    for n in 0..to {
        println!("process {}: {n}", std::process::id());
    }
    to
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    println!("program {}", std::process::id());
    let counted = process::spawn(count, 5)?.join()?;
    println!("counted {counted} numbers");
    Ok(())
}
