//! How many of something each process has that several processes may have at a time: read locks,
//! permits, arrivals.
//!
//! Problem: a plain count has no owner. When a process dies that had counted itself in, no other
//! knows by how much the count is wrong.
//!
//! So there is no count. Each process has a slot with its [`Token`] and its own number, in one
//! word, changed in one step: there is no moment at which a share is taken and not written down, or
//! the other way round. The total is the sum over the slots, and a slot whose process is dead does
//! not count.
//!
//! A slot is used by the process that has something in it. One with nothing in it, or of a dead
//! process, is free for any other. A process may end up with two slots; that is harmless, as a
//! process that takes a share learns in which slot it is.
//!
//! Limit: there are `N` slots, so counts of more than `N` processes at a time cannot be written
//! down.

use super::{DeathWatch, Token};
use crate::sim::shared::{AtomicU64, Ordering};

/// The low half of a slot is the number, the high half the token.
const NUMBER: u64 = u32::MAX as u64;

/// All zero bytes: no process has any.
#[repr(transparent)]
#[derive(Debug)]
pub(super) struct ProcessCounts<const N: usize> {
    slots: [AtomicU64; N],
}

/// In which slot a share is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CountSlot(usize);

fn number(slot: u64) -> u32 {
    (slot & NUMBER) as u32
}

fn owner(slot: u64) -> Option<Token> {
    Token::from_bits((slot >> 32) as u32)
}

/// The token of this process, in its half.
#[inline]
fn mine() -> u64 {
    u64::from(Token::mine().to_bits()) << 32
}

impl<const N: usize> ProcessCounts<N> {
    #[cfg(not(loom))]
    pub(super) const fn new() -> ProcessCounts<N> {
        const { assert!(N.is_power_of_two()) };
        ProcessCounts {
            slots: [const { AtomicU64::new(0) }; N],
        }
    }

    #[cfg(loom)]
    pub(super) fn new() -> ProcessCounts<N> {
        ProcessCounts {
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Where this process looks first. Neighbours in the liveness table do not meet.
    #[inline]
    fn home() -> usize {
        let token = Token::mine().to_bits();
        (token ^ token >> 14) as usize & (N - 1)
    }

    /// Takes `n` for this process. `None`: all slots are other live processes'.
    #[inline]
    pub(super) fn take(&self, n: u32) -> Option<CountSlot> {
        let home = Self::home();
        match self.take_in(home, n) {
            true => Some(CountSlot(home)),
            false => self.take_anywhere(n),
        }
    }

    /// In this slot, if it is ours or has nothing in it.
    #[inline]
    fn take_in(&self, at: usize, n: u32) -> bool {
        let slot = &self.slots[at];
        let mut seen = slot.load(Ordering::Relaxed);
        loop {
            let ours = seen & !NUMBER == mine();
            let Some(new) = number(seen)
                .checked_add(n)
                .filter(|_| ours || number(seen) == 0)
            else {
                return false;
            };
            match slot.compare_exchange_weak(
                seen,
                mine() | u64::from(new),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    #[cold]
    fn take_anywhere(&self, n: u32) -> Option<CountSlot> {
        let from_home = || (0..N).map(|i| (Self::home() + i) % N);
        if let Some(at) = from_home().find(|&at| self.take_in(at, n)) {
            return Some(CountSlot(at));
        }
        let mut death_watch = DeathWatch::begin();
        from_home()
            .find(|&at| {
                let seen = self.slots[at].load(Ordering::Relaxed);
                number(seen) != 0
                    && owner(seen).is_none_or(|token| death_watch.is_dead(token))
                    && self.slots[at]
                        .compare_exchange(
                            seen,
                            mine() | u64::from(n),
                            Ordering::SeqCst,
                            Ordering::Relaxed,
                        )
                        .is_ok()
            })
            .map(CountSlot)
    }

    /// Gives back `n` that this process took. Gives what it still has in that slot.
    ///
    /// If the slot says that we have fewer, a peer has scribbled over it, and it is left alone.
    #[inline]
    pub(super) fn give_back(&self, of: CountSlot, n: u32) -> u32 {
        let slot = &self.slots[of.0];
        let mut seen = slot.load(Ordering::Relaxed);
        loop {
            let left = match number(seen).checked_sub(n) {
                Some(left) if seen & !NUMBER == mine() => left,
                _ => return 0,
            };
            match slot.compare_exchange_weak(
                seen,
                mine() | u64::from(left),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return left,
                Err(now) => seen = now,
            }
        }
    }

    /// Whether no process has any, dead or alive.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.slots
            .iter()
            .all(|slot| number(slot.load(Ordering::SeqCst)) == 0)
    }

    /// How many the living have. What the dead had is wiped out on the way.
    pub(super) fn of_the_living(&self, death_watch: &mut DeathWatch) -> u64 {
        let mut sum = 0;
        for slot in &self.slots {
            loop {
                let seen = slot.load(Ordering::SeqCst);
                if number(seen) == 0 {
                    break;
                }
                if owner(seen).is_some_and(|token| !death_watch.is_dead(token)) {
                    sum += u64::from(number(seen));
                    break;
                }
                // Changed meanwhile: a living process has the slot now.
                if slot
                    .compare_exchange(seen, 0, Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok()
                {
                    break;
                }
            }
        }
        sum
    }

    /// Whether a dead process still holds a count.
    pub(super) fn has_dead(&self, death_watch: &mut DeathWatch) -> bool {
        self.slots.iter().any(|slot| {
            let seen = slot.load(Ordering::Acquire);
            number(seen) != 0 && owner(seen).is_none_or(|token| death_watch.is_dead(token))
        })
    }

    /// Whether this process could take some.
    pub(super) fn has_room(&self, death_watch: &mut DeathWatch) -> bool {
        self.slots.iter().any(|slot| {
            let seen = slot.load(Ordering::SeqCst);
            number(seen) == 0
                || seen & !NUMBER == mine() && number(seen) < u32::MAX
                || owner(seen).is_none_or(|token| death_watch.is_dead(token))
        })
    }

    /// No process has any.
    pub(super) fn clear(&self) {
        for slot in &self.slots {
            slot.store(0, Ordering::Release);
        }
    }

    /// As if that process had `n`.
    #[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
    pub(super) fn pretend(&self, at: usize, token: Token, n: u32) {
        let slot = u64::from(token.to_bits()) << 32 | u64::from(n);
        self.slots[at].store(slot, Ordering::SeqCst);
    }

    /// Whatever a peer may write.
    #[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
    pub(super) fn scribble(&self, at: usize, slot: u64) {
        self.slots[at].store(slot, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
mod tests {
    use super::*;
    use crate::sync::liveness::testing::FakeProcess;

    fn living<const N: usize>(counts: &ProcessCounts<N>) -> u64 {
        counts.of_the_living(&mut DeathWatch::begin())
    }

    #[test]
    fn what_is_taken_is_counted_until_it_is_given_back() {
        let counts = ProcessCounts::<4>::new();
        assert!(counts.is_empty());
        let a = counts.take(3).unwrap();
        let b = counts.take(2).unwrap();
        assert_eq!(living(&counts), 5);
        assert_eq!(counts.give_back(a, 3), 2);
        assert_eq!(counts.give_back(b, 2), 0);
        assert!(counts.is_empty());
    }

    #[test]
    fn the_dead_have_nothing() {
        let counts = ProcessCounts::<4>::new();
        let process = FakeProcess::new();
        counts.pretend(2, process.token(), 7);
        let slot = counts.take(1).unwrap();
        assert_eq!(living(&counts), 8);
        assert!(!counts.has_dead(&mut DeathWatch::begin()));
        process.kill();
        assert!(counts.has_dead(&mut DeathWatch::begin()));
        assert_eq!(living(&counts), 1);
        assert_eq!(counts.give_back(slot, 1), 0);
        assert!(counts.is_empty());
    }

    #[test]
    fn a_full_table_has_room_again_when_one_dies() {
        let counts = ProcessCounts::<4>::new();
        let mut processes: Vec<_> = (0..4).map(|_| FakeProcess::new()).collect();
        for (at, process) in processes.iter().enumerate() {
            counts.pretend(at, process.token(), 1);
        }
        assert_eq!(counts.take(1), None);
        assert!(!counts.has_room(&mut DeathWatch::begin()));
        processes.remove(2).kill();
        assert!(counts.has_room(&mut DeathWatch::begin()));
        assert_eq!(counts.take(1), Some(CountSlot(2)));
        assert_eq!(living(&counts), 4);
    }

    #[test]
    fn garbage_belongs_to_the_dead_and_is_not_given_back_twice() {
        for garbage in [
            1,
            NUMBER,
            u64::MAX,
            1 << 63 | 1,
            0xdead_beef_dead_beef,
            5 << 32 | 9,
        ] {
            let counts = ProcessCounts::<4>::new();
            (0..4).for_each(|at| counts.scribble(at, garbage));
            let slot = counts.take(2).unwrap_or_else(|| panic!("{garbage:#x}"));
            assert_eq!(living(&counts), 2, "{garbage:#x}");
            counts.scribble(slot.0, garbage);
            assert_eq!(counts.give_back(slot, 2), 0);
            counts.scribble(slot.0, mine() | 1);
            assert_eq!(counts.give_back(slot, 2), 0, "not below nothing");
        }
    }
}
