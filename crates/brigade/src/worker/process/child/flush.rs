//! What a task has printed is written out before the host hears that it is done, but no caller
//! waits for that for ever.
//!
//! Problem: a task may leave a thread behind that holds a stream's lock (it prints to something
//! that is not read, or sits in fgetc(3)), and to flush a stream is to wait for its lock. std's
//! stdout cannot be tried.
//!
//! So: where the process never had a second thread, no other thread can hold a lock, not even one
//! that has ended with it, and the streams are flushed. Else a thread does it, for which the task's
//! own waits [`FLUSH_WITHIN`]. What is not out by then is left, but for C's stdout, if its lock can
//! be had; and the worker says so to the host. The thread stays for the next task; one that is stuck
//! is left, too.
//!
//! Limit: where no thread is to be had for it, and none is left, a stream that an ended thread holds
//! is waited for until the task's time is over.

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use crate::sys::signal::Blocked;
use crate::sys::{c_streams, process};

/// How long a task's end is held up by a stream that another thread holds.
const FLUSH_WITHIN: Duration = Duration::from_millis(100);

/// Which of C's streams are flushed, beside std's stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker::process) enum FlushedStreams {
    /// For a worker of a pool: it is asked for after each task.
    Stdout,
    All,
}

/// Flushes. `false`: another thread holds a stream, and what is in it is left.
pub(in crate::worker::process) fn flush(streams: FlushedStreams) -> bool {
    if !process::may_have_threads() {
        streams.flush();
        return true;
    }
    let is_done = streams.flush_within(FLUSH_WITHIN);
    if !is_done {
        // It may be another that is held.
        c_streams::try_flush_stdout();
    }
    is_done
}

/// As [`flush`], in a process that has one thread and is to have one thread afterwards.
pub(in crate::worker::process) fn flush_and_be_alone(streams: FlushedStreams) -> bool {
    let is_done = flush(streams);
    // Its thread ends when it has no more orders to come.
    drop(FREE.lock().unwrap_or_else(|e| e.into_inner()).take());
    if is_done {
        process::is_alone_soon();
    }
    is_done
}

fn std_stdout() {
    // An error is the task's own affair: its reader is gone.
    let _ = io::stdout().flush();
}

/// The thread: what it is to do, and that it has done it.
struct Flusher {
    todo: SyncSender<FlushedStreams>,
    done: Receiver<()>,
}

/// One that has nothing to do.
static FREE: Mutex<Option<Flusher>> = Mutex::new(None);

impl FlushedStreams {
    fn flush_within(self, limit: Duration) -> bool {
        let free = || FREE.lock().unwrap_or_else(|e| e.into_inner());
        let kept = free().take();
        let Some(flusher) = kept.or_else(|| Flusher::start().ok()) else {
            // No thread is to be had for it (a limit that the task has set). Where this one is
            // alone no other thread holds anything; where it is not, no thread may wait.
            let alone = process::is_alone();
            if alone {
                self.flush();
            }
            return alone;
        };
        // Neither fails unless the thread was ended from outside: then nothing was flushed, which
        // is what is said.
        let is_done = flusher.todo.send(self).is_ok() && flusher.done.recv_timeout(limit).is_ok();
        if is_done {
            *free() = Some(flusher);
        }
        is_done
    }

    /// In the order in which they are most likely to have been written to. Waits for their locks.
    fn flush(self) {
        std_stdout();
        c_streams::flush_stdout();
        if self == FlushedStreams::All {
            c_streams::flush_all();
        }
    }
}

impl Flusher {
    fn start() -> io::Result<Flusher> {
        let (todo, orders) = mpsc::sync_channel::<FlushedStreams>(1);
        let (say, done) = mpsc::sync_channel(1);
        // The task's signals are for the task's own threads.
        let _blocked = Blocked::all();
        std::thread::Builder::new()
            .name("brigade-flush".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || {
                for streams in orders {
                    streams.flush();
                    if say.send(()).is_err() {
                        // It took too long, and another does it now.
                        return;
                    }
                }
            })?;
        Ok(Flusher { todo, done })
    }
}
