//! Threads and processes add to one counter under one lock. One of them is killed while it has the
//! lock: the others go on, and the sum is right.
//!
//! `cargo run --example counter`

use std::error::Error;

use brigade::channel::{self, Sender};
use brigade::sync::{Mutex, MutexGuard};
use brigade::{Kind, Shared, ShmSafe, process};

const WORKERS: u64 = 4;
const TIMES: u64 = 10_000;

/// Two numbers that are to agree: how often it was begun to add, and how often that was done.
#[derive(Clone, Copy, Debug, ShmSafe)]
#[repr(C)]
struct Counter {
    begun: u64,
    done: u64,
}

impl Counter {
    fn add(&mut self) {
        self.begun += 1;
        self.done += 1;
    }
}

/// Locks, and mends what one who died has left: what it had begun and not done does not count.
fn lock(counter: &Mutex<Counter>) -> MutexGuard<'_, Counter> {
    counter.lock().unwrap_or_else(|poisoned| {
        let mut guard = poisoned.into_inner();
        println!("process {} finds {guard:?}", std::process::id());
        guard.begun = guard.done;
        counter.clear_poison();
        guard
    })
}

fn add(counter: Shared<Mutex<Counter>>) -> u64 {
    (0..TIMES).for_each(|_| lock(&counter).add());
    TIMES
}

/// Adds as often, but stops halfway through the last time, with the lock.
fn add_and_stop((counter, holds): (Shared<Mutex<Counter>>, Sender<u64>)) {
    (1..TIMES).for_each(|_| lock(&counter).add());
    let mut guard = lock(&counter);
    guard.begun += 1;
    holds.send(TIMES - 1).expect("the program listens");
    loop {
        std::thread::park();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    brigade::init();
    let counter = Shared::new(Mutex::new(Counter { begun: 0, done: 0 }))?;
    let (holds, held) = channel::pipe(1)?;
    let victim = process::spawn(add_and_stop, (counter.clone(), holds))?;
    let mut workers = Vec::new();
    for n in 0..WORKERS {
        let kind = if n % 2 == 0 {
            Kind::Thread
        } else {
            Kind::Process
        };
        workers.push(kind.spawn(add, counter.clone())?);
    }

    let mut expected = held.recv()?;
    println!("process {} has the lock", victim.pid().unwrap_or(0));
    victim.cancel();
    if let Err(ended) = victim.join() {
        println!("{ended}");
    }
    for worker in workers {
        expected += worker.join()?;
    }
    let counter = *lock(&counter);
    println!("{counter:?}, of {expected}");
    assert_eq!((counter.begun, counter.done), (expected, expected));
    Ok(())
}
