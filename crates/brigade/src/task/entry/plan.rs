//! A task in a worker process: found by its address, and fed from bytes.

#![expect(unsafe_code, reason = "turns addresses back into functions")]

use std::any::Any;
use std::os::fd::OwnedFd;

use super::caught;
use super::kept_value::KeptValue;
use crate::Message;
use crate::sys::value_file;
use crate::task::codec::{self, Encoded};
use crate::task::crash::Phase;
use crate::task::identity::Function;
use crate::task::panic::Unwound;

/// A task's result, encoded.
#[derive(Debug, Default)]
pub(crate) struct EncodedResult {
    pub(crate) bytes: Vec<u8>,
    /// The memory file of a large one, and its length in bytes.
    pub(crate) file: Option<(OwnedFd, u64)>,
}

impl EncodedResult {
    /// Nothing, for the next one.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.file = None;
    }

    /// How many bytes it takes.
    pub(crate) fn len(&self) -> u64 {
        let in_file = self.file.as_ref().map(|(_, len)| *len);
        in_file.unwrap_or(self.bytes.len() as u64)
    }
}

/// What a worker process has to say about a task. The result itself is apart.
#[derive(Debug)]
pub(crate) enum EntryOutcome {
    /// With the descriptors that belong to the result.
    Returned(Vec<OwnedFd>),
    Panicked(Unwound),
    Undeliverable(String),
}

/// A task's way through a worker process, compiled once for each pair of types: decode, run,
/// encode.
type EntryPoint = fn(
    task: usize,
    input: Encoded<'_>,
    descriptors: Vec<OwnedFd>,
    result: &mut EncodedResult,
    phase: &dyn Fn(Phase),
) -> EntryOutcome;

fn entry<A: Message, R: Message>(
    task: usize,
    input: Encoded<'_>,
    descriptors: Vec<OwnedFd>,
    result: &mut EncodedResult,
    phase: &dyn Fn(Phase),
) -> EntryOutcome {
    // SAFETY: in the host, `Plan::of` pairs this very instance of `entry` with a `fn(A) -> R`, and
    // `Plan::run` checked that the address is code of the program, or of a library that the host
    // has named. In between, the plan lay in the mailbox as two words (`from_words`), which an
    // earlier task of this worker could have written over; a crash file's come from the user that
    // replays it. With other words this calls other code of the program, or the middle of a
    // function: in the worker that its own task had taken over already, or for the user whose
    // program it is. It gains nothing by that.
    let task = unsafe { std::mem::transmute::<usize, fn(A) -> R>(task) };
    let run = |(), input| Ok(task(input));
    outcome_of(|| Ok(()), (input, descriptors), result, phase, run)
}

/// As [`EntryPoint`], for a task that borrows what its worker keeps: a context.
type EntryWith = fn(
    task: usize,
    kept: &mut KeptValue,
    input: Encoded<'_>,
    descriptors: Vec<OwnedFd>,
    result: &mut EncodedResult,
    phase: &dyn Fn(Phase),
) -> EntryOutcome;

fn entry_with_context<C: Message, A: Message, R: Message>(
    task: usize,
    kept: &mut KeptValue,
    input: Encoded<'_>,
    descriptors: Vec<OwnedFd>,
    result: &mut EncodedResult,
    phase: &dyn Fn(Phase),
) -> EntryOutcome {
    // SAFETY: `Plan::with_context` pairs this very instance with a `fn(&C, A) -> R`; else as in
    // `entry`.
    let task = unsafe { std::mem::transmute::<usize, fn(&C, A) -> R>(task) };
    let run = |context: &C, input| Ok(task(context, input));
    let input = (input, descriptors);
    outcome_of(|| kept.decoded::<C>(), input, result, phase, run)
}

fn entry_with_state<S: 'static, A: Message, R: Message>(
    task: usize,
    kept: &mut KeptValue,
    input: Encoded<'_>,
    descriptors: Vec<OwnedFd>,
    result: &mut EncodedResult,
    phase: &dyn Fn(Phase),
) -> EntryOutcome {
    // SAFETY: `Plan::with_state` pairs this very instance with a `fn(&S, A) -> R`; else as in
    // `entry`.
    let task = unsafe { std::mem::transmute::<usize, fn(&S, A) -> R>(task) };
    let run = |state: &S, input| Ok(task(state, input));
    let input = (input, descriptors);
    outcome_of(|| kept.state::<S>(), input, result, phase, run)
}

fn entry_with_state_mut<S: 'static, A: Message, R: Message>(
    task: usize,
    kept: &mut KeptValue,
    input: Encoded<'_>,
    descriptors: Vec<OwnedFd>,
    result: &mut EncodedResult,
    phase: &dyn Fn(Phase),
) -> EntryOutcome {
    // SAFETY: `Plan::with_state_mut` pairs this very instance with a `fn(&mut S, A) -> R`; else as
    // in `entry`.
    let task = unsafe { std::mem::transmute::<usize, fn(&mut S, A) -> R>(task) };
    let run = |(), input| kept.change(|state: &mut S| task(state, input));
    outcome_of(|| Ok(()), (input, descriptors), result, phase, run)
}

/// Loads a state from its encoded configuration, in a worker process.
type LoadEntry = fn(load: usize, config: &[u8]) -> Result<Box<dyn Any>, String>;

fn load_entry<C: Message, S: 'static>(load: usize, config: &[u8]) -> Result<Box<dyn Any>, String> {
    // SAFETY: `encode_state` pairs this very instance with a `fn(C) -> S`; else as in `entry`.
    let load = unsafe { std::mem::transmute::<usize, fn(C) -> S>(load) };
    let config = codec::decode::<C>(config, Vec::new());
    let config = config.map_err(|e| format!("the configuration of its state {e}"))?;
    Ok(Box::new(load(config)))
}

/// A state as it travels: what loads it, and from what.
pub(crate) fn encode_state<C: Message, S: 'static>(
    load: fn(C) -> S,
    config: &[u8],
) -> std::io::Result<Vec<u8>> {
    let entry = Function::at(load_entry::<C, S> as LoadEntry as usize)?;
    let load = Function::at(load as usize)?;
    let mut bytes = Vec::with_capacity(16 + config.len());
    bytes.extend(entry.0.to_ne_bytes());
    bytes.extend(load.0.to_ne_bytes());
    bytes.extend(config);
    Ok(bytes)
}

/// The function that loads it.
pub(crate) fn load_of_state(state: &[u8]) -> Option<u64> {
    let (_entry, rest) = state.split_first_chunk::<8>()?;
    Some(u64::from_ne_bytes(*rest.first_chunk()?))
}

/// Loads such a state. `None`: its function is not part of this program.
pub(crate) fn load_state(state: &[u8]) -> Option<Result<Result<KeptValue, String>, Unwound>> {
    let (entry, rest) = state.split_first_chunk()?;
    let (load, config) = rest.split_first_chunk()?;
    let entry = Function(u64::from_ne_bytes(*entry)).address()?;
    let load = Function(u64::from_ne_bytes(*load)).address()?;
    // SAFETY: `address` checked that this lies in the program's code, or in that of a library. That
    // it is a `LoadEntry` is the host's word, which is of the same build, or a crash file's, which
    // names its build: as in `Plan::run`. No task has run in this worker yet.
    let entry = unsafe { std::mem::transmute::<usize, LoadEntry>(entry) };
    Some(caught(|| entry(load, config).map(KeptValue::loaded)))
}

/// The stages of every task: finds what it borrows, decodes its input, runs it, and appends the
/// encoded result.
#[inline(always)]
fn outcome_of<B, A: Message, R: Message>(
    borrowed: impl FnOnce() -> Result<B, String>,
    (input, descriptors): (Encoded<'_>, Vec<OwnedFd>),
    result: &mut EncodedResult,
    phase: &dyn Fn(Phase),
    run: impl FnOnce(B, A) -> Result<R, String>,
) -> EntryOutcome {
    let start = result.bytes.len();
    let ended = caught(|| {
        phase(Phase::Decoding);
        let borrowed = borrowed()?;
        let input = decode(input, descriptors)?;
        phase(Phase::Running);
        let value = run(borrowed, input)?;
        phase(Phase::Encoding);
        encode(&value, result)
    });
    match ended {
        Ok(Ok(descriptors)) => EntryOutcome::Returned(descriptors),
        Ok(Err(why)) => EntryOutcome::Undeliverable(why),
        Err(unwound) => {
            result.bytes.truncate(start);
            EntryOutcome::Panicked(unwound)
        }
    }
}

#[inline(always)]
fn decode<A: Message>(input: Encoded<'_>, descriptors: Vec<OwnedFd>) -> Result<A, String> {
    codec::decode_encoded::<A>(input, descriptors).map_err(|e| format!("its input {e}"))
}

#[inline(always)]
fn encode<R: Message>(value: &R, result: &mut EncodedResult) -> Result<Vec<OwnedFd>, String> {
    let Some(vector) = codec::large_vector(value) else {
        return codec::encode(value, &mut result.bytes).map_err(|e| format!("its result {e}"));
    };
    let len = vector.len() as u64;
    match value_file::write(&vector.parts()) {
        Ok(file) => {
            result.file = Some((file, len));
            Ok(Vec::new())
        }
        Err(e) => Err(format!("its result of {len} bytes could not be sent: {e}")),
    }
}

/// What to call in a worker process, as it travels there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    entry: Function,
    pub(crate) task: Function,
}

impl Plan {
    pub(crate) fn of<A: Message, R: Message>(task: fn(A) -> R) -> std::io::Result<Plan> {
        Ok(Plan {
            entry: Function::at(entry::<A, R> as EntryPoint as usize)?,
            task: Function::at(task as usize)?,
        })
    }

    /// As [`of`](Self::of), of a task that borrows a context.
    pub(crate) fn with_context<C: Message, A: Message, R: Message>(
        task: fn(&C, A) -> R,
    ) -> std::io::Result<Plan> {
        Ok(Plan {
            entry: Function::at(entry_with_context::<C, A, R> as EntryWith as usize)?,
            task: Function::at(task as usize)?,
        })
    }

    /// As [`of`](Self::of), of a task that borrows its worker's state.
    pub(crate) fn with_state<S: 'static, A: Message, R: Message>(
        task: fn(&S, A) -> R,
    ) -> std::io::Result<Plan> {
        Ok(Plan {
            entry: Function::at(entry_with_state::<S, A, R> as EntryWith as usize)?,
            task: Function::at(task as usize)?,
        })
    }

    /// As [`of`](Self::of), of a task that may change its worker's state.
    pub(crate) fn with_state_mut<S: 'static, A: Message, R: Message>(
        task: fn(&mut S, A) -> R,
    ) -> std::io::Result<Plan> {
        Ok(Plan {
            entry: Function::at(entry_with_state_mut::<S, A, R> as EntryWith as usize)?,
            task: Function::at(task as usize)?,
        })
    }

    pub(crate) fn to_words(self) -> [u64; 2] {
        [self.entry.0, self.task.0]
    }

    pub(crate) fn from_words([entry, task]: [u64; 2]) -> Plan {
        Plan {
            entry: Function(entry),
            task: Function(task),
        }
    }

    /// Runs the task on `input`, appending the encoded result. The plan came from the host, which a
    /// worker trusts.
    #[inline(always)]
    pub(crate) fn run(
        self,
        input: Encoded<'_>,
        descriptors: Vec<OwnedFd>,
        result: &mut EncodedResult,
        phase: &dyn Fn(Phase),
    ) -> EntryOutcome {
        let Some([entry, task]) = self.addresses() else {
            return self.not_here();
        };
        // SAFETY: `address` checked that this lies in the program's code, or in that of a library.
        // That it is an `EntryPoint` is the word of the sender of the plan, which is of the same
        // build (the fork server proved that to the host before any plan was sent; a crash file
        // names its build): see `entry` for what becomes of words that something else has written.
        let entry = unsafe { std::mem::transmute::<usize, EntryPoint>(entry) };
        entry(task, input, descriptors, result, phase)
    }

    /// As [`run`](Self::run), with what the worker keeps for the task.
    pub(crate) fn run_with(
        self,
        kept: &mut KeptValue,
        input: Encoded<'_>,
        descriptors: Vec<OwnedFd>,
        result: &mut EncodedResult,
        phase: &dyn Fn(Phase),
    ) -> EntryOutcome {
        let Some([entry, task]) = self.addresses() else {
            return self.not_here();
        };
        // SAFETY: as in `run`, of an `EntryWith`: the host sends a plan of one in an order of its
        // own (`Order::PlanWith`), and a crash file has a field that says so.
        let entry = unsafe { std::mem::transmute::<usize, EntryWith>(entry) };
        entry(task, kept, input, descriptors, result, phase)
    }

    /// Where its functions are. `None`: there is no code there.
    #[inline(always)]
    fn addresses(self) -> Option<[usize; 2]> {
        Some([self.entry.address()?, self.task.address()?])
    }

    #[cold]
    fn not_here(self) -> EntryOutcome {
        let absent = match self.entry.address() {
            None => self.entry,
            Some(_) => self.task,
        };
        EntryOutcome::Undeliverable(format!("its function {}", absent.why_absent()))
    }

    /// Whether all of it is code of the main program.
    pub(crate) fn is_of_program(self) -> bool {
        self.entry.is_of_program() && self.task.is_of_program()
    }
}

/// The task at this offset; `None`: there is no code there. The offset came from the host, which a
/// worker trusts, and the types are those of the instance of a function that the host chose
/// together with it.
pub(crate) fn task_at<A: Message, R>(function: Function) -> Option<fn(A) -> R> {
    let address = function.address()?;
    // SAFETY: `address` checked that this lies in the program's code, or in that of a library. That
    // it is a `fn(A) -> R` is the host's word, which is of the same build: `supervise::launch` puts
    // the offset of a `fn(A) -> R` into the input of the instance of its own task for the same
    // types. With another offset, which the worker's own task would have to have written, see
    // `entry`.
    Some(unsafe { std::mem::transmute::<usize, fn(A) -> R>(address) })
}

/// Runs the `fn()` at this offset; `None`: there is no code there. The offset came from the host,
/// which a worker trusts.
pub(crate) fn run_initializer(offset: u64) -> Option<Result<(), Unwound>> {
    let address = Function(offset).address()?;
    // SAFETY: `address` checked that this lies in the program's code, or in that of a library. That
    // it is a `fn()` is the host's word, which is of the same build, as in `Plan::run`; no task has
    // run in this worker yet.
    let initializer = unsafe { std::mem::transmute::<usize, fn()>(address) };
    Some(caught(initializer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(n: u32) -> u32 {
        n * 2
    }

    #[test]
    fn a_plan_travels_as_words_and_runs() {
        let plan = Plan::from_words(
            Plan::of(double as fn(u32) -> u32)
                .expect("code of this program")
                .to_words(),
        );
        let mut input = Vec::new();
        codec::encode(&21_u32, &mut input).expect("encodes");
        let mut result = EncodedResult::default();
        assert!(matches!(
            plan.run(Encoded::Here(&input), Vec::new(), &mut result, &|_| {}),
            EntryOutcome::Returned(_)
        ));
        assert_eq!(codec::decode::<u32>(&result.bytes, Vec::new()), Ok(42));
    }

    #[test]
    fn a_plan_that_points_nowhere_is_refused() {
        let plan = Plan::from_words([u64::MAX, 0]);
        assert!(matches!(
            plan.run(
                Encoded::Here(&[]),
                Vec::new(),
                &mut EncodedResult::default(),
                &|_| {}
            ),
            EntryOutcome::Undeliverable(_)
        ));
    }
}
