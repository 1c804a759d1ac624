//! A task on its way through a pool of processes: what it is, and how it ended.

use std::os::fd::{AsFd, OwnedFd};
use std::panic::Location;
use std::sync::Arc;

use smallvec::SmallVec;

use super::slot::Settle;
use crate::pool::policy::limits::Attempts;
use crate::sys::mapping::Sealed;
use crate::task::entry::{Plan, caught};
use crate::task::name::TaskName;
use crate::task::panic::Unwound;
use crate::task::symbols::Symbols;
use crate::task::{codec, identity};
use crate::transport::bounds::Unclaimed;
use crate::worker::process::host::connection::{Parcel, task_at};
use crate::worker::process::ipc::lane;
use crate::worker::process::ipc::mailbox::INLINE_MAX;
use crate::worker::process::sim::Instant;
use crate::{JoinError, Message};

/// Encoded values: most are small.
pub(super) type Bytes = SmallVec<[u8; 32]>;

/// A function to run, and who asked for it where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) plan: [u64; 2],
    started: &'static Location<'static>,
}

impl Job {
    #[track_caller]
    pub(super) fn new<A: Message, R: Message>(task: fn(A) -> R) -> std::io::Result<Job> {
        Ok(Job {
            plan: Plan::of(task)?.to_words(),
            started: Location::caller(),
        })
    }

    /// One that no worker can find.
    #[track_caller]
    pub(super) fn nowhere() -> Job {
        Job {
            plan: [u64::MAX; 2],
            started: Location::caller(),
        }
    }

    /// What it is called.
    pub(super) fn name(&self, worker: Option<&Arc<str>>) -> TaskName {
        let address = identity::Function(self.plan[1]).address().unwrap_or(0);
        TaskName::at(address, worker.cloned(), self.started)
    }
}

/// A task that was accepted and has not ended; or several of a map, one after another.
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) input: Input,
    pub(super) owner: Owner,
    /// How often it was run and did not end.
    pub(super) attempts: Attempts,
    /// How often its worker died and said that it had not run it.
    pub(super) spared: u8,
    /// The process of the worker that was given it last, where somebody listens; or 0.
    pub(super) with: u32,
    pub(super) submitted: Instant,
    /// Where it lies in its worker's mailbox.
    pub(super) at: u64,
    pub(super) number: u64,
}

/// Who hears how it ended.
pub(super) enum Owner {
    Handle(Arc<dyn Settle>),
    /// A map, and the number of the input, or of the first.
    Map(u32, u64),
}

/// An encoded input. It is kept until the task has ended: its worker may die before it has come to
/// it.
pub(super) enum Input {
    Small(Bytes),
    Carried(Box<Carried>),
    Strip(Strip),
}

/// The inputs of several tasks of a map, as they are written to a mailbox. Whoever has a part of
/// them has the whole in memory.
pub(super) struct Strip {
    frames: Arc<Vec<u8>>,
    /// Where the first begins.
    from: usize,
    count: u32,
}

impl Strip {
    /// So many inputs, made by
    /// [`task_frame`](crate::worker::process::host::connection::task_frame).
    pub(super) fn new(frames: Vec<u8>, count: u32) -> Strip {
        Strip {
            frames: Arc::new(frames),
            from: 0,
            count,
        }
    }

    /// The first input, and where the next one begins.
    fn first(&self) -> (&[u8], usize) {
        // It is ours, and whole: we have made it.
        task_at(&self.frames, self.from).unwrap_or((&[], self.frames.len()))
    }

    /// Where it ends after so many.
    fn end_of(&self, count: u32) -> usize {
        (0..count).fold(self.from, |at, _| {
            task_at(&self.frames, at).map_or(self.frames.len(), |(_, next)| next)
        })
    }

    /// The first inputs, as they are written, no more than fit in so many bytes; and how many they
    /// are.
    pub(super) fn fitting(&self, bytes: usize) -> (&[u8], u32) {
        let (mut end, mut count) = (self.from, 0);
        while count < self.count {
            let next = task_at(&self.frames, end).map_or(self.frames.len(), |(_, next)| next);
            if next - self.from > bytes {
                break;
            }
            (end, count) = (next, count + 1);
        }
        (&self.frames[self.from..end], count)
    }

    /// About how many bytes all of them are.
    pub(super) fn size(&self) -> usize {
        self.frames.len() - self.from
    }
}

impl Task {
    /// How many tasks this is.
    pub(super) fn count(&self) -> u32 {
        match &self.input {
            Input::Strip(strip) => strip.count,
            _ => 1,
        }
    }

    /// Of several tasks, keeps the first so many, and gives the others.
    pub(super) fn split_off(&mut self, keep: u32) -> Option<Task> {
        let (Input::Strip(strip), Owner::Map(inbox, index)) = (&mut self.input, &self.owner) else {
            return None;
        };
        let from = strip.end_of(keep);
        let rest = Strip {
            frames: Arc::clone(&strip.frames),
            from,
            count: strip.count - keep,
        };
        strip.count = keep;
        Some(Task {
            job: self.job,
            owner: Owner::Map(*inbox, index + u64::from(keep)),
            attempts: self.attempts,
            spared: 0,
            with: self.with,
            submitted: self.submitted,
            at: self.at + (from - strip.from) as u64,
            number: self.number + u64::from(keep),
            input: Input::Strip(rest),
        })
    }

    /// Of several tasks, lets go of the first, which is done. Gives whose it was.
    pub(super) fn advance(&mut self) -> Option<(u32, u64)> {
        let (Input::Strip(strip), Owner::Map(inbox, index)) = (&mut self.input, &mut self.owner)
        else {
            return None;
        };
        let (_, next) = strip.first();
        self.at += (next - strip.from) as u64;
        self.number += 1;
        strip.from = next;
        strip.count -= 1;
        *index += 1;
        Some((*inbox, *index - 1))
    }

    /// Of several tasks, takes the first out, to be one by itself.
    pub(super) fn take_first(&mut self) -> Option<Task> {
        let (Input::Strip(strip), Owner::Map(inbox, index)) = (&self.input, &self.owner) else {
            return None;
        };
        let one = Task {
            job: self.job,
            input: Input::Small(Bytes::from_slice(strip.first().0)),
            owner: Owner::Map(*inbox, *index),
            attempts: self.attempts,
            spared: 0,
            with: self.with,
            submitted: self.submitted,
            at: self.at,
            number: self.number,
        };
        self.advance();
        Some(one)
    }
}

/// What needs descriptors.
pub(super) struct Carried {
    bytes: Bytes,
    /// A large value, sealed, instead of `bytes`; and its length.
    file: Option<(OwnedFd, u64)>,
    descriptors: Vec<OwnedFd>,
    /// How many came with it.
    count: usize,
}

impl Input {
    /// Encodes an input, by way of `scratch`.
    pub(super) fn encode<A: Message>(input: &A, scratch: &mut Vec<u8>) -> Result<Input, Refused> {
        scratch.clear();
        let descriptors = match caught(|| codec::encode(input, scratch)) {
            Ok(Ok(descriptors)) => descriptors,
            Ok(Err(why)) => return Err(Refused::Why(format!("its input {why}"))),
            Err(unwound) => return Err(Refused::Panicked(unwound)),
        };
        let is_large = scratch.len() > INLINE_MAX;
        let encoded = Input::from_encoded(scratch, descriptors);
        if is_large {
            // The next input may be small.
            *scratch = Vec::new();
        }
        encoded
    }

    /// An input of these bytes and descriptors. Large bytes go into a sealed memory file.
    pub(super) fn from_encoded(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Input, Refused> {
        if bytes.len() <= INLINE_MAX && descriptors.is_empty() {
            return Ok(Input::Small(Bytes::from_slice(bytes)));
        }
        let (bytes, file) = if bytes.len() <= INLINE_MAX {
            (Bytes::from_slice(bytes), None)
        } else {
            let len = bytes.len() as u64;
            let file = lane::seal(bytes).map_err(|e| {
                Refused::Why(format!(
                    "its input of {len} bytes could not be carried: {e}"
                ))
            })?;
            (Bytes::new(), Some((file, len)))
        };
        Ok(Input::Carried(Box::new(Carried {
            bytes,
            file,
            count: descriptors.len(),
            descriptors,
        })))
    }

    /// Its length, encoded.
    pub(super) fn len(&self) -> u64 {
        match self {
            Input::Small(bytes) => bytes.len() as u64,
            Input::Carried(carried) => carried
                .file
                .as_ref()
                .map_or(carried.bytes.len() as u64, |(_, len)| *len),
            // With what they are wrapped in, which is not worth a look at each.
            Input::Strip(strip) => strip.size() as u64,
        }
    }

    /// The encoded bytes, wherever they are.
    pub(super) fn read(&self) -> std::io::Result<Vec<u8>> {
        match self {
            Input::Small(bytes) => Ok(bytes.to_vec()),
            Input::Strip(strip) => Ok(strip.first().0.to_vec()),
            Input::Carried(carried) => match &carried.file {
                Some((file, len)) => lane::open(file.try_clone()?, *len),
                None => Ok(carried.bytes.to_vec()),
            },
        }
    }

    /// How many descriptors belong to it.
    pub(super) fn descriptors(&self) -> usize {
        match self {
            Input::Small(_) | Input::Strip(_) => 0,
            Input::Carried(carried) => carried.count,
        }
    }
}

impl Input {
    /// Whether a worker can be given it: our copies of its descriptors were not closed.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Input::Small(_) | Input::Strip(_) => true,
            Input::Carried(carried) => carried.descriptors.len() == carried.count,
        }
    }
}

impl Carried {
    /// Closes our copies of its descriptors: its worker has its own, and what hangs on them is that
    /// worker's now.
    pub(super) fn close(&mut self) {
        self.descriptors = Vec::new();
    }

    pub(super) fn has_descriptors(&self) -> bool {
        !self.descriptors.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn parcel(&self) -> Parcel<'_> {
        Parcel {
            file: self.file.as_ref().map(|(file, len)| (file.as_fd(), *len)),
            descriptors: &self.descriptors,
        }
    }
}

/// Why an input could not be encoded.
pub(super) enum Refused {
    Why(String),
    Panicked(Unwound),
}

impl Refused {
    pub(super) fn into_error(self, name: TaskName) -> JoinError {
        match self {
            Refused::Why(why) => JoinError::Undeliverable(format!("task `{name}`: {why}")),
            Refused::Panicked(unwound) => {
                JoinError::panicked(name, unwound, Symbols::of_this_process())
            }
        }
    }
}

/// How a task ended, before its result is decoded: that is the business of whoever asked for it.
pub(super) enum End {
    Returned(Bytes),
    /// With descriptors, or large.
    Carried(Box<Delivered>),
    Failed(Box<JoinError>),
}

/// A result that needs descriptors, or did.
pub(super) struct Delivered {
    pub(super) content: Content,
    pub(super) descriptors: Unclaimed,
}

/// Where a result's bytes are.
pub(super) enum Content {
    Here(Bytes),
    /// In the first descriptor; so many.
    File(u64),
    /// In a file that needs no descriptor any more, for there were too many.
    Mapped(Sealed),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Content::Here(bytes) => bytes.len(),
            Content::File(len) => usize::try_from(*len).unwrap_or(usize::MAX),
            Content::Mapped(bytes) => bytes.len(),
        }
    }
}

/// From a result's bytes and descriptors.
pub(super) type Decode<R> = fn(&[u8], Vec<OwnedFd>) -> Result<R, String>;

/// A result, decoded.
pub(super) fn concluded<R>(
    bytes: &[u8],
    descriptors: Vec<OwnedFd>,
    decode: Decode<R>,
    name: impl Fn() -> TaskName,
) -> Result<R, JoinError> {
    match caught(|| decode(bytes, descriptors)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(why)) => Err(Refused::Why(format!("its result {why}")).into_error(name())),
        Err(unwound) => Err(Refused::Panicked(unwound).into_error(name())),
    }
}

impl End {
    pub(super) fn failed(why: JoinError) -> End {
        End::Failed(Box::new(why))
    }

    /// About how much memory it holds.
    pub(super) fn size(&self) -> usize {
        match self {
            End::Returned(bytes) => bytes.len(),
            End::Carried(delivered) => delivered.content.len(),
            End::Failed(_) => 0,
        }
    }

    /// The end as the caller hears it.
    pub(super) fn conclude<R>(
        self,
        decode: Decode<R>,
        name: impl Fn() -> TaskName,
    ) -> Result<R, JoinError> {
        let decoded = |bytes: &[u8], descriptors| concluded(bytes, descriptors, decode, &name);
        match self {
            End::Returned(bytes) => decoded(&bytes, Vec::new()),
            End::Failed(why) => Err(*why),
            End::Carried(delivered) => {
                let mut descriptors = delivered.descriptors.claim();
                let len = match delivered.content {
                    Content::Here(bytes) => return decoded(&bytes, descriptors),
                    Content::Mapped(bytes) => return decoded(&bytes, descriptors),
                    Content::File(len) => len,
                };
                if descriptors.is_empty() {
                    let why = "its result arrived without its memory file".to_owned();
                    return Err(Refused::Why(why).into_error(name()));
                }
                match lane::open(descriptors.remove(0), len) {
                    Ok(bytes) => decoded(&bytes, descriptors),
                    Err(e) => Err(
                        Refused::Why(format!("its result could not be received: {e}"))
                            .into_error(name()),
                    ),
                }
            }
        }
    }
}
