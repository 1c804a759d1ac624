//! R3: spawn processes and end them in every way, thousands of times: nothing is left of them.
//!
//! What is there is counted when the program is at rest, after a warm-up, and again at the end: in this program, in its fork server, and what
//! has a name on the machine. Names are compared one by one, and only those with `brigade` in them are held against the library: others share the machine.

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use brigade::{Cause, JoinError, JoinHandle, process};

use crate::census::{self, Census, Last, NAMES, Named};
use crate::table::{Table, grouped};
use crate::{Verdict, procfs, wait};

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
                // SAFETY: no memory is involved. The process waits until it is killed, so the number is still its own.
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
    let server = procfs::fork_server()?;
    cycles(WARM_UP)?;
    let before = census::baseline(server)?;
    let named_before = Named::look()?;
    let memory = || {
        Ok::<_, io::Error>([
            procfs::resident(std::process::id())?,
            procfs::resident(server)?,
        ])
    };
    let memory_before = memory()?;

    let start = Instant::now();
    let tally = cycles(options.count)?;
    let taken = start.elapsed();

    if procfs::name(server).ok().as_deref() != Some(procfs::SERVER) {
        println!("R3: missed: the fork server, process {server}, is not there any more");
        return Ok(Verdict::Missed);
    }
    let Last {
        census: after,
        at_rest,
    } = census::again(server, &before)?;
    let memory_after = memory()?;
    let named_after = Named::look()?;

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
    let drift = print_holdings(&before, &after, memory_before, memory_after);
    if !at_rest {
        println!(
            "  it does not come to rest: a worker that is no spare is left, or a mailbox whose worker is gone"
        );
    }
    let left = print_named(&named_before, &named_after);
    let met = tally.wrong == 0
        && at_rest
        && after.is_within(&before)
        && drift.iter().all(|&d| d < DRIFT)
        && left == 0;
    println!("  {}", if met { "goal met" } else { "goal MISSED" });
    Ok(Verdict::met(met))
}

/// Gives how much each of the two has grown by, in KiB.
fn print_holdings(
    before: &Census,
    after: &Census,
    memory_before: [u64; 2],
    memory_after: [u64; 2],
) -> [i64; 2] {
    let mut table = Table::new(&["", "before", "after", "more", "goal"]);
    let mut drift = [0; 2];
    let both = [
        ("program", before.program, after.program),
        ("fork server", before.server, after.server),
    ];
    for (at, (who, before, after)) in both.into_iter().enumerate() {
        for (what, (before, after)) in NAMES
            .iter()
            .zip(before.counts().into_iter().zip(after.counts()))
        {
            let more = after.cast_signed() - before.cast_signed();
            table.line([
                format!("{who}: {what}"),
                before.to_string(),
                after.to_string(),
                format!("{more:+}"),
                "0".to_owned(),
            ]);
        }
        drift[at] = memory_after[at].cast_signed() - memory_before[at].cast_signed();
        table.line([
            format!("{who}: resident KiB"),
            grouped(memory_before[at]),
            grouped(memory_after[at]),
            format!("{:+}", drift[at]),
            format!("< {}", grouped(DRIFT.cast_unsigned())),
        ]);
    }
    table.print();
    drift
}

/// Gives how many names of ours were left.
fn print_named(before: &Named, after: &Named) -> usize {
    let mut left = 0;
    let mut compare = |what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>| {
        let (ours, others): (Vec<&String>, Vec<&String>) = after
            .difference(before)
            .partition(|name| name.contains("brigade"));
        left += ours.len();
        print!("  {what}: {} more (goal 0)", ours.len());
        match others.len() {
            0 => println!(),
            n => println!("; and {n} of other programs"),
        }
        for name in ours {
            println!("    {name}");
        }
    };
    compare("names in /dev/shm", &before.memory, &after.memory);
    match (&before.queues, &after.queues) {
        (Some(before), Some(after)) => compare("POSIX message queues", before, after),
        _ => println!(
            "  POSIX message queues: not counted, because their file system is not mounted and we may not mount it"
        ),
    }
    compare("control groups", &before.groups, &after.groups);
    left
}
