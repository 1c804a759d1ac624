//! Which tasks were handed to a worker of a pool, and which side sleeps: the words that it and the
//! host share beside their rings.
//!
//! Problem: tasks lie in a worker's mailbox ahead of their turn, so that it need not wait for the
//! host. When the worker dies, the host must know exactly which one was running; and it must be
//! able to take back those that are not begun, for another worker that has nothing to do, without
//! ever having one run twice.
//!
//! Which task is begun, offered or taken back is decided by one atomic step each on one word: see
//! [`claims`](super::claims).
//!
//! Each side may sleep. The worker says so in `asleep`, the host in `notify`, where it also says
//! when it wants to be woken: after a number of tasks, or when there is nothing more to do, or when
//! the worker is held up because there is no room for a result.
//!
//! **Hostile memory.** The worker can write all of this. The host checks what it reads against its
//! own counts, tries a bounded number of times, and takes anything else for a broken protocol. A
//! worker that lies can only make its own tasks fail.
//!
//! The steps by which each side waits for the other are here in one piece each, for the order of
//! what they do is all there is to them.

use std::time::Duration;

use super::claims::{Claims, beyond};
use crate::sim::claims::{AtomicU32, Ordering, fence, futex, store_over};
use crate::sim::local::Instant;
use crate::transport::ring::Corrupt;

/// All zero is the beginning.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(crate) struct Handoff {
    pub(in crate::worker::process) claims: Claims,
    /// Not 0: the worker sleeps here, or is about to; for what, see [`SleepReason`].
    asleep: AtomicU32,
    /// What the host has to say: on other lines, for the worker looks here after each task.
    host: HostWords,
    /// How many results the worker has shown.
    finished: Finished,
}

#[repr(C, align(128))]
#[derive(Debug, Default)]
struct HostWords {
    notify: AtomicU32,
    /// 0: sleep at once when there is nothing to do. Otherwise one more than the processor that the
    /// host was on: look for a while first, unless it is one's own.
    spin_hint: AtomicU32,
}

#[repr(C, align(128))]
#[derive(Debug, Default)]
struct Finished {
    count: AtomicU32,
    /// The worker's last [`BusyPeriod`], as a word. The host takes it; 0: there is none.
    busy_period: AtomicU32,
}

/// Tasks that a worker ran one after another, until there were no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BusyPeriod {
    /// 4095 stands for all that are more.
    pub(crate) tasks: u32,
    /// The mean time of one, in nanoseconds; a millisecond stands for all that are longer. The host
    /// gives a worker as few of those ahead as it can.
    pub(crate) nanos: u32,
}

impl BusyPeriod {
    const NANOS_BITS: u32 = 20;
    const MOST_NANOS: u32 = (1 << BusyPeriod::NANOS_BITS) - 1;
    const MOST_TASKS: u32 = u32::MAX >> BusyPeriod::NANOS_BITS;

    /// Neither is above what there are bits for.
    fn to_word(self) -> u32 {
        self.tasks.min(BusyPeriod::MOST_TASKS) << BusyPeriod::NANOS_BITS
            | self.nanos.min(BusyPeriod::MOST_NANOS)
    }

    /// `None`: it is of no task.
    fn from_word(word: u32) -> Option<BusyPeriod> {
        let (tasks, nanos) = (
            word >> BusyPeriod::NANOS_BITS,
            word & BusyPeriod::MOST_NANOS,
        );
        (tasks > 0).then_some(BusyPeriod { tasks, nanos })
    }
}

/// How the host wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notify {
    /// The host sleeps on `notify`: until this many tasks are finished, or there is nothing to do,
    /// or no room.
    Futex(u32),
    /// The worker is to wake the host's listener, through the [wake socket](super::wake_socket),
    /// for the same.
    Listener(u32),
    /// The worker is to wake the host's listener, and only when there is no room for a result, or
    /// descriptors are to be closed.
    ListenerIfFull,
}

/// What a worker sleeps for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SleepReason {
    /// More tasks.
    Tasks = 1,
    /// Room for a result.
    Room = 2,
    /// Nothing any more: it leaves.
    Leaving = 3,
}

const ROOM: u32 = SleepReason::Room as u32;
const LEAVING: u32 = SleepReason::Leaving as u32;

const COUNT_BITS: u32 = 30;
const FUTEX: u32 = 1;
const LISTENER: u32 = 2;
const LISTENER_IF_FULL: u32 = 3;

impl Notify {
    pub(crate) fn to_word(self) -> u32 {
        match self {
            Notify::Futex(at) => at << 2 | FUTEX,
            Notify::Listener(at) => at << 2 | LISTENER,
            Notify::ListenerIfFull => LISTENER_IF_FULL,
        }
    }
}

/// Whether a running count has come to another; both are right to within half of what their bits
/// hold.
fn reached(count: u32, at: u32) -> bool {
    (count.wrapping_sub(at) << (32 - COUNT_BITS)) >> 31 == 0
}

/// What has happened, for which the host may want to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotifyEvent {
    /// A task is finished: how many are, in all.
    Finished(u32),
    /// The worker has finished all its tasks, and there is nothing more to do.
    Idle,
    /// There is no room for a result.
    Full,
    /// The host is to look in any case: a task with descriptors was begun or has ended, and its own
    /// are to be closed; or the worker leaves.
    MustLook,
}

/// What the worker is to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotifyTarget {
    Nobody,
    Futex,
    Listener,
}

impl Handoff {
    // ---- the worker

    /// Begins the next task, the one after `begun` others, if there is one; and wakes the host, if
    /// it waits for those that are `finished`, or for the end of all. If there is none, says before
    /// that how long they took.
    pub(in crate::worker::process) fn begin_or_notify(
        &self,
        begun: u32,
        finished: u32,
        busy_period: impl FnOnce() -> Option<BusyPeriod>,
        wake_listener: impl FnOnce(),
    ) -> Result<bool, Corrupt> {
        let more = self.claims.begin(begun)?;
        if more {
            self.wake_host(NotifyEvent::Finished(finished), wake_listener);
        } else {
            if let Some(period) = busy_period() {
                self.note_busy_period(period);
            }
            self.full_fence();
            self.wake_host(NotifyEvent::Idle, wake_listener);
        }
        Ok(more)
    }

    /// Sleeps until there is a task after `begun` others.
    pub(in crate::worker::process) fn sleep_until_more(&self, begun: u32) {
        self.sleep(begun, None);
    }

    /// As [`sleep_until_more`](Self::sleep_until_more), for no longer than `time`. Says whether
    /// there is one.
    pub(in crate::worker::process) fn sleep_for_more(&self, begun: u32, time: Duration) -> bool {
        self.sleep(begun, Some(Instant::now() + time))
    }

    fn sleep(&self, begun: u32, deadline: Option<Instant>) -> bool {
        while !self.claims.has_more(begun) {
            if deadline.is_some_and(|at| at <= Instant::now()) {
                self.cancel_sleep();
                return false;
            }
            self.prepare_to_wait(SleepReason::Tasks);
            if self.claims.has_more(begun) {
                self.cancel_sleep();
                return true;
            }
            futex::wait(&self.asleep, SleepReason::Tasks as u32, deadline);
        }
        true
    }

    /// There was no room for a reply: sleeps until there may be, once the host has heard of it.
    pub(in crate::worker::process) fn wait_for_room(
        &self,
        has_room: impl FnOnce() -> bool,
        wake_listener: impl FnOnce(),
    ) {
        // `notify` is looked at after the sleep is announced: of the host, which does it the other
        // way round, one sees the other.
        self.prepare_to_wait(SleepReason::Room);
        self.wake_host(NotifyEvent::Full, wake_listener);
        if has_room() {
            self.cancel_sleep();
            return;
        }
        futex::wait(&self.asleep, SleepReason::Room as u32, None);
    }

    /// The worker has said, and shown, that it leaves.
    pub(in crate::worker::process) fn leave(&self, wake_listener: impl FnOnce()) {
        self.prepare_to_wait(SleepReason::Leaving);
        self.wake_host(NotifyEvent::MustLook, wake_listener);
    }

    /// Wakes the host, if it wants to be.
    pub(in crate::worker::process) fn wake_host(
        &self,
        event: NotifyEvent,
        wake_listener: impl FnOnce(),
    ) {
        match self.take_notify(event) {
            NotifyTarget::Nobody => {}
            NotifyTarget::Futex => futex::wake_one(&self.host.notify),
            NotifyTarget::Listener => wake_listener(),
        }
    }

    /// After a result was shown.
    pub(in crate::worker::process) fn finish(&self, finished: u32) {
        self.finished.count.store(finished, Ordering::Release);
    }

    /// There are no more tasks: how long those took that were run one after another.
    fn note_busy_period(&self, period: BusyPeriod) {
        self.finished
            .busy_period
            .store(period.to_word(), Ordering::Relaxed);
    }

    /// Takes the notify word if the event is what it asks for, and returns what to wake. The word
    /// is read after everything that the worker has shown: it has just begun a task, or calls
    /// [`full_fence`](Self::full_fence) first.
    fn take_notify(&self, event: NotifyEvent) -> NotifyTarget {
        let word = self.host.notify.load(Ordering::Relaxed);
        if word == 0 {
            return NotifyTarget::Nobody;
        }
        let due = match event {
            NotifyEvent::Finished(count) => {
                word & 3 != LISTENER_IF_FULL && reached(count, word >> 2)
            }
            NotifyEvent::Idle => word & 3 != LISTENER_IF_FULL,
            NotifyEvent::Full | NotifyEvent::MustLook => true,
        };
        // The host may have changed its mind meanwhile, and then it has looked after that.
        if !due
            || self
                .host
                .notify
                .compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed)
                .is_err()
        {
            return NotifyTarget::Nobody;
        }
        if word & 3 == FUTEX {
            NotifyTarget::Futex
        } else {
            NotifyTarget::Listener
        }
    }

    /// What was shown before is seen by a thread that sleeps after.
    pub(in crate::worker::process) fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }

    /// The worker is about to sleep on `asleep`; it looks once more, and then does.
    fn prepare_to_wait(&self, reason: SleepReason) {
        store_over(&self.asleep, reason as u32, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker has seen something, and does not sleep.
    fn cancel_sleep(&self) {
        store_over(&self.asleep, 0, Ordering::Relaxed);
    }

    /// The processor of the host, if looking for a while is allowed.
    pub(in crate::worker::process) fn spin_hint(&self) -> Option<u32> {
        self.host.spin_hint.load(Ordering::Relaxed).checked_sub(1)
    }

    // ---- the host

    /// Offers `count` more tasks, and wakes the worker if it sleeps.
    pub(in crate::worker::process) fn offer_and_wake(&self, count: u32) {
        self.claims.offer(count);
        self.wake_worker(SleepReason::Tasks);
    }

    /// After results were taken: a worker that waits for room goes on.
    pub(in crate::worker::process) fn made_room(&self) {
        fence(Ordering::SeqCst);
        self.wake_worker(SleepReason::Room);
    }

    /// Wakes the worker whatever `asleep` says.
    pub(in crate::worker::process) fn force_wake(&self) {
        futex::wake_one(&self.asleep);
    }

    fn wake_worker(&self, reason: SleepReason) {
        if self.take_sleep(reason) {
            futex::wake_one(&self.asleep);
        }
    }

    /// Sets when the host is to be woken, where `taken` results were taken and `offered` tasks
    /// offered; `is_ready`: whether there is a result to take. Returns what it is set to, and
    /// whether that is still to come.
    pub(in crate::worker::process) fn set_notify_and_check(
        &self,
        notify: Notify,
        (taken, offered): (u32, u32),
        is_ready: impl Fn() -> bool,
    ) -> (u32, bool) {
        let word = self.set_notify(notify);
        match self.asleep.load(Ordering::Relaxed) {
            // What is not counted: it waits for room for a reply, or has said that it leaves.
            ROOM | LEAVING if is_ready() => return (word, false),
            // All was taken, and it has not seen that: it looked in between, and a side that took
            // little did not look at it.
            ROOM => self.wake_worker(SleepReason::Room),
            _ => {}
        }
        let at = match notify {
            Notify::ListenerIfFull => return (word, true),
            Notify::Futex(at) | Notify::Listener(at) => at,
        };
        // Counted from what was taken, so that it is a number that goes up. A result is shown
        // before it is counted.
        let finished = beyond(self.finished(), taken);
        let all = offered.wrapping_sub(taken);
        (word, finished < at.wrapping_sub(taken).min(all))
    }

    /// Whether the worker sleeps for this; then it has to be woken, for which this is the one to do
    /// it. Looked at after an [`offer`](Claims::offer), or a fence.
    fn take_sleep(&self, reason: SleepReason) -> bool {
        self.asleep.load(Ordering::Relaxed) == reason as u32
            && self
                .asleep
                .compare_exchange(reason as u32, 0, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
    }

    /// The host wants to be woken, from now on.
    fn set_notify(&self, notify: Notify) -> u32 {
        let word = notify.to_word();
        store_over(&self.host.notify, word, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        word
    }

    pub(in crate::worker::process) fn notify_word(&self) -> &AtomicU32 {
        &self.host.notify
    }

    /// How many results it says that it has shown.
    pub(in crate::worker::process) fn finished(&self) -> u32 {
        self.finished.count.load(Ordering::Acquire)
    }

    /// Takes what the worker says of how long its tasks took.
    pub(in crate::worker::process) fn take_busy_period(&self) -> Option<BusyPeriod> {
        let word = &self.finished.busy_period;
        // On a line that the worker writes to: written to only where there is something.
        match word.load(Ordering::Relaxed) {
            0 => None,
            _ => BusyPeriod::from_word(word.swap(0, Ordering::Relaxed)),
        }
    }

    pub(in crate::worker::process) fn set_spin_hint(&self, spin_hint: u32) {
        self.host.spin_hint.store(spin_hint, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How far a count may be ahead of another, in the bits that `notify` has for it, and still be
    /// distinct from one that is behind.
    const REACH: u32 = 1 << (COUNT_BITS - 1);

    #[test]
    fn a_count_is_reached_wherever_it_wraps() {
        let places = [0, 1, REACH - 1, REACH, 1 << COUNT_BITS, 1 << 31, u32::MAX];
        let steps = [0, 1, 2, 3, 1000, REACH / 2, REACH - 2, REACH - 1];
        for place in places {
            for nudge in 0..8_u32 {
                let at = place.wrapping_add(nudge).wrapping_sub(4);
                // As the worker reads it from `notify`.
                let told = Notify::Futex(at).to_word() >> 2;
                for step in steps {
                    assert!(reached(at.wrapping_add(step), told), "{at} + {step}");
                    let before = at.wrapping_sub(step + 1);
                    assert!(!reached(before, told), "{at} - {step} - 1");
                }
            }
        }
    }

    #[test]
    fn notifications_are_told_apart() {
        let handoff = Handoff::default();
        let take = |notify, event| {
            handoff.set_notify(notify);
            handoff.take_notify(event)
        };
        for at in [0, 1, 1 << 29, u32::MAX] {
            for event in [
                NotifyEvent::Finished(at),
                NotifyEvent::Idle,
                NotifyEvent::Full,
            ] {
                assert_eq!(take(Notify::Futex(at), event), NotifyTarget::Futex);
                assert_eq!(take(Notify::Listener(at), event), NotifyTarget::Listener);
            }
            let early = NotifyEvent::Finished(at.wrapping_sub(1));
            assert_eq!(take(Notify::Futex(at), early), NotifyTarget::Nobody);
            assert_eq!(take(Notify::Listener(at), early), NotifyTarget::Nobody);
        }
        assert_eq!(
            take(Notify::ListenerIfFull, NotifyEvent::Finished(0)),
            NotifyTarget::Nobody
        );
        assert_eq!(
            take(Notify::ListenerIfFull, NotifyEvent::Idle),
            NotifyTarget::Nobody
        );
        assert_eq!(
            take(Notify::ListenerIfFull, NotifyEvent::Full),
            NotifyTarget::Listener
        );
        // It is rung once.
        assert_eq!(handoff.take_notify(NotifyEvent::Full), NotifyTarget::Nobody);
    }

    #[test]
    fn a_busy_period_is_taken_once_and_no_larger_than_its_bits() {
        let handoff = Handoff::default();
        assert_eq!(handoff.take_busy_period(), None);
        for (tasks, nanos) in [(1, 0), (3, 250), (4095, 1_048_575)] {
            let period = BusyPeriod { tasks, nanos };
            handoff.note_busy_period(period);
            assert_eq!(handoff.take_busy_period(), Some(period));
            assert_eq!(handoff.take_busy_period(), None);
        }
        let (tasks, nanos) = (u32::MAX, u32::MAX);
        handoff.note_busy_period(BusyPeriod { tasks, nanos });
        let (tasks, nanos) = (4095, 1_048_575);
        assert_eq!(
            handoff.take_busy_period(),
            Some(BusyPeriod { tasks, nanos })
        );
    }

    #[test]
    fn counts_of_results_wrap() {
        let handoff = Handoff::default();
        let start = u32::MAX - 1;
        handoff.finish(1);
        let quiet_until =
            |at| handoff.set_notify_and_check(Notify::Futex(at), (start, 2), || false);
        assert_eq!(quiet_until(2), (Notify::Futex(2).to_word(), true));
        assert!(!quiet_until(1).1);
    }

    #[test]
    fn what_is_taken_before_it_is_counted_is_no_news() {
        let handoff = Handoff::default();
        handoff.claims.offer(2);
        assert_eq!(handoff.claims.begin(0), Ok(true));
        // The result was shown and taken, and is counted a moment later, or never.
        assert!(
            handoff
                .set_notify_and_check(Notify::Futex(2), (1, 2), || false)
                .1
        );
        handoff.finish(1);
        assert!(
            handoff
                .set_notify_and_check(Notify::Futex(2), (1, 2), || false)
                .1
        );
    }
}
