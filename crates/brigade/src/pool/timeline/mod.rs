//! A pool's timeline, in a file of Perfetto's own format: a row for each worker, a slice for each
//! run of a task, and marks. In the host.
//!
//! The thread that tells a pool's events writes here, without the pool's lock. Packets are kept
//! until they are worth a write(2), or the last one is some time ago; after each write the file is
//! whole, so that it can be read while the program runs (within a write the last packet is cut),
//! and what a killed program loses is little. A slice is written when its run has ended, with both
//! its times: readers sort by time.

mod format;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::format::{Annotation, Packets};
use super::policy::outcome::TaskOutcome;
use super::policy::run::{RunTimes, TaskRun};
use crate::Kind;
use crate::sys::clock;
use crate::sys::original::Original;
use crate::task::name::TaskName;
use crate::trace::{self, Level, emit};

/// This many bytes are worth a write(2); and fewer, after `WRITTEN_EVERY` nanoseconds.
const WORTH_WRITING: usize = 64 << 10;
const WRITTEN_EVERY: u64 = 100_000_000;

/// The file, and what is on its way there.
#[derive(Debug)]
pub(crate) struct Timeline {
    inner: Mutex<TimelineState>,
    /// A fork of the program has a copy of what is not written yet, and the same file.
    creator: Original,
}

#[derive(Debug)]
struct TimelineState {
    /// `None`: it could not be written.
    file: Option<File>,
    packets: Packets,
    kind: Kind,
    /// When it was written last.
    written: u64,
    rows: HashMap<u64, Row>,
    /// The number of each function's name in the file, by its address and where it was started.
    names: HashMap<(usize, usize), u64>,
}

/// A worker's row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// The process that ran there last.
    pid: u32,
    /// When its last run ended.
    end: u64,
}

impl Timeline {
    /// Creates the file, or empties it.
    pub(super) fn create(path: &Path, kind: Kind, name: Option<&str>) -> io::Result<Timeline> {
        let placed = |e: io::Error| {
            io::Error::new(e.kind(), format!("the timeline {}: {e}", path.display()))
        };
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(placed)?;
        // Nothing waits for whatever reads a pipe.
        if !file.metadata().map_err(placed)?.is_file() {
            let what = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
            return Err(placed(what));
        }
        let mut packets = Packets::new(kind, name);
        packets.write_to(&file).map_err(placed)?;
        Ok(Timeline {
            creator: Original::this_process(),
            inner: Mutex::new(TimelineState {
                file: Some(file),
                packets,
                kind,
                written: clock::nanos(),
                rows: HashMap::new(),
                names: HashMap::new(),
            }),
        })
    }

    /// Adds a run that has ended. `key` is the address of the function and that of the call; `name`
    /// is called once for each key.
    pub(super) fn ran(&self, run: &TaskRun, key: (usize, usize), name: impl FnOnce() -> TaskName) {
        let mut inner = self.lock();
        let TimelineState {
            file: Some(_),
            packets,
            kind,
            rows,
            names,
            written,
        } = &mut *inner
        else {
            return;
        };
        let now = clock::nanos();
        let row = rows.entry(run.row).or_insert_with(|| {
            packets.row(run.row, &format!("{kind} {}", run.row));
            Row::default()
        });
        // What a worker says is no more than what can be.
        let (begin, end) = match run.times {
            RunTimes::Told(begin, end) => (begin, end.min(now)),
            RunTimes::Seen(time) => (now.saturating_sub(time.as_nanos() as u64), now),
        };
        let end = end.max(row.end);
        let begin = begin.clamp(row.end, end);
        if run.pid != row.pid {
            if row.pid != 0 {
                let pid = Annotation::of_count("pid", u64::from(run.pid));
                packets.mark(Some(run.row), begin, "another process", vec![pid]);
            }
            row.pid = run.pid;
        }
        row.end = end;
        let name = *names
            .entry(key)
            .or_insert_with(|| packets.name(name().get()));
        let since = (run.since_submitted.as_nanos() as u64).saturating_sub(now - begin);
        let mut annotations = vec![
            Annotation::of_count("task", run.task),
            Annotation::of_count("waited_us", since / 1000),
        ];
        if run.pid != 0 {
            annotations.push(Annotation::of_count("pid", u64::from(run.pid)));
        }
        if run.outcome != TaskOutcome::Returned.label() {
            annotations.push(Annotation::of_text("outcome", run.outcome));
        }
        packets.slice(run.row, begin, end, name, annotations);
        if packets.len() >= WORTH_WRITING || now.saturating_sub(*written) >= WRITTEN_EVERY {
            inner.write();
        }
    }

    /// Something happened to the worker of this process; the row is that which it ran in last.
    pub(super) fn mark_process(&self, pid: u32, what: &str, why: &str) {
        let mut inner = self.lock();
        let rows = inner.rows.iter();
        let row = rows.filter(|(_, row)| row.pid == pid && pid != 0);
        let row = row.map(|(number, _)| *number).next();
        let pid = Annotation::of_count("pid", u64::from(pid));
        inner.mark(row, what, vec![Annotation::of_text("why", why), pid]);
    }

    /// Something happened to the worker of this row.
    pub(super) fn mark(&self, row: u64, what: &str, why: &str) {
        let mut inner = self.lock();
        let row = inner.rows.contains_key(&row).then_some(row);
        inner.mark(row, what, vec![Annotation::of_text("why", why)]);
    }

    /// The worker of this row is replaced by one that has a row of its own.
    pub(super) fn end_row(&self, row: u64, why: &str) {
        self.mark(row, "replaced", why);
        self.lock().rows.remove(&row);
    }

    /// Writes what there is.
    pub(super) fn flush(&self) {
        if self.creator.is_this_process() {
            self.lock().write();
        }
    }

    fn lock(&self) -> MutexGuard<'_, TimelineState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.flush();
    }
}

impl TimelineState {
    /// On the row, or on the pool's.
    fn mark(&mut self, row: Option<u64>, what: &str, annotations: Vec<Annotation>) {
        if self.file.is_none() {
            return;
        }
        let now = clock::nanos();
        self.packets.mark(row, now, what, annotations);
        self.write();
    }

    #[cfg_attr(
        not(feature = "tracing"),
        expect(unused_variables, reason = "why it failed is told to nothing")
    )]
    fn write(&mut self) {
        let Some(file) = &mut self.file else {
            return;
        };
        self.written = clock::nanos();
        if let Err(e) = self.packets.write_to(file) {
            // The file ends with the last packet that is whole, and one event reports it.
            self.file = None;
            emit(
                Level::WARN,
                || trace::warn!(target: "brigade::pool", "the timeline ends here, for it could not be written: {e}"),
            );
        }
    }
}
