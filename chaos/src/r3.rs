//! R3: spawn processes and end them in every way, thousands of times: nothing is left of them.
//!
//! What is there is counted when the program is at rest, after a warm-up, and again at the end: in
//! this program, in its fork server, and what has a name on the machine. Names are compared one by
//! one, and only those with `brigade` in them are held against the library: others share the
//! machine.

use std::io;
use std::time::Instant;

use brigade::{Cause, JoinError, JoinHandle, process};
use brigade_test_support::wait;

use crate::Verdict;
use crate::fork_server;
use crate::leftovers::Before;
use crate::table::grouped;

/// What memory may grow by, in KiB.
const DRIFT: i64 = 1024;
/// Cycles before the first count: what grows once, grows now.
const WARM_UP: u64 = 500;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many processes.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Returns,
    Cancelled,
    Killed,
    Faults,
    Dropped,
}

const ENDINGS: [Ending; 5] = [
    Ending::Returns,
    Ending::Cancelled,
    Ending::Killed,
    Ending::Faults,
    Ending::Dropped,
];

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Ending::Returns => "returned",
            Ending::Cancelled => "cancelled",
            Ending::Killed => "killed from outside",
            Ending::Faults => "faulted",
            Ending::Dropped => "dropped",
        }
    }

    fn start(self) -> io::Result<JoinHandle<u64>> {
        match self {
            Ending::Returns | Ending::Dropped => process::spawn(double, 21),
            Ending::Cancelled | Ending::Killed => process::spawn(|_: u64| wait::for_ever(), 0),
            Ending::Faults => process::spawn(fault, 0x40),
        }
    }

    /// Ends it. `Some`: it did not end as it should have.
    fn end(self, handle: JoinHandle<u64>) -> Option<String> {
        match self {
            Ending::Cancelled => handle.cancel(),
            Ending::Killed => {
                let pid = handle.pid().unwrap_or(0).cast_signed();
                // SAFETY: no memory is involved. The process waits until it is killed, so the
                // number is still its own.
                if pid <= 1 || unsafe { libc::kill(pid, libc::SIGKILL) } != 0 {
                    return Some(format!("process {pid} could not be killed"));
                }
            }
            Ending::Dropped => {
                drop(handle);
                return None;
            }
            Ending::Returns | Ending::Faults => {}
        }
        match (self, handle.join()) {
            (Ending::Returns, Ok(42)) | (Ending::Cancelled, Err(JoinError::Cancelled)) => None,
            (Ending::Killed, Err(JoinError::Crashed(c)))
                if *c.cause() == Cause::Killed(libc::SIGKILL) =>
            {
                None
            }
            (Ending::Faults, Err(JoinError::Crashed(c)))
                if *c.cause() == Cause::Signal(libc::SIGSEGV) =>
            {
                None
            }
            (_, Ok(number)) => Some(format!("returned {number}")),
            (_, Err(why)) => Some(why.to_string()),
        }
    }
}

fn double(number: u64) -> u64 {
    number * 2
}

fn fault(address: u64) -> u64 {
    // SAFETY: none; reading there is the point.
    unsafe { std::ptr::read_volatile(address as *const u64) }
}

/// What the cycles came to.
#[derive(Debug, Default)]
struct Tally {
    ended: [u64; ENDINGS.len()],
    wrong: u64,
    examples: Vec<String>,
}

impl Tally {
    fn note(&mut self, ending: Ending, wrong: Option<String>) {
        self.ended[ending as usize] += 1;
        if let Some(what) = wrong {
            self.wrong += 1;
            if self.examples.len() < 5 {
                self.examples.push(format!("{}: {what}", ending.name()));
            }
        }
    }
}

/// `count` processes: in turn one after the other, and five at once.
fn cycles(count: u64) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut endings = ENDINGS.into_iter().cycle();
    let mut left = count;
    let mut at_once = false;
    while left > 0 {
        let round: Vec<Ending> = endings
            .by_ref()
            .take(left.min(ENDINGS.len() as u64) as usize)
            .collect();
        left -= round.len() as u64;
        if at_once {
            let started: io::Result<Vec<_>> = round
                .into_iter()
                .map(|ending| Ok((ending, ending.start()?)))
                .collect();
            for (ending, handle) in started? {
                tally.note(ending, ending.end(handle));
            }
        } else {
            for ending in round {
                tally.note(ending, ending.end(ending.start()?));
            }
        }
        at_once = !at_once;
    }
    Ok(tally)
}

pub(crate) fn run(options: &Options) -> io::Result<Verdict> {
    fork_server::find()?;
    cycles(WARM_UP)?;
    let before = Before::look()?;
    let start = Instant::now();
    let tally = cycles(options.count)?;
    let taken = start.elapsed();

    println!(
        "R3: {} processes spawned and ended in {:.1} s",
        grouped(options.count),
        taken.as_secs_f64()
    );
    let parts: Vec<String> = ENDINGS
        .iter()
        .zip(tally.ended)
        .map(|(ending, count)| format!("{} {}", grouped(count), ending.name()))
        .collect();
    println!("  {}", parts.join(", "));
    println!(
        "  ended otherwise than they should: {} (goal 0)",
        grouped(tally.wrong)
    );
    for example in &tally.examples {
        println!("    {example}");
    }
    let nothing_left = before.compare(Some(DRIFT))?;
    let met = tally.wrong == 0 && nothing_left;
    Ok(Verdict::print(met))
}
