//! Counts words by a library that crashes, hangs and leaks.
use std::time::Duration;

use brigade::{JoinError, Kind, Pool};
use side_by_side::{TEXTS, count_words};

#[brigade::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .recycle_above(40 << 20);
    let pool = pool.timeout(Duration::from_secs(1)).build()?;
    for (text, words) in TEXTS
        .iter()
        .zip(pool.map(count_words, TEXTS.map(String::from)))
    {
        match words {
            Ok(words) => println!("{text}: {words}"),
            Err(JoinError::Crashed(_)) => println!("{text}: crashed"),
            Err(JoinError::TimedOut(_)) => println!("{text}: took too long"),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
