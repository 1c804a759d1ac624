//! What decides, of all that was measured.

use super::{Measured, Results, Together};
use crate::Kind;

/// What processes may cost more than threads, or threads more than processes, and still be called
/// the same.
pub(super) const TIE: f64 = 1.1;

/// What decides. The first that holds is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// An input crashed its worker.
    Crashes,
    /// The task crashed only in threads together.
    CrashesInThreads,
    /// A task ran over its limit of time, alone or in threads together.
    Hangs,
    /// Each task leaves memory behind in its worker: this number of bytes.
    Leaks(u64),
    /// What it takes or gives cannot be carried to another process.
    CannotBeCarried,
    /// The task gives something else in a process than in the program.
    NeedsTheProgram,
    /// The task gives something else after other tasks.
    NeedsTasksBefore,
    /// By the clock.
    Quicker(Kind, f64),
    /// Neither is quicker; as many times as long do processes take.
    Tie(f64),
    /// Sometimes one was quicker and sometimes the other: between so many times as long did
    /// processes take in the middle half of the rounds.
    Unclear(f64, f64),
    /// Nothing returned, or threads could not be measured.
    Unknown,
}

impl Verdict {
    /// The first that holds is taken.
    pub(super) fn of(found: &Measured) -> Verdict {
        let failures = &found.failures;
        if failures.crashed.count > 0 {
            return Verdict::Crashes;
        }
        if failures.timed_out.count > 0 || found.together == Some(Together::Hung) {
            return Verdict::Hangs;
        }
        if matches!(found.together, Some(Together::Crashed(_))) {
            return Verdict::CrashesInThreads;
        }
        if failures.undeliverable.count > 0 {
            return Verdict::CannotBeCarried;
        }
        match found.results {
            Results::DependOnTheProgram => return Verdict::NeedsTheProgram,
            Results::DependOnTasksBefore => return Verdict::NeedsTasksBefore,
            Results::Same | Results::Unknown => {}
        }
        if let Some(bytes) = found.alone.and_then(|alone| alone.leaks) {
            return Verdict::Leaks(bytes);
        }
        match (found.ratio, found.quartiles) {
            (None, _) => Verdict::Unknown,
            (Some(ratio), _) if (1.0 / TIE..=TIE).contains(&ratio) => Verdict::Tie(ratio),
            (Some(_), Some((lower, upper))) if lower < 1.0 && upper > 1.0 => {
                Verdict::Unclear(lower, upper)
            }
            (Some(ratio), _) if ratio > 1.0 => Verdict::Quicker(Kind::Thread, ratio),
            (Some(ratio), _) => Verdict::Quicker(Kind::Process, ratio),
        }
    }

    /// The kind of worker that it speaks for.
    pub(super) fn kind(self) -> Kind {
        match self {
            Verdict::Crashes
            | Verdict::CrashesInThreads
            | Verdict::Hangs
            | Verdict::Leaks(_)
            | Verdict::Unknown
            | Verdict::Quicker(Kind::Process, _) => Kind::Process,
            Verdict::CannotBeCarried
            | Verdict::NeedsTheProgram
            | Verdict::NeedsTasksBefore
            | Verdict::Quicker(Kind::Thread, _)
            // Threads take less memory, and what they are given is not copied.
            | Verdict::Tie(_)
            | Verdict::Unclear(..) => Kind::Thread,
        }
    }
}
