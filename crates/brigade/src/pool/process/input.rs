//! An encoded input, on its way to a worker.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::outcome::{Bytes, TransferError};
use crate::Message;
use crate::task::carry;
use crate::task::codec;
use crate::task::entry::caught;
use crate::transport::attachment;
use crate::worker::process::host::connection::Attachment;
use crate::worker::process::ipc::mailbox::INLINE_MAX;
use crate::worker::process::ipc::order::task_at;

/// An encoded input. It is kept until the task has ended: its worker may die before it has come to
/// it.
pub(super) enum EncodedInput {
    Inline(Bytes),
    WithDescriptors(Box<InputWithDescriptors>),
    Batch(TaskBatch),
}

/// The inputs of several tasks of a map, as they are written to a mailbox. Each part keeps the
/// whole in memory.
pub(super) struct TaskBatch {
    frames: Arc<Vec<u8>>,
    /// Where the first begins.
    from: usize,
    count: u32,
}

impl TaskBatch {
    /// `count` inputs, made by [`task_frame`](crate::worker::process::ipc::order::task_frame).
    pub(super) fn new(frames: Vec<u8>, count: u32) -> TaskBatch {
        TaskBatch {
            frames: Arc::new(frames),
            from: 0,
            count,
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The first input, and where the next one begins.
    fn first_and_next(&self) -> (&[u8], usize) {
        // It is ours, and whole: we have made it.
        task_at(&self.frames, self.from).unwrap_or((&[], self.frames.len()))
    }

    pub(super) fn first(&self) -> &[u8] {
        self.first_and_next().0
    }

    /// Lets go of the first. Returns how many bytes it was, with its header.
    pub(super) fn advance(&mut self) -> usize {
        let (_, next) = self.first_and_next();
        let bytes = next - self.from;
        self.from = next;
        self.count -= 1;
        bytes
    }

    /// Lets go of the first `count` inputs. Returns how many bytes they were, with their headers.
    pub(super) fn advance_by(&mut self, count: u32) -> usize {
        let end = self.end_of(count);
        let bytes = end - self.from;
        self.from = end;
        self.count -= count;
        bytes
    }

    /// Keeps the first `keep`. Returns the others, and how many bytes were kept.
    pub(super) fn split_off(&mut self, keep: u32) -> (TaskBatch, usize) {
        let from = self.end_of(keep);
        let rest = TaskBatch {
            frames: Arc::clone(&self.frames),
            from,
            count: self.count - keep,
        };
        self.count = keep;
        (rest, from - self.from)
    }

    /// Where the first `count` inputs end.
    fn end_of(&self, count: u32) -> usize {
        (0..count).fold(self.from, |at, _| {
            task_at(&self.frames, at).map_or(self.frames.len(), |(_, next)| next)
        })
    }

    /// The first inputs, as they are written, that fit in `bytes` bytes; and how many they are.
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

/// What needs descriptors.
pub(super) struct InputWithDescriptors {
    bytes: Bytes,
    /// The memory file of a large value, instead of `bytes`; and its length.
    file: Option<(OwnedFd, u64)>,
    descriptors: Vec<OwnedFd>,
    /// How many came with it.
    count: usize,
    /// The input can be decoded only once.
    exclusive: bool,
}

impl EncodedInput {
    /// Encodes an input, by way of `scratch`.
    pub(super) fn encode<A: Message>(
        input: &A,
        scratch: &mut Vec<u8>,
    ) -> Result<EncodedInput, TransferError> {
        if let Some(vector) = codec::large_vector(input) {
            return EncodedInput::in_file(&vector.parts(), Vec::new());
        }
        scratch.clear();
        if codec::encode_scalar(input, scratch) {
            return Ok(EncodedInput::Inline(Bytes::from_slice(scratch)));
        }
        let descriptors = match caught(|| codec::encode(input, scratch)) {
            Ok(Ok(descriptors)) => descriptors,
            Ok(Err(why)) => return Err(TransferError::Why(format!("its input {why}"))),
            Err(unwound) => return Err(TransferError::Panicked(unwound)),
        };
        let is_large = scratch.len() > INLINE_MAX;
        let encoded = EncodedInput::from_encoded(scratch, descriptors);
        if is_large {
            // The next input may be small.
            *scratch = Vec::new();
        }
        encoded
    }

    /// An input of these bytes and descriptors. Large bytes go into a memory file.
    pub(super) fn from_encoded(
        bytes: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<EncodedInput, TransferError> {
        if bytes.len() > INLINE_MAX {
            return EncodedInput::in_file(&[bytes], descriptors);
        }
        let bytes = Bytes::from_slice(bytes);
        if descriptors.is_empty() {
            return Ok(EncodedInput::Inline(bytes));
        }
        Ok(InputWithDescriptors::input(bytes, None, descriptors))
    }

    /// This input, of which no more than `most` bytes are outside of a memory file.
    pub(super) fn in_file_above(self, most: usize) -> Result<EncodedInput, TransferError> {
        match self {
            EncodedInput::Inline(bytes) if bytes.len() > most => {
                EncodedInput::in_file(&[&bytes], Vec::new())
            }
            EncodedInput::WithDescriptors(carried) if carried.bytes.len() > most => {
                EncodedInput::in_file(&[&carried.bytes], carried.descriptors)
            }
            other => Ok(other),
        }
    }

    /// An input of these parts, one behind the other, and descriptors, in a memory file.
    fn in_file(parts: &[&[u8]], descriptors: Vec<OwnedFd>) -> Result<EncodedInput, TransferError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let file = attachment::file_of(parts).map_err(|e| {
            TransferError::Why(format!(
                "its input of {len} bytes could not be carried: {e}"
            ))
        })?;
        let file = Some((file, len as u64));
        Ok(InputWithDescriptors::input(Bytes::new(), file, descriptors))
    }

    /// The encoded input's length in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            EncodedInput::Inline(bytes) => bytes.len() as u64,
            EncodedInput::WithDescriptors(carried) => carried
                .file
                .as_ref()
                .map_or(carried.bytes.len() as u64, |(_, len)| *len),
            // With what they are wrapped in, which is not worth a look at each.
            EncodedInput::Batch(batch) => batch.size() as u64,
        }
    }

    /// The encoded bytes, wherever they are.
    pub(super) fn read(&self) -> std::io::Result<Vec<u8>> {
        match self {
            EncodedInput::Inline(bytes) => Ok(bytes.to_vec()),
            EncodedInput::Batch(batch) => Ok(batch.first().to_vec()),
            EncodedInput::WithDescriptors(carried) => match &carried.file {
                Some((file, len)) => attachment::map(file, *len)?.to_vec(),
                None => Ok(carried.bytes.to_vec()),
            },
        }
    }

    /// The encoded bytes, or what is sent in their place and beside them. Not of several inputs.
    pub(super) fn as_attachment(&self) -> (&[u8], Attachment<'_>) {
        let none = Attachment {
            file: None,
            descriptors: &[],
        };
        match self {
            EncodedInput::Inline(bytes) => (bytes, none),
            EncodedInput::Batch(batch) => (batch.first(), none),
            EncodedInput::WithDescriptors(carried) => (carried.bytes(), carried.attachment()),
        }
    }

    /// How many descriptors belong to it.
    pub(super) fn descriptors(&self) -> usize {
        match self {
            EncodedInput::Inline(_) | EncodedInput::Batch(_) => 0,
            EncodedInput::WithDescriptors(carried) => carried.count,
        }
    }

    /// Whether it can be decoded once only, so that no other worker can run on it when the one that
    /// has decoded it is dead.
    pub(super) fn is_exclusive(&self) -> bool {
        match self {
            EncodedInput::Inline(_) | EncodedInput::Batch(_) => false,
            EncodedInput::WithDescriptors(carried) => carried.exclusive,
        }
    }

    /// Whether a worker can be given it: our copies of its descriptors were not closed.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            EncodedInput::Inline(_) | EncodedInput::Batch(_) => true,
            EncodedInput::WithDescriptors(carried) => carried.descriptors.len() == carried.count,
        }
    }
}

impl InputWithDescriptors {
    fn input(
        bytes: Bytes,
        file: Option<(OwnedFd, u64)>,
        descriptors: Vec<OwnedFd>,
    ) -> EncodedInput {
        EncodedInput::WithDescriptors(Box::new(InputWithDescriptors {
            bytes,
            file,
            count: descriptors.len(),
            exclusive: !descriptors.is_empty() && carry::took_exclusive(),
            descriptors,
        }))
    }

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

    pub(super) fn attachment(&self) -> Attachment<'_> {
        Attachment {
            file: self.file.as_ref().map(|(file, len)| (file.as_fd(), *len)),
            descriptors: &self.descriptors,
        }
    }
}
