//! Waiting for room in many channels at once: the words of a channel by which that is done.

use std::io;

use super::{CapacityWait, ChannelHeader, LEN, words_in};
use crate::sim::shared::{AtomicU32, Ordering};
use crate::sys::mapping::Mapping;

/// The first page of a channel, mapped once more. It is no end of the channel: what has it keeps
/// neither side connected.
#[derive(Debug)]
pub(crate) struct RoomView {
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Mapped(Mapping),
    /// Of a model, whose atomics are made at run time.
    #[cfg(loom)]
    Made(std::sync::Arc<CapacityWait>),
}

impl ChannelHeader {
    /// A view of what senders wait for.
    pub(crate) fn room_view(&self) -> io::Result<RoomView> {
        Ok(RoomView {
            memory: Memory::Mapped(Mapping::writable(&self.file, LEN)?),
        })
    }

    /// A sender waits for room, and hears of it by way of a [`RoomView`]. It has to look again
    /// first.
    pub(crate) fn announce_wait(&self) {
        self.words().waiting.announce();
    }

    /// Whether fewer messages than the capacity are on their way.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight() < self.capacity
    }
}

impl RoomView {
    #[cfg(all(test, loom))]
    pub(crate) fn made(waiting: std::sync::Arc<CapacityWait>) -> RoomView {
        RoomView {
            memory: Memory::Made(waiting),
        }
    }

    fn waiting(&self) -> &CapacityWait {
        match &self.memory {
            Memory::Mapped(mapping) => &words_in(mapping).waiting,
            #[cfg(loom)]
            Memory::Made(waiting) => waiting,
        }
    }

    /// The word that changes when there may be room.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.waiting().room
    }

    /// What that word is now.
    pub(crate) fn now(&self) -> u32 {
        self.word().load(Ordering::Acquire)
    }

    /// Senders wait for room: the next that is made changes the word and wakes what sleeps on it.
    /// Gives the word, as it was before that.
    pub(crate) fn announce(&self) -> u32 {
        self.waiting().announce().room
    }

    /// Whether the receiver was dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.waiting().closed.load(Ordering::Acquire) != 0
    }
}
