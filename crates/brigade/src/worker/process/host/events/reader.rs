//! The thread that reads what workers send, and tells it.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Spans;
use super::places::Places;
use super::source::{Read, WorkerEvents};
use super::tell::{tell, tell_lost};
use crate::sys::epoll::Epoll;
use crate::sys::error::{Call, THREAD};
use crate::sys::opened;
use crate::sys::per_process::PerProcess;
use crate::sys::signal::Blocked;
use crate::task::contain::contained;
use crate::worker::process::ipc::events::MAX_FRAME;

/// How many frames of one worker are read before another's turn.
const IN_A_ROW: usize = 32;

/// A sweep reads no more of one worker: more than its socket holds, so that all is read that was
/// there when the sweep began, and a worker that goes on sending does not make it endless.
const MOST_IN_A_SWEEP: usize = 4096;

/// How long the spans of tasks that have ended stay open, so that a thread that is woken has more
/// than one to close.
const SWEEP_AFTER: Duration = Duration::from_millis(5);

/// The number of what wakes the thread. Those of sockets count from 0.
const WAKE: u64 = u64::MAX;

pub(super) struct Reader {
    epoll: Epoll,
    wake: OwnedFd,
    sources: Mutex<HashMap<u64, Arc<WorkerEvents>>>,
    next: AtomicU64,
    /// Whose spans are closed.
    watched: Mutex<Vec<Weak<dyn Spans>>>,
    /// Tasks have ended.
    sweep_is_due: AtomicBool,
    sweeps: Mutex<Sweeps>,
    swept: Condvar,
}

/// How many sweeps were asked for at once, and how many of those were made.
#[derive(Debug, Default)]
struct Sweeps {
    asked: u64,
    made: u64,
    /// The thread that reads, which does not wait for itself.
    thread: Option<std::thread::ThreadId>,
    /// The thread cannot read any more.
    has_ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    /// This process's.
    pub(super) fn get() -> io::Result<&'static Reader> {
        // A fork has not its parent's thread, and starts its own.
        static CURRENT: PerProcess<Mutex<Option<&'static Reader>>> =
            PerProcess::new(Mutex::default);
        let mut current = lock(CURRENT.get());
        if let Some(reader) = *current {
            return Ok(reader);
        }
        let reader: &'static Reader = Box::leak(Box::new(Reader {
            epoll: Epoll::new()?,
            wake: opened::event()?,
            sources: Mutex::default(),
            next: AtomicU64::new(0),
            watched: Mutex::default(),
            sweep_is_due: AtomicBool::new(false),
            sweeps: Mutex::default(),
            swept: Condvar::new(),
        }));
        reader.epoll.add_readable(&reader.wake, WAKE)?;
        // The program's signals are for its own threads.
        let blocked = Blocked::all();
        let thread = std::thread::Builder::new()
            .name("brigade-events".to_owned())
            .spawn(|| reader.run())
            .call(THREAD)
            .needed_to("read workers' events")?;
        drop(blocked);
        lock(&reader.sweeps).thread = Some(thread.thread().id());
        *current = Some(reader);
        Ok(reader)
    }

    /// These spans are to be closed when their tasks have ended.
    pub(super) fn watch(&self, spans: &Arc<dyn Spans>) {
        let mut watched = lock(&self.watched);
        watched.retain(|spans| spans.strong_count() > 0);
        watched.push(Arc::downgrade(spans));
    }

    /// Reads that, from now on.
    pub(super) fn add(&self, source: WorkerEvents) -> io::Result<Arc<WorkerEvents>> {
        let source = Arc::new(source);
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.sources).insert(key, Arc::clone(&source));
        if let Err(e) = self.epoll.add_readable(&*source, key) {
            lock(&self.sources).remove(&key);
            return Err(e);
        }
        Ok(source)
    }

    pub(super) fn sweep_soon(&self) {
        if !self.sweep_is_due.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Has a sweep made, and waits for it, for `most` at the longest.
    pub(super) fn sweep_now(&self, most: Duration) {
        let mut sweeps = lock(&self.sweeps);
        if sweeps.thread == Some(std::thread::current().id()) {
            return;
        }
        sweeps.asked += 1;
        let mine = sweeps.asked;
        self.wake();
        let waits = |sweeps: &mut Sweeps| sweeps.made < mine && !sweeps.has_ended;
        let waited = self.swept.wait_timeout_while(sweeps, most, waits);
        drop(waited);
    }

    fn wake(&self) {
        // One that is full wakes it all the same.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn run(&self) {
        let mut state = ReadState {
            places: Places::default(),
            buffer: vec![0; MAX_FRAME],
        };
        let mut ready = Vec::new();
        let mut sweep_at: Option<Instant> = None;
        loop {
            let wait = sweep_at.map(|at| at.saturating_duration_since(Instant::now()));
            if self.epoll.wait(&mut ready, wait).is_err() {
                break;
            }
            for key in ready.drain(..) {
                if key == WAKE {
                    let _ = rustix::io::read(&self.wake, &mut [0; 8][..]);
                } else {
                    self.read(key, IN_A_ROW, &mut state);
                }
            }
            if sweep_at.is_none() && self.sweep_is_due.load(Ordering::Acquire) {
                sweep_at = Some(Instant::now() + SWEEP_AFTER);
            }
            let (asked, made) = {
                let sweeps = lock(&self.sweeps);
                (sweeps.asked, sweeps.made)
            };
            if asked > made || sweep_at.is_some_and(|at| at <= Instant::now()) {
                sweep_at = None;
                self.sweep_is_due.store(false, Ordering::Release);
                self.sweep(&mut state);
                lock(&self.sweeps).made = asked;
                self.swept.notify_all();
            }
        }
        lock(&self.sweeps).has_ended = true;
        self.swept.notify_all();
    }

    /// Reads all that is there, and then closes the spans of tasks that had ended before.
    fn sweep(&self, state: &mut ReadState) {
        let watched: Vec<_> = lock(&self.watched)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let ended: Vec<_> = watched.iter().map(|spans| spans.take_ended()).collect();
        let keys: Vec<_> = lock(&self.sources).keys().copied().collect();
        for key in keys {
            self.read(key, MOST_IN_A_SWEEP, state);
        }
        for (spans, ended) in watched.iter().zip(ended) {
            if !ended.is_empty() {
                contained(|| spans.close(ended));
            }
        }
        // The last copy of a span of the program's may be among them.
        contained(|| drop(watched));
    }

    /// Reads at most `most` frames of a worker, and hands their events to the subscriber.
    fn read(&self, key: u64, most: usize, state: &mut ReadState) {
        let Some(source) = lock(&self.sources).get(&key).map(Arc::clone) else {
            return;
        };
        let mut has_ended = false;
        for _ in 0..most {
            match source.read(&mut state.buffer) {
                Read::Frame(len) => {
                    // One that is longer was cut: it makes no sense.
                    let frame = state.buffer.get(..len).unwrap_or_default();
                    contained(|| tell(&source, frame, &mut state.places));
                }
                Read::Nothing => break,
                Read::End => {
                    has_ended = true;
                    break;
                }
            }
        }
        contained(|| tell_lost(&source));
        if has_ended {
            self.epoll.remove(&*source);
            lock(&self.sources).remove(&key);
            contained(|| source.spans().worker_is_gone(source.worker()));
        }
        contained(|| drop(source));
    }
}

/// What the thread keeps from one frame to the next.
struct ReadState {
    places: Places,
    buffer: Vec<u8>,
}
