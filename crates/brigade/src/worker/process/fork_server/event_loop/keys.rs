//! Under which key the event loop hears of each descriptor.

use crate::worker::process::fork_server::streams::Stream;

/// Keys of the event loop. Above them are four for each worker's slot: see [`key_of`].
pub(super) const HOST: u64 = 0;
pub(super) const HOST_ENDED: u64 = 1;
pub(super) const CHILD_ENDED: u64 = 2;
pub(super) const STDERR_FREE: u64 = 3;
pub(super) const HOST_FREE: u64 = 4;
pub(super) const LISTENER_ENDED: u64 = 5;
pub(super) const STDOUT_FREE: u64 = 6;
pub(super) const LEFT_LINES_FREE: u64 = 7;
const FIRST_SLOT: u64 = 16;

/// What a worker's key is about: what it writes to a stream, or that its own output has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Written(Stream),
    Room(Stream),
}

/// The event loop's key of something about the worker in a slot.
pub(super) fn key_of(slot: u32, about: About) -> u64 {
    let number = match about {
        About::Written(stream) => stream as u64,
        About::Room(stream) => 2 + stream as u64,
    };
    FIRST_SLOT + 4 * u64::from(slot) + number
}

/// Which worker a key is of, and what it is about.
pub(super) fn about_of(key: u64) -> (u32, About) {
    let number = key - FIRST_SLOT;
    let [even, odd] = Stream::ALL;
    let stream = if number % 2 == 0 { even } else { odd };
    let about = if number % 4 < 2 {
        About::Written(stream)
    } else {
        About::Room(stream)
    };
    ((number / 4) as u32, about)
}

/// The key of the event that the host's own stream has room again.
pub(super) fn key_when_free(stream: Stream) -> u64 {
    match stream {
        Stream::Stdout => STDOUT_FREE,
        Stream::Stderr => STDERR_FREE,
    }
}
