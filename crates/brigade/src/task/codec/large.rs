//! Large values, which travel in a memory file: written there from where they are, and read from
//! there to where they are to be.

use std::os::fd::OwnedFd;

use super::format::{VERSION, within_limit};
use super::plain::{self, NumberKind};
use super::{decode, tag};
use crate::sys::value_file::ValueFile;
use crate::task::Message;

/// From this many bytes on a vector is not copied into a message first.
const LARGE: usize = 256 * 1024;

/// The longest head: version, tag and count.
const HEAD: usize = 2 + tag::COUNT_BYTES;

/// The message that a large vector of plain numbers is: a head, and the numbers where they are.
#[derive(Debug)]
pub(crate) struct LargeVector<'m> {
    head: Vec<u8>,
    numbers: &'m [u8],
}

impl LargeVector<'_> {
    /// The message, in parts.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.head, self.numbers]
    }

    /// Bytes of the message.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.numbers.len()
    }
}

/// The message that `value` is, if that is a large vector of plain numbers.
#[inline(always)]
pub(crate) fn large_vector<T: Message>(value: &T) -> Option<LargeVector<'_>> {
    match plain::run_of(value) {
        Some(run) if !run.is_array && run.bytes.len() >= LARGE => {
            let mut head = vec![VERSION, tag::RUN + run.kind as u8];
            tag::put_count(&mut head, run.count);
            let vector = LargeVector {
                head,
                numbers: run.bytes,
            };
            // The encoder tells that it is too long.
            within_limit(vector.len()).ok().map(|()| vector)
        }
        _ => None,
    }
}

/// A message, where it is. A file is let go of as soon as the value is made: its writer may have a
/// use for it while the value is worked with.
#[derive(Debug)]
pub(crate) enum Encoded<'a> {
    Here(&'a [u8]),
    File(ValueFile),
}

/// The value that `encoded` is, all of it, and these descriptors.
#[inline(always)]
pub(crate) fn decode_encoded<T: Message>(
    encoded: Encoded<'_>,
    descriptors: Vec<OwnedFd>,
) -> Result<T, String> {
    match encoded {
        Encoded::Here(bytes) => decode(bytes, descriptors),
        Encoded::File(file) => decode_file(file, descriptors),
    }
}

/// As [`decode_frame`](super::decode_frame), of a message in a file.
pub(crate) fn decode_file_frame<T: Message>(
    file: ValueFile,
    descriptors: Vec<OwnedFd>,
) -> Result<T, String> {
    match plain::vector_in::<T>(&file, 0, NumberKind::U8) {
        Some(vector) => vector.map_err(|e| not_copied(&file, &e)),
        None => decode_file(file, descriptors),
    }
}

#[inline(never)]
fn decode_file<T: Message>(file: ValueFile, descriptors: Vec<OwnedFd>) -> Result<T, String> {
    if let Some((kind, at)) = vector_at(&file) {
        if let Some(vector) = plain::vector_in(&file, at, kind) {
            return vector.map_err(|e| not_copied(&file, &e));
        }
    }
    // Its bytes may change while they are read: what is looked at is a copy.
    let bytes = file.to_vec().map_err(|e| not_copied(&file, &e))?;
    drop(file);
    decode(&bytes, descriptors)
}

/// Where the numbers begin, if the file is the message of one vector of them.
fn vector_at(file: &ValueFile) -> Option<(NumberKind, usize)> {
    let (head, len) = file.head::<HEAD>();
    let [VERSION, tag, rest @ ..] = &head[..len] else {
        return None;
    };
    let kind = NumberKind::from_number(tag.checked_sub(tag::RUN)?)?;
    let mut left = rest;
    let count = tag::take_count(&mut left)?;
    let at = len - left.len();
    let is_whole = count.checked_mul(kind.size())?.checked_add(at)? == file.len();
    is_whole.then_some((kind, at))
}

#[cold]
fn not_copied(file: &ValueFile, error: &std::io::Error) -> String {
    format!(
        "could not be read from its {} bytes of memory: {error}",
        file.len()
    )
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
