//! Values to bytes and back: serde with a format of our own.
//!
//! What serde can write and read back arrives equal or is refused; the README beside this file says
//! how, and what the bytes are.
//!
//! - [`encoder`], [`decoder`]: the two halves of the format; [`tag`]: its bytes;
//!   [`format`](self::format): what else they agree on
//! - [`scalar`]: messages that are one plain value
//! - [`plain`]: plain numbers, of which many are one copy; [`shape`]: lists of fields
//! - [`depth`]: how deep values may be nested
//! - [`large`]: values that travel in a memory file
//! - [`json`]: visitors that were written for JSON only; [`reread`]: how a message is read again
//!   for them
//! - [`error`]: why a value could not be carried, and where in it

mod decoder;
mod depth;
mod encoder;
mod error;
mod format;
mod json;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod large;
#[cfg(any(test, fuzzing))]
pub(crate) mod model;
mod plain;
mod reread;
mod scalar;
mod shape;
mod tag;

use std::any::Any;

use self::decoder::{Decoder, Names};
use self::error::{Error, Result};
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) use self::format::MAX_BYTES;
use self::format::{HAS_NAMES, HAS_WIDE_NAMES, VERSION, within_limit};
use self::json::AsJson;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) use self::large::{Encoded, decode_encoded, decode_file_frame, large_vector};
use super::{Message, carry};
use crate::sys::carried::Carried;

/// Appends the encoding of `value`, and gives the descriptors that belong to it; on error `into` is
/// as it was.
pub(crate) fn encode<T: Message>(
    value: &T,
    into: &mut Vec<u8>,
) -> std::result::Result<Vec<Carried>, String> {
    if encode_scalar(value, into) || encoder::encode_array(value, into) {
        return Ok(Vec::new());
    }
    let start = into.len();
    let collecting = carry::Collecting::begin();
    match encoder::encode(value, into) {
        Ok(()) => Ok(collecting.take()),
        Err(e) => {
            into.truncate(start);
            Err(not_encoded::<T>(&e))
        }
    }
}

#[cold]
fn not_encoded<T>(error: &Error) -> String {
    format!("could not be encoded: {}", error.sentence::<T>())
}

#[cold]
fn not_decoded<T>(error: &Error) -> String {
    format!("could not be decoded: {}", error.sentence::<T>())
}

/// Encodes a message that goes in a frame of its own. A vector of bytes is its own encoding then:
/// it is not copied. Else the bytes are in `scratch`.
pub(crate) fn encode_frame<'m, T: Message>(
    value: &'m T,
    scratch: &'m mut Vec<u8>,
) -> std::result::Result<(&'m [u8], Vec<Carried>), String> {
    if let Some(bytes) = (value as &dyn Any).downcast_ref::<Vec<u8>>() {
        within_limit(bytes.len()).map_err(|e| not_encoded::<T>(&e))?;
        return Ok((bytes, Vec::new()));
    }
    scratch.clear();
    let descriptors = encode(value, scratch)?;
    Ok((scratch, descriptors))
}

/// The bytes of a frame that was encoded before, of the same value and into that `scratch`.
pub(crate) fn encoded_frame<'m, T: Message>(value: &'m T, scratch: &'m [u8]) -> &'m [u8] {
    let vector = (value as &dyn Any).downcast_ref::<Vec<u8>>();
    vector.map_or(scratch, Vec::as_slice)
}

/// The message of such a frame. What it needs of `bytes` it takes.
#[inline(always)]
pub(crate) fn decode_frame<T: Message>(
    bytes: &mut Vec<u8>,
    descriptors: Vec<Carried>,
) -> std::result::Result<T, String> {
    let mut vector = None::<T>;
    if let Some(vector) = (&mut vector as &mut dyn Any).downcast_mut::<Option<Vec<u8>>>() {
        *vector = Some(std::mem::take(bytes));
    }
    match vector {
        Some(vector) => Ok(vector),
        None => decode(bytes, descriptors),
    }
}

/// Appends the encoding of `value`, if that is a plain value: then no code of the program's own
/// runs, and nothing fails.
#[inline(always)]
pub(crate) fn encode_scalar<T: Message>(value: &T, into: &mut Vec<u8>) -> bool {
    scalar::encode(value, into)
}

/// The value that `bytes` encode, if it is a plain value, likewise. `None`: it is none, or cannot
/// be read: [`decode`] tells.
#[inline(always)]
pub(crate) fn decode_scalar<T: Message>(bytes: &[u8]) -> Option<T> {
    scalar::decode(bytes)
}

/// As [`decode_scalar`], of an array of numbers as well.
#[inline(always)]
fn decode_plain<T: Message>(bytes: &[u8]) -> Option<T> {
    if let Some(value) = decode_scalar(bytes) {
        return Some(value);
    }
    let [VERSION, array @ ..] = bytes else {
        return None;
    };
    let mut array = array;
    let decoded = decoder::take_array(&mut array).filter(|_| array.is_empty());
    decoded.map(|decoded| decoded.read())
}

/// The value that `bytes` encode, all of them, and these descriptors.
#[inline(always)]
pub(crate) fn decode<T: Message>(
    bytes: &[u8],
    descriptors: Vec<Carried>,
) -> std::result::Result<T, String> {
    if descriptors.is_empty() {
        if let Some(value) = decode_plain(bytes) {
            return Ok(value);
        }
    }
    decode_with_serde(bytes, descriptors)
}

fn decode_with_serde<T: Message>(
    bytes: &[u8],
    descriptors: Vec<Carried>,
) -> std::result::Result<T, String> {
    let may_repeat = descriptors.is_empty();
    let _once = (!may_repeat).then(|| AsJson::begin(json::TRUSTED));
    carry::provide(descriptors, || decode_message(bytes)).or_else(|e| {
        let read = || carry::provide(Vec::new(), || decode_message(bytes));
        let is_written = |value: &T| {
            let mut written = Vec::new();
            encode(value, &mut written).is_ok() && written == bytes
        };
        reread::again(may_repeat, e, read, is_written).map_err(|e| not_decoded::<T>(&e))
    })
}

#[inline]
fn decode_message<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (&head, mut values) = bytes.split_first().ok_or_else(Error::cut)?;
    let mut names = Names::default();
    match head {
        VERSION => {}
        head if head & !HAS_WIDE_NAMES == VERSION | HAS_NAMES => {
            names.take_from(&mut values, head & HAS_WIDE_NAMES != 0)?;
        }
        other => {
            return Err(Error::new(format_args!(
                "its encoding is of version {}, and this program reads version {VERSION}",
                other & !(HAS_NAMES | HAS_WIDE_NAMES)
            )));
        }
    }
    Decoder::new(values, &names).message()
}

#[cfg(test)]
mod tests;
