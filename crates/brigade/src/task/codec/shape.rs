//! Lists of fields, as bytes, kept for as long as the program runs.
//!
//! A type's list of fields never changes, so each list is made once for each process, and found
//! again by its address: writers know a struct by the address of its name, readers by that of the
//! list that serde's derive gives them. Comparing the list of a message with a reader's own is one
//! comparison of memory then.

#![expect(unsafe_code, reason = "gives out references to what is never freed")]

use std::ptr;
// There is nothing to model: an entry is written before its address, and both stay.
use std::sync::atomic::{AtomicPtr, Ordering};

use super::tag;

/// The fields of a struct in the order of their values: how many they are, the length of each name,
/// then the names.
pub(super) fn encode_fields(fields: &[&'static str]) -> Vec<u8> {
    let mut block = Vec::new();
    tag::put_count(&mut block, fields.len());
    for field in fields {
        tag::put_count(&mut block, field.len());
    }
    for field in fields {
        block.extend_from_slice(field.as_bytes());
    }
    block
}

/// What a writer knows of a struct.
pub(super) struct Shape {
    /// What the struct or the variant is called. It is not written.
    pub(super) name: &'static str,
    pub(super) fields: Box<[&'static str]>,
    pub(super) block: Box<[u8]>,
}

/// What a reader knows of a struct.
struct Expected {
    fields: &'static [&'static str],
    block: Box<[u8]>,
}

static SHAPES: Table<Shape, 1024> = Table::new();
static EXPECTED: Table<Expected, 1024> = Table::new();

impl Shape {
    /// The shapes that structs of the name at this address had so far.
    #[inline]
    pub(super) fn known(name: &'static str) -> impl Iterator<Item = &'static Shape> {
        let is_it = move |shape: &&Shape| is_same(shape.name, name);
        SHAPES.near(name.as_ptr() as usize).filter(is_it)
    }

    /// The first of them, if it lies where it is looked for first.
    #[inline(always)]
    pub(super) fn found_at_once(name: &'static str) -> Option<&'static Shape> {
        let shape = SHAPES.first(name.as_ptr() as usize)?;
        (is_same(shape.name, name) && !name.is_empty()).then_some(shape)
    }

    /// Keeps a shape. `None`: too many are kept already.
    pub(super) fn keep(name: &'static str, fields: &[&'static str]) -> Option<&'static Shape> {
        let shape = Shape {
            name,
            fields: fields.into(),
            block: encode_fields(fields).into(),
        };
        SHAPES.keep(name.as_ptr() as usize, shape)
    }
}

/// The list of a reader's fields, as a message has it. `None`: too many are kept already.
#[inline(always)]
pub(super) fn expected(fields: &'static [&'static str]) -> Option<&'static [u8]> {
    let at = fields.as_ptr() as usize;
    if let Some(known) = EXPECTED.first(at) {
        if ptr::eq(known.fields, fields) {
            return Some(&known.block);
        }
    }
    find_expected(fields)
}

#[inline(never)]
fn find_expected(fields: &'static [&'static str]) -> Option<&'static [u8]> {
    let at = fields.as_ptr() as usize;
    let mut near = EXPECTED.near(at);
    if let Some(known) = near.find(|known| ptr::eq(known.fields, fields)) {
        return Some(&known.block);
    }
    let block = encode_fields(fields).into();
    let kept = EXPECTED.keep(at, Expected { fields, block })?;
    Some(&kept.block)
}

/// Whether both are one text at one address, which is quickly seen.
#[inline]
pub(super) fn is_same(a: &'static str, b: &'static str) -> bool {
    ptr::eq(a, b)
}

/// A table that only grows: an entry lies within [`NEAR`] places of the one that its key asks for.
pub(super) struct Table<T: 'static, const LEN: usize>([AtomicPtr<T>; LEN]);

const NEAR: usize = 16;

impl<T: Send + Sync + 'static, const LEN: usize> Table<T, LEN> {
    pub(super) const fn new() -> Self {
        Table([const { AtomicPtr::new(ptr::null_mut()) }; LEN])
    }

    fn places(&self, key: usize) -> impl Iterator<Item = &AtomicPtr<T>> {
        // Names lie close together: the lowest bits tell most.
        let first = key ^ (key >> 10);
        (first..first.wrapping_add(NEAR)).map(|at| &self.0[at % LEN])
    }

    /// What lies in the place that the key asks for.
    #[inline(always)]
    fn first(&self, key: usize) -> Option<&'static T> {
        self.near(key).next()
    }

    /// What may have this key, up to the first free place.
    #[inline]
    pub(super) fn near(&self, key: usize) -> impl Iterator<Item = &'static T> {
        self.places(key).map_while(|place| {
            // Acquire, with the release below: what the address points at was written before it.
            let entry = place.load(Ordering::Acquire);
            // SAFETY: each address in the table is null, or that of an entry that was leaked, and
            // is never changed.
            unsafe { entry.as_ref() }
        })
    }

    /// Puts an entry into the first free place, if one is near enough.
    pub(super) fn keep(&self, key: usize, entry: T) -> Option<&'static T> {
        let entry = Box::into_raw(Box::new(entry));
        for place in self.places(key) {
            if place
                .compare_exchange(ptr::null_mut(), entry, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                // SAFETY: it is in the table now, where it stays.
                return Some(unsafe { &*entry });
            }
        }
        // SAFETY: it was made above, and no other thread has seen it.
        drop(unsafe { Box::from_raw(entry) });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_and_no_more_than_there_is_room_for() {
        static TABLE: Table<usize, 64> = Table::new();
        let kept: Vec<usize> = (0..200).filter(|n| TABLE.keep(*n, *n).is_some()).collect();
        assert_eq!(kept.len(), 64, "as many as there are places");
        for n in kept {
            assert!(TABLE.near(n).any(|found| *found == n));
        }
    }

    #[test]
    fn a_readers_list_is_made_once() {
        const FIELDS: &[&str] = &["one", "", "three"];
        let first = expected(FIELDS).expect("there is room");
        assert_eq!(first, b"\x03\x03\x00\x05onethree");
        assert!(ptr::eq(first, expected(FIELDS).expect("still there")));
    }
}
