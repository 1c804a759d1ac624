//! What a supervisor tells while it runs: a stream, and events of `tracing`, target
//! `brigade::supervise`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::exit::{Exit, Reason};
use crate::sys::original::Original;
use crate::trace::{self, Level};

/// Something happened under a supervisor.
#[derive(Clone, Debug)]
pub struct Event {
    supervisor: Arc<str>,
    child: Option<Arc<str>>,
    pid: Option<u32>,
    what: What,
}

impl Event {
    /// The supervisor that tells it: its name, after the names of those above it: `outer/inner`.
    pub fn supervisor(&self) -> &str {
        &self.supervisor
    }

    /// The child it is about. `None`: the supervisor itself.
    pub fn child(&self) -> Option<&str> {
        self.child.as_deref()
    }

    /// The process that the child runs in, or ran in.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// What happened.
    pub fn what(&self) -> &What {
        &self.what
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.child {
            Some(child) => write!(f, "`{child}` of {} {}", self.supervisor, self.what),
            None => write!(f, "{} {}", self.supervisor, self.what),
        }
    }
}

/// What happened, in an [`Event`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// A child is up; a supervisor: all its children have been.
    Started,
    /// A child could not be started, or ended before it was ready.
    NotStarted(Exit),
    /// A child that was up has ended, by itself or because it was to stop.
    Ended(Exit),
    /// A child, and the others of its group, are started again, after this time.
    Restarting {
        /// What the [back-off](super::Supervisor::backoff) asks for.
        after: Duration,
    },
    /// A child is asked to stop, or killed because it is to stop.
    Stopping,
    /// A supervisor has ended.
    Stopped(Reason),
    /// This many events were not read in time, and are lost.
    Missed(u64),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Started => f.write_str("is up"),
            What::NotStarted(exit) => write!(f, "did not start: {exit}"),
            What::Ended(exit) => write!(f, "has ended: {exit}"),
            What::Restarting { after } if after.is_zero() => f.write_str("is restarted"),
            What::Restarting { after } => write!(f, "is restarted in {after:?}"),
            What::Stopping => f.write_str("is to stop"),
            What::Stopped(reason) => write!(f, "has ended: it {reason}"),
            What::Missed(many) => write!(f, "has told {many} events that were not read in time"),
        }
    }
}

/// How many events wait to be read; beyond that, the oldest are lost.
const CAPACITY: usize = 1024;

/// The events of a supervisor, and of those below it, from when this was made: see
/// [`Supervisor::events`](super::Supervisor::events).
///
/// As an iterator it waits for each, and ends with the supervisor; one that was asked for before
/// the supervisor became a child, when that will not be restarted any more. In a fork of the
/// process it ends at once. A reader that does not read holds nothing up: 1,024 events are kept,
/// then the oldest are lost, and [`What::Missed`] stands in their place.
#[derive(Debug)]
pub struct Events(Arc<EventQueue>);

#[derive(Debug)]
struct EventQueue {
    /// A fork of the process has no thread that tells.
    host: Original,
    state: Mutex<Queued>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Queued {
    events: VecDeque<Event>,
    missed: u64,
    is_closed: bool,
}

impl EventQueue {
    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, event: Event) {
        let mut queued = self.lock();
        if queued.events.len() >= CAPACITY {
            queued.events.pop_front();
            queued.missed += 1;
        }
        queued.events.push_back(event);
        drop(queued);
        self.came.notify_all();
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.came.notify_all();
    }
}

impl Events {
    /// The next event. `None`: there will be no more.
    fn wait(&self, deadline: Option<Instant>) -> Option<Event> {
        if !self.0.host.is_this_process() {
            return None;
        }
        let mut queued = self.0.lock();
        loop {
            if let Some(event) = queued.next() {
                return Some(event);
            }
            if queued.is_closed {
                return None;
            }
            queued = match deadline {
                None => (self.0.came.wait(queued)).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.0.came.wait_timeout(queued, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The next event, if there is one.
    pub fn try_next(&self) -> Option<Event> {
        let is_fork_of_owner = !self.0.host.is_this_process();
        (!is_fork_of_owner).then(|| self.0.lock().next())?
    }

    /// The next event, if it comes within this time.
    pub fn next_timeout(&self, time: Duration) -> Option<Event> {
        self.wait(Instant::now().checked_add(time))
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.wait(None)
    }
}

impl Queued {
    fn next(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if self.missed == 0 {
            return Some(event);
        }
        let missed = Event {
            supervisor: Arc::clone(&event.supervisor),
            child: None,
            pid: None,
            what: What::Missed(std::mem::take(&mut self.missed)),
        };
        self.events.push_front(event);
        Some(missed)
    }
}

/// The readers of the events of one supervisor, or of one run of it. When this is gone there will
/// be no more events.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Vec<Weak<EventQueue>>>);

impl Drop for Readers {
    fn drop(&mut self) {
        // In a fork, a thread that this does not have may have locked them.
        let readers = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for queue in readers.iter().filter_map(Weak::upgrade) {
            if queue.host.is_this_process() {
                queue.close();
            }
        }
    }
}

impl Readers {
    pub(super) fn add(&self) -> Events {
        let queue = Arc::new(EventQueue {
            host: Original::this_process(),
            state: Mutex::default(),
            came: Condvar::new(),
        });
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&queue));
        Events(queue)
    }

    fn put(&self, event: &Event) {
        let readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queues = readers.iter().filter_map(Weak::upgrade);
        queues.for_each(|queue| queue.put(event.clone()));
    }

    pub(super) fn close(&self) {
        let readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queues = readers.iter().filter_map(Weak::upgrade);
        queues.for_each(|queue| queue.close());
    }
}

/// What sends the events: a supervisor.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    path: Arc<str>,
    /// Those of this run, those of all its runs, then the same of the supervisors above it.
    readers: Vec<Arc<Readers>>,
}

impl Teller {
    pub(super) fn new(name: &str, own: [&Arc<Readers>; 2], above: Option<&Teller>) -> Teller {
        let mut all = own.map(Arc::clone).to_vec();
        let path = match above {
            None => name.into(),
            Some(above) => {
                all.extend(above.readers.iter().cloned());
                format!("{}/{name}", above.path).into()
            }
        };
        Teller { path, readers: all }
    }

    pub(super) fn tell(&self, child: Option<&Arc<str>>, pid: Option<u32>, what: What) {
        let event = Event {
            supervisor: Arc::clone(&self.path),
            child: child.cloned(),
            pid,
            what,
        };
        trace(&event);
        for readers in &self.readers {
            readers.put(&event);
        }
    }
}

/// As an event of `tracing`: what is a failure as a warning.
fn trace(event: &Event) {
    macro_rules! at {
        ($level:ident) => {
            trace::emit(Level::$level, || {
                trace::event!(
                    target: "brigade::supervise",
                    Level::$level,
                    supervisor = &*event.supervisor,
                    child = event.child.as_deref(),
                    pid = event.pid,
                    "{event}"
                )
            })
        };
    }
    let is_failure = match &event.what {
        What::NotStarted(_) => true,
        What::Ended(exit) => !exit.is_normal(),
        What::Stopped(reason) => {
            matches!(reason, Reason::GaveUp { .. } | Reason::NotStarted { .. })
        }
        _ => false,
    };
    if is_failure {
        at!(WARN);
    } else {
        at!(DEBUG);
    }
}
