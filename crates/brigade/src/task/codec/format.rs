//! What both halves of the format agree on, beside its [tags](super::tag).

use super::error::{Error, Result};

/// The largest encoded value that a task or a channel may carry: 2 GiB. A limit there must be, for
/// a length that a peer wrote is believed up to it.
pub(crate) const MAX_BYTES: usize = 1 << 31;

/// The first byte of each message.
pub(super) const VERSION: u8 = 1;

/// Set in the first byte where names stand at the end.
pub(super) const HAS_NAMES: u8 = 0x80;

/// Set beside it where they take more than 64 KiB.
pub(super) const HAS_WIDE_NAMES: u8 = 0x40;

/// The most variants, and the most lists of fields, in one message: what a peer can make its reader
/// keep has a bound.
pub(super) const NAMES_LIMIT: usize = 1 << 16;

/// What MessagePack's values call a newtype that is an extension of it: a reader that asks what
/// comes next gets this name.
pub(super) const EXTENSION: &str = "_ExtStruct";

/// What CBOR's values call the variant that is a tag: a reader that asks what comes next is
/// given a variant.
pub(super) const CBOR_TAG: &str = "@@TAGGED@@";

/// Whether a message may have `len` bytes.
#[inline]
pub(super) fn within_limit(len: usize) -> Result<()> {
    if len > MAX_BYTES {
        return Err(Error::new(format_args!(
            "it takes {len} bytes when encoded, over the limit of {MAX_BYTES}"
        )));
    }
    Ok(())
}
