//! Which worker has the tasks of which key.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;

/// The number of keys, of those used last, that are remembered at least. At most twice as many are.
const REMEMBERED: usize = 64 * 1024;

/// A key, as a pool knows it: keys of the same number have the same worker.
pub(in crate::pool) fn number_of<K: Hash + ?Sized>(key: &K) -> u64 {
    // With a random state, no sender of keys can choose them so that all have one worker.
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    HASHER.get_or_init(RandomState::new).hash_one(key)
}

/// The worker that had the tasks of a key is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct Lost;

/// Why a task of a key was not taken at once, with its input.
#[derive(Debug)]
pub(in crate::pool) enum NotTaken<A> {
    /// The queue is at its limit, or the pool was closed.
    Full(A),
    /// As [`Lost`].
    Lost(A),
}

/// Which worker has the tasks of which key. `W`: what names a worker that lives, and no other.
///
/// There are two generations of keys: when the new one is full it becomes the old one, and what was
/// old is forgotten. A key that is used moves to the new one.
#[derive(Debug)]
pub(in crate::pool) struct Keys<W> {
    new: HashMap<u64, W>,
    old: HashMap<u64, W>,
    most: usize,
}

impl<W> Default for Keys<W> {
    fn default() -> Keys<W> {
        Keys {
            new: HashMap::new(),
            old: HashMap::new(),
            most: REMEMBERED,
        }
    }
}

impl<W> Keys<W> {
    /// Takes out the worker of a key. A caller that goes on with it puts it back.
    pub(in crate::pool) fn take(&mut self, key: u64) -> Option<W> {
        self.new.remove(&key).or_else(|| self.old.remove(&key))
    }

    /// This worker has the tasks of the key.
    pub(in crate::pool) fn put(&mut self, key: u64, worker: W) {
        if self.new.len() >= self.most {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(key, worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_used_last_are_remembered() {
        let mut keys = Keys {
            most: 10,
            ..Keys::default()
        };
        for key in 0..1000_u64 {
            keys.put(key, key + 1);
            // Always in use.
            assert_eq!(keys.take(0), Some(1), "{key}");
            keys.put(0, 1);
            // Nine keys were used since: it, those after it, those like it, and 0.
            let recent = key.saturating_sub(4);
            if recent != 0 {
                assert_eq!(keys.take(recent), Some(recent + 1), "{key}");
                keys.put(recent, recent + 1);
            }
            assert!(keys.new.len() + keys.old.len() <= 20);
        }
        assert_eq!(keys.take(500), None);
    }

    #[test]
    fn equal_keys_have_one_number() {
        assert_eq!(number_of("a"), number_of(&"a".to_owned()));
        assert_ne!(number_of("a"), number_of("b"));
    }
}
