//! What wakes the futures that wait for room in a channel.
//!
//! Problem: a sender that finds a channel full sleeps on a word of the memory that all its ends
//! share (`transport/header.rs`), and no epoll(7) waits for a word.
//!
//! One thread, `brigade-room`, started when a future first waits, sleeps on the words of all
//! channels for which futures of this process wait: `futex_waitv`, futex(2). For more channels than
//! that call takes there are more threads.
//!
//! 1. A future that finds no room enters itself with the channel's waiters, has the thread look
//!    unless that looks soon, announces in the channel that a sender waits, and **then** tries
//!    again.
//! 2. The receiver makes room, and finds the announcement: it takes that away, changes the word,
//!    and wakes the thread, which sleeps on it.
//! 3. The thread announces anew if futures wait, **then** looks whether the word has changed, and
//!    notifies the first of them.
//! 4. That future tries again, and sends. If there is more room, it notifies the next. If it is
//!    dropped instead, it notifies the next, too; if another sender was faster, it is the first
//!    again.
//!
//! *The receiver dies*: the word does not change. Each death of a process ends the thread's sleep
//! ([`DeathWatch`]); so does a tick while futures wait, for a receiver that is lost in another way,
//! and for room that changes no word. Then the first future tries again, and asks the kernel
//! whether the receiver is there. A future that finds it gone notifies all others.
//!
//! *The process is forked*: the child has neither the thread nor the parent's futures. It makes
//! what it needs anew ([`OwnCell`](crate::sys::per_process::OwnCell)).
//!
//! The thread has no end of a channel, only a view of its first page: a channel whose last sender
//! is dropped is disconnected at once.

#[cfg(all(test, loom))]
mod loom_tests;

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::sim::futures::{AtomicBool, AtomicU32, Mutex, MutexGuard, Ordering, fence, futex};
use crate::sync::DeathWatch;
use crate::sys::error::{Call, THREAD};
use crate::sys::original::Original;
use crate::sys::per_process::PerProcess;
use crate::sys::signal::Blocked;
use crate::task::waiters::FutureWaiters;
use crate::transport::header::{ChannelHeader, RoomView};

/// How long the thread sleeps at a time while futures wait.
const TICK: Duration = Duration::from_millis(100);

/// How many channels one thread has: it sleeps on two words more.
const MOST_CHANNELS: usize = crate::sys::futex::MOST - 2;

/// A sending side's place with the thread, for this process.
#[derive(Debug)]
pub(super) struct RoomRegistration {
    /// The process that it belongs to. A fork has a copy, and no such thread.
    process: Original,
    thread: &'static RoomThread,
    room: Arc<AwaitedRoom>,
}

/// A channel's room, and the futures that wait for it.
#[derive(Debug)]
struct AwaitedRoom {
    view: RoomView,
    waiters: FutureWaiters,
    /// The word of the channel, as the thread has seen it last.
    seen: AtomicU32,
}

/// What a look of the thread has seen: the words as they were, while which it may sleep.
struct Seen {
    called: u32,
    rooms: Vec<(Arc<AwaitedRoom>, u32)>,
    /// Futures wait.
    is_awaited: bool,
}

/// What a thread keeps from look to look.
struct Looks {
    watch: DeathWatch,
    /// When the first future of each channel is to look whatever the words say.
    tick: Option<Instant>,
}

impl RoomRegistration {
    pub(super) fn new(channel: &ChannelHeader) -> io::Result<RoomRegistration> {
        let view = channel.room_view()?;
        let room = Arc::new(AwaitedRoom::new(view));
        Ok(RoomRegistration {
            process: Original::this_process(),
            thread: RoomThread::with(Arc::clone(&room))?,
            room,
        })
    }

    pub(super) fn waiters(&self) -> &FutureWaiters {
        &self.room.waiters
    }

    /// A future has entered itself with the waiters. It has to try again afterwards.
    pub(super) fn announce_wait(&self, channel: &ChannelHeader) {
        self.thread.have_it_look_soon();
        channel.announce_wait();
    }
}

impl Drop for RoomRegistration {
    fn drop(&mut self) {
        // In a fork the lock may be held by a thread that is not there.
        if self.process.is_this_process() {
            self.thread.remove(&self.room);
        }
    }
}

impl AwaitedRoom {
    fn new(view: RoomView) -> AwaitedRoom {
        AwaitedRoom {
            seen: AtomicU32::new(view.now()),
            view,
            waiters: FutureWaiters::default(),
        }
    }

    /// Notifies a future if there may be room, or `at_any_rate`. Returns the word to sleep on, and
    /// whether futures waited.
    fn look(&self, at_any_rate: bool) -> (u32, bool) {
        // Before the waiters: a future that comes after this announces itself, and room for it
        // changes the word.
        let mut word = self.view.now();
        let is_awaited = !self.waiters.is_empty();
        if is_awaited {
            word = self.view.announce();
        }
        let has_changed = self.seen.swap(word, Ordering::Relaxed) != word;
        if self.view.is_closed() {
            self.waiters.notify(usize::MAX);
        } else if has_changed || at_any_rate {
            self.waiters.notify(1);
        }
        (word, is_awaited)
    }
}

/// A thread that waits for room.
#[derive(Debug)]
struct RoomThread {
    /// Changes when it has to look.
    called: AtomicU32,
    /// The thread looks again within a tick, and as soon as a word changes of the channels that it
    /// has.
    ticks: AtomicBool,
    rooms: Mutex<Vec<Arc<AwaitedRoom>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RoomThread {
    fn new(room: Arc<AwaitedRoom>) -> RoomThread {
        RoomThread {
            called: AtomicU32::new(0),
            ticks: AtomicBool::new(false),
            rooms: Mutex::new(vec![room]),
        }
    }

    /// A thread of this process, which has this channel from now on.
    fn with(room: Arc<AwaitedRoom>) -> io::Result<&'static RoomThread> {
        // A fork has not its parent's threads, and starts its own.
        static ALL: PerProcess<Mutex<Vec<&'static RoomThread>>> = PerProcess::new(Mutex::default);
        let mut all = lock(ALL.get());
        for thread in all.iter().copied() {
            let mut rooms = lock(&thread.rooms);
            if rooms.len() < MOST_CHANNELS {
                rooms.push(room);
                drop(rooms);
                thread.call();
                return Ok(thread);
            }
        }
        let thread: &'static RoomThread = Box::leak(Box::new(RoomThread::new(room)));
        // The program's signals are for its own threads.
        let blocked = Blocked::all();
        std::thread::Builder::new()
            .name("brigade-room".to_owned())
            .spawn(|| thread.run())
            .call(THREAD)
            .needed_to("wake futures that wait for room")?;
        drop(blocked);
        all.push(thread);
        Ok(thread)
    }

    fn remove(&self, room: &Arc<AwaitedRoom>) {
        lock(&self.rooms).retain(|other| !Arc::ptr_eq(other, room));
        // It lets go of the view.
        self.call();
    }

    /// A future waits, which has entered itself with a channel's waiters. Has the thread look,
    /// unless that looks soon.
    fn have_it_look_soon(&self) {
        // Store–fence–load: either the thread sees the future, or this sees that it does not tick.
        fence(Ordering::SeqCst);
        if !self.ticks.load(Ordering::SeqCst) {
            self.call();
        }
    }

    /// Has the thread look.
    fn call(&self) {
        self.called.fetch_add(1, Ordering::Release);
        futex::wake_all(&self.called);
    }

    fn run(&self) {
        let mut looks = Looks {
            watch: DeathWatch::begin(),
            tick: None,
        };
        loop {
            let seen = self.look(&mut looks);
            self.sleep(&mut looks, seen);
        }
    }

    fn look(&self, looks: &mut Looks) -> Seen {
        let called = self.called.load(Ordering::Acquire);
        self.ticks.store(false, Ordering::SeqCst);
        // Store–fence–load: see `have_it_look_soon`.
        fence(Ordering::SeqCst);
        let rooms = lock(&self.rooms).clone();
        let before = std::mem::replace(&mut looks.watch, DeathWatch::begin());
        // By the clock: words that change all the time do not keep it from ticking.
        let has_ticked = looks.tick.take_if(|at| *at <= Instant::now()).is_some();
        let at_any_rate = has_ticked || looks.watch.saw_a_death_since(&before);
        let mut is_awaited = false;
        let rooms = rooms.into_iter().map(|room| {
            let (word, awaited) = room.look(at_any_rate);
            is_awaited |= awaited;
            (room, word)
        });
        Seen {
            called,
            rooms: rooms.collect(),
            is_awaited,
        }
    }

    fn sleep(&self, looks: &mut Looks, seen: Seen) {
        if seen.is_awaited {
            self.ticks.store(true, Ordering::SeqCst);
            looks.tick = looks.tick.or_else(next_tick);
            let words = seen
                .rooms
                .iter()
                .map(|(room, word)| (room.view.word(), *word));
            let words: Vec<_> = words.collect();
            let own = (&self.called, seen.called);
            looks.watch.sleep_on_all(own, &words, looks.tick);
        } else {
            looks.tick = None;
            // Channels for which no future waits wake it in vain, for other processes' senders.
            futex::wait(&self.called, seen.called, None);
        }
    }
}

/// In models never: a tick would hide a wake-up that is lost.
fn next_tick() -> Option<Instant> {
    (!cfg!(loom)).then(|| Instant::now() + TICK)
}
