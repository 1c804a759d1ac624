//! What visitors are given to walk through maps, and through structs by their fields' names.

use serde::de::{DeserializeSeed, MapAccess};

use super::access::none_left;
use super::key::{MapKey, Name};
use super::names::FieldNames;
use super::{Decoder, shown_key};
use crate::task::codec::error::{Error, Result};
use crate::task::codec::plain::{self, Layout};
use crate::task::codec::tag;

/// Keys and values: of a map, of a struct's fields, or of a variant, whose name is the only key.
pub(super) struct Entries<'d, 'de, 'n> {
    decoder: &'d mut Decoder<'de, 'n>,
    left: usize,
    keys: EntryKeys<'de>,
    /// The struct's name, for errors.
    of: &'static str,
    key: Key<'de>,
    due: Due,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Key,
    Value,
    /// The value of a key that could not be read.
    ValueOfNoKey,
}

enum EntryKeys<'de> {
    /// Each stands before its value.
    Inline,
    Fields(FieldNames<'de>),
    Variant(&'de str),
}

/// The key of the entry that is being read, for errors.
enum Key<'de> {
    None,
    Encoded(&'de [u8]),
    Name(&'de str),
}

impl<'d, 'de, 'n> Entries<'d, 'de, 'n> {
    pub(super) fn of_map(decoder: &'d mut Decoder<'de, 'n>, count: usize) -> Self {
        Self::new(decoder, count, EntryKeys::Inline, "")
    }

    #[inline]
    pub(super) fn of_struct(
        decoder: &'d mut Decoder<'de, 'n>,
        count: usize,
        names: FieldNames<'de>,
        of: &'static str,
    ) -> Self {
        Self::new(decoder, count, EntryKeys::Fields(names), of)
    }

    pub(super) fn of_variant(decoder: &'d mut Decoder<'de, 'n>, name: &'de str) -> Self {
        Self::new(decoder, 1, EntryKeys::Variant(name), "")
    }

    #[inline]
    fn new(
        decoder: &'d mut Decoder<'de, 'n>,
        left: usize,
        keys: EntryKeys<'de>,
        of: &'static str,
    ) -> Self {
        Entries {
            decoder,
            left,
            keys,
            of,
            key: Key::None,
            due: Due::Key,
        }
    }

    #[cold]
    fn place(&self, error: Error) -> Error {
        match (&self.key, &self.keys) {
            (Key::None, _) => error,
            (Key::Encoded(key), _) => error.at_key(shown_key(key)),
            (Key::Name(name), EntryKeys::Variant(_)) => error.in_variant(name),
            (Key::Name(name), _) => error.in_field(self.of, name),
        }
    }

    /// All entries have been read.
    #[inline]
    pub(super) fn end(mut self) -> Result<&'d mut Decoder<'de, 'n>> {
        let whole = self.check_key_is_due().and_then(|()| {
            self.pass_skipped()?;
            none_left(self.left)
        });
        match whole {
            Ok(()) => Ok(self.decoder),
            Err(e) => {
                self.abandon();
                Err(e)
            }
        }
    }

    /// Its visitor has failed: passes over what is left of it.
    #[cold]
    pub(super) fn abandon(self) {
        let of_each = match self.keys {
            EntryKeys::Inline => 2,
            EntryKeys::Fields(_) | EntryKeys::Variant(_) => 1,
        };
        let due = usize::from(self.due != Due::Key);
        // Each count is bounded by the bytes that are left.
        self.decoder.abandon(due + of_each * self.left);
        self.decoder.depth.leave();
    }

    /// Keys and values are read in turn; a reader that does otherwise would read another value than
    /// was written.
    #[inline]
    fn check_key_is_due(&mut self) -> Result<()> {
        match self.due {
            Due::Key => Ok(()),
            Due::Value => Err(self.out_of_turn()),
            Due::ValueOfNoKey => {
                self.due = Due::Key;
                self.decoder.skip()
            }
        }
    }

    #[cold]
    fn out_of_turn(&self) -> Error {
        self.place(Error::new("a key and its value were not read in turn"))
    }

    /// Passes over the fields that the struct lacks.
    #[inline]
    fn pass_skipped(&mut self) -> Result<()> {
        if let EntryKeys::Fields(names) = &mut self.keys {
            while self.left > 0 && self.decoder.peek()? == tag::SKIPPED {
                self.decoder.skip_byte();
                self.left -= 1;
                names.next()?;
            }
        }
        Ok(())
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de, '_> {
    type Error = Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.check_key_is_due()?;
        self.pass_skipped()?;
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.due = Due::Value;
        let name = match &mut self.keys {
            EntryKeys::Fields(names) => names.next()?,
            EntryKeys::Variant(name) => *name,
            EntryKeys::Inline => {
                let before = self.decoder.input;
                let key = match plain::wanted_by::<S>() {
                    Layout::Other => seed.deserialize(MapKey(&mut *self.decoder)),
                    _ => self.decoder.value(seed),
                };
                let len = before.len() - self.decoder.input.len();
                self.key = Key::Encoded(&before[..len]);
                return match key {
                    Ok(key) => Ok(Some(key)),
                    Err(e) => {
                        self.due = Due::ValueOfNoKey;
                        Err(e)
                    }
                };
            }
        };
        self.key = Key::Name(name);
        match seed.deserialize(Name(name, self.decoder.depth)) {
            Ok(key) => Ok(Some(key)),
            Err(e) => {
                self.due = Due::ValueOfNoKey;
                Err(self.place(e))
            }
        }
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        if self.due == Due::Key {
            return Err(self.out_of_turn());
        }
        self.due = Due::Key;
        self.decoder.value(seed).map_err(|e| self.place(e))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}
