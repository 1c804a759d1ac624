//! Values to bytes and back: serde with postcard.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest encoded value that a task may take or give: 2 GiB. A limit there must be, for a length that a worker wrote is believed up to it.
pub(crate) const MAX_BYTES: usize = 1 << 31;

/// Appends the encoding of `value`; on error `into` is as it was.
pub(crate) fn encode<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<(), String> {
    struct Onto<'a>(&'a mut Vec<u8>);
    impl Flavor for Onto<'_> {
        type Output = ();

        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }

        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    let start = into.len();
    let ended = postcard::serialize_with_flavor(value, Onto(into))
        .map_err(|e| format!("could not be encoded: {e}"));
    let len = into.len() - start;
    let ended = ended.and_then(|()| {
        if len > MAX_BYTES {
            Err(format!(
                "is {len} bytes when encoded, over the limit of {MAX_BYTES}"
            ))
        } else {
            Ok(())
        }
    });
    if ended.is_err() {
        into.truncate(start);
    }
    ended
}

/// The value that `bytes` encode, all of them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!(
            "could not be decoded: {} bytes were left over",
            rest.len()
        )),
        Err(e) => Err(format!("could not be decoded: {e}")),
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
            decode::<(u8, String, Vec<Option<f64>>)>(&bytes[1..]).as_ref(),
            Ok(&value)
        );
    }

    #[test]
    fn left_over_and_missing_bytes_are_errors() {
        let mut bytes = Vec::new();
        encode(&0x1234_u16, &mut bytes).expect("encodes");
        bytes.push(0);
        assert!(
            decode::<u16>(&bytes)
                .expect_err("one too many")
                .contains("left over")
        );
        assert!(
            decode::<u16>(&bytes[..1])
                .expect_err("cut")
                .contains("decoded")
        );
    }

    #[test]
    fn a_length_that_lies_allocates_nothing_of_the_kind() {
        // A vector that claims 2^60 elements and brings none.
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(decode::<Vec<u64>>(&bytes).is_err());
    }
}
