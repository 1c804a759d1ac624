//! How many workers a pool has that follows its work: between a least and a most.
//!
//! It grows when tasks wait longer than it takes to start a worker, which is seen by how many were
//! begun in that time: fewer than wait. It has as many more then as tasks wait, and at most twice
//! as many as before; so the most is reached in a few steps. It shrinks to as many as were ever
//! needed at once in the idle time that is over.

use std::ops::{Add, RangeInclusive};
use std::time::Duration;

/// About what it takes to start a worker process, where the system has something else to do too.
/// To start a thread takes less.
pub(in crate::pool) const GROW_AFTER: Duration = Duration::from_millis(1);

/// How long a worker has not been needed when it leaves, unless the program says otherwise.
pub(in crate::pool) const SHRINK_AFTER: Duration = Duration::from_secs(10);

/// What a pool has to do, at one moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Load {
    /// How many workers there should be.
    pub(in crate::pool) workers: usize,
    /// How many are busy; or were at once, since the last look.
    pub(in crate::pool) busy: usize,
    /// Tasks that wait, beyond those that workers which are free, or start, are about to take.
    pub(in crate::pool) waiting: usize,
    /// Tasks that were ever begun, or ended without that.
    pub(in crate::pool) begun: u64,
}

/// The size of a pool that follows its work. `T` is a time on the pool's clock.
#[derive(Debug)]
pub(in crate::pool) struct Following<T> {
    least: usize,
    most: usize,
    shrink_after: Duration,
    /// Since when tasks wait, and how many had been begun then.
    waits: Option<(T, u64)>,
    /// While there are more workers than the least: since when it is watched how many are needed,
    /// and how many were.
    watch: Option<(T, usize)>,
}

impl<T: Copy + Ord + Add<Duration, Output = T>> Following<T> {
    /// `None`: there is one number only.
    pub(in crate::pool) fn new(
        workers: RangeInclusive<usize>,
        shrink_after: Duration,
    ) -> Option<Following<T>> {
        let (least, most) = workers.into_inner();
        (least < most).then_some(Following {
            least,
            most,
            shrink_after,
            waits: None,
            watch: None,
        })
    }

    /// How many workers there may be.
    pub(in crate::pool) fn most(&self) -> usize {
        self.most
    }

    /// Takes notice of what there is to do. Returns when it is to be [looked](Self::look) next.
    pub(in crate::pool) fn observe(&mut self, load: Load, now: T) -> Option<T> {
        if load.waiting == 0 || load.workers >= self.most {
            self.waits = None;
        } else {
            self.waits.get_or_insert((now, load.begun));
        }
        if load.workers <= self.least {
            self.watch = None;
        } else {
            let needed = match load.waiting {
                0 => load.busy,
                _ => load.workers,
            };
            let (_, most) = self.watch.get_or_insert((now, needed));
            *most = needed.max(*most);
        }
        let grows = self.waits.map(|(since, _)| since + GROW_AFTER);
        let shrinks = self.watch.map(|(since, _)| since + self.shrink_after);
        match (grows, shrinks) {
            (Some(grows), Some(shrinks)) => Some(grows.min(shrinks)),
            (grows, shrinks) => grows.or(shrinks),
        }
    }

    /// As [`observe`](Self::observe). Returns how many workers there should be from now on, if that
    /// is another number.
    pub(in crate::pool) fn look(&mut self, load: Load, now: T) -> Option<usize> {
        self.observe(load, now);
        if let Some((since, begun)) = self.waits.filter(|waits| waits.0 + GROW_AFTER <= now) {
            self.waits = Some((now, load.begun));
            // Where as many are begun in that time as wait, none waits longer. Where no task has
            // looked for longer, more may be begun.
            let mut times = 1;
            let mut until = since + GROW_AFTER * 2;
            while until <= now && times < 1_000 {
                times += 1;
                until = until + GROW_AFTER;
            }
            if load.begun.saturating_sub(begun) / times < load.waiting as u64 {
                let workers = load.workers + load.waiting.min(load.workers);
                let workers = workers.min(self.most);
                self.watch = Some((now, workers));
                return Some(workers);
            }
        }
        let (since, needed) = self.watch?;
        if since + self.shrink_after > now {
            return None;
        }
        self.watch = None;
        (needed < load.workers).then_some(needed.max(self.least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn load(workers: usize, busy: usize, waiting: usize, begun: u64) -> Load {
        Load {
            workers,
            busy,
            waiting,
            begun,
        }
    }

    fn following() -> Following<Duration> {
        Following::new(2..=16, SECOND).expect("a range")
    }

    #[test]
    fn one_number_follows_nothing() {
        assert!(Following::<Duration>::new(4..=4, SECOND).is_none());
    }

    #[test]
    fn it_grows_while_tasks_wait_that_are_not_begun() {
        let mut size = following();
        let mut now = SECOND;
        let mut workers = 2;
        for next in [4, 8, 16] {
            let waits = load(workers, workers, 100, 2);
            assert_eq!(size.observe(waits, now), Some(now + GROW_AFTER));
            assert_eq!(size.look(waits, now), None, "none has waited for so long");
            now += GROW_AFTER;
            assert_eq!(size.look(waits, now), Some(next));
            workers = next;
        }
        let full = load(16, 16, 100, 2);
        assert_eq!(size.look(full, now + GROW_AFTER), None);
        // There is nothing but idle workers to look for.
        assert_eq!(size.observe(full, now), Some(now + SECOND));
    }

    #[test]
    fn it_grows_by_as_many_as_wait() {
        let mut size = following();
        size.observe(load(8, 8, 3, 8), SECOND);
        assert_eq!(size.look(load(8, 8, 3, 8), SECOND + GROW_AFTER), Some(11));
    }

    #[test]
    fn tasks_that_are_soon_begun_need_no_more_workers() {
        let mut size = following();
        size.observe(load(2, 2, 50, 0), SECOND);
        assert_eq!(size.look(load(2, 2, 50, 60), SECOND + GROW_AFTER), None);
        // And the same where it was looked late.
        let late = SECOND + GROW_AFTER * 11;
        assert_eq!(size.look(load(2, 2, 50, 60 + 510), late), None);
        assert_eq!(
            size.look(load(2, 2, 50, 60 + 510 + 49), late + GROW_AFTER),
            Some(4)
        );
    }

    #[test]
    fn it_shrinks_to_what_was_needed() {
        let mut size = following();
        assert_eq!(size.observe(load(10, 3, 0, 9), SECOND), Some(SECOND * 2));
        size.observe(load(10, 5, 0, 9), SECOND + SECOND / 2);
        assert_eq!(size.look(load(10, 0, 0, 9), SECOND + SECOND / 2), None);
        assert_eq!(size.look(load(10, 0, 0, 9), SECOND * 2), Some(5));
        assert_eq!(size.observe(load(5, 0, 0, 9), SECOND * 2), Some(SECOND * 3));
        assert_eq!(size.look(load(5, 0, 0, 9), SECOND * 3), Some(2));
        assert_eq!(size.observe(load(2, 0, 0, 9), SECOND * 3), None);
        assert_eq!(size.look(load(2, 0, 0, 9), SECOND * 9), None);
    }

    #[test]
    fn while_tasks_wait_all_are_needed() {
        let mut size = following();
        size.observe(load(16, 3, 1, 9), SECOND);
        assert_eq!(size.look(load(16, 3, 0, 9), SECOND * 2), None);
        size.observe(load(16, 3, 0, 9), SECOND * 2);
        assert_eq!(size.look(load(16, 3, 0, 9), SECOND * 3), Some(3));
    }
}
