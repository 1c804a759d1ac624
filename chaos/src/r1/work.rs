//! The tasks: most do a little, some die at the point that is theirs.

use std::sync::TryLockError;

use brigade::sync::Mutex;
use brigade::{Phase, Shared, ShmSafe};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{LIMIT, ledger};

/// Where a task dies by SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Point {
    Decoding,
    Running,
    Encoding,
    /// With a [`Mutex`].
    Locked,
}

impl Point {
    pub(super) const ALL: [Point; 4] = [
        Point::Decoding,
        Point::Running,
        Point::Encoding,
        Point::Locked,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Point::Decoding => "decoding",
            Point::Running => "running",
            Point::Encoding => "encoding",
            Point::Locked => "with a lock",
        }
    }

    pub(super) fn phase(self) -> Phase {
        match self {
            Point::Decoding => Phase::Decoding,
            Point::Running | Point::Locked => Phase::Running,
            Point::Encoding => Phase::Encoding,
        }
    }
}

/// Two numbers that agree unless somebody died between the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ShmSafe)]
#[repr(C)]
pub(super) struct Pair {
    pub(super) first: u64,
    pub(super) second: u64,
}

/// What a task is to do.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) number: u32,
    pub(super) dies: Option<Point>,
    /// To be taken.
    pub(super) lock: Option<Shared<Mutex<Pair>>>,
}

/// What it has done.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) number: u32,
    pub(super) dies: Option<Point>,
    /// It had the lock so often.
    pub(super) locked: u32,
    /// What should not have been.
    pub(super) wrong: Option<String>,
}

fn die() -> ! {
    loop {
        // SAFETY: no memory is involved.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (self.number, self.dies, &self.lock).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Order, D::Error> {
        let (number, dies, lock) = Deserialize::deserialize(d)?;
        if dies == Some(Point::Decoding) {
            die();
        }
        Ok(Order { number, dies, lock })
    }
}

impl Serialize for Done {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.dies == Some(Point::Encoding) {
            die();
        }
        (self.number, self.dies, self.locked, &self.wrong).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Done {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Done, D::Error> {
        let (number, dies, locked, wrong) = Deserialize::deserialize(d)?;
        Ok(Done {
            number,
            dies,
            locked,
            wrong,
        })
    }
}

pub(super) fn run(order: Order) -> Done {
    ledger::note(order.number);
    // Some longer than others, all short.
    for _ in 0..order.number % 61 * 10 {
        std::hint::spin_loop();
    }
    if order.dies == Some(Point::Running) {
        die();
    }
    let mut done = Done {
        number: order.number,
        dies: order.dies,
        locked: 0,
        wrong: None,
    };
    if let Some(mutex) = order.lock {
        match add(&mutex, order.dies == Some(Point::Locked)) {
            Ok(()) => done.locked = 1,
            Err(what) => done.wrong = Some(what),
        }
    }
    done
}

/// Adds one to both, unless it dies in between; mends what another has left so.
fn add(mutex: &Mutex<Pair>, dies: bool) -> Result<(), String> {
    let mut pair = match mutex.lock_timeout(LIMIT) {
        Ok(pair) if pair.first != pair.second => return Err(format!("{:?} in order", *pair)),
        Ok(pair) => pair,
        Err(TryLockError::Poisoned(dead)) => {
            let mut pair = dead.into_inner();
            pair.second = pair.first;
            mutex.clear_poison();
            pair
        }
        Err(TryLockError::WouldBlock) => {
            return Err(format!("the lock was not to be had for {LIMIT:?}"));
        }
    };
    pair.first += 1;
    if dies {
        die();
    }
    pair.second += 1;
    Ok(())
}
