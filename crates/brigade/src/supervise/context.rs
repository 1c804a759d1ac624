//! What a child can say to its supervisor, and hear from it.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::inbox::Address;
use super::line::ChildLine;
use crate::channel::Sender;

/// A child's way to its supervisor.
///
/// The functions of this module ([`ready`](super::ready), [`alive`](super::alive),
/// [`should_stop`](super::should_stop) …) use that of the thread that they are called in: the one
/// that runs the child's task. Another thread that the task has started is given a context:
/// [`current`](Context::current), then a clone.
///
/// Where there is no supervisor nothing is said, and nothing asks to stop: so a task can be run and
/// tested by itself.
#[derive(Clone, Default)]
pub struct Context(Option<Arc<ContextData>>);

struct ContextData {
    line: ChildLine,
    voice: Mutex<Voice>,
    is_ready: AtomicBool,
    is_ignored: AtomicBool,
}

/// How it says that it is ready.
pub(super) enum Voice {
    /// The supervisor does not ask, or the child has said that it is alive.
    None,
    Thread(Address),
    Process(Sender<()>),
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<ContextData>>> = const { RefCell::new(None) };
}

impl Context {
    pub(super) fn new(line: ChildLine, voice: Voice) -> Context {
        Context(Some(Arc::new(ContextData {
            line,
            voice: Mutex::new(voice),
            is_ready: AtomicBool::new(false),
            is_ignored: AtomicBool::new(false),
        })))
    }

    /// That of the task which this thread runs.
    pub fn current() -> Context {
        // Gone in the destructors of the thread's other locals, when the task has ended.
        let current = CURRENT.try_with(|current| current.borrow().clone());
        Context(current.ok().flatten())
    }

    /// Runs a task with this as its context.
    pub(super) fn within<R>(&self, task: impl FnOnce() -> R) -> R {
        let _restored = Restored(CURRENT.replace(self.0.clone()));
        task()
    }

    /// Whether there is a supervisor.
    pub fn is_supervised(&self) -> bool {
        self.0.is_some()
    }

    /// Says that the child is ready: see [`Child::ready_within`](super::Child::ready_within). Once
    /// is enough.
    pub fn ready(&self) {
        let Some(inner) = &self.0 else { return };
        inner.is_ready.store(true, Ordering::Release);
        let voice = {
            let mut voice = inner.voice.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *voice, Voice::None)
        };
        match voice {
            Voice::None => {}
            Voice::Thread(supervisor) => {
                inner.line.say_ready();
                supervisor.look();
            }
            // The channel has room for one. Without a supervisor this has no effect.
            Voice::Process(supervisor) => drop(supervisor.send(())),
        }
    }

    /// Says that the child is not needed: when its task returns, that is no failure of its start,
    /// and it is not started again, whatever its [`Restart`](super::Restart) is. It remains known
    /// to its supervisor, unless it is temporary.
    ///
    /// It counts for a child that has not said that it is [`ready`](Context::ready).
    pub fn ignore(&self) {
        if let Some(inner) = &self.0 {
            inner.is_ignored.store(true, Ordering::Release);
        }
    }

    pub(super) fn is_ignored(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| {
            inner.is_ignored.load(Ordering::Acquire) && !inner.is_ready.load(Ordering::Acquire)
        })
    }

    /// Says that the child lives: see [`Child::watchdog`](super::Child::watchdog). It costs one
    /// atomic addition.
    pub fn alive(&self) {
        if let Some(inner) = &self.0 {
            inner.line.beat();
        }
    }

    /// Whether the child is to stop: it should then return soon.
    ///
    /// A process that has never asked is ended by SIGTERM instead; from the first time on, it is
    /// not sent that. So one that is to end in its own way asks once before it says that it is
    /// [`ready`](Context::ready).
    pub fn should_stop(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|inner| inner.line.should_stop())
    }

    /// Waits until the child is to stop; for ever, if there is no supervisor.
    pub fn wait_for_stop(&self) {
        while !self.wait_for_stop_timeout(Duration::MAX) {}
    }

    /// Waits until the child is to stop. `false`: not within this time.
    pub fn wait_for_stop_timeout(&self, time: Duration) -> bool {
        let deadline = Instant::now().checked_add(time);
        match &self.0 {
            Some(inner) => inner.line.wait_for_stop(deadline),
            None => ChildLine::to_thread().wait_for_stop(deadline),
        }
    }
}

/// Puts back the context that was there before a task.
struct Restored(Option<Arc<ContextData>>);

impl Drop for Restored {
    fn drop(&mut self) {
        let before = self.0.take();
        drop(CURRENT.try_with(|current| current.replace(before)));
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("is_supervised", &self.is_supervised())
            .finish_non_exhaustive()
    }
}
