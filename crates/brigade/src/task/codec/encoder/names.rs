//! The names that a message uses: of variants, and of the fields of structs. Values refer to them by number; the names
//! themselves stand at the end, once.
//!
//! A **shape** is the list of fields of a struct, in the order in which they are written. That of a type is learned from the
//! first struct of it: it is *open* meanwhile, and gets a field with each that comes. Afterwards it never changes.

use smallvec::SmallVec;

use crate::task::codec::error::{Error, Result};
use crate::task::codec::shape::{self, Shape, is_same};
use crate::task::codec::{HAS_NAMES, HAS_WIDE_NAMES, NAMES_LIMIT};

/// The most shapes of one struct's name that are looked through for one that fits.
const ALTERNATIVES: usize = 16;

/// The names of one message.
#[derive(Default)]
pub(super) struct Names {
    variants: SmallVec<[&'static str; 4]>,
    shapes: SmallVec<[Used; 4]>,
    /// The last struct's name, and its shape: most likely the next one's too.
    last: (&'static str, Likely),
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
    /// Its encoding, once it is closed.
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
    /// Its fields, if it is known; empty if it is not, or not yet.
    pub(super) fields: &'static [&'static str],
}

#[inline]
fn is_equal(a: &'static str, b: &'static str) -> bool {
    is_same(a, b) || a == b
}

impl Names {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.variants.is_empty() && self.shapes.is_empty()
    }

    /// The number of a variant's name.
    #[inline]
    pub(super) fn variant(&mut self, name: &'static str) -> Result<u32> {
        let known = self.variants.iter().position(|known| is_same(known, name));
        match known {
            Some(number) => Ok(number as u32),
            None => self.new_variant(name),
        }
    }

    #[inline(never)]
    fn new_variant(&mut self, name: &'static str) -> Result<u32> {
        if let Some(number) = self.variants.iter().position(|known| *known == name) {
            return Ok(number as u32);
        }
        if self.variants.len() == NAMES_LIMIT {
            return Err(Error::new(format_args!(
                "it has more than {NAMES_LIMIT} different variants"
            )));
        }
        self.variants.push(name);
        Ok((self.variants.len() - 1) as u32)
    }

    #[inline(always)]
    pub(super) fn likely_shape(&mut self, name: &'static str) -> Result<Likely> {
        match is_same(self.last.0, name) {
            true => Ok(self.last.1),
            false => self.find_shape(name),
        }
    }

    #[inline(never)]
    fn find_shape(&mut self, name: &'static str) -> Result<Likely> {
        let used = self.shapes.iter().rposition(|s| is_equal(s.name(), name));
        let number = match (used, Shape::known(name).next()) {
            (Some(number), _) => number as u32,
            (None, Some(shape)) => self.use_shape(Used::Known(shape))?,
            (None, None) => self.new_shape(name, SmallVec::new())?,
        };
        Ok(self.note_last(name, number))
    }

    fn note_last(&mut self, name: &'static str, number: u32) -> Likely {
        let fields = match self.shapes.get(number as usize) {
            Some(Used::Known(shape)) => &*shape.fields,
            _ => &[],
        };
        let likely = Likely { number, fields };
        // An empty name may lie at any address, also at that of a name that is none.
        if !name.is_empty() {
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
        if self.shapes.len() == NAMES_LIMIT {
            return Err(Error::new(format_args!(
                "its structs have more than {NAMES_LIMIT} different lists of fields"
            )));
        }
        self.shapes.push(shape);
        Ok((self.shapes.len() - 1) as u32)
    }

    /// A shape for a struct that has the first `index` fields of shape `number`, and then, maybe after others that it
    /// lacks, `field`: its number, and where `field` is in it.
    #[inline(never)]
    pub(super) fn shape_with(
        &mut self,
        number: u32,
        index: usize,
        field: &'static str,
    ) -> Result<(u32, usize)> {
        let current = &mut self.shapes[number as usize];
        if let Used::Local(local) = current
            && local.open
            && index == local.fields.len()
        {
            local.fields.push(field);
            return Ok((number, index));
        }
        if let Some(at) = position_from(current.fields(), index, field) {
            return Ok((number, at));
        }
        let current = &self.shapes[number as usize];
        let (name, begun) = (current.name(), &current.fields()[..index]);
        let fits = |fields: &[&'static str]| {
            let begins_so = || begun.iter().zip(fields).all(|(a, b)| is_equal(a, b));
            match position_from(fields, index, field) {
                Some(at) if begins_so() => Some(at),
                _ => None,
            }
        };
        let alternatives = self.shapes.iter().enumerate().rev();
        let used = alternatives
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
        let mut fields = SmallVec::from_slice(begun);
        fields.push(field);
        Ok((self.new_shape(name, fields)?, index))
    }

    /// A struct of this shape is complete. Gives how many fields the shape has.
    #[inline(never)]
    pub(super) fn close(&mut self, number: u32) -> usize {
        let used = &mut self.shapes[number as usize];
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
    /// First the names of the variants, then the lists of fields, each as [`shape::encode_fields`] has it; then where each
    /// ends, and how many there are of both: two bytes each, or four where that is too little.
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<u8> {
        // One struct's fields, as most messages have it.
        if let ([], [Used::Known(shape)]) = (&self.variants[..], &self.shapes[..])
            && let Ok(len) = u16::try_from(shape.block.len())
        {
            out.reserve(shape.block.len() + 6);
            out.extend_from_slice(&shape.block);
            let [low, high] = len.to_le_bytes();
            out.extend_from_slice(&[low, high, 0, 0, 1, 0]);
            return Ok(HAS_NAMES);
        }
        let items = || {
            let variants = self.variants.iter().map(|name| name.as_bytes());
            variants.chain(self.shapes.iter().map(Used::block))
        };
        let start = out.len();
        for item in items() {
            out.extend_from_slice(item);
        }
        let len = out.len() - start;
        super::within_limit(len)?;
        let is_wide = len > usize::from(u16::MAX)
            || self.variants.len().max(self.shapes.len()) > usize::from(u16::MAX);
        let put = |out: &mut Vec<u8>, n: usize| match is_wide {
            false => out.extend_from_slice(&(n as u16).to_le_bytes()),
            true => out.extend_from_slice(&(n as u32).to_le_bytes()),
        };
        let mut end = 0;
        for item in items() {
            end += item.len();
            put(out, end);
        }
        put(out, self.variants.len());
        put(out, self.shapes.len());
        Ok(HAS_NAMES | if is_wide { HAS_WIDE_NAMES } else { 0 })
    }
}

fn position_from(fields: &[&'static str], from: usize, field: &'static str) -> Option<usize> {
    let mut later = fields.get(from..)?.iter();
    Some(from + later.position(|known| is_equal(known, field))?)
}
