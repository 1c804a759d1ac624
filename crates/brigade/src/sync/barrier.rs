//! All or none: [`Barrier`].

use std::fmt;
use std::time::{Duration, Instant};

use super::process_counts::ProcessCounts;
use super::raw_lock::{Acquired, RawLock};
use super::{DeathWatch, deadline};
use crate::sim::shared::futex::{self, Wake};
use crate::sim::shared::{AtomicU32, Ordering};

/// The deaths of as many processes are noticed, for each round.
const PROCESSES: usize = if cfg!(loom) { 2 } else { 64 };

/// How many of the rounds that ended broken are remembered, for threads that slept through it and a
/// reset.
const REMEMBERED: usize = 8;

/// How long one whose time is over waits for the lock, to leave the barrier in order.
const GRACE: Duration = Duration::from_millis(100);

/// Makes a number of threads, of however many processes, wait for one another; round after round.
///
/// It is [`std::sync::Barrier`] with an end that std's does not have: a barrier *breaks* when those
/// it waits for can no longer all come, and then every thread that waits, or comes later, gets
/// [`BrokenBarrier`]. It breaks when
///
/// - a process dies (or ends) after it has arrived and before the others have,
/// - a process that took part in the last round dies (or ends) while others wait for the next one,
/// - the time of one that waits is over.
///
/// [`reset`](Self::reset) mends it.
///
/// Limits: that a process died before it ever arrived cannot be known; use
/// [`wait_timeout`](Self::wait_timeout) where that may happen. The same is true of processes after
/// the 64th in a round. All zero bytes are a barrier of one.
///
/// # Examples
///
/// ```
/// use brigade::sync::Barrier;
///
/// let barrier = Barrier::new(3);
/// let leaders = std::thread::scope(|scope| {
///     let waits = [(); 3].map(|()| scope.spawn(|| barrier.wait().unwrap().is_leader()));
///     waits.map(|w| w.join().unwrap()).iter().filter(|leads| **leads).count()
/// });
/// assert_eq!(leaders, 1);
/// ```
#[repr(C)]
pub struct Barrier {
    parties: AtomicU32,
    /// Guards all that follows, but `event` and `broken`, which may be changed without.
    lock: RawLock,
    /// Counts the changes that the waiters should look at.
    event: AtomicU32,
    /// Not zero: broken.
    broken: AtomicU32,
    /// Counts the rounds that have ended.
    round: AtomicU32,
    /// In this round.
    arrived: AtomicU32,
    /// The rounds that ended broken, plus one; each where its number says.
    broken_rounds: [AtomicU32; REMEMBERED],
    /// Which processes have arrived in this round, and which took part in the last; by turns.
    here: [ProcessCounts<PROCESSES>; 2],
}

impl Barrier {
    const_but_in_models! {
        /// For `n` threads; 0 is as 1, and more than `u32::MAX` are as `u32::MAX`.
        pub const fn new(n: usize) -> Barrier {
            let parties = if n > u32::MAX as usize { u32::MAX } else { n as u32 };
            Barrier {
                parties: AtomicU32::new(parties),
                lock: RawLock::new(),
                event: AtomicU32::new(0),
                broken: AtomicU32::new(0),
                round: AtomicU32::new(0),
                arrived: AtomicU32::new(0),
                broken_rounds: [
                    AtomicU32::new(0),
                    AtomicU32::new(0),
                    AtomicU32::new(0),
                    AtomicU32::new(0),
                    AtomicU32::new(0),
                    AtomicU32::new(0),
                    AtomicU32::new(0),
                    AtomicU32::new(0),
                ],
                here: [ProcessCounts::new(), ProcessCounts::new()],
            }
        }
    }

    /// Waits until all have arrived.
    ///
    /// # Errors
    ///
    /// The barrier is broken, or breaks while we wait.
    pub fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        // Without a deadline there is no other error.
        self.wait_until(None).map_err(|_| BrokenBarrier)
    }

    /// Waits until all have arrived, but no longer than this; then the barrier breaks.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](BarrierTimeoutError::TimedOut): our time was over, which broke the barrier.
    /// [`Broken`](BarrierTimeoutError::Broken): it is broken, or another broke it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::sync::{Barrier, BarrierTimeoutError, BrokenBarrier};
    ///
    /// let barrier = Barrier::new(2);
    /// let alone = barrier.wait_timeout(Duration::from_millis(10));
    /// assert_eq!(alone, Err(BarrierTimeoutError::TimedOut));
    /// assert_eq!(barrier.wait(), Err(BrokenBarrier));
    /// ```
    pub fn wait_timeout(
        &self,
        timeout: Duration,
    ) -> Result<BarrierWaitResult, BarrierTimeoutError> {
        self.wait_until(deadline(timeout))
    }

    /// Whether it is broken. A death that breaks it is found out by those that wait or come, so
    /// this may not know it yet.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire) != 0
    }

    /// Mends it, and begins a new round, in which no process counts that took part in an earlier
    /// one. The threads that wait now get the error that it broke.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::sync::Barrier;
    ///
    /// let barrier = Barrier::new(2);
    /// assert!(barrier.wait_timeout(Duration::ZERO).is_err());
    /// assert!(barrier.is_broken());
    /// barrier.reset();
    /// assert!(!barrier.is_broken());
    /// ```
    pub fn reset(&self) {
        // What a process that died here left is wiped out anyhow.
        while self.lock.acquire(None).is_none() {}
        let round = self.round.load(Ordering::Relaxed);
        if self.arrived.load(Ordering::Relaxed) != 0 || self.is_broken() {
            self.broken_round(round)
                .store(round.wrapping_add(1), Ordering::Relaxed);
        }
        self.here.iter().for_each(ProcessCounts::clear);
        self.arrived.store(0, Ordering::Relaxed);
        self.round.store(round.wrapping_add(1), Ordering::Release);
        self.broken.store(0, Ordering::Release);
        self.event.fetch_add(1, Ordering::Release);
        self.lock.release();
        futex::wake_all(&self.event);
    }

    fn broken_round(&self, round: u32) -> &AtomicU32 {
        &self.broken_rounds[round as usize % REMEMBERED]
    }

    /// Breaks it. With the lock, or when that cannot be had.
    fn snap(&self) {
        self.broken.store(1, Ordering::Release);
        self.event.fetch_add(1, Ordering::Release);
        futex::wake_all(&self.event);
    }

    /// Takes the lock. A process that died with it took part.
    fn enter(&self, deadline: Option<Instant>) -> Option<()> {
        if self.lock.acquire(deadline)? == Acquired::OwnerDied {
            self.snap();
        }
        Some(())
    }

    fn has_dead(&self, death_watch: &mut DeathWatch) -> bool {
        self.here.iter().any(|counts| counts.has_dead(death_watch))
    }

    /// How the round went that we waited in. `None`: it goes on.
    fn outcome(&self, round: u32) -> Option<Result<BarrierWaitResult, BarrierTimeoutError>> {
        if self.round.load(Ordering::Acquire) != round {
            let broken = self.broken_round(round).load(Ordering::Relaxed);
            return Some(match broken == round.wrapping_add(1) {
                true => Err(BarrierTimeoutError::Broken),
                false => Ok(BarrierWaitResult { leader: false }),
            });
        }
        self.is_broken().then_some(Err(BarrierTimeoutError::Broken))
    }

    fn wait_until(
        &self,
        deadline: Option<Instant>,
    ) -> Result<BarrierWaitResult, BarrierTimeoutError> {
        let mut death_watch = DeathWatch::begin();
        if self.enter(deadline).is_none() {
            self.snap();
            return Err(BarrierTimeoutError::TimedOut);
        }
        let arrived = self.arrive(&mut death_watch);
        self.lock.release();
        match arrived {
            Ok(round) => self.sleep(round, deadline),
            Err(BrokenBarrier) => Err(BarrierTimeoutError::Broken),
        }
    }

    /// With the lock. Gives the round, and whether we have ended it.
    fn arrive(&self, death_watch: &mut DeathWatch) -> Result<Arrived, BrokenBarrier> {
        if self.is_broken() {
            return Err(BrokenBarrier);
        }
        if self.has_dead(death_watch) {
            self.snap();
            return Err(BrokenBarrier);
        }
        let round = self.round.load(Ordering::Relaxed);
        // No slot is left: our death would not be noticed.
        let _ = self.here[round as usize % 2].take(1);
        let arrived = self.arrived.load(Ordering::Relaxed).saturating_add(1);
        if arrived < self.parties.load(Ordering::Relaxed) {
            self.arrived.store(arrived, Ordering::Relaxed);
            return Ok(Arrived::Waits(round));
        }
        self.arrived.store(0, Ordering::Relaxed);
        // Those of the round before the last: the table of the next.
        self.here[(round as usize + 1) % 2].clear();
        self.round.store(round.wrapping_add(1), Ordering::Release);
        self.event.fetch_add(1, Ordering::Release);
        futex::wake_all(&self.event);
        Ok(Arrived::Leads)
    }

    fn sleep(
        &self,
        arrived: Arrived,
        deadline: Option<Instant>,
    ) -> Result<BarrierWaitResult, BarrierTimeoutError> {
        let round = match arrived {
            Arrived::Leads => return Ok(BarrierWaitResult { leader: true }),
            Arrived::Waits(round) => round,
        };
        loop {
            let mut death_watch = DeathWatch::begin();
            let seen = self.event.load(Ordering::Acquire);
            if let Some(outcome) = self.outcome(round) {
                return outcome;
            }
            let dead = self.has_dead(&mut death_watch);
            if !dead && death_watch.sleep(&self.event, seen, deadline) == Wake::Look {
                continue;
            }
            // Not before the round is known to go on: those of a round that has ended may die as
            // they like.
            let end = match dead {
                true => BarrierTimeoutError::Broken,
                false => BarrierTimeoutError::TimedOut,
            };
            let patience = deadline.map(|at| at + GRACE);
            let locked = self.enter(patience).is_some();
            let outcome = self.outcome(round);
            if outcome.is_none() {
                self.snap();
            }
            if locked {
                self.lock.release();
            }
            return outcome.unwrap_or(Err(end));
        }
    }
}

enum Arrived {
    /// The last one, which has ended the round.
    Leads,
    Waits(u32),
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties.load(Ordering::Relaxed))
            .field("arrived", &self.arrived.load(Ordering::Relaxed))
            .field("broken", &self.is_broken())
            .finish()
    }
}

/// All have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    leader: bool,
}

impl BarrierWaitResult {
    /// True for one of those that waited: the last to arrive.
    pub fn is_leader(&self) -> bool {
        self.leader
    }
}

/// Not all can arrive any more: one died, or its time was over, or the barrier was reset. From
/// [`Barrier::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the barrier is broken: a participant died, stopped waiting, or reset it")]
pub struct BrokenBarrier;

/// Why a [`Barrier::wait_timeout`] ended before all had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierTimeoutError {
    /// Our time was over; that has broken the barrier for all.
    #[error("not all participants reached the barrier in time; it is broken now")]
    TimedOut,
    /// As [`BrokenBarrier`].
    #[error("{BrokenBarrier}")]
    Broken,
}

#[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
mod tests {
    use super::*;
    use crate::sync::liveness::testing::FakeProcess;
    use crate::sync::testing::waiting;

    const SOON: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);
    const BROKEN: Result<BarrierWaitResult, BarrierTimeoutError> = Err(BarrierTimeoutError::Broken);

    #[test]
    fn nobody_is_a_round_ahead() {
        let barrier = Barrier::new(3);
        let rounds = [const { AtomicU32::new(0) }; 500];
        let leaders = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in &rounds {
                        round.fetch_add(1, Ordering::Relaxed);
                        if barrier.wait_timeout(LONG).unwrap().is_leader() {
                            leaders.fetch_add(1, Ordering::Relaxed);
                        }
                        assert_eq!(round.load(Ordering::Relaxed), 3);
                    }
                });
            }
        });
        assert_eq!(leaders.load(Ordering::Relaxed), 500);
    }

    #[test]
    fn one_whose_time_is_over_breaks_it_for_all() {
        let barrier = Barrier::new(3);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| barrier.wait_timeout(LONG));
            let late = barrier.wait_timeout(SOON);
            assert_eq!(late, Err(BarrierTimeoutError::TimedOut));
            assert_eq!(waits.join().unwrap(), BROKEN);
        });
        assert!(barrier.is_broken());
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
        barrier.reset();
        std::thread::scope(|scope| {
            let waits = [(); 3].map(|()| scope.spawn(|| barrier.wait_timeout(LONG).is_ok()));
            assert_eq!(waits.map(|w| w.join().unwrap()), [true; 3]);
        });
    }

    #[test]
    fn who_waits_is_told_of_a_reset() {
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| barrier.wait_timeout(LONG));
            while barrier.arrived.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            barrier.reset();
            assert_eq!(waits.join().unwrap(), BROKEN);
        });
        assert!(!barrier.is_broken());
    }

    #[test]
    fn one_that_died_after_it_arrived_breaks_it() {
        for table in 0..2 {
            // In this round, or in the last.
            let process = FakeProcess::new();
            let barrier = Barrier::new(3);
            barrier.here[table].pretend(5, process.token(), 1);
            std::thread::scope(|scope| {
                let waits = [(); 2].map(|()| waiting(scope, || barrier.wait_timeout(LONG)));
                assert!(waits.iter().all(|w| !w.is_finished()));
                process.kill();
                assert_eq!(waits.map(|w| w.join().unwrap()), [BROKEN; 2]);
            });
            assert!(barrier.is_broken());
        }
    }

    #[test]
    fn the_last_to_arrive_does_not_complete_a_round_with_the_dead() {
        let barrier = Barrier::new(2);
        barrier.here[0].pretend(5, FakeProcess::dead(), 1);
        barrier.arrived.store(1, Ordering::Relaxed);
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
        barrier.reset();
        barrier.lock.pretend(FakeProcess::dead());
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
    }

    #[test]
    fn garbage_is_survived() {
        for garbage in [1, 2, 1 << 31, u32::MAX, 0xdead_beef] {
            let barrier = Barrier::new(2);
            let words = [
                &barrier.parties,
                &barrier.round,
                &barrier.arrived,
                &barrier.event,
            ];
            words
                .iter()
                .for_each(|word| word.store(garbage, Ordering::Relaxed));
            let _ = barrier.wait_timeout(SOON);
            barrier.here[1].scribble(3, u64::MAX);
            let _ = barrier.wait_timeout(SOON);
            barrier.reset();
        }
        assert!(Barrier::new(0).wait().unwrap().is_leader());
        assert!(Barrier::new(1).wait().unwrap().is_leader());
    }
}
