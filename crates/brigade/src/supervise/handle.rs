//! The program's side of a supervisor that runs.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::{self, ThreadId};

use super::child::Child;
use super::events::{Events, Readers};
use super::exit::{ChildError, Reason, Report, Told};
use super::inbox::{Inbox, Note};
use super::request::{ChildInfo, ChildReplyTo, Counts, HandleRequest};
use crate::sys::original::Original;

/// What a supervisor's thread and its handles share.
#[derive(Debug)]
pub(super) struct Core {
    /// A fork of the process has no such thread.
    host: Original,
    /// The supervisor's own. It runs code of the program's (inputs' `Clone` and `Drop`, subscribers
    /// of `tracing`), which must not wait for it.
    runner: OnceLock<ThreadId>,
    pub(super) inbox: Arc<Inbox>,
    /// Of this run of the supervisor.
    pub(super) readers: Arc<Readers>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    is_up: bool,
    report: Option<Report>,
}

impl Core {
    pub(super) fn new() -> Core {
        Core {
            host: Original::this_process(),
            runner: OnceLock::new(),
            inbox: Arc::default(),
            readers: Arc::default(),
            progress: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<R>(&self, mut look: impl FnMut(&Progress) -> Option<R>) -> R {
        let mut progress = self.lock();
        loop {
            if let Some(found) = look(&progress) {
                return found;
            }
            progress = (self.changed.wait(progress)).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn is_up(&self) {
        self.lock().is_up = true;
        self.changed.notify_all();
    }

    pub(super) fn has_ended(&self, report: Report) {
        self.lock().report = Some(report);
        self.changed.notify_all();
    }

    /// This thread is the supervisor's.
    pub(super) fn runs_here(&self) {
        let _ = self.runner.set(thread::current().id());
    }

    /// Whether it cannot be waited for: this is a fork, or the supervisor's own thread.
    fn is_out_of_reach(&self) -> bool {
        self.is_fork_of_owner() || self.runner.get() == Some(&thread::current().id())
    }

    fn is_fork_of_owner(&self) -> bool {
        !self.host.is_this_process()
    }
}

/// A supervisor that was started: asked about its children, and told what to do with them.
///
/// A clone is for the same supervisor; it does not keep it running, as [`Running`] does. In a fork
/// of the process (by fork(2), past this library) it says that the supervisor has ended. So it does
/// in code that the supervisor itself runs: `Clone` and `Drop` of an input, a subscriber of
/// `tracing`. What does not wait for an answer, as to shut down, is done all the same.
#[derive(Clone)]
pub struct Handle(Arc<Core>);

impl Handle {
    pub(super) fn new(core: Arc<Core>) -> Handle {
        Handle(core)
    }

    /// Waits until all its children are up. An error says why one of them will never be.
    pub(super) fn wait_until_up(&self) -> Result<(), Report> {
        self.0
            .wait(|progress| match (&progress.report, progress.is_up) {
                (_, true) => Some(Ok(())),
                (Some(report), false) => Some(Err(report.clone())),
                (None, false) => None,
            })
    }

    pub(super) fn put(&self, request: HandleRequest) {
        if !self.0.is_fork_of_owner() {
            // Where it has ended, nothing answers: the reply channel in the request is dropped,
            // which says so.
            drop(self.0.inbox.put(Note::Request(request)));
        }
    }

    fn ask<T>(&self, request: impl FnOnce(mpsc::Sender<T>) -> HandleRequest) -> Option<T> {
        if self.0.is_out_of_reach() {
            return None;
        }
        let (reply_to, answer) = mpsc::channel();
        self.put(request(reply_to));
        answer.recv().ok()
    }

    fn ask_of_child(
        &self,
        request: impl FnOnce(ChildReplyTo) -> HandleRequest,
    ) -> Result<ChildInfo, ChildError> {
        self.ask(request).unwrap_or(Err(ChildError::Closed))
    }

    /// Adds a child after the others, and waits until it is up.
    ///
    /// # Errors
    /// There is a child of that name already; it did not start, and is then forgotten; it was
    /// stopped before it was up; the supervisor has ended.
    pub fn start_child(&self, child: Child) -> Result<ChildInfo, ChildError> {
        self.ask_of_child(|reply_to| HandleRequest::Start(Box::new(child), reply_to))
    }

    /// Stops a child, and waits until it has stopped. It stays known to its supervisor, which does
    /// not start it again unless others of its group are restarted; a temporary child is forgotten.
    ///
    /// # Errors
    /// There is no such child; the supervisor has ended.
    pub fn terminate_child(&self, name: &str) -> Result<(), ChildError> {
        self.ask_of_child(|reply_to| HandleRequest::Terminate(name.to_owned(), reply_to))
            .map(drop)
    }

    /// Starts a child that does not run, and waits until it is up.
    ///
    /// # Errors
    /// There is no such child, or it runs, or is about to be restarted; it did not start; it was
    /// stopped before it was up; the supervisor has ended.
    pub fn restart_child(&self, name: &str) -> Result<ChildInfo, ChildError> {
        self.ask_of_child(|reply_to| HandleRequest::Restart(name.to_owned(), reply_to))
    }

    /// Forgets a child that does not run.
    ///
    /// # Errors
    /// There is no such child, or it runs, or is about to be restarted; the supervisor has ended.
    pub fn delete_child(&self, name: &str) -> Result<(), ChildError> {
        self.ask_of_child(|reply_to| HandleRequest::Delete(name.to_owned(), reply_to))
            .map(drop)
    }

    /// The supervisor's children, in the order in which they are started. None if it has ended.
    #[doc(alias = "which_children")]
    pub fn children(&self) -> Vec<ChildInfo> {
        self.ask(HandleRequest::Children).unwrap_or_default()
    }

    /// How many children it has.
    #[doc(alias = "count_children")]
    pub fn counts(&self) -> Counts {
        Counts::of(&self.children())
    }

    /// A child that is a supervisor, if it runs. When it is restarted, that is another one.
    pub fn supervisor(&self, name: &str) -> Option<Handle> {
        self.ask(|reply_to| HandleRequest::Supervisor(name.to_owned(), reply_to))
    }

    /// What it tells from now on. See [`Supervisor::events`](super::Supervisor::events).
    pub fn events(&self) -> Events {
        let events = self.0.readers.add();
        // They are those of this run, all of which have heard the last event.
        if self.is_finished() {
            self.0.readers.close();
        }
        events
    }

    /// Stops its children, the last one first, each within its grace time, and waits until that is
    /// done. If it is ending already, waits for that.
    pub fn shutdown(&self) -> Report {
        self.put(HandleRequest::Shutdown);
        self.join()
    }

    /// Kills all its children at once, lets go of its threads, and waits until that is done.
    pub fn abort(&self) -> Report {
        self.put(HandleRequest::Abort);
        self.join()
    }

    /// Waits until it has ended: it gave up, shut itself down, or was shut down.
    pub fn join(&self) -> Report {
        if self.0.is_out_of_reach() {
            return Report(Arc::new(Told {
                reason: Reason::Shutdown,
                children: Vec::new(),
                left_running: Vec::new(),
                let_go: Vec::new(),
            }));
        }
        self.0.wait(|progress| progress.report.clone())
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_fork_of_owner() || self.0.lock().report.is_some()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// A supervisor that runs until this is dropped: a [`Handle`], whose drop is a
/// [`shutdown`](Handle::shutdown), and waits for that.
#[derive(Debug)]
#[must_use = "dropping it shuts the supervisor down"]
pub struct Running(Handle);

impl Running {
    pub(super) fn new(handle: Handle) -> Running {
        Running(handle)
    }

    /// A handle that can be cloned, given away, and does not keep the supervisor running.
    pub fn handle(&self) -> Handle {
        self.0.clone()
    }
}

impl Deref for Running {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}
