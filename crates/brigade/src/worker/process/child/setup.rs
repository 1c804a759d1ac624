//! What a worker does to itself before its first task, as its builder, or that of its pool, says.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

#[cfg(feature = "sandbox")]
use crate::sys::error;
use crate::sys::error::Call;
use crate::sys::remote_error::RemoteError;
use crate::sys::{environment, process};
use crate::task::entry;
use crate::worker::process::child::flush::{self, Streams};
use crate::worker::process::child::startup::is_the_worker;
use crate::worker::process::child::task::shorten;
use crate::worker::process::child::{limits, oom_score};
use crate::worker::process::ipc::protocol::{NotReady, PoolWorkerSetup, Setup};

/// Does what an encoded [`Setup`] says. Gives what a pool asks of the worker, if it is one's.
pub(super) fn set_up(encoded: &[u8]) -> Result<Option<PoolWorkerSetup>, NotReady> {
    let mut setup: Setup = postcard::from_bytes(encoded).map_err(|e| NotReady {
        why: RemoteError::other(e.to_string()),
        panic: None,
    })?;
    let pool = setup.pool.take();
    #[cfg(feature = "sandbox")]
    let rules = setup.sandbox.take();
    prepare(setup)?;
    #[cfg(feature = "sandbox")]
    let is_shut_in = rules.is_some();
    #[cfg(not(feature = "sandbox"))]
    let is_shut_in = false;
    initialize(pool.as_ref(), is_shut_in)?;
    #[cfg(feature = "sandbox")]
    shut_in(rules.as_deref())?;
    Ok(pool)
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

/// Puts the worker's sandbox in force, if it has one.
#[cfg(feature = "sandbox")]
fn shut_in(rules: Option<&crate::sandbox::Rules>) -> Result<(), NotReady> {
    let locked = rules.map_or(Ok(()), super::lockdown::lock);
    let locked = locked.map_err(|e| error::placed("the sandbox cannot be had", e));
    locked.map_err(|e| NotReady::because(&e))
}

/// Runs the initializer of a worker of a pool. `is_shut_in`: it is about to be; then no thread may
/// be left.
fn initialize(pool: Option<&PoolWorkerSetup>, is_shut_in: bool) -> Result<(), NotReady> {
    let Some(offset) = pool.and_then(|s| s.initializer) else {
        return Ok(());
    };
    let failed = |what: &str, panic| NotReady {
        why: RemoteError::other(what),
        panic,
    };
    let ended = entry::run_initializer(offset);
    if !is_the_worker() {
        process::exit_now(0);
    }
    if is_shut_in {
        if process::is_alone_soon() {
            Streams::All.flush();
        }
    } else {
        flush::flush(Streams::All);
    }
    match ended {
        Some(Ok(())) => Ok(()),
        Some(Err(mut unwound)) => {
            shorten(&mut unwound);
            Err(failed("its initializer panicked", Some(unwound)))
        }
        None => Err(failed(
            "its initializer is not part of this worker's program",
            None,
        )),
    }
}
