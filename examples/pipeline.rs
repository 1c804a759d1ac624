//! Three workers in a row: the first makes numbers, the second squares them, the third adds them
//! up.
//!
//! `cargo run --release --example pipeline`; with two words it says what is between them and what
//! they are: `pipeline -- pipe thread`. The first is one of `pipe`, `socket`, `queue` and `shm`
//! (the default), the second `thread` or `process` (the default).

use std::error::Error;
use std::time::Instant;

use brigade::Kind;
use brigade::channel::{self, Receiver, Sender, Transport};

const NUMBERS: u64 = 100_000;
/// How many may be on their way between two stages. A queue has room for no more, unless the system
/// was told so.
const CAPACITY: usize = 10;

fn produce((count, to): (u64, Sender<u64>)) -> u64 {
    // Nobody receives any more: a stage has failed, and says so itself.
    (1..=count).map_while(|n| to.send(n).ok()).count() as u64
}

// A number that was lost on its way fails the stage, and with it the whole.
fn square((from, to): (Receiver<u64>, Sender<u64>)) -> Result<u64, String> {
    let mut squared = 0;
    for n in from {
        let n = n.map_err(reason)?;
        if to.send(n * n).is_err() {
            break;
        }
        squared += 1;
    }
    Ok(squared)
}

// Each stage ends when the one before it has ended, for then nobody is left who could send.
fn sum(from: Receiver<u64>) -> Result<u64, String> {
    from.into_iter().sum::<Result<u64, _>>().map_err(reason)
}

/// What is wrong with a word, in words.
fn reason(error: impl Error) -> String {
    error.to_string()
}

fn main() -> Result<(), Box<dyn Error>> {
    brigade::init();
    let mut words = std::env::args().skip(1);
    let over: Transport = words
        .next()
        .as_deref()
        .unwrap_or("shm")
        .parse()
        .map_err(reason)?;
    let kind: Kind = words
        .next()
        .as_deref()
        .unwrap_or("process")
        .parse()
        .map_err(reason)?;
    if let Some(word) = words.next() {
        return Err(format!("`{word}` is a word too many: a transport and a kind").into());
    }

    let (to_square, numbers) = channel::channel(over, CAPACITY)?;
    let (to_sum, squares) = channel::channel(over, CAPACITY)?;
    let start = Instant::now();
    let produced = kind.spawn(produce, (NUMBERS, to_square))?;
    let squared = kind.spawn(square, (numbers, to_sum))?;
    let summed = kind.spawn(sum, squares)?;
    let (produced, squared, total) = (produced.join()?, squared.join()??, summed.join()??);
    let taken = start.elapsed().as_secs_f64();

    println!("{produced} numbers made, {squared} squared, their sum is {total}");
    assert_eq!(total, NUMBERS * (NUMBERS + 1) * (2 * NUMBERS + 1) / 6);
    println!(
        "three stages, each a {kind}, over {over}: {:.0} ms, {:.0} thousand numbers a second",
        taken * 1e3,
        NUMBERS as f64 / taken / 1e3
    );
    Ok(())
}
