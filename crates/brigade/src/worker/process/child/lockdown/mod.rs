//! A worker shuts itself in, after its initializer and before its first task.
//!
//! 1. It must have one thread: what another thread may do stays as it is, but for the filter.
//! 2. `identity`: where the program is root, the worker becomes an ordinary user; it gives up all
//!    capabilities. That clears what ends it with its parent: it is set again.
//! 3. No privilege comes with executing a program: prctl(2), `PR_SET_NO_NEW_PRIVS`.
//! 4. `paths`: Landlock, which knows paths, ports, and the receivers of signals.
//! 5. Speculation: prctl(2), `PR_SET_SPECULATION_CTRL`.
//! 6. `filter`: seccomp, which knows calls and their numbers, and none of the memory that they
//!    point to. It is last, because it refuses all of the above.
//!
//! `refused` is the handler of calls that are neither allowed nor refused by an error at once;
//! `calls` has the names of calls, `text` what the handler says of one.
//!
//! Each step that fails is an error of the start where what it brings about was required; see
//! [`Sandbox::require`](crate::Sandbox::require).

mod calls;
mod filter;
mod identity;
mod paths;
mod refused;
mod text;

use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{SpeculationFeature, SpeculationFeatureControl, control_speculative_feature};

use crate::sandbox::{Applied, Rules, effects};
use crate::sys::error::Call;
use crate::sys::process;
use crate::sys::value_file::kept;

/// What this worker has done; nothing in a process that is none, or has no sandbox.
static APPLIED: OnceLock<Applied> = OnceLock::new();

/// What this worker's sandbox is made of.
pub(in crate::worker::process) fn applied() -> Option<Applied> {
    APPLIED.get().cloned()
}

/// Shuts this process in, for good.
pub(super) fn lock(rules: &Rules) -> io::Result<()> {
    let mut took = Took::begin();
    one_thread()?;
    // What it takes to keep one's files of large values would be refused, and reported.
    kept::disable();
    let parent = process::parent()?;
    // Before this process becomes a user that may not look at them.
    let granted = paths::Granted::open(rules)?;
    took.step("look granted paths up");
    identity::give_up(rules)?;
    process::die_with_parent();
    if process::parent()? != parent {
        process::exit_now(0);
    }
    rustix::thread::set_no_new_privs(true)
        .call("prctl(2)")
        .needed_to("give up privileges for good")?;
    took.step("give up privileges");
    let mut applied = Applied::default();
    match granted.restrict(rules) {
        Ok(version) => applied.landlock = version,
        Err(why) => applied.no_landlock = Some(why),
    }
    took.step("Landlock");
    no_speculation();
    took.step("speculation");
    let filter = filter::of(rules, applied.landlock);
    applied.executes_memory = !rules.execute.is_empty() && !filter::can_make_plain_files();
    took.step("compile the filter");
    if let Err(why) = filter::install(rules, &filter) {
        applied.no_seccomp = Some(why.to_string());
    }
    took.step("seccomp");
    applied.took = took.steps;
    let missing = missing(rules, &applied);
    let _ = APPLIED.set(applied);
    missing.map_or(Ok(()), |why| {
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    })
}

/// How long each step took.
struct Took {
    last: Instant,
    steps: Vec<(String, Duration)>,
}

impl Took {
    fn begin() -> Took {
        Took {
            last: Instant::now(),
            steps: Vec::with_capacity(8),
        }
    }

    /// This step has ended, and the next begins.
    fn step(&mut self, name: &str) {
        let now = Instant::now();
        self.steps.push((name.to_owned(), now - self.last));
        self.last = now;
    }
}

/// What these rules are to bring about and do not, if that keeps the worker from starting.
fn missing(rules: &Rules, applied: &Applied) -> Option<String> {
    // A grant that does not hold would be a wall without a door.
    let grants = rules.has_paths() || rules.has_ports();
    if let Some(why) = applied.no_landlock.as_ref().filter(|_| grants) {
        return Some(format!("it was granted paths or ports, and {why}"));
    }
    if rules.best_effort {
        return None;
    }
    let lacking: Vec<_> = effects(rules, applied)
        .into_iter()
        .filter(|(_, state)| !state.is_enforced())
        .map(|(effect, state)| format!("\"{effect}\" cannot be had ({state})"))
        .collect();
    (!lacking.is_empty()).then(|| lacking.join("; "))
}

/// Best effort: where a processor has no such fault, or does not take the setting, there is nothing
/// to do.
fn no_speculation() {
    for feature in [
        SpeculationFeature::SpeculativeStoreBypass,
        SpeculationFeature::IndirectBranchSpeculation,
    ] {
        let _ = control_speculative_feature(feature, SpeculationFeatureControl::FORCE_DISABLE);
    }
}

/// What a thread that is running may do stays as it is.
fn one_thread() -> io::Result<()> {
    if process::is_alone() {
        return Ok(());
    }
    let others = process::other_threads();
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "its initializer, or a library, has left threads running that a sandbox would not hold: {}",
            others.join(", ")
        ),
    ))
}
