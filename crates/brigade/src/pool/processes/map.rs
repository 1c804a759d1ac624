//! A map over a pool of processes.

use std::time::{Duration, Instant};

use super::Crew;
use super::core::Want;
use super::state::After;
use super::task::{Decode, End, Input, Job, Owner, Refused, Task};
use crate::{JoinError, Message};

/// How long inputs are pulled before those that were are given out: a slow iterator does not hold up its first ones.
const PULLING: Duration = Duration::from_micros(50);

/// Bytes of results that may wait to be fetched, beyond which no more inputs are pulled.
const MOST_BYTES: usize = 64 << 20;

/// Results as they come.
pub(in crate::pool) struct Map<'p, A, R, I> {
    crew: &'p Crew,
    job: Result<Job, String>,
    encode: fn(&A, &mut Vec<u8>) -> Result<Input, Refused>,
    decode: Decode<R>,
    inputs: I,
    exhausted: bool,
    inbox: u32,
    /// Inputs that were pulled.
    pulled: usize,
    /// Results that were given.
    given: usize,
    /// Results that were fetched, the next one last.
    ready: Vec<(u64, End)>,
    bytes: usize,
    /// Tasks that are about to be given out, and those that were not to be encoded.
    tasks: Vec<Task>,
    scratch: Vec<u8>,
}

impl<'p, A: Message, R: Message, I: Iterator<Item = A>> Map<'p, A, R, I> {
    pub(super) fn new(
        crew: &'p Crew,
        job: Result<Job, String>,
        decode: Decode<R>,
        inputs: I,
    ) -> Map<'p, A, R, I> {
        let inbox = crew.core.lock().state.inboxes.open();
        Map {
            crew,
            job,
            encode: Input::encode::<A>,
            decode,
            inputs,
            exhausted: false,
            inbox,
            pulled: 0,
            given: 0,
            ready: Vec::new(),
            bytes: 0,
            tasks: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The next result that comes; no input is pulled whose number is `horizon` or more, counted from 0. `None`: there are no more.
    pub(in crate::pool) fn next_within(
        &mut self,
        horizon: usize,
    ) -> Option<(usize, Result<R, JoinError>)> {
        loop {
            if let Some((index, end)) = self.ready.pop() {
                self.given += 1;
                self.bytes = self.bytes.saturating_sub(end.size());
                let core = &self.crew.core;
                let job = &self.job;
                let result = end.conclude(self.decode, || match job {
                    Ok(job) => core.name_of(job),
                    Err(_) => unreachable!("nothing is run that has no name"),
                });
                return Some((index as usize, result));
            }
            if let Err(why) = &self.job {
                // No worker could find the function: every input ends with that.
                self.inputs.next()?;
                let why = JoinError::Undeliverable(why.clone());
                self.pulled += 1;
                return Some((self.pulled - 1, Err(why)));
            }
            if !self.crew.core.is_ours() {
                // A fork of the program: the workers are the other's.
                return None;
            }
            let room = self.exchange(horizon);
            if !self.ready.is_empty() {
                continue;
            }
            if room > 0 && !self.exhausted {
                self.pull(room);
                continue;
            }
            if self.exhausted && self.pulled == self.given && self.tasks.is_empty() {
                return None;
            }
            if !self.tasks.is_empty() {
                continue;
            }
            if self.pulled > self.given {
                let mut want = Want::Results { inbox: self.inbox };
                self.crew.core.wait(&mut want, None);
            } else {
                // Others have taken all the room.
                self.crew.core.wait(&mut Want::Room, None);
                self.pull(1);
            }
        }
    }

    /// Gives out what was pulled, and fetches what is there. Gives how many more inputs there is room for.
    fn exchange(&mut self, horizon: usize) -> usize {
        let mut after = After::default();
        let mut inner = self.crew.core.lock();
        let state = &mut inner.state;
        let more = !self.exhausted;
        if !self.tasks.is_empty() {
            for task in self.tasks.drain(..) {
                state.inboxes.expect(self.inbox);
                state.accept(task);
            }
            state.feed(Instant::now(), &mut after);
        }
        state.look(&mut after, more);
        state.inboxes.fetch(self.inbox, &mut self.ready);
        let room = state.room_for_more();
        self.crew.core.leave(&mut inner, &mut after);
        self.crew.core.unlock(inner, after);
        // The last is the next that is given.
        self.ready.reverse();
        self.bytes += self.ready.iter().map(|(_, end)| end.size()).sum::<usize>();
        let ahead = horizon.saturating_sub(self.pulled);
        let few = self.pulled - self.given < 2 * self.crew.workers();
        if self.bytes > MOST_BYTES && !few {
            return 0;
        }
        room.min(ahead)
    }

    /// Pulls inputs, at most so many, and encodes them.
    fn pull(&mut self, room: usize) {
        let Ok(job) = self.job else {
            return;
        };
        let begun = Instant::now();
        let mut submitted = begun;
        for n in 1..=room {
            // The iterator's own code, which may panic: then what was pulled before it is here, and is given out when the caller asks again.
            let Some(input) = self.inputs.next() else {
                self.exhausted = true;
                return;
            };
            let index = self.pulled as u64;
            let encoded = (self.encode)(&input, &mut self.scratch);
            self.pulled += 1;
            drop(input);
            match encoded {
                Ok(input) => self.tasks.push(Task {
                    job,
                    input,
                    owner: Owner::Map(self.inbox, index),
                    attempts: 0,
                    submitted,
                    at: 0,
                    number: 0,
                }),
                Err(refused) => {
                    let why = refused.into_error(self.crew.core.name_of(&job));
                    self.crew.core.refuse(&why);
                    self.ready.insert(0, (index, End::failed(why)));
                }
            }
            if n.is_power_of_two() || n.is_multiple_of(32) {
                submitted = Instant::now();
                if submitted - begun > PULLING {
                    return;
                }
            }
        }
    }
}

impl<A, R, I> Drop for Map<'_, A, R, I> {
    fn drop(&mut self) {
        let core = &self.crew.core;
        if !core.is_ours() {
            return;
        }
        let mut after = After::default();
        let mut inner = core.lock();
        inner
            .state
            .close_inbox(self.inbox, Instant::now(), &mut after);
        core.leave(&mut inner, &mut after);
        core.unlock(inner, after);
    }
}
