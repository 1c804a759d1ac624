//! Maps: the count of entries, then each key before its value.

use serde::ser::{Serialize, SerializeMap};

use super::Encoder;
use crate::task::codec::decoder::shown_key;
use crate::task::codec::error::{Error, Result};
use crate::task::codec::tag;

/// A map of which some entries are written.
pub(in crate::task::codec) struct Entries<'a, 'o> {
    encoder: &'a mut Encoder<'o>,
    head: usize,
    declared: Option<usize>,
    count: usize,
    /// Where the key is in `out` whose value is due; 0 if none is.
    key: usize,
}

impl<'a, 'o> Entries<'a, 'o> {
    #[inline]
    pub(super) fn begin(encoder: &'a mut Encoder<'o>, declared: Option<usize>) -> Result<Self> {
        encoder.depth.enter()?;
        let head = encoder.out.len();
        encoder.head(tag::MAP, declared)?;
        Ok(Entries {
            encoder,
            head,
            declared,
            count: 0,
            key: 0,
        })
    }
}

#[cold]
fn out_of_turn() -> Error {
    Error::new("a map's key and its value were not written in turn")
}

impl SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<()> {
        if self.key != 0 {
            return Err(out_of_turn());
        }
        self.key = self.encoder.out.len();
        // An iterator without end comes to one.
        if self.count % 4096 == 0 {
            self.encoder.check_growth(0)?;
        }
        let count = self.count;
        self.encoder
            .value(key)
            .map_err(|e| e.at_key(format!("key {count}")))
    }

    #[inline]
    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
        let key = std::mem::take(&mut self.key);
        if key == 0 {
            return Err(out_of_turn());
        }
        let end_of_key = self.encoder.out.len();
        if let Err(e) = self.encoder.value(value) {
            let key = self.encoder.out.get(key..end_of_key);
            return Err(e.at_key(shown_key(key.unwrap_or_default())));
        }
        self.count += 1;
        Ok(())
    }

    fn end(self) -> Result<()> {
        if self.key != 0 {
            return Err(out_of_turn());
        }
        self.encoder
            .correct_head(self.head, self.declared, self.count);
        self.encoder.depth.leave();
        Ok(())
    }
}
