//! Messages that are one plain value. Of what serde needs for any value, they need nothing, and
//! nothing of the program's own code runs: so nothing panics, either.

use std::any::Any;

use super::format::VERSION;
use super::{Message, tag};

/// Calls a macro with the types of integers, without and with a sign. Serde writes `usize` and
/// `isize` as 64 bits.
macro_rules! with_integers {
    ($with:ident) => {
        $with! { u8 u16 u32 u64 usize; i8 i16 i32 i64 isize }
    };
}

/// Appends the whole message that `value` is, if that is a plain value.
// All comparisons of types are between constants: in optimized code one of these is left.
#[inline(always)]
pub(super) fn encode<T: Message>(value: &T, out: &mut Vec<u8>) -> bool {
    let value: &dyn Any = value;
    if value.is::<()>() {
        out.extend_from_slice(&[VERSION, tag::UNIT]);
        return true;
    }
    if let Some(&value) = value.downcast_ref::<bool>() {
        let tag = if value { tag::TRUE } else { tag::FALSE };
        out.extend_from_slice(&[VERSION, tag]);
        return true;
    }
    macro_rules! integers {
        ($($unsigned:ty)*; $($signed:ty)*) => {
            $(if let Some(&value) = value.downcast_ref::<$unsigned>() {
                put_uint(out, value as u64);
                return true;
            })*
            $(if let Some(&value) = value.downcast_ref::<$signed>() {
                match u64::try_from(value) {
                    Ok(value) => put_uint(out, value),
                    Err(_) => put_wide(out, tag::NINT, !(value as i64) as u64),
                }
                return true;
            })*
        };
    }
    with_integers!(integers);
    if let Some(value) = value.downcast_ref::<f64>() {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        out.extend_from_slice(&[VERSION, tag::F64, a, b, c, d, e, f, g, h]);
        return true;
    }
    if let Some(value) = value.downcast_ref::<f32>() {
        let [a, b, c, d] = value.to_le_bytes();
        out.extend_from_slice(&[VERSION, tag::F32, a, b, c, d]);
        return true;
    }
    false
}

// A message in one piece: a new vector gets memory for it once.
#[inline(always)]
fn put_uint(out: &mut Vec<u8>, n: u64) {
    if n < u64::from(tag::SMALL_END) {
        out.extend_from_slice(&[VERSION, n as u8]);
    } else {
        put_wide(out, tag::UINT, n);
    }
}

#[inline]
fn put_wide(out: &mut Vec<u8>, tag: u8, n: u64) {
    let (head, more) = tag::wide_head(tag, n);
    let [a, b, c, d, e, f, g, h] = n.to_le_bytes();
    // All eight bytes are written, and what is not needed is taken back.
    let end = out.len() + 3 + more;
    out.extend_from_slice(&[VERSION, head, a, b, c, d, e, f, g, h]);
    out.truncate(end);
}

/// The plain value that these bytes are, all of them. `None`: the type is no such value, or they
/// are none of it, and why is said where any value is read.
#[inline(always)]
pub(super) fn decode<T: Message>(bytes: &[u8]) -> Option<T> {
    let [VERSION, bytes @ ..] = bytes else {
        return None;
    };
    let mut decoded = None::<T>;
    let into: &mut dyn Any = &mut decoded;
    if let Some(into) = into.downcast_mut::<Option<()>>() {
        *into = matches!(bytes, [tag::UNIT]).then_some(());
    } else if let Some(into) = into.downcast_mut::<Option<bool>>() {
        *into = match bytes {
            [tag::TRUE] => Some(true),
            [tag::FALSE] => Some(false),
            _ => None,
        };
    } else if let Some(into) = into.downcast_mut::<Option<f64>>() {
        if let [tag::F64, number @ ..] = bytes {
            *into = number.try_into().ok().map(f64::from_le_bytes);
        }
    } else if let Some(into) = into.downcast_mut::<Option<f32>>() {
        if let [tag::F32, number @ ..] = bytes {
            *into = number.try_into().ok().map(f32::from_le_bytes);
        }
    } else {
        macro_rules! integers {
            ($($unsigned:ty)*; $($signed:ty)*) => {
                $(if let Some(into) = into.downcast_mut::<Option<$unsigned>>() {
                    *into = uint(bytes).and_then(|n| n.try_into().ok());
                    return decoded;
                })*
                $(if let Some(into) = into.downcast_mut::<Option<$signed>>() {
                    *into = int(bytes).and_then(|n| n.try_into().ok());
                    return decoded;
                })*
            };
        }
        with_integers!(integers);
    }
    decoded
}

#[inline(always)]
fn uint(bytes: &[u8]) -> Option<u64> {
    match *bytes {
        [small @ 0..tag::SMALL_END] => Some(u64::from(small)),
        [tag @ tag::UINT..=tag::UINT_LAST, ref number @ ..] => wide(tag - tag::UINT, number),
        _ => None,
    }
}

#[inline(always)]
fn int(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [tag @ tag::NINT..=tag::NINT_LAST, ref number @ ..] => {
            // -1 - n
            wide(tag - tag::NINT, number).and_then(|n| Some(!i64::try_from(n).ok()?))
        }
        _ => uint(bytes).and_then(|n| n.try_into().ok()),
    }
}

/// An integer whose tag says that it has `more` bytes beside one.
#[inline(always)]
fn wide(more: u8, number: &[u8]) -> Option<u64> {
    let mut all = [0; 8];
    let into = all.get_mut(..=usize::from(more))?;
    (into.len() == number.len()).then(|| into.copy_from_slice(number))?;
    Some(u64::from_le_bytes(all))
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::super::{decode_message, encoder};
    use super::*;

    /// It is written as any value is, and read back; and whatever is not quite it is read, or not,
    /// as any value is.
    fn is_like_any<T: Message + PartialEq + Debug>(value: &T) {
        let (mut bytes, mut as_any) = (vec![7], vec![7]);
        assert!(encode(value, &mut bytes));
        encoder::encode(value, &mut as_any).expect("encodes");
        assert_eq!(bytes, as_any);
        let bytes = &bytes[1..];
        assert_eq!(decode::<T>(bytes).as_ref(), Some(value));
        let like_any = |bytes: &[u8]| {
            if let Some(decoded) = decode::<T>(bytes) {
                let as_any = decode_message::<T>(bytes).expect("reads it, too");
                // As text, for what is no number is not equal to itself.
                assert_eq!(format!("{as_any:?}"), format!("{decoded:?}"));
            }
        };
        for len in 0..bytes.len() {
            like_any(&bytes[..len]);
        }
        like_any(&[bytes, &[0]].concat());
        for at in 0..bytes.len() {
            for byte in 0..=u8::MAX {
                let mut other = bytes.to_vec();
                other[at] = byte;
                like_any(&other);
            }
        }
    }

    #[test]
    fn plain_values_are_written_and_read_as_any_value() {
        is_like_any(&());
        is_like_any(&true);
        is_like_any(&false);
        macro_rules! integers {
            ($($unsigned:ty)*; $($signed:ty)*) => {
                $(for n in [0, 1, 0x7f, 0x80, <$unsigned>::MAX / 2, <$unsigned>::MAX] {
                    is_like_any(&n);
                })*
                $(for n in [0, 1, 0x7f, -1, -0x80, <$signed>::MAX, <$signed>::MIN] {
                    is_like_any(&n);
                })*
            };
        }
        with_integers!(integers);
        for shift in 0..64 {
            is_like_any(&(1_u64 << shift));
            is_like_any(&(-1_i64 << shift));
        }
        for n in [0.0, -1.5, f64::INFINITY, f64::MIN_POSITIVE] {
            is_like_any(&n);
            is_like_any(&(n as f32));
        }
        assert!(
            decode::<f64>(&[VERSION, tag::F64, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f])
                .is_some_and(f64::is_nan)
        );
    }

    #[test]
    fn other_values_are_left_to_others() {
        let mut out = Vec::new();
        assert!(!encode(&"text".to_owned(), &mut out) && !encode(&Some(1_u8), &mut out));
        assert!(!encode(&(1_u8, 2_u8), &mut out) && !encode(&'c', &mut out));
        assert_eq!((out.len(), decode::<String>(&[VERSION, 0x80])), (0, None));
    }
}
