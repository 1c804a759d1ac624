//! A program that can be looked at while it runs: `brigade top`, `brigade inspect PID`.
//!
//! ```console
//! $ cargo run --release --example published -- process 60   # or thread; for so many seconds
//! ```
//!
//! Two pools: one whose tasks take from 20 ms to 2 s, a few of which crash, and one that has little
//! to do. In a pool of threads nothing crashes: it would be the end of the program.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use brigade::{Kind, Pool};

/// Takes this many milliseconds, half of them with the processor.
fn resize_image(millis: u64) -> u64 {
    if millis % 11 == 0 {
        eprintln!("image {millis}: the header says 4294967295 pixels");
        std::process::abort();
    }
    rest(Duration::from_millis(millis / 2));
    let until = Instant::now() + Duration::from_millis(millis / 2);
    let mut sum = millis;
    while Instant::now() < until {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
    sum
}

fn look_up(name: String) -> usize {
    rest(Duration::from_millis(700));
    name.len()
}

/// Waits, and does nothing else.
fn rest(time: Duration) {
    let (_sender, receiver) = channel::<()>();
    assert_eq!(receiver.recv_timeout(time), Err(RecvTimeoutError::Timeout));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let mut arguments = std::env::args().skip(1);
    let kind: Kind = arguments.next().as_deref().unwrap_or("process").parse()?;
    let seconds: u64 = arguments.next().as_deref().unwrap_or("3").parse()?;
    brigade::publish()?;
    let images = Pool::builder(kind).workers(4).name("images").build()?;
    let names = Pool::builder(kind).workers(2).name("names").build()?;
    println!("brigade top {}", std::process::id());
    let until = Instant::now() + Duration::from_secs(seconds);
    let lengths = (0..)
        .map(|n: u64| n * n * 7919 % 1980 + 20)
        .filter(|millis| kind == Kind::Process || millis % 11 != 0)
        .take_while(|_| Instant::now() < until);
    let mut crashes = 0;
    for result in images.map(resize_image, lengths) {
        crashes += u32::from(result.is_err());
        if names.stats().queued < 3 {
            drop(names.submit(look_up, "a name".to_owned()));
        }
    }
    println!("{} done, {crashes} crashed", images.stats().done);
    Ok(())
}
