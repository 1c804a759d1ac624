//! The same task faults in a process, and the program reads why and goes on.
//!
//! `cargo run --example crash`; with the word `thread` it does the same in a thread, and that ends
//! the program.

use brigade::{JoinError, Kind};

/// Reads what the address points to: a C library's mistake, in one line.
fn peek(address: usize) -> u8 {
    eprintln!("about to read from {address:#x}");
    // SAFETY: none. This is the mistake.
    unsafe { std::ptr::read_volatile(address as *const u8) }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let kind: Kind = std::env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("process")
        .parse()?;
    match kind.spawn(peek, 0x10)?.join() {
        Ok(byte) => println!("the byte is {byte}"),
        Err(JoinError::Crashed(crash)) => {
            println!("{crash}");
            println!(
                "cause: {:?}; phase: {:?}; its last words: {:?}",
                crash.cause(),
                crash.phase(),
                crash.stderr()
            );
            println!("where:\n{}", crash.backtrace().unwrap_or("nobody noted it"));
        }
        Err(other) => println!("{other}"),
    }
    println!("the program goes on");
    Ok(())
}
