//! What a reader is given to walk through the parts of a value, and of a variant.

use serde::de::{self, DeserializeSeed, Visitor};

use super::{LONGEST_TUPLE, Result, Tracer, Untraceable};
use crate::task::outline::format::{Format, TypeFields};

/// The parts of a value, one after another.
pub(super) struct ValueParts<'t, 'p> {
    parent: &'p Tracer<'t>,
    left: usize,
    all: &'p mut Vec<Format>,
}

impl<'t, 'p> ValueParts<'t, 'p> {
    pub(super) fn new(
        parent: &'p Tracer<'t>,
        count: usize,
        all: &'p mut Vec<Format>,
    ) -> ValueParts<'t, 'p> {
        ValueParts {
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

impl<'de> de::SeqAccess<'de> for ValueParts<'_, '_> {
    type Error = Untraceable;

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

impl<'de> de::MapAccess<'de> for ValueParts<'_, '_> {
    type Error = Untraceable;

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
pub(super) struct ChosenVariant<'t> {
    pub(super) name: &'static str,
    pub(super) tracer: Tracer<'t>,
    pub(super) fields: &'t mut TypeFields,
}

impl<'de, 't> de::EnumAccess<'de> for ChosenVariant<'t> {
    type Error = Untraceable;
    type Variant = ChosenVariant<'t>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, ChosenVariant<'t>)> {
        let name = de::value::StrDeserializer::<Untraceable>::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for ChosenVariant<'_> {
    type Error = Untraceable;

    fn unit_variant(self) -> Result<()> {
        *self.fields = TypeFields::Unit;
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        let mut of = Format::Unknown;
        let value = self
            .tracer
            .within(&mut of)
            .and_then(|of| seed.deserialize(of));
        *self.fields = TypeFields::Newtype(of);
        value
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        let mut all = Vec::new();
        let value = visitor.visit_seq(ValueParts::new(&self.tracer, len, &mut all));
        *self.fields = TypeFields::Tuple(all);
        value
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let mut all = Vec::new();
        let value = visitor.visit_seq(ValueParts::new(&self.tracer, names.len(), &mut all));
        *self.fields = TypeFields::Named(names, all);
        value
    }
}
