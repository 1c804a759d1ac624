//! What a reader is given to walk through the parts of a value, and of a variant.

use serde::de::{self, DeserializeSeed, Visitor};

use super::{LONGEST_TUPLE, Refused, Result, Tracer};
use crate::task::outline::format::{Fields, Format};

/// The parts of a value, one after another.
pub(super) struct Parts<'t, 'p> {
    parent: &'p Tracer<'t>,
    left: usize,
    all: &'p mut Vec<Format>,
}

impl<'t, 'p> Parts<'t, 'p> {
    pub(super) fn new(
        parent: &'p Tracer<'t>,
        count: usize,
        all: &'p mut Vec<Format>,
    ) -> Parts<'t, 'p> {
        Parts {
            parent,
            left: count.min(LONGEST_TUPLE),
            all,
        }
    }

    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.left = self.left.saturating_sub(1);
        let mut format = Format::Unknown;
        let value = self
            .parent
            .within(&mut format)
            .and_then(|part| seed.deserialize(part));
        self.all.push(format);
        if value.is_err() {
            // What would come next is not known.
            self.all.push(Format::Unknown);
        }
        value
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_, '_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.next(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_, '_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.next(seed).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left / 2)
    }
}

/// A variant that was chosen.
pub(super) struct Variant<'t> {
    pub(super) name: &'static str,
    pub(super) tracer: Tracer<'t>,
    pub(super) fields: &'t mut Fields,
}

impl<'de, 't> de::EnumAccess<'de> for Variant<'t> {
    type Error = Refused;
    type Variant = Variant<'t>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Variant<'t>)> {
        let name = de::value::StrDeserializer::<Refused>::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<()> {
        *self.fields = Fields::Unit;
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        let mut of = Format::Unknown;
        let value = self
            .tracer
            .within(&mut of)
            .and_then(|of| seed.deserialize(of));
        *self.fields = Fields::Newtype(of);
        value
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        let mut all = Vec::new();
        let value = visitor.visit_seq(Parts::new(&self.tracer, len, &mut all));
        *self.fields = Fields::Tuple(all);
        value
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let mut all = Vec::new();
        let value = visitor.visit_seq(Parts::new(&self.tracer, names.len(), &mut all));
        *self.fields = Fields::Named(names, all);
        value
    }
}
