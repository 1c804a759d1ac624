//! Workers have the privileges that the program has when it asks for them: see `sys/privilege.rs`
//! for what that is.
//!
//! A fork server and its workers have those of the thread that started it, at that time. So a
//! caller that asks for a process compares itself with the current one, and where something differs
//! starts another. The one before is **retired**: its spares are killed, it makes no more, and it
//! ends with the last of its users: tasks that still run, and pools that were built when it was the
//! current one.
//!
//! A pool stays with the fork server of its building, so that all its workers are alike. It makes a
//! worker for it later only if the thread that looks after the pool then could give itself all that
//! the worker will have ([`may_make_more`](ForkServerClient::may_make_more)): no worker begins with
//! more than the program has at that time.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{ClientState, ForkServerClient, Origin, SpareWorker};
use crate::sys::error::Call;
use crate::sys::privilege::Privilege;
use crate::worker::process::host::client::servers_of;
use crate::worker::process::ipc::protocol::Request;

impl ForkServerClient {
    /// This process's fork server, if it has the privileges of this thread; otherwise another,
    /// which has.
    pub(crate) fn like_us(of: Origin<'_>) -> io::Result<Arc<ForkServerClient>> {
        let server = ForkServerClient::get(of)?;
        if server.is_like_us()? {
            return Ok(server);
        }
        ForkServerClient::renew(of, &server)
    }

    /// Whether its workers have what this thread has now.
    pub(crate) fn is_like_us(&self) -> io::Result<bool> {
        let here = self.privilege.is_still_here();
        Ok(here
            .needed_to("compare what a process may do with what this thread may")?
            .is_ok())
    }

    /// As [`is_like_us`](Self::is_like_us), for a thread that asks again for each process.
    pub(crate) fn is_still_like_us(&self) -> io::Result<bool> {
        let here = self.privilege.is_that_of_this_thread();
        here.needed_to("compare what a process may do with what this thread may")
    }

    /// Whether the workers of the two have the same.
    pub(crate) fn is_like(&self, other: &ForkServerClient) -> bool {
        self.privilege == other.privilege
    }

    /// A fork server with this thread's privileges, in place of one that has others.
    pub(crate) fn renew(
        of: Origin<'_>,
        old: &Arc<ForkServerClient>,
    ) -> io::Result<Arc<ForkServerClient>> {
        let mut current = servers_of(of)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = current.take() {
            // Another thread may have been here first.
            if !Arc::ptr_eq(&server, old) && !server.lock().gone && server.is_like_us()? {
                *current = Some(Arc::clone(&server));
                return Ok(server);
            }
            // Also if there will be no other: its spares are not to be had by this program any
            // more.
            server.replace();
        }
        let server = ForkServerClient::start(of)?;
        *current = Some(Arc::clone(&server));
        Ok(server)
    }

    /// Whether this thread may have another worker made here; otherwise why not.
    pub(crate) fn may_make_more(&self) -> Result<(), String> {
        match self.privilege.is_still_here() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(now)) if self.privilege.is_within(&now) => Ok(()),
            Ok(Err(now)) => Err(format!(
                "the program has other privileges than when this pool was built ({}), and a new worker would have those",
                self.privilege.difference(&now)
            )),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Kills a worker that was had for a single task, and not given it.
    pub(crate) fn dismiss(&self, spare: &SpareWorker) {
        self.turn_away(&mut self.lock(), spare);
        self.stop_waiting_for_worker(spare.slot, spare.pid, false);
    }

    /// Kills a spare.
    pub(super) fn turn_away(&self, state: &mut ClientState, spare: &SpareWorker) {
        self.end(state, spare.slot, spare.pid, Duration::ZERO);
        if self.exit_table.release(spare.slot) && state.unused {
            // The fork server waits for nothing else.
            self.released();
        }
    }

    /// Another takes its place, or its program is not asked for any more.
    pub(in crate::worker::process) fn replace(&self) {
        let mut state = self.lock();
        state.retired = true;
        for spare in std::mem::take(&mut state.spares) {
            self.turn_away(&mut state, &spare);
        }
        self.end_if_unused(&mut state);
        // A caller that waits for one goes to the next.
        self.arrived.notify_all();
    }

    /// Whether it makes workers only for pools that use it already.
    pub(crate) fn is_retired(&self) -> bool {
        self.lock().retired
    }

    /// After a user of it has gone: a fork server that is retired, and that no caller will ask
    /// for workers any more, ends when the last worker has.
    pub(super) fn end_if_unused(&self, state: &mut ClientState) {
        if state.retired && !state.unused && state.observers.is_empty() && state.waiting == 0 {
            // If it is gone, that is what was to be.
            state.unused = self.send(Request::Retire).is_ok();
        }
    }
}

/// That a thread and a fork server of its own have the same.
pub(super) fn check(ours: &Privilege, theirs: &Privilege) -> io::Result<()> {
    if ours == theirs {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "a process would not have the same privileges as the program: started again, it has other {}",
            ours.difference(theirs)
        ),
    ))
}
