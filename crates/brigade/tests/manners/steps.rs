//! What a program asks for, a step each: it prints what came of it.

use std::io;

use brigade::channel::{self, Transport};
use brigade::{JoinError, Pool, Shared, SystemError, process};

use crate::hosts::double;

const NAMES: [&str; 10] = [
    "spawn", "large", "shared", "pool", "pipe", "socket", "queue", "shm", "thread", "inside",
];

/// What the steps are called, in order.
pub(crate) fn names(with_queues: bool) -> Vec<&'static str> {
    let is_taken = |name: &&str| with_queues || *name != "queue";
    NAMES.into_iter().filter(is_taken).collect()
}

/// What a host printed: the steps' names, and how they ended.
pub(crate) fn told(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("step ")?.split_once(": "))
        .collect()
}

/// An end that is no success, as it is printed.
pub(crate) struct Told(String);

impl From<io::Error> for Told {
    fn from(e: io::Error) -> Told {
        // What is inside another error (a pool's initializer's) is told in words.
        match SystemError::of(&e) {
            Some(known) if known.call().is_empty() || known.purpose().is_empty() => {
                Told(format!("untyped: {e}"))
            }
            Some(_) => Told(e.to_string()),
            None => Told(format!("untyped: {e}")),
        }
    }
}

impl From<JoinError> for Told {
    fn from(e: JoinError) -> Told {
        Told(e.to_string())
    }
}

pub(crate) fn all(with_queues: bool) {
    step("spawn", spawn);
    step("large", large);
    step("shared", shared);
    step("pool", pool);
    for over in transports(with_queues) {
        step(&over.to_string(), || messages(over));
    }
    step("thread", thread);
    step("inside", || inside(with_queues));
}

fn transports(with_queues: bool) -> impl Iterator<Item = Transport> {
    let is_taken = move |over: &Transport| with_queues || *over != Transport::Queue;
    Transport::ALL.into_iter().filter(is_taken)
}

pub(crate) fn step(name: &str, run: impl FnOnce() -> Result<(), Told>) {
    match run() {
        Ok(()) => println!("step {name}: ok"),
        Err(Told(why)) => println!("step {name}: {}", why.replace('\n', " ")),
    }
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(is: T, expected: T) -> Result<(), Told> {
    if is == expected {
        Ok(())
    } else {
        Err(Told(format!("{is:?} instead of {expected:?}")))
    }
}

fn spawn() -> Result<(), Told> {
    same(process::spawn(double, 21)?.join()?, 42)
}

fn large() -> Result<(), Told> {
    fn doubled(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.extend_from_within(..);
        bytes
    }
    let bytes = process::spawn(doubled, vec![7; 100_000])?.join()?;
    same(bytes.len(), 200_000)
}

fn shared() -> Result<(), Told> {
    fn sum(of: Shared<[u64]>) -> u64 {
        of.iter().sum()
    }
    let values = Shared::from_slice(&[1_u64; 1000])?;
    same(process::spawn(sum, values)?.join()?, 1000)
}

fn pool() -> Result<(), Told> {
    let pool = Pool::processes(2)?;
    for (i, result) in pool.map(double, 0..8).enumerate() {
        same(result?, 2 * i as u32)?;
    }
    Ok(())
}

fn messages(over: Transport) -> Result<(), Told> {
    let (sender, receiver) = channel::channel::<Vec<u8>>(over, 4)?;
    for len in [1, 1000, 100_000] {
        if sender.send(vec![1; len]).is_err() {
            let fault = sender.fault();
            return Err(Told(fault.unwrap_or_else(|| "disconnected".to_owned())));
        }
        match receiver.recv() {
            Ok(message) => same(message.len(), len)?,
            Err(e) => return Err(Told(e.to_string())),
        }
    }
    Ok(())
}

fn thread() -> Result<(), Told> {
    same(brigade::thread::spawn(double, 21)?.join()?, 42)?;
    let pool = Pool::threads(2)?;
    same(pool.submit(double, 4).join()?, 8)
}

/// Channels and shared memory that a task makes.
fn inside(with_queues: bool) -> Result<(), Told> {
    fn task(with_queues: bool) -> Result<(), String> {
        for over in transports(with_queues) {
            messages(over).map_err(|Told(why)| why)?;
        }
        let zeros = Shared::<[u8]>::zeroed(10_000).map_err(|e| Told::from(e).0)?;
        let sum = zeros.iter().map(|&n| usize::from(n)).sum();
        same::<usize>(sum, 0).map_err(|Told(why)| why)
    }
    process::spawn(task, with_queues)?.join()?.map_err(Told)
}
