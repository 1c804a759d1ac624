//! A child that does what the test says, in a thread or in a process.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use brigade::supervise::{self, Child, Context};
use brigade::{Kind, Shared};
use serde::{Deserialize, Serialize};

use crate::count::Count;

/// What a run is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Stay = 0,
    Return,
    Fail,
    Panic,
    /// Say that it is ready, and go on.
    BeReady,
    /// Return, and be ignored.
    BeIgnored,
    /// Go on, and do not hear that it is to stop.
    BeDeaf,
    /// Go on, and say all the time that it lives.
    Live,
}

const ORDERS: [Order; 8] = [
    Order::Stay,
    Order::Return,
    Order::Fail,
    Order::Panic,
    Order::BeReady,
    Order::BeIgnored,
    Order::BeDeaf,
    Order::Live,
];

const RUNS: usize = 512;

/// What children have done, in one order for all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Log {
    length: Count,
    lines: Shared<[AtomicU32]>,
}

impl Log {
    pub(crate) fn new() -> Log {
        Log {
            length: Count::new(),
            lines: Shared::<[AtomicU32]>::zeroed(4096).expect("a region"),
        }
    }

    fn add(&self, who: u32, stops: bool) {
        let at = self.length.add() as usize;
        self.lines[at].store(1 + who * 2 + u32::from(stops), SeqCst);
    }

    /// `+a` where `a` has begun, `-a` where it was asked to stop.
    pub(crate) fn read(&self) -> String {
        let lines = &self.lines[..self.length.get() as usize];
        let lines = lines.iter().map(|line| line.load(SeqCst) - 1);
        let told = lines.map(|line| {
            let sign = if line % 2 == 1 { '-' } else { '+' };
            format!("{sign}{}", char::from(b'a' + (line / 2) as u8))
        });
        told.collect::<Vec<_>>().join(" ")
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Puppet {
    pub(crate) who: u32,
    pub(crate) log: Log,
    /// How many runs have begun.
    pub(crate) runs: Count,
    /// What each run is to do; the last one is for all that have no order of their own.
    orders: Shared<[AtomicU32]>,
    /// Whether it says by itself that it is ready.
    pub(crate) is_ready: bool,
    /// What a thread that does not stop is let end by.
    pub(crate) release: Count,
    /// How many runs do not hear any more.
    deaf: Count,
}

impl Puppet {
    pub(crate) fn new(name: char, log: &Log) -> Puppet {
        Puppet {
            who: name as u32 - 'a' as u32,
            log: log.clone(),
            runs: Count::new(),
            orders: Shared::<[AtomicU32]>::zeroed(RUNS + 1).expect("a region"),
            is_ready: true,
            release: Count::new(),
            deaf: Count::new(),
        }
    }

    pub(crate) fn name(&self) -> String {
        char::from(b'a' + self.who as u8).to_string()
    }

    pub(crate) fn child(&self, kind: Kind) -> Child {
        Child::new(kind, self.name(), puppet, self.clone())
    }

    /// Tells one run, the first is 0.
    pub(crate) fn order(&self, run: u32, order: Order) {
        self.orders[run as usize].store(order as u32, SeqCst);
    }

    /// Has a run not hear that it is to stop. When this returns, it does not.
    pub(crate) fn deafen(&self, run: u32) {
        let deaf = self.deaf.get();
        self.order(run, Order::BeDeaf);
        self.deaf.wait_for(deaf + 1);
    }

    /// Tells the run that began last.
    pub(crate) fn order_last(&self, order: Order) {
        self.order(self.runs.get() - 1, order);
    }

    /// Tells all runs that have no order of their own.
    pub(crate) fn order_all(&self, order: Order) {
        self.order(RUNS as u32, order);
    }

    fn ordered(&self, run: u32) -> Order {
        let [own, all] = [run as usize, RUNS].map(|at| self.orders[at].load(SeqCst));
        ORDERS[if own == 0 { all } else { own } as usize]
    }
}

/// It asks every millisecond: it cannot sleep on what the test says and what its supervisor says at
/// the same time.
fn puppet(puppet: Puppet) -> Result<(), String> {
    let context = Context::current();
    // From here on SIGTERM does not end it.
    context.should_stop();
    puppet.log.add(puppet.who, false);
    let run = puppet.runs.add();
    if puppet.is_ready {
        supervise::ready();
    }
    loop {
        match puppet.ordered(run) {
            Order::Stay => {}
            Order::Return => return Ok(()),
            Order::Fail => return Err("as it was told".to_owned()),
            Order::Panic => panic!("as it was told"),
            Order::BeReady => supervise::ready(),
            Order::BeIgnored => {
                supervise::ignore();
                return Ok(());
            }
            Order::BeDeaf => {
                puppet.deaf.add();
                puppet.release.wait_for(1);
                return Ok(());
            }
            Order::Live => supervise::alive(),
        }
        if context.wait_for_stop_timeout(Duration::from_millis(1)) {
            puppet.log.add(puppet.who, true);
            return Ok(());
        }
    }
}
