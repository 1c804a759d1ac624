//! Pools, which have workers of pools: what they lack, and when they are to be called.

use std::io;
use std::sync::Weak;
use std::time::{Duration, Instant};

use super::spares::SpareWorker;
use super::{ClientState, ForkServerClient, watch};
use crate::sys::error::Call;
use crate::worker::process::ipc::protocol;

/// A pool, whose workers stay. Its [`on_event`](PoolObserver::on_event) is called when something
/// has happened that may concern it: a worker has come, has ended, was stopped, or has woken the
/// wake socket; a descriptor socket has come; the time that was asked for has come; the fork server
/// has ended.
pub(crate) trait PoolObserver: Send + Sync {
    /// This program could not run for the time `missed`, until it `woke`, and no task's time is to
    /// be over because of that. Which task's time is over is judged as of then: the next call has
    /// what is missed since.
    fn on_event(&self, missed: Duration, woke: Instant);
}

pub(super) struct ObserverEntry {
    pub(super) observer: Weak<dyn PoolObserver>,
    /// Workers that it lacks.
    pub(super) missing: usize,
    /// When it wants to be called.
    pub(super) call_at: Option<Instant>,
}

impl ForkServerClient {
    /// Takes in a pool, whose workers stay. Gives its number.
    pub(crate) fn register(&self, observer: Weak<dyn PoolObserver>) -> u64 {
        let mut state = self.lock();
        let number = state.next_observer;
        state.next_observer += 1;
        let registration = ObserverEntry {
            observer,
            missing: 0,
            call_at: None,
        };
        state.observers.insert(number, registration);
        number
    }

    /// Moves an observer to another fork server, for this one has ended. Gives its number there.
    pub(crate) fn move_observer(&self, observer: u64, to: &ForkServerClient) -> u64 {
        let gone = self.lock().observers.remove(&observer);
        match gone {
            Some(registration) => to.register(registration.observer),
            None => u64::MAX,
        }
    }

    /// This pool has no workers any more.
    pub(crate) fn unregister(&self, observer: u64) {
        let mut state = self.lock();
        let gone = state.observers.remove(&observer);
        self.end_if_unused(&mut state);
        drop(state);
        drop(gone);
    }

    /// A worker that sleeps, for an observer that lacks `missing` workers, if there is one;
    /// otherwise it will be called when there is.
    pub(crate) fn try_take_worker(
        &self,
        observer: u64,
        missing: usize,
    ) -> io::Result<Option<SpareWorker>> {
        let mut state = self.lock();
        if state.gone {
            return Err(io::Error::other("the fork server has ended"));
        }
        let note = |state: &mut ClientState, missing: usize| {
            if let Some(registration) = state.observers.get_mut(&observer) {
                registration.missing = missing;
            }
        };
        while let Some(spare) = state.spares.pop() {
            if !self.keep_or_release(&mut state, &spare) {
                continue;
            }
            note(&mut state, missing.saturating_sub(1));
            return Ok(Some(spare));
        }
        if let Some(why) = state.failures.pop() {
            note(&mut state, 0);
            return Err(why.into());
        }
        note(&mut state, missing);
        match self.refill(&mut state) {
            // The listener is about to say so.
            Err(e) if protocol::is_hang_up(&e) => Ok(None),
            asked => asked.map(|()| None),
        }
    }

    /// Has this observer called at that time, unless it is called earlier by its own wish.
    pub(crate) fn call_at(&self, observer: u64, at: Option<Instant>) {
        let mut state = self.lock();
        let Some(registration) = state.observers.get_mut(&observer) else {
            return;
        };
        registration.call_at = at;
        let now = Instant::now();
        self.set_timer(&state, now);
        // Otherwise the listener does that when the timer expires, if it is still needed.
        if at.is_some_and(|at| at > now + watch::ASK_INTERVAL) {
            self.watch(&mut state);
        }
    }

    /// Timers that cannot be set would be limits of time that do not hold.
    pub(super) fn try_timers(&self) -> io::Result<()> {
        self.timer.stop().needed_to("hold limits of time")
    }

    /// Sets the timer of the fork server's observers, which can be set: see `try_timers`.
    pub(super) fn set_timer(&self, state: &ClientState, now: Instant) {
        let first = state.observers.values().filter_map(|e| e.call_at).min();
        let _ = match first {
            Some(at) => self.timer.set(at.saturating_duration_since(now)),
            None => self.timer.stop(),
        };
    }
}
