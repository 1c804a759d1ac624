//! What workers write, passed on to the host's streams.

use std::io;
use std::time::Instant;

use super::{FIRST_SLOT, STDERR_FREE, STDOUT_FREE, Server};
use crate::worker::process::fork_server::streams::{Found, Stream};

/// The event loop's key of what the worker in a slot writes.
pub(super) fn key_of(slot: u32, stream: Stream) -> u64 {
    FIRST_SLOT + 2 * u64::from(slot) + stream as u64
}

/// The reverse.
pub(super) fn input_of(key: u64) -> (u32, Stream) {
    let number = key - FIRST_SLOT;
    let [even, odd] = Stream::ALL;
    let stream = if number % 2 == 0 { even } else { odd };
    ((number / 2) as u32, stream)
}

fn key_when_free(stream: Stream) -> u64 {
    match stream {
        Stream::Stdout => STDOUT_FREE,
        Stream::Stderr => STDERR_FREE,
    }
}

impl Server<'_> {
    /// Passes on what a worker has written.
    pub(super) fn pass(&mut self, (slot, stream): (u32, Stream)) {
        // Few workers write at a time; a map by slot would have to be kept for all.
        let worker = self.workers.values_mut().find(|w| w.slot == slot);
        let input = worker.and_then(|w| w.written.of_mut(stream));
        let (Some(input), Some(output)) = (input, self.outputs.of_mut(stream)) else {
            return;
        };
        if input.pass(output) == Found::End {
            self.epoll.remove(input.pipe());
        }
        self.watch_output(stream);
    }

    /// Whether what workers write there waits for the host's stream.
    pub(super) fn is_blocked(&self, stream: Stream) -> bool {
        self.outputs.of(stream).is_some_and(|output| output.blocked)
    }

    /// Passes on the beginnings of lines whose ends have not come.
    pub(super) fn pass_held(&mut self) {
        let now = Instant::now();
        for stream in Stream::ALL {
            let Some(output) = self.outputs.of_mut(stream).filter(|output| !output.blocked) else {
                continue;
            };
            let inputs = self.workers.values_mut();
            for input in inputs.filter_map(|w| w.written.of_mut(stream)) {
                if input.held_until().is_some_and(|at| at <= now) {
                    input.pass_held(output);
                }
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
            for input in self.workers.values().filter_map(|w| w.written.of(stream)) {
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

    /// Has the loop read what workers write. Those that it reads already are an error, too, which
    /// is none.
    pub(super) fn watch_workers(&mut self) {
        self.unwatched = false;
        for stream in Stream::ALL {
            if self.is_blocked(stream) {
                continue;
            }
            for worker in self.workers.values() {
                let Some(input) = worker.written.of(stream) else {
                    continue;
                };
                let key = key_of(worker.slot, stream);
                let added = self.epoll.add_readable(input.pipe(), key);
                self.unwatched |= added.is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_a_slot_and_a_stream() {
        for slot in [0, 1, 77] {
            for stream in Stream::ALL {
                assert_eq!(input_of(key_of(slot, stream)), (slot, stream));
            }
        }
    }
}
