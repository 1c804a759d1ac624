//! Structs: the number of a shape, then the values of its fields. In place of one that the struct lacks, a mark.

use serde::ser::{Serialize, SerializeStruct, SerializeStructVariant};

use super::{Encoder, put_numbered};
use crate::task::codec::error::{Error, Result};
use crate::task::codec::shape::is_same;
use crate::task::codec::tag;

/// A struct of which some fields are written.
pub(in crate::task::codec) struct Fields<'a, 'o> {
    encoder: &'a mut Encoder<'o>,
    /// What it is called, for errors.
    name: &'static str,
    /// Where its tag is in `out`.
    head: usize,
    /// The shape that the tag names.
    announced: u32,
    /// The shape that it has, as far as is known.
    shape: u32,
    /// The fields that it will most likely have.
    likely: &'static [&'static str],
    /// Fields of the shape that are written or marked as skipped.
    index: usize,
    /// Whether any is skipped.
    sparse: bool,
}

#[inline]
fn put_head(out: &mut Vec<u8>, shape: u32, sparse: bool) {
    let (inline, reference) = match sparse {
        false => (tag::STRUCT, tag::STRUCT_REF),
        true => (tag::SPARSE, tag::SPARSE_REF),
    };
    put_numbered(out, inline, tag::INLINE_SHAPES, reference, shape);
}

impl<'a, 'o> Fields<'a, 'o> {
    #[inline]
    pub(super) fn begin(encoder: &'a mut Encoder<'o>, name: &'static str) -> Result<Self> {
        encoder.depth.enter()?;
        let likely = encoder.names.likely_shape(name)?;
        let head = encoder.out.len();
        put_head(encoder.out, likely.number, false);
        Ok(Fields {
            encoder,
            name,
            head,
            announced: likely.number,
            shape: likely.number,
            likely: likely.fields,
            index: 0,
            sparse: false,
        })
    }

    /// Goes on to this field.
    #[inline(always)]
    fn go_to(&mut self, field: &'static str) -> Result<()> {
        if !matches!(self.likely.get(self.index), Some(known) if is_same(known, field)) {
            self.search(field)?;
        }
        self.index += 1;
        Ok(())
    }

    #[inline(never)]
    fn search(&mut self, field: &'static str) -> Result<()> {
        let names = &mut self.encoder.names;
        let (shape, at) = names.shape_with(self.shape, self.index, field)?;
        if shape != self.shape {
            self.shape = shape;
            self.likely = &[];
        }
        self.skip_to(at);
        Ok(())
    }

    fn skip_to(&mut self, index: usize) {
        let skipped = index - self.index;
        if skipped > 0 {
            let len = self.encoder.out.len() + skipped;
            self.encoder.out.resize(len, tag::SKIPPED);
            self.sparse = true;
            self.index = index;
        }
    }

    #[inline(always)]
    fn field<T: ?Sized + Serialize>(&mut self, field: &'static str, value: &T) -> Result<()> {
        self.go_to(field)?;
        let written = self.encoder.value(value);
        written.map_err(|e| e.in_field(self.name, field))
    }

    fn skip(&mut self, field: &'static str) -> Result<()> {
        self.go_to(field)?;
        self.encoder.out.push(tag::SKIPPED);
        self.sparse = true;
        Ok(())
    }

    #[inline(always)]
    fn finish(mut self) -> Result<()> {
        // Nothing has changed: as most likely.
        if self.index != self.likely.len() || self.sparse || self.index == 0 {
            self.settle();
        }
        self.encoder.depth.leave();
        Ok(())
    }

    #[inline(never)]
    fn settle(&mut self) {
        let fields = self.encoder.names.close(self.shape);
        self.skip_to(fields);
        if self.sparse || self.shape != self.announced {
            self.correct_head();
        }
    }

    /// It has turned out to be of another shape than was announced, or to lack fields.
    #[inline(never)]
    fn correct_head(&mut self) {
        let (mut announced, mut head) = (Vec::with_capacity(8), Vec::with_capacity(8));
        put_head(&mut announced, self.announced, false);
        put_head(&mut head, self.shape, self.sparse);
        let end = self.head + announced.len();
        match <[u8; 1]>::try_from(&head[..]) {
            Ok([tag]) if announced.len() == 1 => self.encoder.out[self.head] = tag,
            _ => drop(self.encoder.out.splice(self.head..end, head)),
        }
    }
}

impl SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: ?Sized + Serialize>(
        &mut self,
        field: &'static str,
        value: &T,
    ) -> Result<()> {
        self.field(field, value)
    }

    #[inline]
    fn skip_field(&mut self, field: &'static str) -> Result<()> {
        self.skip(field)
    }

    #[inline]
    fn end(self) -> Result<()> {
        self.finish()
    }
}

impl SerializeStructVariant for Fields<'_, '_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: ?Sized + Serialize>(
        &mut self,
        field: &'static str,
        value: &T,
    ) -> Result<()> {
        self.field(field, value)
    }

    #[inline]
    fn skip_field(&mut self, field: &'static str) -> Result<()> {
        self.skip(field)
    }

    #[inline]
    fn end(self) -> Result<()> {
        self.finish()
    }
}
