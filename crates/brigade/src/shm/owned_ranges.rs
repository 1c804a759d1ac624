//! Which ranges of a region have an owner in this process.
//!
//! The owners' table says which *process* owns a range, and every worker that has a part of the
//! region can write to that table. So that two `&mut` in one process are never of the same bytes,
//! whatever arrives, each process has this list of its own too, which no other process can write.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ranges of bytes that do not overlap, by where they start.
#[derive(Debug, Default)]
pub(crate) struct OwnedRanges(Mutex<BTreeMap<usize, usize>>);

impl OwnedRanges {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an owner of these bytes. `false`: some of them have one.
    #[must_use]
    pub(crate) fn insert(&self, bytes: &Range<usize>) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let mut ranges = self.lock();
        let before = ranges.range(..bytes.end).next_back();
        if before.is_some_and(|(_, &end)| end > bytes.start) {
            return false;
        }
        ranges.insert(bytes.start, bytes.end);
        true
    }

    /// Has other owners of the same bytes, all of them, instead of these.
    pub(crate) fn replace<'r>(
        &self,
        old: impl Iterator<Item = &'r Range<usize>>,
        new: impl Iterator<Item = &'r Range<usize>>,
    ) {
        let mut ranges = self.lock();
        old.filter(|bytes| !bytes.is_empty()).for_each(|bytes| {
            ranges.remove(&bytes.start);
        });
        new.filter(|bytes| !bytes.is_empty()).for_each(|bytes| {
            ranges.insert(bytes.start, bytes.end);
        });
    }

    /// Removes a range whose owner is gone.
    pub(crate) fn remove(&self, bytes: &Range<usize>) {
        if !bytes.is_empty() {
            self.lock().remove(&bytes.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_refused_and_what_is_next_to_it_is_not() {
        let ranges = OwnedRanges::default();
        assert!(ranges.insert(&(10..20)));
        for overlapping in [10..20, 0..11, 19..30, 0..100, 12..13, 10..11, 19..20] {
            assert!(!ranges.insert(&overlapping), "{overlapping:?}");
        }
        for beside in [0..10, 20..21, 15..15, 10..10] {
            assert!(ranges.insert(&beside), "{beside:?}");
        }
        ranges.remove(&(15..15));
        ranges.remove(&(10..10));
        assert!(!ranges.insert(&(10..20)), "an empty range is nobody's");
        ranges.remove(&(10..20));
        assert!(ranges.insert(&(12..20)));
        assert!(!ranges.insert(&(10..13)));
    }
}
