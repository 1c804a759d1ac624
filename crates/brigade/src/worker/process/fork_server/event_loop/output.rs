//! What workers write, passed on to the host's streams.

use std::io;
use std::time::Instant;

use super::keys::{About, LEFT_LINES_FREE, key_of, key_when_free};
use super::{EventLoop, ForkedWorker};
use crate::sys::epoll::Epoll;
use crate::worker::process::fork_server::streams::{
    PerStream, ReadOutcome, Stream, StreamReader, StreamWriter,
};

/// For at most this many workers that have ended, what they left for a reader of lines is kept.
const MOST_LEFT: usize = 64;

impl ForkedWorker {
    /// What this worker writes to a stream, and where that goes.
    fn passing<'a>(
        &'a mut self,
        stream: Stream,
        outputs: &'a mut PerStream<StreamWriter>,
    ) -> Option<(&'a mut StreamReader, &'a mut StreamWriter)> {
        let own = self.redirected[stream as usize].as_deref_mut();
        Some((
            self.written.of_mut(stream)?,
            own.or(outputs.of_mut(stream))?,
        ))
    }

    /// Passes on all that it has written. It has ended.
    pub(super) fn drain(&mut self, outputs: &mut PerStream<StreamWriter>) {
        for stream in Stream::ALL {
            if let Some((input, output)) = self.passing(stream, outputs) {
                input.drain(output);
            }
            if let Some(own) = &mut self.redirected[stream as usize] {
                own.end();
                if let Some(news) = own.take_news() {
                    outputs.stderr.write(news.as_bytes(), &[]);
                }
            }
        }
    }

    /// Whether what it writes there waits for where it goes.
    fn waits(&self, stream: Stream, outputs: &PerStream<StreamWriter>) -> bool {
        match &self.redirected[stream as usize] {
            Some(own) => own.blocked && !own.drops(),
            None => outputs.of(stream).is_some_and(|output| output.blocked),
        }
    }

    /// When something is to be done about what it writes.
    pub(super) fn next_deadline(&self, outputs: &PerStream<StreamWriter>) -> Option<Instant> {
        let of = |stream: Stream| {
            if self.waits(stream, outputs) {
                return self.redirected[stream as usize].as_ref()?.drops_at();
            }
            self.written.of(stream)?.held_until()
        };
        Stream::ALL.into_iter().filter_map(of).min()
    }
}

impl EventLoop<'_> {
    /// Says on the exit table what workers have written to stderr last.
    pub(super) fn show_stderr(&mut self) {
        for (&pid, worker) in &self.workers {
            let tail = worker.written.stderr.tail();
            self.exit_table.show_stderr(worker.slot, pid, tail);
        }
        self.exit_table.note_shown();
    }

    /// Passes on what a worker has written.
    pub(super) fn pass(&mut self, slot: u32, stream: Stream) {
        // Few workers write at a time; a map by slot would have to be kept for all.
        let Some(worker) = self.workers.values_mut().find(|w| w.slot == slot) else {
            return;
        };
        let Some((input, output)) = worker.passing(stream, &mut self.outputs) else {
            return;
        };
        if input.pass(output) == ReadOutcome::End {
            self.epoll.remove(input.pipe());
        }
        watch_own(worker, stream, &self.epoll);
        self.tell_news(slot, stream);
        self.watch_output(stream);
    }

    /// Says on the program's stderr what is to be said of a worker's own output.
    fn tell_news(&mut self, slot: u32, stream: Stream) {
        let mut workers = self.workers.values_mut();
        let own = |worker: &'_ mut Box<ForkedWorker>| {
            worker.redirected[stream as usize].as_mut()?.take_news()
        };
        if let Some(news) = workers.find(|w| w.slot == slot).and_then(own) {
            self.outputs.stderr.write(news.as_bytes(), &[]);
            self.watch_output(Stream::Stderr);
        }
    }

    /// Whether what workers write there waits for the host's stream.
    pub(super) fn is_blocked(&self, stream: Stream) -> bool {
        self.outputs.of(stream).is_some_and(|output| output.blocked)
    }

    /// Passes on the beginnings of lines whose ends have not come; and reads the workers again that
    /// have waited long enough for the reader of their lines.
    pub(super) fn pass_held(&mut self) {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for stream in Stream::ALL {
            for worker in self.workers.values_mut() {
                if worker.waits(stream, &self.outputs) {
                    let own = worker.redirected[stream as usize].as_mut();
                    if let Some(own) = own.filter(|own| is_due(own.drops_at())) {
                        own.drop_from_now_on();
                        self.unwatched = true;
                    }
                    continue;
                }
                if let Some((input, output)) = worker.passing(stream, &mut self.outputs) {
                    if is_due(input.held_until()) {
                        input.pass_held(output);
                    }
                }
                watch_own(worker, stream, &self.epoll);
            }
            self.watch_output(stream);
        }
    }

    /// While too much waits for the host's stream, workers' pipes are left alone.
    pub(super) fn watch_output(&mut self, stream: Stream) {
        let Some(output) = self.outputs.of_mut(stream).filter(|output| !output.blocked) else {
            return;
        };
        let Some(fd) = output.blocked_on() else {
            return;
        };
        if self.epoll.add_writable(fd, key_when_free(stream)).is_ok() {
            output.blocked = true;
            let others = self.workers.values();
            let others = others.filter(|w| w.redirected[stream as usize].is_none());
            for input in others.filter_map(|w| w.written.of(stream)) {
                self.epoll.remove(input.pipe());
            }
        }
    }

    /// The host's stream can be written to again.
    pub(super) fn output_free(&mut self, stream: Stream) {
        let Some(output) = self.outputs.of_mut(stream) else {
            return;
        };
        if let Some(fd) = output.blocked_on() {
            self.epoll.remove(fd);
        }
        output.blocked = false;
        output.flush();
        self.watch_output(stream);
        self.watch_workers();
    }

    /// A worker's own output can be written to again.
    pub(super) fn own_free(&mut self, slot: u32, stream: Stream) {
        let mut workers = self.workers.values_mut();
        let Some(worker) = workers.find(|w| w.slot == slot) else {
            return;
        };
        if let Some(own) = &mut worker.redirected[stream as usize] {
            if let Some(fd) = own.fd() {
                self.epoll.remove(fd);
            }
            own.blocked = false;
            own.flush();
            watch_own(worker, stream, &self.epoll);
        }
        self.tell_news(slot, stream);
        self.watch_workers();
    }

    /// What workers that have ended have left for the reader of their lines can be sent, or some of
    /// it.
    pub(super) fn left_lines_free(&mut self) {
        let left = std::mem::take(&mut self.left_lines);
        for mut output in left {
            if let Some(fd) = output.blocked_on() {
                self.epoll.remove(fd);
            }
            output.flush();
            self.keep_lines(output);
        }
    }

    /// Keeps what a worker that has ended has left for the reader of its lines.
    pub(super) fn keep_lines(&mut self, output: StreamWriter) {
        let Some(fd) = output.blocked_on() else {
            return;
        };
        let is_watched = self.epoll.add_writable(fd, LEFT_LINES_FREE).is_ok();
        if is_watched && self.left_lines.len() < MOST_LEFT {
            self.left_lines.push(output);
            return;
        }
        self.epoll.remove(fd);
        let news = b"brigade: lines of a worker that has ended were lost: nobody reads them\n";
        self.outputs.stderr.write(news, &[]);
        self.watch_output(Stream::Stderr);
    }

    /// Has the loop read what workers write. Those that it reads already are an error, too, which
    /// is none.
    pub(super) fn watch_workers(&mut self) {
        self.unwatched = false;
        for stream in Stream::ALL {
            for worker in self.workers.values() {
                let Some(input) = worker.written.of(stream) else {
                    continue;
                };
                if worker.waits(stream, &self.outputs) {
                    continue;
                }
                let key = key_of(worker.slot, About::Written(stream));
                let added = self.epoll.add_readable(input.pipe(), key);
                self.unwatched |= added.is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists);
            }
        }
    }
}

/// While too much waits for a worker's own output, it is not read.
fn watch_own(worker: &mut ForkedWorker, stream: Stream, epoll: &Epoll) {
    let own = worker.redirected[stream as usize].as_mut();
    let Some(own) = own.filter(|own| !own.blocked) else {
        return;
    };
    let Some(fd) = own.blocked_on() else {
        return;
    };
    let key = key_of(worker.slot, About::Room(stream));
    if epoll.add_writable(fd, key).is_ok() {
        own.blocked = true;
        own.waits();
        if let Some(input) = worker.written.of(stream).filter(|_| !own.drops()) {
            epoll.remove(input.pipe());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::about_of;
    use super::*;

    #[test]
    fn a_key_names_a_slot_and_a_stream() {
        for slot in [0, 1, 77] {
            for stream in Stream::ALL {
                for about in [About::Written(stream), About::Room(stream)] {
                    assert_eq!(about_of(key_of(slot, about)), (slot, about));
                }
            }
        }
    }
}
