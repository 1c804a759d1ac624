//! What workers send of `tracing` and `log`, told to the program's subscriber. Runs in the host.
//!
//! Each worker that is to send its events has a socket of its own (`ipc/events.rs` has the frames).
//! One thread, `brigade-events`, reads them all (`reader`), finds out which task an event is of
//! (`source`), makes a callsite of the place that it comes from (`places`), and tells the
//! subscriber (`tell`), under the span of the task. The subscriber is code of the program's: it
//! runs on this thread, under no lock, and may take its time; a worker does not wait for it, but
//! drops what its socket has no room for.
//!
//! Problem: a task has ended when its worker has replied, and the span of a task that has ended is
//! to be closed; but what it has sent may not have been read yet. What is sent before the reply is
//! in the socket when the reply is. So a span is closed when, after its task's end, each socket was
//! read until it had nothing more (a *sweep*).

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod places;
mod reader;
mod source;
mod tell;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_send_buffer_size, socket_send_buffer_size};

use self::reader::Reader;
pub(crate) use self::source::WorkerEvents;
use crate::Kind;
use crate::sys::error::Call;
use crate::sys::opened;
use crate::task::name::TaskName;
use crate::trace::{Level, Span, SpanFields, Submission};
use crate::worker::process::ipc::events::number_of;
use crate::worker::process::ipc::mailbox::Mailbox;

/// What a worker may be ahead of the thread that reads, in bytes of the kernel's; no more than
/// `net.core.wmem_max` is given. A short event takes some 800.
const AHEAD: usize = 512 * 1024;

/// The spans that events of workers belong under: those of a pool, or of a single task. All but
/// [`has_ended`](Self::has_ended) is called by the reading thread.
pub(crate) trait Spans: Send + Sync {
    /// That of a task. `None`: there is no such task any more.
    fn of_task(&self, task: u64, worker: u32) -> Option<Arc<Span>>;

    /// That of a worker, for what is no task's.
    fn of_worker(&self, worker: u32) -> Arc<Span>;

    /// The worker sends nothing more.
    fn worker_is_gone(&self, worker: u32);

    /// Takes the tasks that have ended, for [`close`](Self::close).
    fn take_ended(&self) -> Vec<u64>;

    /// The subscriber has all that these tasks have sent.
    fn close(&self, ended: Vec<u64>);
}

/// That workers send their events, up to which level, and the spans that they belong under.
#[derive(Clone)]
pub(crate) struct Forwarding {
    level: u8,
    spans: Arc<dyn Spans>,
}

impl std::fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = &self.level;
        f.debug_struct("Forwarding")
            .field("level", level)
            .finish_non_exhaustive()
    }
}

impl Forwarding {
    /// The thread that reads is started, if it was not.
    pub(crate) fn new<S: Spans + 'static>(level: Level, spans: &Arc<S>) -> io::Result<Forwarding> {
        let level = number_of(level);
        let spans: Arc<dyn Spans> = Arc::<S>::clone(spans);
        Reader::get()?.watch(&spans);
        Ok(Forwarding { level, spans })
    }

    /// Those of a worker with a single task of this name, which the calling thread submits.
    pub(crate) fn of_task(level: Level, name: TaskName) -> io::Result<Forwarding> {
        let spans = Arc::new(OneTask {
            submission: Submission::here(),
            name,
            open: Mutex::new(None),
        });
        Forwarding::new(level, &spans)
    }

    /// From 1, errors alone, to 5.
    pub(crate) fn level(&self) -> u8 {
        self.level
    }

    /// Makes a worker's socket. Gives its end, and where it is read.
    pub(crate) fn connect(
        &self,
        worker: u32,
        mailbox: &Arc<Mailbox>,
    ) -> io::Result<(OwnedFd, Arc<WorkerEvents>)> {
        let connect = || -> io::Result<_> {
            let (ours, theirs) = opened::socket_pair()?;
            // What is more than the kernel gives is cut by it.
            if socket_send_buffer_size(&theirs).is_ok_and(|bytes| bytes < AHEAD) {
                let _ = set_socket_send_buffer_size(&theirs, AHEAD);
            }
            let source = WorkerEvents::new(ours, worker, mailbox, &self.spans);
            Ok((theirs, Reader::get()?.add(source)?))
        };
        connect().needed_to("read a worker's events")
    }
}

/// Waits until what workers have sent before this call has reached the subscriber, for `most` at
/// the longest. Not on the thread that hands it on.
pub(crate) fn wait_until_told(most: Duration) {
    if let Ok(reader) = Reader::get() {
        reader.sweep_now(most);
    }
}

/// Some tasks have ended: a sweep is due in a while.
pub(crate) fn sweep_soon() {
    if let Ok(reader) = Reader::get() {
        reader.sweep_soon();
    }
}

/// A worker with a single task: all that it sends is the task's.
struct OneTask {
    submission: Submission,
    name: TaskName,
    open: Mutex<Option<Arc<Span>>>,
}

impl OneTask {
    fn span(&self, worker: u32) -> Arc<Span> {
        let open = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = &*open() {
            return Arc::clone(span);
        }
        let fields = SpanFields {
            name: Some(self.name.get()),
            pool: None,
            task: None,
            worker: worker.into(),
            kind: Kind::Process,
        };
        let span = Arc::new(Span::open(self.submission.clone(), fields));
        *open() = Some(Arc::clone(&span));
        span
    }
}

impl Spans for OneTask {
    fn of_task(&self, _task: u64, worker: u32) -> Option<Arc<Span>> {
        Some(self.span(worker))
    }

    fn of_worker(&self, worker: u32) -> Arc<Span> {
        self.span(worker)
    }

    fn worker_is_gone(&self, _: u32) {
        let closed = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(closed);
    }

    fn take_ended(&self) -> Vec<u64> {
        Vec::new()
    }

    fn close(&self, _: Vec<u64>) {}
}
