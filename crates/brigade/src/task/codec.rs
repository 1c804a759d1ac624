//! Values to bytes and back: serde with postcard.

use std::any::Any;
use std::os::fd::OwnedFd;

use postcard::ser_flavors::Flavor;

use super::{Message, carry};

/// The largest encoded value that a task may take or give: 2 GiB. A limit there must be, for a length that a worker wrote is believed up to it.
pub(crate) const MAX_BYTES: usize = 1 << 31;

/// Appends the encoding of `value`, and gives the descriptors that belong to it; on error `into` is as it was.
pub(crate) fn encode<T: Message>(value: &T, into: &mut Vec<u8>) -> Result<Vec<OwnedFd>, String> {
    // serde takes a vector of bytes one by one; the encoding is the same, and this is some 20 times as fast.
    if let Some(bytes) = (value as &dyn Any).downcast_ref::<Vec<u8>>() {
        within_limit(bytes.len())?;
        let descriptors = encode_serde(&bytes.len(), into)?;
        into.extend_from_slice(bytes);
        return Ok(descriptors);
    }
    encode_serde(value, into)
}

/// Encodes a message that goes in a frame of its own. A vector of bytes is its own encoding then: it is not copied. Else the bytes are in `scratch`.
pub(crate) fn encode_frame<'m, T: Message>(
    value: &'m T,
    scratch: &'m mut Vec<u8>,
) -> Result<(&'m [u8], Vec<OwnedFd>), String> {
    if let Some(bytes) = (value as &dyn Any).downcast_ref::<Vec<u8>>() {
        within_limit(bytes.len())?;
        return Ok((bytes, Vec::new()));
    }
    scratch.clear();
    let descriptors = encode_serde(value, scratch)?;
    Ok((scratch, descriptors))
}

/// The message of such a frame. What it needs of `bytes` it takes.
pub(crate) fn decode_frame<T: Message>(
    bytes: &mut Vec<u8>,
    descriptors: Vec<OwnedFd>,
) -> Result<T, String> {
    let mut vector = None::<T>;
    if let Some(vector) = (&mut vector as &mut dyn Any).downcast_mut::<Option<Vec<u8>>>() {
        *vector = Some(std::mem::take(bytes));
    }
    match vector {
        Some(vector) => Ok(vector),
        None => decode_serde(bytes, descriptors),
    }
}

fn within_limit(len: usize) -> Result<(), String> {
    if len > MAX_BYTES {
        return Err(format!(
            "is {len} bytes when encoded, over the limit of {MAX_BYTES}"
        ));
    }
    Ok(())
}

fn encode_serde<T: serde::Serialize>(
    value: &T,
    into: &mut Vec<u8>,
) -> Result<Vec<OwnedFd>, String> {
    struct Onto<'a>(&'a mut Vec<u8>);
    impl Flavor for Onto<'_> {
        type Output = ();

        #[inline]
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }

        #[inline]
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        #[inline]
        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    let start = into.len();
    let _ = carry::take_refused();
    let (ended, descriptors) =
        carry::collect(|| postcard::serialize_with_flavor(value, Onto(into)));
    let ended = ended.map_err(|e| format!("could not be encoded: {}", reason(e)));
    let len = into.len() - start;
    let ended = ended.and_then(|()| within_limit(len));
    if ended.is_err() {
        into.truncate(start);
    }
    ended.map(|()| descriptors)
}

/// The value that `bytes` encode, all of them, and these descriptors.
pub(crate) fn decode<T: Message>(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<T, String> {
    let mut vector = None::<T>;
    if let Some(vector) = (&mut vector as &mut dyn Any).downcast_mut::<Option<Vec<u8>>>()
        && let Ok((len, rest)) = postcard::take_from_bytes::<usize>(bytes)
        && len == rest.len()
    {
        *vector = Some(rest.to_vec());
    }
    if let Some(vector) = vector {
        return Ok(vector);
    }
    decode_serde(bytes, descriptors)
}

/// What a descriptor's own (de)serialization said, or else postcard.
fn reason(e: postcard::Error) -> String {
    carry::take_refused().unwrap_or_else(|| e.to_string())
}

fn decode_serde<T: Message>(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<T, String> {
    let _ = carry::take_refused();
    match carry::provide(descriptors, || postcard::take_from_bytes(bytes)) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!(
            "could not be decoded: {} bytes were left over",
            rest.len()
        )),
        Err(e) => Err(format!("could not be decoded: {}", reason(e))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let value = (1_u8, "two".to_owned(), vec![Some(3.0_f64), None]);
        let mut bytes = vec![9];
        encode(&value, &mut bytes).expect("encodes");
        assert_eq!(
            decode::<(u8, String, Vec<Option<f64>>)>(&bytes[1..], Vec::new()).as_ref(),
            Ok(&value)
        );
    }

    #[test]
    fn left_over_and_missing_bytes_are_errors() {
        let mut bytes = Vec::new();
        encode(&0x1234_u16, &mut bytes).expect("encodes");
        bytes.push(0);
        assert!(
            decode::<u16>(&bytes, Vec::new())
                .expect_err("one too many")
                .contains("left over")
        );
        assert!(
            decode::<u16>(&bytes[..1], Vec::new())
                .expect_err("cut")
                .contains("decoded")
        );
    }

    #[test]
    fn a_length_that_lies_allocates_nothing_of_the_kind() {
        // A vector that claims 2^60 elements and brings none.
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(decode::<Vec<u64>>(&bytes, Vec::new()).is_err());
    }

    #[test]
    fn a_vector_of_bytes_is_encoded_as_serde_would() {
        for len in [0, 1, 127, 128, 300, 70_000] {
            let value: Vec<u8> = (0..len).map(|i| (i * 3) as u8).collect();
            let (mut short_cut, mut serde) = (Vec::new(), Vec::new());
            encode(&value, &mut short_cut).expect("encodes");
            encode_serde(&value, &mut serde).expect("encodes");
            assert_eq!(short_cut, serde);
            assert_eq!(decode::<Vec<u8>>(&serde, Vec::new()), Ok(value));
            serde.push(0);
            assert!(decode::<Vec<u8>>(&serde, Vec::new()).is_err());
            serde.truncate(serde.len() - 2);
            assert!(decode::<Vec<u8>>(&serde, Vec::new()).is_err());
        }
    }
}
