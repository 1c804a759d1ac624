//! Workers that are made ahead, and sleep: how many, when new ones are asked for, and how one is
//! taken.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{ClientState, ForkServerClient};
use crate::sync::liveness::LivenessTable;
use crate::sys::error::Call;
use crate::sys::remote_error::RemoteError;
use crate::task::name::TaskName;
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol::{self, FORKED_AT_ONCE, Request};

/// Spare workers to have at hand.
const SPARES: usize = 4;

/// When they are scarce, new ones are asked for at this number: together, so that one wake-up of
/// the fork server makes several.
const REFILL_AT: usize = 1;

/// How long after a spare was taken new ones are asked for, if there are others left. Making them
/// at once would take a processor away from the very task that the spare was taken for; on two
/// cores that costs it more than its own wake-up.
const REFILL_DELAY: Duration = Duration::from_millis(1);

/// After this many spares in a row that were dead when they were taken, the caller gets an error.
const MAX_DEAD_SPARES: u32 = 64;

/// After this many spares that could not start, the caller gets the reason that they gave.
const MAX_UNSTARTED_SPARES: u32 = 8;

/// A worker that the host has been given, not yet in use.
#[derive(Debug)]
pub(crate) struct SpareWorker {
    pub(crate) slot: u32,
    pub(crate) pid: u32,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl ClientState {
    /// How many workers callers and pools need now.
    pub(super) fn in_need(&self) -> usize {
        self.waiting
            + self
                .observers
                .values()
                .map(|observer| observer.missing)
                .sum::<usize>()
    }

    /// A spare could not be made. Only callers and pools that need one get the error.
    pub(super) fn fail(&mut self, why: RemoteError) {
        if self.failures.len() < self.in_need() {
            self.failures.push(why);
        }
    }
}

impl ForkServerClient {
    /// A worker that sleeps: a spare, or one that is made now.
    pub(crate) fn take_worker(&self) -> io::Result<SpareWorker> {
        let mut state = self.lock();
        state.waiting += 1;
        self.watch(&mut state);
        let mut dead_spares = 0;
        let taken: io::Result<SpareWorker> = loop {
            if state.gone {
                break Err(io::Error::other("the fork server has ended"));
            }
            if state.retired {
                break Err(io::Error::other("the fork server was replaced"));
            }
            state.scarce &= state.spares.len() < SPARES;
            if let Some(spare) = state.spares.pop() {
                let why = self.why_not_started(&spare);
                if !self.keep_or_release(&mut state, &spare) {
                    dead_spares += 1;
                    match why {
                        Some(why) if dead_spares >= MAX_UNSTARTED_SPARES => {
                            break Err((*why).into());
                        }
                        _ if dead_spares < MAX_DEAD_SPARES => continue,
                        _ => {}
                    }
                    break Err(io::Error::other(format!(
                        "{dead_spares} worker processes in a row ended before they could be given a task"
                    )));
                }
                if state.scarce {
                    spare.mailbox.ask_to_leave_at_once();
                }
                state.watch.takes_worker();
                break Ok(spare);
            }
            if let Some(why) = state.failures.pop() {
                break Err(why.into());
            }
            state.scarce = true;
            match self.refill(&mut state) {
                // It has just ended, and the listener is about to say so, which is what is waited
                // for below.
                Err(e) if protocol::is_hang_up(&e) => {}
                Err(e) => break Err(e),
                Ok(()) => {}
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        state.waiting -= 1;
        if state.in_need() == 0 {
            // What failed for a caller that has a worker now is not reported.
            state.failures.clear();
        }
        self.end_if_unused(&mut state);
        taken.needed_to("have a worker process made")
    }

    /// Why a spare that has ended was no worker, if it says so.
    fn why_not_started(&self, spare: &SpareWorker) -> Option<Box<RemoteError>> {
        let ended = self.exit_table.has_ended(spare.slot);
        ended.then(|| self.exit_table.exit_record(spare.slot).unstarted)?
    }

    /// Whether a spare can be given a task. One that was killed or stopped while it slept is ended
    /// and released: it concerns no task.
    pub(super) fn keep_or_release(&self, state: &mut ClientState, spare: &SpareWorker) -> bool {
        let has_ended = self.exit_table.has_ended(spare.slot);
        if !has_ended && !self.exit_table.stop(spare.slot).0 {
            return true;
        }
        if !has_ended {
            self.end(state, spare.slot, spare.pid, Duration::ZERO);
        }
        self.exit_table.release(spare.slot);
        false
    }

    /// After a spare was put to work: sees to it that there will be others, in a while, or now if
    /// they are scarce. `task`: what it was put to work for.
    pub(crate) fn replace_spare(&self, slot: u32, task: &TaskName) {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(last) = state.last.get_mut(slot as usize) {
            last.task = Some((task.clone(), now));
        }
        if state.scarce && state.spares.len() <= REFILL_AT {
            // An error is ignored: the next caller that needs a worker asks again.
            let _ = self.refill(&mut state);
        }
        if !state.resting {
            state.resting = self.rest.set(REFILL_DELAY).is_ok();
        }
    }

    /// Asks for as many workers as are wanted and not on their way.
    pub(super) fn refill(&self, state: &mut ClientState) -> io::Result<()> {
        let spares = if state.retired { 0 } else { SPARES };
        let wanted = (spares + state.in_need()).saturating_sub(state.spares.len() + state.expected);
        let liveness = LivenessTable::get()?;
        for at in (0..wanted).step_by(FORKED_AT_ONCE) {
            let count = FORKED_AT_ONCE.min(wanted - at);
            let tokens: Vec<_> = (0..count).map_while(|_| liveness.allot()).collect();
            let asked = self.send(Request::Fork {
                count: count as u32,
                tokens: tokens.iter().map(|token| token.to_bits()).collect(),
            });
            if let Err(e) = asked {
                tokens
                    .into_iter()
                    .for_each(|token| liveness.mark_dead(token));
                return Err(e);
            }
            let outsiders = count - tokens.len();
            state.tokens.extend(tokens.into_iter().map(Some));
            state.tokens.extend((0..outsiders).map(|_| None));
            state.expected += count;
            self.watch(state);
        }
        Ok(())
    }
}
