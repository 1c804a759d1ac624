//! What a worker does to itself before its first task, as its builder, or that of its pool, says.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

#[cfg(feature = "sandbox")]
use crate::sys::error;
use crate::sys::error::Call;
use crate::sys::remote_error::RemoteError;
use crate::sys::{environment, process};
use crate::task::entry::{self, KeptValue};
use crate::task::identity::Function;
use crate::task::library;
use crate::task::panic::Unwound;
use crate::transport::attachment;
#[cfg(feature = "tracing")]
use crate::worker::process::child::events::DuringInitializer;
use crate::worker::process::child::flush::{self, FlushedStreams};
use crate::worker::process::child::streams::{self, Adopted};
use crate::worker::process::child::task::shorten;
use crate::worker::process::child::this_worker::is_the_worker;
use crate::worker::process::child::worker::Worker;
use crate::worker::process::child::{limits, oom_score};
use crate::worker::process::ipc::protocol::{EncodedState, NotReady, PoolWorkerSetup, Setup};
use crate::worker::program_init::ProgramInit;

/// Does what an encoded [`Setup`] says. Gives what a pool asks of the worker, if it is one's.
pub(super) fn set_up(worker: &mut Worker, encoded: &[u8]) -> Result<Option<PoolWorker>, NotReady> {
    let mut setup: Setup = postcard::from_bytes(encoded).map_err(|e| NotReady {
        why: RemoteError::other(e.to_string()),
        is_program_init: false,
        panic: None,
    })?;
    let mut pool = setup.pool.take();
    let mut adopted = Adopted::default();
    if let Some(own) = setup.streams.take() {
        let came = worker
            .fd_socket()
            .and_then(|fd_socket| streams::adopt(fd_socket, own));
        let came = came.needed_to("give a worker its standard streams");
        adopted = came.map_err(|e| NotReady::because(&e))?;
    }
    let Adopted {
        marks,
        value,
        events,
    } = adopted;
    worker.marks = marks;
    let state = pool.as_mut().and_then(|pool| pool.state.take());
    let state = state.map(|state| received(state, value)).transpose();
    let state = state
        .needed_to("receive the configuration of its state")
        .map_err(|e| NotReady::because(&e))?;
    #[cfg(feature = "sandbox")]
    let rules = setup.sandbox.take();
    let program_init = setup.program_init;
    prepare(setup)?;
    #[cfg(feature = "sandbox")]
    let is_shut_in = rules.is_some();
    #[cfg(not(feature = "sandbox"))]
    let is_shut_in = false;
    if is_shut_in {
        library::load_received();
    }
    let initializer = pool.as_ref().and_then(|pool| pool.initializer);
    let events = send_events(worker, events)?;
    let state = initialize(program_init, initializer, state.as_deref(), is_shut_in)?;
    #[cfg(feature = "tracing")]
    if let Some(events) = events {
        events.end();
    }
    #[cfg(not(feature = "tracing"))]
    drop(events);
    #[cfg(feature = "sandbox")]
    shut_in(rules.as_deref())?;
    Ok(pool.map(|setup| PoolWorker { setup, state }))
}

/// What a worker of a pool begins with.
pub(in crate::worker::process) struct PoolWorker {
    pub(super) setup: PoolWorkerSetup,
    /// The state that it has loaded.
    pub(super) state: Option<KeptValue>,
}

/// The bytes of a state's load and configuration.
fn received(state: EncodedState, file: Option<OwnedFd>) -> io::Result<Vec<u8>> {
    match (state, file) {
        (EncodedState::Inline(bytes), _) => Ok(bytes),
        (EncodedState::InFile(len), Some(file)) => attachment::map(file, len)?.to_vec(),
        (EncodedState::InFile(_), None) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn prepare(setup: Setup) -> Result<(), NotReady> {
    limits::apply(&setup.limits).map_err(|e| NotReady::because(&e))?;
    if let Some(name) = setup.name {
        // A name with a zero byte was refused where it was given.
        process::set_name(&CString::new(name).unwrap_or_default());
    }
    environment::set_environment(
        setup.env_clear,
        setup
            .env
            .into_iter()
            .map(|(key, value)| (OsString::from_vec(key), OsString::from_vec(value))),
    );
    if let Some(value) = setup.oom_score_adj {
        oom_score::set(value)
            .needed_to("set it")
            .at(|| format!("cannot have an oom_score_adj of {value}"))
            .map_err(|e| NotReady::because(&e))?;
    }
    if let Some(dir) = setup.current_dir {
        let dir = OsString::from_vec(dir);
        std::env::set_current_dir(&dir)
            .call("chdir(2)")
            .needed_to("enter it")
            .at(|| format!("cannot enter the directory {}", Path::new(&dir).display()))
            .map_err(|e| NotReady::because(&e))?;
    }
    Ok(())
}

/// Has the initializer's events go to this socket, if there is one.
#[cfg(feature = "tracing")]
fn send_events(
    worker: &Worker,
    events: Option<(OwnedFd, u8)>,
) -> Result<Option<DuringInitializer>, NotReady> {
    let begin = |(socket, level)| DuringInitializer::begin(socket, level, worker.mailbox);
    let begun = events.map(begin).transpose();
    let begun = begun.needed_to("send the program a worker's events");
    begun.map_err(|e| NotReady::because(&e))
}

/// In a named program that was built without the feature the socket is closed: it has no events.
#[cfg(not(feature = "tracing"))]
fn send_events(
    _: &Worker,
    events: Option<(OwnedFd, u8)>,
) -> Result<Option<(OwnedFd, u8)>, NotReady> {
    Ok(events)
}

/// Puts the worker's sandbox in force, if it has one.
#[cfg(feature = "sandbox")]
fn shut_in(rules: Option<&crate::sandbox::Rules>) -> Result<(), NotReady> {
    let locked = rules.map_or(Ok(()), super::lockdown::lock);
    let locked = locked.map_err(|e| error::placed("the sandbox cannot be had", e));
    locked.map_err(|e| NotReady::because(&e))
}

/// Runs what the program runs in each worker, then the initializer of a worker of a pool, and loads
/// its state. `is_shut_in`: it is about to be; then no thread may be left.
fn initialize(
    program_init: Option<u64>,
    initializer: Option<u64>,
    state: Option<&[u8]>,
    is_shut_in: bool,
) -> Result<Option<KeptValue>, NotReady> {
    if program_init.is_none() && initializer.is_none() && state.is_none() {
        return Ok(None);
    }
    let is_done = |ended: &Option<Option<_>>| matches!(ended, None | Some(Some(Ok(()))));
    let of_program = program_init.map(|function| {
        let address = Function(function).address()?;
        ProgramInit::is_run_by_worker(address);
        entry::run_initializer(function)
    });
    let is_initialized = is_done(&of_program);
    let ended = initializer.filter(|_| is_initialized);
    let ended = ended.map(entry::run_initializer);
    let is_initialized = is_initialized && is_done(&ended);
    let state = state.filter(|_| is_initialized);
    let load = state.and_then(entry::load_of_state);
    let state = state.map(entry::load_state);
    if !is_the_worker() {
        process::exit_now(0);
    }
    let mut is_held = false;
    if is_shut_in {
        if process::is_alone_soon() {
            is_held = !flush::flush_and_be_alone(FlushedStreams::All);
        }
    } else {
        flush::flush(FlushedStreams::All);
    }
    check(of_program, "what the program runs first", program_init).map_err(|not_ready| {
        NotReady {
            is_program_init: true,
            ..not_ready
        }
    })?;
    check(ended, "its initializer", initializer)?;
    if is_held {
        let why = "its initializer, or the load of its state, has left a stream locked that it \
                   printed to: it cannot be written out before the sandbox is closed";
        return Err(failed(why, None));
    }
    let Some(state) = state else {
        return Ok(None);
    };
    let what = "the load of its state";
    match state.ok_or_else(|| absent(what, load))? {
        Ok(Ok(state)) => Ok(Some(state)),
        Ok(Err(why)) => Err(failed(&why, None)),
        Err(unwound) => Err(panicked(what, unwound)),
    }
}

/// How a function of the program's ended; `Some(None)`: it is not there.
fn check(
    ended: Option<Option<Result<(), Unwound>>>,
    what: &str,
    function: Option<u64>,
) -> Result<(), NotReady> {
    match ended {
        None | Some(Some(Ok(()))) => Ok(()),
        Some(Some(Err(unwound))) => Err(panicked(what, unwound)),
        Some(None) => Err(absent(what, function)),
    }
}

fn absent(what: &str, function: Option<u64>) -> NotReady {
    let why = Function(function.unwrap_or(0)).why_absent();
    failed(&format!("{what} {why}"), None)
}

fn panicked(what: &str, mut unwound: Unwound) -> NotReady {
    shorten(&mut unwound);
    let message = &unwound.message;
    failed(&format!("{what} panicked: {message}"), Some(unwound))
}

fn failed(what: &str, panic: Option<Unwound>) -> NotReady {
    NotReady {
        why: RemoteError::other(what),
        is_program_init: false,
        panic,
    }
}
