//! Integers, numbered tags and arrays, at the end of what is written.

use crate::task::codec::plain::NumberRun;
use crate::task::codec::tag;

/// The compiler knows how many bytes it is.
#[inline(always)]
pub(super) fn put_array(out: &mut Vec<u8>, run: NumberRun<'_>) {
    out.extend_from_slice(&[tag::RUN + run.kind as u8, run.count as u8]);
    out.extend_from_slice(run.bytes);
}

#[inline(always)]
pub(super) fn put_uint(out: &mut Vec<u8>, n: u64) {
    if n < u64::from(tag::SMALL_END) {
        out.push(n as u8);
    } else {
        put_wide(out, tag::UINT, n);
    }
}

#[inline(always)]
pub(super) fn put_int(out: &mut Vec<u8>, n: i64) {
    match u64::try_from(n) {
        Ok(n) => put_uint(out, n),
        Err(_) => put_wide(out, tag::NINT, !n as u64),
    }
}

#[inline]
fn put_wide(out: &mut Vec<u8>, tag: u8, n: u64) {
    let (head, more) = tag::wide_head(tag, n);
    let mut bytes = [0; 9];
    bytes[0] = head;
    bytes[1..].copy_from_slice(&n.to_le_bytes());
    // All eight bytes are written, which is one store, and what is not needed is taken back.
    let end = out.len() + 2 + more;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// A tag with a number: one byte if there is room in it.
#[inline]
pub(super) fn put_numbered(out: &mut Vec<u8>, inline: u8, room: u32, reference: u8, number: u32) {
    if number < room {
        out.push(inline + number as u8);
    } else {
        out.push(reference);
        tag::put_count(out, number as usize);
    }
}
