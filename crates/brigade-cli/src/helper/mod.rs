//! This program once more, for what must not happen in the program that measures.
//!
//! `brigade helper …` is no command for people: it is hidden, and its output is read by [`launch`].
//! Some helpers are sacrificed (they crash), some need a heap of their own, some are the far end of
//! a raw mechanism.

mod carry;
mod crowd;
mod growth;
pub(crate) mod launch;
mod pooled;
mod probe;
mod sacrifice;

use clap::Subcommand;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use serde::Serialize;

pub(crate) use carry::Report as CarryReport;
pub(crate) use crowd::{Crowd, Report as CrowdReport, Wait};
pub(crate) use growth::Report as GrowthReport;
pub(crate) use pooled::{Report as PooledReport, TASKS, WORKERS, Way};
pub(crate) use probe::Try;
pub(crate) use sacrifice::{Event, Fault, OTHERS};

use crate::fail::{Failure, OrFail as _};
use crate::raw::{Job, Over, Plan, peer};
use crate::workers::Place;

/// What a helper can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Helper {
    /// Nothing: the cost of a whole program.
    Noop,
    /// Time what is created while the heap has this many bytes.
    Growth { heap: usize, samples: usize },
    /// Start this many workers at once, and see what they take.
    Crowd {
        kind: brigade::Kind,
        count: usize,
        wait: Wait,
    },
    /// Time tasks that do nothing, in a pool of each kind.
    Pooled { way: Way, turns: u32, samples: u32 },
    /// Time tasks with inputs of these sizes.
    Carry { samples: usize, sizes: Vec<usize> },
    /// Let one of three workers come to a bad end.
    Sacrifice { place: Place, fault: Fault },
    /// Be the far end of a raw mechanism.
    Peer {
        over: Over,
        job: Job,
        size: usize,
        rounds: usize,
        batches: usize,
        near_core: usize,
        far_core: usize,
    },
    /// Ask the kernel for something that would change this program.
    Probe {
        what: Try,
        /// Inside a user namespace of its own.
        #[arg(long)]
        in_user: bool,
    },
}

/// Does it. `parent` is who started us.
pub(crate) fn run(helper: Helper, parent: i32) -> Result<(), Failure> {
    end_with(parent)?;
    match helper {
        Helper::Noop => Ok(()),
        Helper::Growth { heap, samples } => answer(&growth::run(heap, samples)?),
        Helper::Crowd { kind, count, wait } => answer(&crowd::run(Crowd { kind, count, wait })?),
        Helper::Pooled {
            way,
            turns,
            samples,
        } => answer(&pooled::run(way, turns, samples)?),
        Helper::Carry { samples, sizes } => answer(&carry::run(samples, &sizes)?),
        Helper::Sacrifice { place, fault } => sacrifice::run(place, fault),
        Helper::Peer {
            over,
            job,
            size,
            rounds,
            batches,
            near_core,
            far_core,
        } => {
            let cores = [near_core, far_core];
            peer::as_helper(
                over,
                Plan {
                    job,
                    size,
                    rounds,
                    batches,
                    cores,
                },
            )
        }
        Helper::Probe { what, in_user } => probe::run(what, in_user),
    }
}

/// A helper never outlives the program that started it, however that one ends.
fn end_with(parent: i32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).or_fail("asking to end with the parent")?;
    // The parent may have died before the request: then it never fires.
    if getppid().map(Pid::as_raw_pid) == Some(parent) {
        Ok(())
    } else {
        Err(Failure::new("a helper is started by brigade itself"))
    }
}

/// One line of JSON on standard output.
fn answer(report: &impl Serialize) -> Result<(), Failure> {
    use std::io::Write as _;
    let line = serde_json::to_string(report).or_fail("writing a report")?;
    writeln!(std::io::stdout().lock(), "{line}").or_fail("writing a report")
}
