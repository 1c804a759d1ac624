//! The names that a message uses: of variants, and of the fields of structs. Values refer to them
//! by number; the names themselves stand at the end, once.
//!
//! A **shape** is the list of fields of a struct, in the order in which they are written. That of a
//! type is learned from the first struct of it: it is *open* meanwhile, and gets a field with each
//! that comes. Afterwards it never changes.

use smallvec::SmallVec;

use crate::task::codec::error::{Error, Result};
use crate::task::codec::format::{HAS_NAMES, HAS_WIDE_NAMES, NAMES_LIMIT, within_limit};
use crate::task::codec::shape::{self, Shape, is_same};

/// The most shapes of one struct's name that are looked through for one that fits.
const ALTERNATIVES: usize = 16;

/// The most shapes of one struct's name in a message. Who writes those fields that are set, and
/// says nothing of the others, can have as many as there are sets of fields.
const SHAPES_OF_ONE: usize = 64;

/// In place of a shape's number: the struct is written as a map, because there are too many shapes
/// of its name.
pub(super) const AS_MAP: u32 = u32::MAX;

/// The names of one message.
#[derive(Default)]
pub(super) struct Names {
    /// Number 0, apart: most messages have no other, and cost no memory for them.
    first_variant: Option<&'static str>,
    variants: Vec<&'static str>,
    first_shape: Option<Used>,
    shapes: Vec<Used>,
    /// The last struct's name, and its shape: most likely the next one's too.
    last: (&'static str, Likely),
    /// The names of structs that are written as maps.
    as_maps: Vec<&'static str>,
}

/// A shape that the message uses.
enum Used {
    Known(&'static Shape),
    /// One that this process has not seen before, or that there is no room to keep.
    Local(Box<Local>),
}

struct Local {
    name: &'static str,
    fields: SmallVec<[&'static str; 8]>,
    open: bool,
    /// The block's encoding, once it is closed.
    block: Vec<u8>,
}

impl Used {
    fn name(&self) -> &'static str {
        match self {
            Used::Known(shape) => shape.name,
            Used::Local(local) => local.name,
        }
    }

    fn fields(&self) -> &[&'static str] {
        match self {
            Used::Known(shape) => &shape.fields,
            Used::Local(local) => &local.fields,
        }
    }
}

impl Used {
    #[inline]
    fn block(&self) -> &[u8] {
        match self {
            Used::Known(shape) => &shape.block,
            Used::Local(local) => &local.block,
        }
    }
}

/// The shape that a struct will most likely have.
#[derive(Clone, Copy, Default)]
pub(super) struct Likely {
    pub(super) number: u32,
    /// The struct's fields, if it is known; empty if it is not, or not yet.
    pub(super) fields: &'static [&'static str],
}

#[inline]
fn is_equal(a: &'static str, b: &'static str) -> bool {
    is_same(a, b) || a == b
}

impl Names {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first_variant.is_none() && self.first_shape.is_none()
    }

    fn all_variants(&self) -> impl Iterator<Item = &'static str> {
        self.first_variant
            .into_iter()
            .chain(self.variants.iter().copied())
    }

    fn all_shapes(&self) -> impl DoubleEndedIterator<Item = &Used> {
        self.first_shape.iter().chain(&self.shapes)
    }

    fn variant_count(&self) -> usize {
        usize::from(self.first_variant.is_some()) + self.variants.len()
    }

    fn shape_count(&self) -> usize {
        usize::from(self.first_shape.is_some()) + self.shapes.len()
    }

    /// The shape of this number, which was given out for one.
    #[inline]
    fn shape(&mut self, number: u32) -> &mut Used {
        match (number.checked_sub(1), &mut self.first_shape) {
            (None, Some(first)) => first,
            (None, None) => unreachable!("a number is given out for a shape"),
            (Some(number), _) => &mut self.shapes[number as usize],
        }
    }

    /// The number of a variant's name.
    #[inline]
    pub(super) fn variant(&mut self, name: &'static str) -> Result<u32> {
        match self.first_variant {
            Some(first) if is_same(first, name) => Ok(0),
            None => {
                self.first_variant = Some(name);
                Ok(0)
            }
            Some(_) => self.find_variant(name),
        }
    }

    #[inline(never)]
    fn find_variant(&mut self, name: &'static str) -> Result<u32> {
        let by_address = self.all_variants().position(|known| is_same(known, name));
        let known = by_address.or_else(|| self.all_variants().position(|known| known == name));
        if let Some(number) = known {
            return Ok(number as u32);
        }
        let number = self.variant_count();
        if number == NAMES_LIMIT {
            return Err(Error::new(format_args!(
                "it has more than {NAMES_LIMIT} different variants"
            )));
        }
        self.variants.push(name);
        Ok(number as u32)
    }

    #[inline(always)]
    pub(super) fn likely_shape(&mut self, name: &'static str) -> Result<Likely> {
        // Before the first struct, the last one's name is empty, as that of a struct may be.
        if !name.is_empty() && is_same(self.last.0, name) {
            return Ok(self.last.1);
        }
        // The message's first struct.
        if self.first_shape.is_none() {
            if let Some(shape) = Shape::found_at_once(name) {
                let likely = Likely {
                    number: 0,
                    fields: &shape.fields,
                };
                self.first_shape = Some(Used::Known(shape));
                self.last = (name, likely);
                return Ok(likely);
            }
        }
        self.find_shape(name)
    }

    #[inline(never)]
    fn find_shape(&mut self, name: &'static str) -> Result<Likely> {
        if self.is_as_map(name) {
            return Ok(Likely {
                number: AS_MAP,
                fields: &[],
            });
        }
        let of_this_name = |used: &&Used| is_equal(used.name(), name);
        let earlier = self.all_shapes().rev().position(|used| of_this_name(&used));
        let number = match (earlier, Shape::known(name).next()) {
            (Some(back), _) => (self.shape_count() - 1 - back) as u32,
            (None, Some(shape)) => self.use_shape(Used::Known(shape))?,
            (None, None) => self.new_shape(name, SmallVec::new())?,
        };
        Ok(self.note_last(name, number))
    }

    fn is_as_map(&self, name: &'static str) -> bool {
        self.as_maps.iter().any(|known| is_equal(known, name))
    }

    fn note_last(&mut self, name: &'static str, number: u32) -> Likely {
        let fields = match self.shape(number) {
            Used::Known(shape) => &*shape.fields,
            Used::Local(_) => &[],
        };
        let likely = Likely { number, fields };
        // An empty name may lie at any address, also at that of a name that is none.
        if !name.is_empty() && !self.is_as_map(name) {
            self.last = (name, likely);
        }
        likely
    }

    fn new_shape(
        &mut self,
        name: &'static str,
        fields: SmallVec<[&'static str; 8]>,
    ) -> Result<u32> {
        self.use_shape(Used::Local(Box::new(Local {
            name,
            fields,
            open: true,
            block: Vec::new(),
        })))
    }

    fn use_shape(&mut self, shape: Used) -> Result<u32> {
        let number = self.shape_count();
        if number == NAMES_LIMIT {
            return Err(Error::new(format_args!(
                "its structs have more than {NAMES_LIMIT} different lists of fields"
            )));
        }
        match self.first_shape {
            None => self.first_shape = Some(shape),
            Some(_) => self.shapes.push(shape),
        }
        Ok(number as u32)
    }

    /// A shape for a struct that has the first `index` fields of shape `number`, and then, maybe
    /// after others that it lacks, `field`: its number, and where `field` is in it.
    #[inline(never)]
    pub(super) fn shape_with(
        &mut self,
        number: u32,
        index: usize,
        field: &'static str,
    ) -> Result<(u32, usize)> {
        let current = self.shape(number);
        if let Used::Local(local) = current {
            if local.open && index == local.fields.len() {
                local.fields.push(field);
                return Ok((number, index));
            }
        }
        if let Some(at) = position_from(current.fields(), index, field) {
            return Ok((number, at));
        }
        let name = current.name();
        let begun: SmallVec<[&'static str; 8]> = SmallVec::from_slice(&current.fields()[..index]);
        let fits = |fields: &[&'static str]| {
            let begins_so = || begun.iter().zip(fields).all(|(a, b)| is_equal(a, b));
            match position_from(fields, index, field) {
                Some(at) if begins_so() => Some(at),
                _ => None,
            }
        };
        let numbers = (0..self.shape_count()).rev();
        let used = numbers
            .zip(self.all_shapes().rev())
            .filter(|(_, other)| is_equal(other.name(), name))
            .take(ALTERNATIVES)
            .find_map(|(number, other)| Some((number as u32, fits(other.fields())?)));
        if let Some(found) = used {
            return Ok(found);
        }
        let known = Shape::known(name).find_map(|shape| Some((shape, fits(&shape.fields)?)));
        if let Some((shape, at)) = known {
            return Ok((self.use_shape(Used::Known(shape))?, at));
        }
        let of_this_name = self.all_shapes().filter(|it| is_equal(it.name(), name));
        if of_this_name.count() >= SHAPES_OF_ONE && !self.is_as_map(name) {
            self.as_maps.push(name);
            self.last = Default::default();
        }
        let mut fields = begun;
        fields.push(field);
        Ok((self.new_shape(name, fields)?, index))
    }

    /// A struct of this shape is complete. Gives how many fields the shape has.
    #[inline(never)]
    pub(super) fn close(&mut self, number: u32) -> usize {
        let used = self.shape(number);
        let fields = match used {
            Used::Known(shape) => shape.fields.len(),
            Used::Local(local) => {
                local.open = false;
                let fields = local.fields.len();
                match Shape::keep(local.name, &local.fields) {
                    Some(shape) => *used = Used::Known(shape),
                    None => local.block = shape::encode_fields(&local.fields),
                }
                fields
            }
        };
        let name = used.name();
        self.note_last(name, number);
        fields
    }

    /// Appends the names; gives what the first byte of the message says of them.
    ///
    /// First the names of the variants, then the lists of fields, each as [`shape::encode_fields`]
    /// has it; then where each ends, and how many there are of both: two bytes each, or four where
    /// that is too little.
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<u8> {
        // One struct's fields, as most messages have it.
        if let (None, Some(Used::Known(shape)), []) =
            (self.first_variant, &self.first_shape, &self.shapes[..])
        {
            if let Ok(len) = u16::try_from(shape.block.len()) {
                out.reserve(shape.block.len() + 6);
                out.extend_from_slice(&shape.block);
                let [low, high] = len.to_le_bytes();
                out.extend_from_slice(&[low, high, 0, 0, 1, 0]);
                return Ok(HAS_NAMES);
            }
        }
        // One variant, and at most one struct in it: as most messages that are an enum have it.
        if let (Some(variant), [], []) = (self.first_variant, &self.variants[..], &self.shapes[..])
        {
            if let Some(narrow) = put_one_variant(variant, self.first_shape.as_ref(), out) {
                return Ok(narrow);
            }
        }
        let items = || {
            let variants = self.all_variants().map(|name| name.as_bytes());
            variants.chain(self.all_shapes().map(Used::block))
        };
        let start = out.len();
        for item in items() {
            out.extend_from_slice(item);
        }
        let len = out.len() - start;
        within_limit(len)?;
        let is_wide = len > usize::from(u16::MAX)
            || self.variant_count().max(self.shape_count()) > usize::from(u16::MAX);
        let put = |out: &mut Vec<u8>, n: usize| match is_wide {
            false => out.extend_from_slice(&(n as u16).to_le_bytes()),
            true => out.extend_from_slice(&(n as u32).to_le_bytes()),
        };
        let mut end = 0;
        for item in items() {
            end += item.len();
            put(out, end);
        }
        put(out, self.variant_count());
        put(out, self.shape_count());
        Ok(HAS_NAMES | if is_wide { HAS_WIDE_NAMES } else { 0 })
    }
}

/// Appends this variant's name and this shape, as [`Names::put`] does. `None`: they are too long.
#[inline]
fn put_one_variant(variant: &str, shape: Option<&Used>, out: &mut Vec<u8>) -> Option<u8> {
    let block = shape.map_or(&[][..], Used::block);
    let [end_low, end_high] = u16::try_from(variant.len()).ok()?.to_le_bytes();
    let [low, high] = u16::try_from(variant.len() + block.len())
        .ok()?
        .to_le_bytes();
    out.reserve(variant.len() + block.len() + 8);
    out.extend_from_slice(variant.as_bytes());
    match shape {
        None => out.extend_from_slice(&[low, high, 1, 0, 0, 0]),
        Some(_) => {
            out.extend_from_slice(block);
            out.extend_from_slice(&[end_low, end_high, low, high, 1, 0, 1, 0]);
        }
    }
    Some(HAS_NAMES)
}

fn position_from(fields: &[&'static str], from: usize, field: &'static str) -> Option<usize> {
    let mut later = fields.get(from..)?.iter();
    Some(from + later.position(|known| is_equal(known, field))?)
}
