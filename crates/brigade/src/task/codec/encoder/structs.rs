//! Structs: the number of a shape, then the values of its fields. In place of one that the struct
//! lacks, a mark.

use serde::Serializer;
use serde::ser::{Serialize, SerializeStruct, SerializeStructVariant};

use super::Encoder;
use super::names::AS_MAP;
use super::put::put_numbered;
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
    progress: StructProgress,
}

/// How far a struct is written. Handed to and fro by value, so that it can stay in registers.
#[derive(Clone, Copy)]
struct StructProgress {
    /// The shape that it has, as far as is known.
    shape: u32,
    /// Whether any field is skipped.
    sparse: bool,
    /// Fields of the shape that are written or marked as skipped.
    index: usize,
    /// The fields that it will most likely have.
    likely: &'static [&'static str],
}

#[inline(always)]
fn put_head(out: &mut Vec<u8>, shape: u32, sparse: bool) {
    let (inline, reference) = match sparse {
        false => (tag::STRUCT, tag::STRUCT_REF),
        true => (tag::SPARSE, tag::SPARSE_REF),
    };
    put_numbered(out, inline, tag::INLINE_SHAPES, reference, shape);
}

impl<'a, 'o> Fields<'a, 'o> {
    #[inline(always)]
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
            progress: StructProgress {
                shape: likely.number,
                sparse: false,
                index: 0,
                likely: likely.fields,
            },
        })
    }

    /// Goes on to this field.
    #[inline(always)]
    fn go_to(&mut self, field: &'static str) -> Result<()> {
        let StructProgress { likely, index, .. } = self.progress;
        if !matches!(likely.get(index), Some(known) if is_same(known, field)) {
            self.progress = self.encoder.search(self.progress, field)?;
        }
        self.progress.index += 1;
        Ok(())
    }

    #[inline(always)]
    fn field<T: ?Sized + Serialize>(&mut self, field: &'static str, value: &T) -> Result<()> {
        self.go_to(field)?;
        match self.encoder.value(value) {
            Ok(()) => Ok(()),
            Err(e) => Err(e.in_field(self.name, field)),
        }
    }

    #[inline(always)]
    fn skip(&mut self, field: &'static str) -> Result<()> {
        if self.progress.shape == AS_MAP {
            return Ok(());
        }
        self.go_to(field)?;
        self.encoder.out.push(tag::SKIPPED);
        self.progress.sparse = true;
        Ok(())
    }

    #[inline(always)]
    fn finish(self) -> Result<()> {
        // Nothing has changed: as most likely.
        let StructProgress { likely, index, .. } = self.progress;
        if index != likely.len() || self.progress.sparse || index == 0 {
            self.encoder
                .settle_struct(self.progress, self.head, self.announced);
        }
        self.encoder.depth.leave();
        Ok(())
    }
}

impl Encoder<'_> {
    /// The next field is not the one that was likely.
    #[inline(never)]
    fn search(&mut self, progress: StructProgress, field: &'static str) -> Result<StructProgress> {
        if progress.shape == AS_MAP {
            self.serialize_str(field)?;
            return Ok(progress);
        }
        let (shape, at) = self
            .names
            .shape_with(progress.shape, progress.index, field)?;
        let likely = match shape == progress.shape {
            true => progress.likely,
            false => &[],
        };
        let skipped = StructProgress {
            shape,
            likely,
            ..progress
        };
        Ok(self.skip_to(skipped, at))
    }

    /// Marks the fields before this one as skipped.
    fn skip_to(&mut self, progress: StructProgress, index: usize) -> StructProgress {
        let skipped = index - progress.index;
        self.out.resize(self.out.len() + skipped, tag::SKIPPED);
        StructProgress {
            index,
            sparse: progress.sparse || skipped > 0,
            ..progress
        }
    }

    /// A struct is complete that was not as was likely.
    #[inline(never)]
    fn settle_struct(&mut self, progress: StructProgress, head: usize, announced: u32) {
        if progress.shape == AS_MAP {
            // There was left as much room, for the number of a shape that there is none of.
            self.out[head] = tag::MAP;
            self.out[head + 1..=head + tag::COUNT_BYTES]
                .copy_from_slice(&tag::wide_count(progress.index));
            return;
        }
        let fields = self.names.close(progress.shape);
        let StructProgress { shape, sparse, .. } = self.skip_to(progress, fields);
        if !sparse && shape == announced {
            return;
        }
        let (mut wrong, mut right) = (Vec::with_capacity(8), Vec::with_capacity(8));
        put_head(&mut wrong, announced, false);
        put_head(&mut right, shape, sparse);
        match (&wrong[..], &right[..]) {
            ([_], &[tag]) => self.out[head] = tag,
            _ => drop(self.out.splice(head..head + wrong.len(), right)),
        }
    }
}

macro_rules! fields {
    ($($trait:ident),*) => {
        $(impl $trait for Fields<'_, '_> {
            type Ok = ();
            type Error = Error;

            #[inline(always)]
            fn serialize_field<T: ?Sized + Serialize>(
                &mut self,
                field: &'static str,
                value: &T,
            ) -> Result<()> {
                self.field(field, value)
            }

            #[inline(always)]
            fn skip_field(&mut self, field: &'static str) -> Result<()> {
                self.skip(field)
            }

            #[inline(always)]
            fn end(self) -> Result<()> {
                self.finish()
            }
        })*
    };
}
fields!(SerializeStruct, SerializeStructVariant);
