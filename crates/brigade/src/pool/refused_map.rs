//! A map whose task no worker has.

use crate::JoinError;

/// A map of a task that no worker has: an error for each input.
pub(super) struct RefusedMap<I> {
    why: String,
    inputs: I,
    given: usize,
}

impl<I: Iterator> RefusedMap<I> {
    pub(super) fn new(why: String, inputs: I) -> RefusedMap<I> {
        RefusedMap {
            why,
            inputs,
            given: 0,
        }
    }

    pub(super) fn next_within<R>(&mut self, _: usize) -> Option<(usize, Result<R, JoinError>)> {
        self.inputs.next()?;
        self.given += 1;
        let why = JoinError::Undeliverable(self.why.clone());
        Some((self.given - 1, Err(why)))
    }

    pub(super) fn is_fork_of_owner(&self) -> bool {
        false
    }

    pub(super) fn next_ready<R>(&mut self) -> Option<(usize, Result<R, JoinError>)> {
        None
    }

    pub(super) fn pass_over(&mut self) -> Option<usize> {
        self.inputs.next()?;
        self.given += 1;
        Some(self.given - 1)
    }

    pub(super) fn pulled(&self) -> usize {
        self.given
    }

    pub(super) fn inputs_left(&self) -> (usize, Option<usize>) {
        self.inputs.size_hint()
    }
}
