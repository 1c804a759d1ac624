//! What visitors are given of an enum's variant.

use serde::de::{
    self, Deserialize, DeserializeSeed, EnumAccess, Unexpected, VariantAccess, Visitor,
};

use super::Decoder;
use super::key::{MapKey, Name};
use crate::task::codec::error::{Error, Result};

/// An enum's variant: the one that the decoder has just [announced](Decoder::variant).
pub(super) struct Variant<'d, 'de, 'n>(pub(super) &'d mut Decoder<'de, 'n>);

/// What is known of a variant before it is read.
#[derive(Clone, Copy, Default)]
pub(super) struct Announced<'de> {
    /// `None`: it is the next value, as the key of a map.
    pub(super) name: Option<&'de str>,
    pub(super) has_value: bool,
}

impl<'de, 'n> Variant<'_, 'de, 'n> {
    /// Reads the value, where there has to be one.
    #[inline(always)]
    fn value<R>(
        self,
        expected: &str,
        read: impl FnOnce(&mut Decoder<'de, 'n>) -> Result<R>,
    ) -> Result<R> {
        let Announced { name, has_value } = self.0.announced;
        if !has_value {
            return Err(de::Error::invalid_type(Unexpected::UnitVariant, &expected));
        }
        read(self.0).map_err(|e| match name {
            Some(name) => e.in_variant(name),
            None => e,
        })
    }
}

impl<'de, 'n, 'd> EnumAccess<'de> for Variant<'d, 'de, 'n> {
    type Error = Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let variant = match self.0.announced.name {
            Some(name) => match seed.deserialize(Name(name, self.0.depth)) {
                Ok(variant) => variant,
                Err(e) => {
                    self.0.abandon(usize::from(self.0.announced.has_value));
                    return Err(e);
                }
            },
            None => {
                let variant = match seed.deserialize(MapKey(&mut *self.0)) {
                    Ok(variant) => variant,
                    Err(e) => {
                        self.0.abandon(1);
                        return Err(e);
                    }
                };
                // The key may have been a variant itself.
                self.0.announced = Announced {
                    name: None,
                    has_value: true,
                };
                variant
            }
        };
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de, '_> {
    type Error = Error;

    #[inline]
    fn unit_variant(self) -> Result<()> {
        if !self.0.announced.has_value {
            return Ok(());
        }
        self.value("a unit variant", |decoder| <()>::deserialize(decoder))
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        self.value("a newtype variant", |decoder| decoder.value(seed))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.value("a tuple variant", |decoder| {
            de::Deserializer::deserialize_tuple(decoder, len, visitor)
        })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.value("a struct variant", |decoder| {
            de::Deserializer::deserialize_struct(decoder, "", fields, visitor)
        })
    }
}
