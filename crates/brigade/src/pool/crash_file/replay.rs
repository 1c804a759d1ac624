//! `BRIGADE_REPLAY`: one task from a crash file, run again in the program itself.
//!
//! The task runs on the thread that called `init`, in this very process, so that breakpoints and
//! signals are what they are in any program: no fork server, no signal handler of ours, and a fault
//! is a fault. What a worker does to itself first is done here too: its environment, its directory,
//! an empty stdin, the pool's initializer. What tasks before it did in the same worker is not.
//!
//! A file says which of the program's functions is called with which bytes, so it is trusted as the
//! program's own arguments are. A program that runs with privileges its caller does not have
//! (setuid) ignores the variable.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::build::build_id;
use super::command::{DEBUGGER, ENV_VAR, replay_command};
use super::context_file;
use super::format::ReplaySpec;
use super::read::{CrashRecord, read};
use crate::sys::{c_streams, environment, fds, opened, process, signal};
use crate::task::codec::Encoded;
use crate::task::entry::{
    self, EncodedResult, EncodedValue, EntryOutcome, KeptValue, Plan, ValuePlace,
};
use crate::task::identity::Function;
use crate::task::library;
use crate::task::panic::Unwound;

/// How the program ends. A task that crashes again ends it in its own way.
mod status {
    pub(super) const RETURNED: i32 = 0;
    /// The file cannot be replayed here.
    pub(super) const REFUSED: i32 = 2;
    /// The input could not be decoded, or the result not be encoded.
    pub(super) const UNDELIVERABLE: i32 = 3;
    /// As any Rust program that panics.
    pub(super) const PANICKED: i32 = 101;
}

/// Replays the file that the environment names, and ends the process; returns if it names none.
pub(crate) fn replay_if_asked() {
    let Some(path) = std::env::var_os(ENV_VAR).filter(|path| !path.is_empty()) else {
        return;
    };
    if process::is_privileged() {
        return;
    }
    let path = Path::new(&path);
    let status = replay(path).unwrap_or_else(|why| {
        eprint_line(&format!("{} is not replayed: {why}", path.display()));
        status::REFUSED
    });
    process::exit_now(status)
}

/// One line to stderr: not `eprintln`, which a test harness keeps to itself.
fn eprint_line(what: &str) {
    let _ = io::stderr().write_all(format!("brigade: {what}\n").as_bytes());
}

fn replay(path: &Path) -> Result<i32, String> {
    let file = File::open(path).map_err(|e| format!("it cannot be opened: {e}"))?;
    let record = read(BufReader::with_capacity(64 * 1024, file)).map_err(|e| e.to_string())?;
    let CrashRecord { spec, input, .. } = &record;
    check(&record)?;
    let read_kept = |name: &String| context_file::read(name, path);
    let context = spec.context.as_ref().map(read_kept).transpose()?;
    let state = spec.state.as_ref().map(read_kept).transpose()?;
    eprint_line(&format!(
        "replaying task `{}`, whose worker died of {} while {}, {}",
        record.task, record.cause, record.phase, record.time
    ));
    if !is_debugged() {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        eprint_line(&format!(
            "in a debugger: {}",
            replay_command(&path, DEBUGGER)
        ));
    }
    set_up(spec)?;
    for library in &spec.libraries {
        library::receive(library.clone());
    }

    if let Some(initializer) = spec.initializer {
        match entry::run_initializer(initializer) {
            None => {
                let why = Function(initializer).why_absent();
                return Err(format!("its initializer {why}"));
            }
            Some(Err(unwound)) => return Ok(panicked("the initializer", &unwound)),
            Some(Ok(())) => {}
        }
    }
    let mut kept = context.map(|bytes| {
        KeptValue::encoded(EncodedValue {
            place: ValuePlace::Here(bytes),
            descriptors: Vec::new(),
        })
    });
    if let Some(state) = state {
        match entry::load_state(&state) {
            None => return Err("the load of its state is not code of this program".to_owned()),
            Some(Err(unwound)) => return Ok(panicked("the load of its state", &unwound)),
            Some(Ok(loaded)) => kept = Some(loaded?),
        }
    }
    let mut result = EncodedResult::default();
    let plan = Plan::from_words([spec.entry, spec.function]);
    let input = Encoded::Here(input);
    let outcome = match &mut kept {
        None => plan.run(input, Vec::new(), &mut result, &|_| {}),
        Some(kept) => plan.run_with(kept, input, Vec::new(), &mut result, &|_| {}),
    };
    let _ = io::stdout().flush();
    c_streams::flush_all();
    Ok(match outcome {
        EntryOutcome::Returned(_) => {
            eprint_line(&format!(
                "the task returned this time; its result takes {} B",
                result.len()
            ));
            status::RETURNED
        }
        EntryOutcome::Panicked(unwound) => panicked("the task", &unwound),
        EntryOutcome::Undeliverable(why) => {
            eprint_line(&format!("the task could not be carried: {why}"));
            status::UNDELIVERABLE
        }
    })
}

fn panicked(who: &str, unwound: &Unwound) -> i32 {
    let place = unwound
        .location
        .as_ref()
        .map_or_else(String::new, |place| format!(" at {place}"));
    eprint_line(&format!("{who} panicked{place}: {}", unwound.message));
    status::PANICKED
}

/// Whether a debugger traces this process already. proc_pid_status(5).
fn is_debugged() -> bool {
    // The thread's name, which is in there, may be no text.
    std::fs::read("/proc/self/status").is_ok_and(|status| {
        let mut lines = status.split(|&b| b == b'\n');
        lines.any(|l| {
            l.strip_prefix(b"TracerPid:")
                .is_some_and(|pid| pid.trim_ascii() != b"0")
        })
    })
}

/// Whether it can be run again, in this program.
fn check(record: &CrashRecord) -> Result<(), String> {
    let this =
        build_id().map_err(|e| format!("the build of this program cannot be determined: {e}"))?;
    let spec = &record.spec;
    if spec.build != this {
        return Err(format!(
            "it is of another build, and only the same can run its task\n    \
             the file's:     {} ({})\n    this program's: {this}",
            spec.build, record.program
        ));
    }
    let what = match spec.context {
        None => "input",
        Some(_) => "input or its context",
    };
    match spec.descriptors {
        0 => Ok(()),
        n => Err(format!(
            "descriptors came with its {what} ({n}: ends of channels, shared memory or files), and a file cannot keep them"
        )),
    }
}

/// Makes this process what the worker was.
fn set_up(spec: &ReplaySpec) -> Result<(), String> {
    // What the task starts is no replay.
    environment::take_variable(ENV_VAR);
    let variables = spec.variables.iter();
    environment::set_environment(
        spec.clear_environment,
        variables.map(|(k, v)| (OsString::from_vec(k.clone()), OsString::from_vec(v.clone()))),
    );
    if let Some(there) = &spec.directory {
        let there = OsString::from_vec(there.clone());
        if let Err(e) = std::env::set_current_dir(&there) {
            return Err(format!(
                "the directory that it worked in, {}, cannot be entered: {e}",
                Path::new(&there).display()
            ));
        }
    }
    // A worker's start has done these.
    signal::set_default(libc::SIGCHLD);
    signal::set_ignored(libc::SIGPIPE);
    opened::above(opened::null)
        .and_then(fds::become_stdin)
        .map_err(|e| format!("it cannot be given an empty stdin: {e}"))
}

#[cfg(all(test, feature = "backtrace"))]
mod tests;
