//! A process's receiving side of a channel: taking messages out, and waiting for them.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

pub(super) use super::frame::Frame;
use super::{Patience, Transport, TryRecvError, usable};
use crate::sim::shared::fence_after_rmw;
use crate::sync::Token;
use crate::sync::{Mutex, MutexGuard};
use crate::sys::original::{self, Original};
use crate::sys::per_process::OwnCell;
use crate::sys::{fds, futex, opened, spin, wakeup};
use crate::transport::header::{self, ChannelHeader, Waited};
use crate::transport::reactor::ReactorRegistration;
use crate::transport::{ChannelContext, FrameSource, Link, NotGot};

/// A process's receiving side of a channel.
#[derive(Debug)]
pub(super) struct ReceiveSide {
    over: Transport,
    shared: ChannelHeader,
    link: Link,
    /// The mechanism's own descriptor, if it is another than the link.
    mechanism: Option<Arc<OwnedFd>>,
    source: Mutex<Box<dyn FrameSource>>,
    /// Why nothing more can be received, if it is not that the senders are gone.
    fault: OnceLock<String>,
    /// This end was sent on, or may have been: then it is not the end of the channel when this is
    /// dropped.
    left: AtomicBool,
    registration: OwnCell<ReactorRegistration>,
    /// Readable while a thread that received has left something for others, which wait outside the
    /// lock, with `Select` or in async code: the mechanism may have told of it only once. Made when
    /// the first of them waits.
    left_over: OnceLock<OwnedFd>,
    /// The process that made it; a fork of that has a copy.
    original: Original,
    /// How often the process had been forked then: there may be copies in others, if it was since.
    forks: u32,
    /// A thread that waits outside could not look, for another had the lock; that one is to say so
    /// when it lets go of the lock.
    missed: AtomicBool,
}

/// How long to rest where no descriptor says when to look again.
const TRY_AGAIN: Duration = Duration::from_millis(1);

impl Drop for ReceiveSide {
    fn drop(&mut self) {
        // If there may be another, the kernel says when the last is gone.
        let is_the_only_one = !self.left.load(Ordering::Acquire)
            && self.original.is_this_process()
            && self.forks == original::forks();
        if is_the_only_one {
            self.shared.close();
        }
    }
}

impl ReceiveSide {
    pub(super) fn new(
        over: Transport,
        shared: ChannelHeader,
        link: Link,
        mechanism: Option<Arc<OwnedFd>>,
        source: Box<dyn FrameSource>,
        fault: Option<String>,
    ) -> ReceiveSide {
        ReceiveSide {
            over,
            shared,
            link,
            mechanism,
            source: Mutex::new(source),
            fault: fault.map_or_else(OnceLock::new, OnceLock::from),
            left: AtomicBool::new(false),
            registration: OwnCell::new(),
            left_over: OnceLock::new(),
            original: Original::this_process(),
            forks: original::forks(),
            missed: AtomicBool::new(false),
        }
    }

    pub(super) fn over(&self) -> Transport {
        self.over
    }

    /// Why nothing more can be received, if it is not that the senders are gone.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.get().cloned()
    }

    pub(super) fn shared(&self) -> &ChannelHeader {
        &self.shared
    }

    fn context(&self) -> ChannelContext<'_> {
        ChannelContext {
            shared: &self.shared,
            link: &self.link,
        }
    }

    /// How many messages may be on their way.
    pub(super) fn capacity(&self) -> u64 {
        self.shared.capacity()
    }

    /// How many are.
    pub(super) fn in_flight(&self) -> u64 {
        self.shared.in_flight()
    }

    pub(super) fn link(&self) -> &OwnedFd {
        &self.link
    }

    pub(super) fn mechanism(&self) -> Option<&OwnedFd> {
        self.mechanism.as_deref()
    }

    /// The descriptor that is readable when there may be something to get.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.mechanism().unwrap_or(&self.link).as_fd()
    }

    /// What to poll for: the hanging up of the link, and something to get.
    fn interests(&self) -> [PollFd<'_>; 2] {
        let mut something = PollFlags::IN;
        something.set(PollFlags::RDHUP, self.is_only_woken());
        [
            PollFd::new(&self.link, PollFlags::empty()),
            PollFd::from_borrowed_fd(self.readable(), something),
        ]
    }

    /// Whether the mechanism's descriptor carries wake-ups only: when it is at its end, no sender
    /// is left that could send one.
    fn is_only_woken(&self) -> bool {
        self.over == Transport::SharedMemory
    }

    /// Whether poll(2) found that nothing comes any more but what is here.
    fn tell_the_end(&self, [link, readable]: &[PollFd<'_>; 2]) -> bool {
        !link.revents().is_empty()
            || (self.is_only_woken() && readable.revents().intersects(wakeup::ENDS))
    }

    /// What to poll for outside the lock.
    fn interests_outside(&self) -> io::Result<[PollFd<'_>; 3]> {
        let [link, readable] = self.interests();
        let left_over = PollFd::new(self.left_over()?, PollFlags::IN);
        Ok([link, readable, left_over])
    }

    fn left_over(&self) -> io::Result<&OwnedFd> {
        if let Some(left_over) = self.left_over.get() {
            return Ok(left_over);
        }
        let new = opened::event()?;
        Ok(self.left_over.get_or_init(|| new))
    }

    /// This end's place with the reactor, for futures that wait.
    fn registration(&self) -> io::Result<&ReactorRegistration> {
        self.registration.get_or_try_init(|| {
            ReactorRegistration::new([
                self.readable(),
                self.link.as_fd(),
                self.left_over()?.as_fd(),
            ])
        })
    }

    /// Lends what has to be sent along. `None`: a thread waits.
    pub(super) fn leaving<R>(
        &self,
        send: impl FnOnce(&dyn FrameSource, Option<&str>) -> R,
    ) -> Option<R> {
        let source = self.try_lock()?;
        self.left.store(true, Ordering::Release);
        Some(send(source.get(), self.fault.get().map(String::as_str)))
    }

    #[inline]
    fn lock(&self, deadline: Option<Instant>) -> Option<SourceInUse<'_>> {
        // A source is never half-changed when a panic passes through: messages are decoded outside.
        let source = match deadline {
            None => self.source.lock().unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                usable(self.source.lock_timeout(left))?
            }
        };
        Some(SourceInUse::new(self, source))
    }

    fn try_lock(&self) -> Option<SourceInUse<'_>> {
        Some(SourceInUse::new(self, usable(self.source.try_lock())?))
    }

    /// In a fork: a thread that the fork does not have had the lock when it was made, and may have
    /// been in the middle of anything. No process will let go of it.
    fn is_stuck(&self) -> bool {
        let is_mine = |holder| holder == Token::mine();
        !self.original.is_this_process() && self.source.holder().is_some_and(|h| !is_mine(h))
    }

    fn is_hung_up(&self) -> bool {
        match self.mechanism() {
            Some(woken) if self.is_only_woken() => header::is_any_hung_up(&mut [
                PollFd::new(&self.link, PollFlags::empty()),
                PollFd::new(woken, PollFlags::RDHUP),
            ]),
            _ => header::is_hung_up(&self.link),
        }
    }

    /// No more messages can be made out. The first call that meets that returns why; for all others
    /// the channel has ended, and [`fault`](Receiver::fault) says why.
    fn broken(&self, why: &str) -> TryRecvError {
        let over = self.over;
        let why = format!("no more can be received over a channel ({over}): {why}");
        match self.fault.set(why.clone()) {
            Ok(()) => TryRecvError::Undeliverable(why),
            Err(_) => TryRecvError::Disconnected,
        }
    }

    /// Receives a message, all but its decoding.
    pub(super) fn receive_frame(
        &self,
        frame: &mut Frame,
        patience: Patience,
    ) -> Result<(), TryRecvError> {
        if self.is_stuck() {
            return Err(self.broken(
                "this receiver is a fork's copy, and a thread of the fork's parent was receiving \
                 with it when the fork was made",
            ));
        }
        let (locked, deadline) = match patience {
            Patience::None => (self.try_lock(), None),
            Patience::Until(deadline) => (self.lock(deadline), deadline),
        };
        // Another thread waits with this receiver, so there is nothing.
        let mut locked = locked.ok_or(TryRecvError::Empty)?;
        let source = locked.get_mut();
        let waits = matches!(patience, Patience::Until(_));
        let (mut hung_up, mut is_last_look) = (false, false);
        loop {
            if self.fault.get().is_some() {
                return Err(TryRecvError::Disconnected);
            }
            let may_wait = waits && deadline.is_none();
            match source.get(self.context(), &mut frame.content, may_wait) {
                Ok(header) => {
                    self.shared.count_received(header.number);
                    locked.let_go();
                    self.shared.wake_senders_after_fence();
                    frame.large = header.large;
                    frame.announced = header.descriptors;
                    return Ok(());
                }
                Err(NotGot::Gone) => return Err(TryRecvError::Disconnected),
                Err(NotGot::NoFrame(why)) => return Err(TryRecvError::Undeliverable(why)),
                Err(NotGot::Corrupt(why)) => return Err(self.broken(&why)),
                // What the senders sent before they were gone, we would have got now.
                Err(NotGot::Empty) if hung_up => return Err(TryRecvError::Disconnected),
                Err(NotGot::Empty) if is_last_look || !waits => {
                    if !self.is_hung_up() {
                        return Err(TryRecvError::Empty);
                    }
                    hung_up = true;
                    continue;
                }
                Err(NotGot::Empty) => {}
                Err(NotGot::Later) if is_last_look || !waits => return Err(TryRecvError::Empty),
                Err(NotGot::Later) => {
                    futex::rest(TRY_AGAIN);
                    is_last_look = deadline.is_some_and(|at| at <= Instant::now());
                    continue;
                }
            }
            match self.wait(source, deadline) {
                // A peer can see to it that there is always something to look at.
                Ok(Waited::Look) => is_last_look = deadline.is_some_and(|at| at <= Instant::now()),
                Ok(Waited::Gone) => hung_up = true,
                Ok(Waited::TimedOut) => return Err(TryRecvError::Empty),
                // It cannot be waited for: no memory, or this process may have no descriptors any
                // more (`RLIMIT_NOFILE`). Slow, but nothing is lost.
                Err(_) => {
                    hung_up = self.is_hung_up();
                    futex::rest(TRY_AGAIN);
                    is_last_look = deadline.is_some_and(|at| at <= Instant::now());
                }
            }
        }
    }

    fn wait(&self, source: &mut dyn FrameSource, deadline: Option<Instant>) -> io::Result<Waited> {
        self.shared.note_receiver();
        if source.peek(&self.shared).is_some() && self.shared.sender_runs_elsewhere() {
            source.back_off();
            if spin::until(|| source.peek(&self.shared) == Some(true)) {
                return Ok(Waited::Look);
            }
        }
        if !source.prepare_to_wait(&self.shared) {
            return Ok(Waited::Look);
        }
        let mut interests = self.interests();
        if !fds::poll_until(&mut interests, deadline)? {
            return Ok(Waited::TimedOut);
        }
        Ok(match self.tell_the_end(&interests) {
            true => Waited::Gone,
            false => Waited::Look,
        })
    }

    /// Whether it is worth trying to receive: there may be a message, or the disconnect.
    pub(super) fn is_ready(&self) -> bool {
        if self.fault.get().is_some() || self.is_stuck() {
            return true;
        }
        let Some(locked) = self.try_lock() else {
            return false;
        };
        let source = locked.get();
        if source.has_buffered(&self.shared) {
            return true;
        }
        match source.peek(&self.shared) {
            Some(true) => true,
            Some(false) => self.is_hung_up(),
            None => fds::poll_until(&mut self.interests(), Some(Instant::now())).unwrap_or(true),
        }
    }

    /// The source was let go of: notifies those that wait outside, if there is `more`, or one of
    /// them could not look.
    #[cold]
    fn notify_others(&self, left_over: &OwnedFd, more: bool) {
        if self.missed.swap(false, Ordering::SeqCst) || more {
            // It fails when the count would overflow: then it is readable.
            let _ = rustix::io::write(left_over, &1_u64.to_ne_bytes());
        }
    }

    /// Has the waker woken when it may be worth trying to receive. `false`: it may be now.
    ///
    /// # Errors
    /// No descriptor or no thread to be had for it.
    pub(super) fn wake_when_changed(&self, waker: &Waker) -> io::Result<bool> {
        self.registration()?.wake_when_changed(waker);
        // It may have changed before it was asked to tell.
        Ok(self.prepare_to_wait() && !self.is_ready())
    }

    /// Announces that a caller is about to wait for the [interests](Self::interests_outside).
    /// `false`: look again first.
    fn prepare_to_wait(&self) -> bool {
        if let Some(left_over) = self.left_over.get() {
            // Clears it. Where it is clear already, this fails, and nothing is lost.
            let _ = rustix::io::read(left_over, &mut [0; 8][..]);
        }
        let locked = self.try_lock().or_else(|| {
            self.missed.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.try_lock()
        });
        let Some(mut locked) = locked else {
            // Its holder says when it is free.
            return true;
        };
        let source = locked.get_mut();
        // When the source is let go of, that notifies another thread, which may have counted on
        // what was just taken, of what is left.
        source.prepare_to_wait(&self.shared) && !source.has_buffered(&self.shared)
    }
}

/// Sleeps until it may be worth looking at one of these. `false`: the deadline has passed first.
pub(super) fn sleep_until_any(receivers: &[&ReceiveSide], deadline: Option<Instant>) -> bool {
    let interests = receivers.iter().map(|r| r.interests_outside());
    let Ok(interests) = interests.collect::<io::Result<Vec<_>>>() else {
        // No descriptor to be had for it: slow, but nothing is lost.
        futex::rest(TRY_AGAIN);
        return true;
    };
    let mut interests: Vec<_> = interests.into_iter().flatten().collect();
    if !receivers.iter().all(|r| r.prepare_to_wait()) {
        return true;
    }
    fds::poll_until(&mut interests, deadline).unwrap_or_else(|_| {
        // More descriptors than this process may have, or no memory: slow, but nothing is lost.
        futex::rest(TRY_AGAIN);
        true
    })
}

/// The source, in use. Letting go of it notifies the threads that wait outside of what is left.
struct SourceInUse<'s> {
    side: &'s ReceiveSide,
    source: Option<MutexGuard<'s, Box<dyn FrameSource>>>,
}

impl<'s> SourceInUse<'s> {
    fn new(side: &'s ReceiveSide, source: MutexGuard<'s, Box<dyn FrameSource>>) -> SourceInUse<'s> {
        SourceInUse {
            side,
            source: Some(source),
        }
    }

    fn get(&self) -> &dyn FrameSource {
        match &self.source {
            Some(source) => &***source,
            None => unreachable!("only dropping takes it"),
        }
    }

    fn get_mut(&mut self) -> &mut dyn FrameSource {
        match &mut self.source {
            Some(source) => &mut ***source,
            None => unreachable!("only dropping takes it"),
        }
    }
}

impl SourceInUse<'_> {
    /// Whether there is something for others.
    #[cold]
    fn has_more(&self) -> bool {
        let (source, shared) = (self.get(), &self.side.shared);
        source.has_buffered(shared) || source.peek(shared) == Some(true)
    }

    /// As dropping it, compiled into its caller.
    #[inline(always)]
    fn let_go(self) {
        // Nothing is left in it afterwards.
        ManuallyDrop::new(self).end();
    }

    /// Lets go of the lock, which is followed by a full fence.
    #[inline(always)]
    fn end(&mut self) {
        let side = self.side;
        let more = side.left_over.get().is_some() && self.has_more();
        self.source = None;
        // Before looking which thread has missed it: pairs with the fence in `prepare_to_wait`.
        fence_after_rmw();
        if let Some(left_over) = side.left_over.get() {
            side.notify_others(left_over, more);
        }
    }
}

impl Drop for SourceInUse<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
