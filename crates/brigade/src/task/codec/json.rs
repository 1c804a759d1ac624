//! Visitors that were written for JSON only.
//!
//! A visitor that asks "what is it?" gets `visit_some`, `visit_none` and `visit_bytes` from us,
//! which JSON never calls: it has null, and lists of numbers. A visitor that lacks these methods
//! refuses them, and is used up then. So that is noted for its type, the message is read once more,
//! and from then on such a visitor gets what JSON would give. One that has the methods always gets
//! them.
//!
//! Where serde stands in between and buffers (`untagged`, `flatten` and the like), it is not known
//! which visitor will ask. A message that cannot be read, and in which such a method was lacking,
//! is read once more with all buffers filled as JSON would fill them. So is one in which a buffer
//! got a key that is no text, for to JSON each is one; and one in which a buffer got a `Some(x)`,
//! which to JSON is `x`, and a type refused an option. There the next type of an `untagged` may
//! have been read in place of the one that was written; so that is right which is written as the
//! message is (`reread.rs`).

use std::any::TypeId;
use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
// As in `shape`, of whose tables this is one.
use std::sync::atomic::{AtomicBool, Ordering};

use super::shape::Table;

/// The method that a visitor lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lacks {
    None,
    Some,
    Bytes,
}

thread_local! {
    /// What buffers were given that JSON would have given them otherwise, of that which may have
    /// been refused.
    static DOUBTED: Cell<Filling> = const { Cell::new(0) };
    /// What buffers are given as JSON would give it.
    static AS_JSON: Cell<Filling> = const { Cell::new(0) };
    /// Something was learned of a visitor.
    static LEARNED: Cell<bool> = const { Cell::new(false) };
}

/// What buffers are filled with: a set of the bits below.
pub(super) type Filling = u8;
/// What a visitor lacked a method for: options and bytes.
pub(super) const OPTIONS: Filling = 1;
/// Keys that are no texts.
pub(super) const KEYS: Filling = 2;
/// A `Some(x)`: `x`.
pub(super) const BARE: Filling = 4;
/// As they are: an option that a type refuses does not end the reading.
pub(super) const TRUSTED: Filling = 8;

/// Notes that a visitor had no method for an option or for bytes ([`OPTIONS`]), or that a buffer
/// was given a key that is no text ([`KEYS`]) or a `Some` ([`BARE`]).
pub(super) fn doubt(what: Filling) {
    DOUBTED.set(DOUBTED.get() | what);
}

/// Whether `V` is a buffer, and is given `x` for `Some(x)`. Notes where it is not.
pub(super) fn bare_in_buffer<V>() -> bool {
    if !is_buffer::<V>() {
        return false;
    }
    let is_bare = AS_JSON.get() & BARE != 0;
    if !is_bare {
        doubt(BARE);
    }
    is_bare
}

/// Whether the option that a type refuses may have come from a buffer, so that another type is
/// tried: it has to be found out then which of them was written.
pub(super) fn may_hide_another_type() -> bool {
    DOUBTED.get() & BARE != 0 && AS_JSON.get() & TRUSTED == 0
}

/// Whether buffers are given keys as texts.
pub(super) fn keys_are_texts() -> bool {
    AS_JSON.get() & KEYS != 0
}

/// Whether serde itself keeps what this visitor is given, to look at it again as one type after
/// another (`untagged`, `flatten` and the like). There `Some(x)` and `x` are the same to a caller
/// that asks for an option, and only `x` will do for one that does not; but of two variants that
/// differ in that alone, only `Some(x)` tells which was written.
pub(super) fn is_buffer<V>() -> bool {
    let name = std::any::type_name::<V>();
    name.starts_with("serde") && name.contains("ContentVisitor")
}

static KNOWN: Table<(TypeId, Lacks), 1024> = Table::new();

/// Whether there is anything in the table, which in most programs there is not.
static IS_ANY_KNOWN: AtomicBool = AtomicBool::new(false);

fn key(entry: (TypeId, Lacks)) -> usize {
    let mut hasher = DefaultHasher::new();
    entry.hash(&mut hasher);
    hasher.finish() as usize
}

/// Whether it is known of visitor `V` that it lacks this method.
#[inline]
pub(super) fn lacks<V>(what: Lacks) -> bool {
    // Relaxed: a thread that does not see it yet learns it again.
    (IS_ANY_KNOWN.load(Ordering::Relaxed) && is_known((typeid::of::<V>(), what)))
        || (AS_JSON.get() & OPTIONS != 0 && is_buffer::<V>())
}

#[cold]
fn is_known(entry: (TypeId, Lacks)) -> bool {
    KNOWN.near(key(entry)).any(|known| *known == entry)
}

/// Notes that visitor `V` lacks this method. Gives whether that is known now.
#[cold]
pub(super) fn learn<V>(what: Lacks) -> bool {
    let entry = (typeid::of::<V>(), what);
    let is_kept = is_known(entry) || KNOWN.keep(key(entry), entry).is_some();
    IS_ANY_KNOWN.store(true, Ordering::Relaxed);
    LEARNED.set(is_kept);
    is_kept
}

/// What was noted since this was last asked.
pub(super) fn take_doubts() -> Filling {
    DOUBTED.replace(0)
}

/// Whether something was learned since this was last asked.
pub(super) fn take_learned() -> bool {
    LEARNED.replace(false)
}

/// Buffers are filled as JSON would fill them, until this is dropped.
pub(super) struct AsJson(Filling);

impl AsJson {
    pub(super) fn begin(what: Filling) -> AsJson {
        AsJson(AS_JSON.replace(what))
    }
}

impl Drop for AsJson {
    /// Puts back what was, also after a panic.
    fn drop(&mut self) {
        AS_JSON.set(self.0);
    }
}
