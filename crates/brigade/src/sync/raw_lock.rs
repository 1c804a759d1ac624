//! A lock of one word that lives in shared memory and survives its holder.
//!
//! Problem: a process may die at any instruction: while it holds the lock, after it has let go of
//! it and before it has woken the next, or after it was woken and before it has taken it. A waiter
//! must not wait for ever in any of the three.
//!
//! The word is zero while the lock is free, else the [`Token`] of the holder's process. Its highest
//! bit says that a process sleeps, so that a holder that finds it clear when it lets go need not
//! ask the kernel to wake one.
//!
//! 1. To take: one compare-and-swap, zero to our token. To let go: one swap with zero; where the
//!    bit was set, one sleeper is woken.
//! 2. To wait: begin a [`DeathWatch`], *then* look. Dead holder: one compare-and-swap takes the
//!    lock over, and only one of us succeeds. Live holder: set the bit, sleep.
//! 3. A thread that has slept takes the lock with the bit set, as others may be asleep; the price
//!    is one needless wake in the end.
//! 4. The death watch ends with *any* death, anywhere. So a wake-up that a dying process owed, or
//!    took along, is replaced by its death.
//!
//! Memory may be scribbled over by a peer. A token of no process is that of a dead process; the
//! bit without a token is a free lock. A peer that writes the token of a live process has made that
//! process the holder: no worse than if that process did not let go.
//!
//! Limits: not fair (a thread that comes along may be quicker than the one that was woken, as with
//! std's); not recursive; threads of one process are not told apart, so a thread that ends without
//! letting go has deadlocked the others, as with std's.

use std::time::Instant;

use super::{DeathWatch, Token};
use crate::sim::shared::futex::{self, Wake};
use crate::sim::shared::{AtomicU32, Ordering};

/// A process sleeps.
const SLEEPERS: u32 = 1 << 31;

/// How long to wait for a holder that is about to let go, before asking the kernel for sleep: half
/// a microsecond or some more, without a look in between. A look takes the cache line from the
/// holder, which works on it: with one every few nanoseconds, as in std, two processes that do
/// nothing but lock are four times as slow.
const PAUSE: u32 = if cfg!(loom) { 0 } else { 64 };

/// All zero bytes are a free lock.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct RawLock {
    word: AtomicU32,
}

/// How the lock came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// The last holder let go of the lock.
    Clean,
    /// The last holder died with the lock: what it guards may be half-written.
    OwnerDied,
}

/// How a wait for another's lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitedFor {
    /// The lock was free a moment ago.
    LetGo,
    /// The holder died, and the lock is *ours* now, to let go of.
    TakenOver,
}

impl RawLock {
    const_but_in_models! {
        /// Free.
        pub(crate) const fn new() -> RawLock {
            RawLock { word: AtomicU32::new(0) }
        }
    }

    /// Takes the lock if no living process holds it.
    #[inline]
    pub(crate) fn try_acquire(&self) -> Option<Acquired> {
        match self.swap_in(0, Token::mine().to_bits()) {
            true => Some(Acquired::Clean),
            false => self.try_acquire_contended(),
        }
    }

    /// Takes the lock, waiting for it if need be. `None`: the deadline has passed.
    #[inline]
    pub(crate) fn acquire(&self, deadline: Option<Instant>) -> Option<Acquired> {
        match self.swap_in(0, Token::mine().to_bits()) {
            true => Some(Acquired::Clean),
            false => self.acquire_contended(deadline),
        }
    }

    /// Lets go, and wakes one sleeper.
    ///
    /// On x86-64 this is a full fence, on which callers rely (`fence_after_rmw`). That is so
    /// because the result of the exchange is used: a compiler turns one without a use into a store.
    #[inline]
    pub(crate) fn release(&self) {
        if self.word.swap(0, Ordering::Release) & SLEEPERS != 0 {
            self.wake_one();
        }
    }

    /// Lets go, and wakes all sleepers: those of [`wait_until_free`](Self::wait_until_free) do not
    /// take the lock, so one would not wake the next.
    #[inline]
    pub(crate) fn release_to_all(&self) {
        if self.word.swap(0, Ordering::Release) & SLEEPERS != 0 {
            self.wake_all();
        }
    }

    /// Whether it is held, dead or alive.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        // In one order with the compare-and-swap that takes it: see `raw_rwlock.rs`.
        Token::from_bits(self.word.load(Ordering::SeqCst)).is_some()
    }

    /// The process that holds it, dead or alive.
    pub(crate) fn holder(&self) -> Option<Token> {
        Token::from_bits(self.word.load(Ordering::Acquire))
    }

    /// Waits until it is free, and leaves it so. `None`: the deadline has passed.
    #[cold]
    pub(crate) fn wait_until_free(&self, deadline: Option<Instant>) -> Option<WaitedFor> {
        loop {
            if Token::from_bits(self.spin()).is_none() {
                return Some(WaitedFor::LetGo);
            }
            match self.look_and_sleep(deadline) {
                Looked::Free | Looked::Slept => {}
                Looked::TakenOver => return Some(WaitedFor::TakenOver),
                Looked::TimedOut => return None,
            }
        }
    }

    /// As [`wait_until_free`](Self::wait_until_free), but does not wait. `None`: a living process
    /// holds it.
    #[cold]
    pub(crate) fn look_if_free(&self) -> Option<WaitedFor> {
        match self.take_from_the_dead()? {
            Acquired::Clean => Some(WaitedFor::LetGo),
            Acquired::OwnerDied => Some(WaitedFor::TakenOver),
        }
    }

    /// Changes the word in one step, to hold the lock. In one order with what readers do: see
    /// `raw_rwlock.rs`.
    #[inline]
    fn swap_in(&self, seen: u32, to: u32) -> bool {
        self.word
            .compare_exchange(seen, to, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn try_acquire_contended(&self) -> Option<Acquired> {
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            if Token::from_bits(seen).is_none() {
                if self.swap_in(seen, seen | Token::mine().to_bits()) {
                    return Some(Acquired::Clean);
                }
            } else if self.take_from_the_dead()? == Acquired::OwnerDied {
                return Some(Acquired::OwnerDied);
            }
        }
    }

    /// `OwnerDied`: ours now. `Clean`: it was free. `None`: a living process holds it.
    fn take_from_the_dead(&self) -> Option<Acquired> {
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            let Some(holder) = Token::from_bits(seen) else {
                return Some(Acquired::Clean);
            };
            // The common case is spared the table.
            if holder == Token::mine() || !DeathWatch::begin().is_dead(holder) {
                return None;
            }
            if self.swap_in(seen, Token::mine().to_bits() | SLEEPERS) {
                return Some(Acquired::OwnerDied);
            }
        }
    }

    #[cold]
    fn acquire_contended(&self, deadline: Option<Instant>) -> Option<Acquired> {
        let mut ours = Token::mine().to_bits();
        let mut seen = self.spin();
        loop {
            if Token::from_bits(seen).is_none() {
                if self.swap_in(seen, seen | ours) {
                    return Some(Acquired::Clean);
                }
                seen = self.spin();
                continue;
            }
            seen = match self.look_and_sleep(deadline) {
                Looked::Free => 0,
                Looked::TakenOver => return Some(Acquired::OwnerDied),
                Looked::Slept => {
                    // Of several sleepers, one was woken: the thread that takes it now must wake
                    // the next.
                    ours |= SLEEPERS;
                    self.spin()
                }
                Looked::TimedOut => return None,
            };
        }
    }

    /// One round of waiting, in the order that matters: the watch, the look, the sleep.
    fn look_and_sleep(&self, deadline: Option<Instant>) -> Looked {
        let mut death_watch = DeathWatch::begin();
        let seen = self.word.load(Ordering::Relaxed);
        let Some(holder) = Token::from_bits(seen) else {
            return Looked::Free;
        };
        if death_watch.is_dead(holder) {
            return match self.swap_in(seen, Token::mine().to_bits() | SLEEPERS) {
                true => Looked::TakenOver,
                false => Looked::Slept,
            };
        }
        let asleep = seen | SLEEPERS;
        let announced = seen == asleep
            || self
                .word
                .compare_exchange(seen, asleep, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if announced && death_watch.sleep(&self.word, asleep, deadline) == Wake::TimedOut {
            // No wake-up is lost with us: a sleeper that was woken does not get the answer that its
            // time is over, and looks again.
            return Looked::TimedOut;
        }
        Looked::Slept
    }

    /// Looks, and if the lock is held looks again a little later. Not if a process sleeps,
    /// for then the holder is not about to let go.
    fn spin(&self) -> u32 {
        let seen = self.word.load(Ordering::Relaxed);
        if PAUSE == 0 || seen & Token::MASK == 0 || seen & SLEEPERS != 0 {
            return seen;
        }
        (0..PAUSE).for_each(|_| std::hint::spin_loop());
        self.word.load(Ordering::Relaxed)
    }

    /// As if that process held it.
    #[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
    pub(super) fn pretend(&self, holder: Token) {
        self.word.store(holder.to_bits(), Ordering::SeqCst);
    }

    /// As one that is killed before it wakes the next.
    #[cfg(all(test, loom))]
    pub(super) fn release_without_wake(&self) {
        self.word.swap(0, Ordering::Release);
    }

    #[cold]
    fn wake_one(&self) {
        futex::wake_one(&self.word);
    }

    #[cold]
    fn wake_all(&self) {
        futex::wake_all(&self.word);
    }
}

/// What a round of waiting came to.
enum Looked {
    /// Free, as far as one can see.
    Free,
    /// The holder is dead, and the lock ours.
    TakenOver,
    /// Something has changed, or may have.
    Slept,
    /// The deadline has passed.
    TimedOut,
}

#[cfg(all(test, not(loom), target_os = "linux", not(brigade_portable)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sync::liveness::testing::FakeProcess;
    use crate::sync::testing::waiting;

    const SOON: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);

    fn with_word(word: u32) -> RawLock {
        let lock = RawLock::new();
        lock.word.store(word, Ordering::Relaxed);
        lock
    }

    fn within(time: Duration) -> Option<Instant> {
        Some(Instant::now() + time)
    }

    #[test]
    fn one_holds_it_at_a_time() {
        let lock = RawLock::new();
        // Read and written in two steps, so that two at a time would lose counts.
        let count = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50_000 {
                        assert_eq!(lock.acquire(None), Some(Acquired::Clean));
                        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                        lock.release();
                    }
                });
            }
        });
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 200_000);
        assert_eq!(lock.word.load(Ordering::Relaxed) & Token::MASK, 0);
    }

    #[test]
    fn a_live_holder_is_waited_for_until_the_deadline() {
        let lock = RawLock::new();
        assert_eq!(lock.acquire(None), Some(Acquired::Clean));
        assert_eq!(lock.try_acquire(), None);
        let began = Instant::now();
        assert_eq!(lock.acquire(within(SOON)), None);
        assert_eq!(lock.wait_until_free(within(SOON)), None);
        assert_eq!(lock.look_if_free(), None);
        assert!(began.elapsed() >= 2 * SOON);
        lock.release();
        assert_eq!(lock.look_if_free(), Some(WaitedFor::LetGo));
        assert_eq!(lock.acquire(within(LONG)), Some(Acquired::Clean));
    }

    #[test]
    fn the_dead_are_taken_over_from_by_one() {
        let lock = with_word(FakeProcess::dead().to_bits());
        let clean = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    if lock.acquire(within(LONG)).expect("in time") == Acquired::Clean {
                        clean.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    lock.release();
                });
            }
        });
        assert_eq!(clean.load(std::sync::atomic::Ordering::Relaxed), 3);
    }

    #[test]
    fn a_death_wakes_who_sleeps() {
        let process = FakeProcess::new();
        let lock = with_word(process.token().to_bits());
        assert_eq!(lock.try_acquire(), None);
        std::thread::scope(|scope| {
            let sleepers = [(); 3].map(|()| {
                waiting(scope, || {
                    lock.acquire(within(LONG)).inspect(|_| lock.release())
                })
            });
            assert!(sleepers.iter().all(|s| !s.is_finished()));
            process.kill();
            let ended = sleepers.map(|s| s.join().expect("no panic").expect("in time"));
            let taken_over = ended.iter().filter(|a| **a == Acquired::OwnerDied);
            assert_eq!(taken_over.count(), 1);
        });
    }

    #[test]
    fn who_only_looks_takes_over_from_the_dead_as_well() {
        let lock = with_word(FakeProcess::dead().to_bits());
        assert_eq!(lock.wait_until_free(None), Some(WaitedFor::TakenOver));
        lock.release_to_all();
        assert_eq!(lock.wait_until_free(None), Some(WaitedFor::LetGo));
        assert_eq!(
            with_word(FakeProcess::dead().to_bits()).look_if_free(),
            Some(WaitedFor::TakenOver)
        );
    }

    #[test]
    fn garbage_is_a_dead_holder() {
        // Those that live: this process, and what another test may have made meanwhile.
        let living = [Token::mine(), FakeProcess::first()].map(Token::to_bits);
        let words =
            (0..32)
                .map(|bit| 1 << bit)
                .chain([u32::MAX, Token::MASK, 0x5555_5555, 0xdead_beef]);
        for word in words.filter(|w| !living.contains(&(w & Token::MASK))) {
            assert!(with_word(word).try_acquire().is_some(), "{word:#x}");
            let lock = with_word(word);
            assert!(lock.acquire(within(LONG)).is_some(), "{word:#x}");
            assert_eq!(lock.try_acquire(), None);
            lock.release();
            assert_eq!(lock.try_acquire(), Some(Acquired::Clean));
            assert!(
                with_word(word).wait_until_free(within(LONG)).is_some(),
                "{word:#x}"
            );
        }
    }
}
