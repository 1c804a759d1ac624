//! Callbacks for the ends of tasks: a handle, which is a future, is polled by a thread that has
//! nothing else to do, and which runs the callback when the end is there.
//!
//! Problem: the end comes from whatever thread has come upon it: a worker, a caller that waits, the
//! host's listener. None of them can run code of the program's that may block. So all that
//! they do is what a waker does: they put the handle into this thread's queue.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::sys::error::{Call, THREAD};
use crate::sys::per_process::PerProcess;
use crate::task::contain::contained;
use crate::{JoinError, JoinHandle};

/// Where handles go whose task may have ended. `None`: there is no thread yet.
static QUEUE: PerProcess<Mutex<Option<Sender<Arc<CallbackEntry>>>>> =
    PerProcess::new(Mutex::default);

/// A task that has not ended, and its callback.
struct CallbackEntry(Mutex<Option<Box<dyn Awaited>>>);

trait Awaited: Send {
    /// Has the waker woken when the task ends. `true`: it has.
    fn poll(&mut self, waker: &Waker) -> bool;
    /// Runs the callback of a task that has ended.
    fn call(self: Box<Self>);
}

struct Callback<R, F> {
    handle: JoinHandle<R>,
    result: Option<Result<R, JoinError>>,
    callback: F,
}

impl<R: Send, F: FnOnce(Result<R, JoinError>) + Send> Awaited for Callback<R, F> {
    fn poll(&mut self, waker: &Waker) -> bool {
        match Pin::new(&mut self.handle).poll(&mut Context::from_waker(waker)) {
            Poll::Ready(result) => self.result = Some(result),
            Poll::Pending => return false,
        }
        true
    }

    fn call(self: Box<Self>) {
        if let Some(result) = self.result {
            (self.callback)(result);
        }
    }
}

impl Wake for CallbackEntry {
    fn wake(self: Arc<Self>) {
        // The thread is there: it has polled this one.
        if let Some(queue) = &*lock(QUEUE.get()) {
            let _ = queue.send(self);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Neither holder panics: what is polled and called is not under the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CallbackEntry {
    /// Runs the callback if the task has ended.
    fn advance(self: &Arc<Self>) {
        let Some(mut awaited) = lock(&self.0).take() else {
            return;
        };
        let waker = Waker::from(Arc::clone(self));
        contained(|| {
            if awaited.poll(&waker) {
                awaited.call();
            } else {
                *lock(&self.0) = Some(awaited);
            }
        });
    }
}

/// Has this called when the task has ended.
pub(super) fn call<R, F>(handle: JoinHandle<R>, callback: F)
where
    R: Send + 'static,
    F: FnOnce(Result<R, JoinError>) + Send + 'static,
{
    let mut queue = lock(QUEUE.get());
    if queue.is_none() {
        *queue = start().ok();
    }
    let Some(queue) = &*queue else {
        drop(queue);
        // The system has no thread for it.
        let result = handle.join();
        return contained(|| callback(result));
    };
    let _ = queue.send(Arc::new(CallbackEntry(Mutex::new(Some(Box::new(
        Callback {
            handle,
            result: None,
            callback,
        },
    ))))));
}

/// Starts the thread. It ends with the program.
fn start() -> io::Result<Sender<Arc<CallbackEntry>>> {
    let (sender, receiver) = mpsc::channel::<Arc<CallbackEntry>>();
    thread::Builder::new()
        .name("brigade-done".to_owned())
        .spawn(move || {
            for entry in receiver {
                entry.advance();
            }
        })
        .call(THREAD)
        .needed_to("run callbacks")?;
    Ok(sender)
}
