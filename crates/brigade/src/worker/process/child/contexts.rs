//! The contexts that a worker of a pool keeps for its tasks. Which those are, the host says.

use super::task;
use super::worker::Worker;
use crate::task::contain::contained;
use crate::task::entry::KeptValue;
use crate::worker::process::ipc::order::{ContextNumbers, Payload, STATE};

/// Contexts by their numbers: a few. The state, if there is one, is the first.
pub(super) struct Contexts(Vec<(u64, Result<KeptValue, String>)>);

impl Contexts {
    /// With the worker's state, if it has one.
    pub(super) fn new(state: Option<KeptValue>) -> Contexts {
        Contexts(state.map(|state| (STATE, Ok(state))).into_iter().collect())
    }

    /// Whether a task has panicked while it could change the state.
    pub(super) fn is_state_spoiled(&self) -> bool {
        matches!(self.0.first(), Some((STATE, Ok(state))) if state.is_spoiled())
    }

    /// Takes a context, which is decoded by the first task that uses it. One that could not be
    /// received is the error of each task that uses it.
    pub(super) fn receive(&mut self, worker: &Worker, number: u64, payload: Payload<'_>) {
        let received = task::receive_value(worker, payload).map(KeptValue::encoded);
        self.0.push((number, received));
    }

    /// Lets go of all but these.
    pub(super) fn keep(&mut self, numbers: ContextNumbers<'_>) {
        let is_kept = |number| number == STATE || numbers.contains(number);
        while let Some(at) = self.0.iter().position(|&(number, _)| !is_kept(number)) {
            let context = self.0.remove(at);
            // A destructor of the program's.
            contained(|| drop(context));
        }
    }

    pub(super) fn get(&mut self, number: u64) -> Result<&mut KeptValue, String> {
        match self.0.iter_mut().find(|(it, _)| *it == number) {
            Some((_, Ok(kept))) => Ok(kept),
            Some((_, Err(why))) => Err(why.clone()),
            None => Err("its context is not in its worker".to_owned()),
        }
    }
}
