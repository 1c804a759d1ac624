//! The first byte of every value: what it is. The README beside this file has the table.

/// Below this, the byte is the integer itself.
pub(super) const SMALL_END: u8 = 0x80;
/// A string of 0 to 31 bytes; the length is added.
pub(super) const SHORT_STR: u8 = 0x80;
pub(super) const SHORT_STR_MAX: usize = 31;
/// A struct with all fields of shape 0 to 7; the shape is added.
pub(super) const STRUCT: u8 = 0xa0;
/// A struct of shape 0 to 7 that lacks fields: [`SKIPPED`] stands in their places.
pub(super) const SPARSE: u8 = 0xa8;
/// The shapes that these two tags have room for.
pub(super) const INLINE_SHAPES: u32 = 8;
/// A sequence of plain numbers, as they are in memory; their
/// [`NumberKind`](super::plain::NumberKind) is added.
pub(super) const RUN: u8 = 0xb0;
pub(super) const RUN_END: u8 = RUN + super::plain::KINDS;
/// As the tags above and below, for what has no room in the tag: a number follows.
pub(super) const STRUCT_REF: u8 = 0xbc;
pub(super) const SPARSE_REF: u8 = 0xbd;
pub(super) const UNIT_VARIANT_REF: u8 = 0xbe;
pub(super) const VARIANT_REF: u8 = 0xbf;
/// An enum's variant without a value, by the number of its name.
pub(super) const UNIT_VARIANT: u8 = 0xc0;
/// An enum's variant, by the number of its name; its value follows.
pub(super) const VARIANT: u8 = 0xd0;
/// The names that these two tags have room for.
pub(super) const INLINE_VARIANTS: u32 = 16;
pub(super) const NONE: u8 = 0xe0;
/// A value follows.
pub(super) const SOME: u8 = 0xe1;
pub(super) const UNIT: u8 = 0xe2;
pub(super) const FALSE: u8 = 0xe3;
pub(super) const TRUE: u8 = 0xe4;
/// An integer `n` ≥ 0 of 1 to 8 bytes; the bytes less one are added.
pub(super) const UINT: u8 = 0xe5;
pub(super) const UINT_LAST: u8 = UINT + 7;
/// The integer -1 - `n`, with `n` of 1 to 8 bytes, likewise.
pub(super) const NINT: u8 = 0xed;
pub(super) const NINT_LAST: u8 = NINT + 7;
/// An integer that 64 bits cannot hold, in 16 bytes.
pub(super) const U128: u8 = 0xf5;
pub(super) const I128: u8 = 0xf6;
pub(super) const F32: u8 = 0xf7;
pub(super) const F64: u8 = 0xf8;
/// A character, as its number in 4 bytes.
pub(super) const CHAR: u8 = 0xf9;
/// A length follows, then bytes of that length.
pub(super) const STR: u8 = 0xfa;
pub(super) const BYTES: u8 = 0xfb;
/// A count follows, then that number of values.
pub(super) const SEQ: u8 = 0xfc;
/// A count follows, then that number of pairs of values.
pub(super) const MAP: u8 = 0xfd;
/// In a sparse struct: there is no such field.
pub(super) const SKIPPED: u8 = 0xfe;

/// The most bytes of a count or a number: 7 bits each, and all are below 2^35.
pub(super) const COUNT_BYTES: usize = 5;

/// The tag of an integer that has no room in one, the first of its kind being `first`; and how many
/// bytes follow, less one.
#[inline(always)]
pub(super) fn wide_head(first: u8, n: u64) -> (u8, usize) {
    let more = (63 - (n | 1).leading_zeros() as usize) / 8;
    (first + more as u8, more)
}

/// Appends a count: 7 bits a byte, the lowest first; the top bit says that there are more.
#[inline]
pub(super) fn put_count(out: &mut Vec<u8>, mut count: usize) {
    while count >= 0x80 {
        out.push(count as u8 | 0x80);
        count >>= 7;
    }
    out.push(count as u8);
}

/// As [`put_count`], in exactly [`COUNT_BYTES`], for a count that is filled in later.
pub(super) fn wide_count(count: usize) -> [u8; COUNT_BYTES] {
    let mut bytes = std::array::from_fn(|i| (count >> (7 * i)) as u8 | 0x80);
    bytes[COUNT_BYTES - 1] &= 0x7f;
    bytes
}

/// Takes a count from the front of `input`. `None`: there is none, or it is too large.
#[inline(always)]
pub(super) fn take_count(input: &mut &[u8]) -> Option<usize> {
    if let [first @ 0..0x80, rest @ ..] = *input {
        *input = rest;
        return Some(usize::from(*first));
    }
    take_long_count(input)
}

#[cold]
fn take_long_count(input: &mut &[u8]) -> Option<usize> {
    let mut count = 0_usize;
    for i in 0..COUNT_BYTES {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        count |= usize::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some(count);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_there_and_back() {
        for count in [0, 1, 127, 128, 16_383, 16_384, 1 << 31, (1 << 35) - 1] {
            let mut bytes = Vec::new();
            put_count(&mut bytes, count);
            assert_eq!(take_count(&mut &bytes[..]), Some(count));
            assert_eq!(take_count(&mut &wide_count(count)[..]), Some(count));
            assert_eq!(take_count(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(take_count(&mut &[0xff; 9][..]), None);
    }
}
