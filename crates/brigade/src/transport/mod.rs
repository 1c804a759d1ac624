//! HOW bytes move: between a host and its workers, and through channels.
//!
//! - [`ring`]: whole frames through shared memory, from one producer to one consumer; what
//!   mailboxes are made of
//! - [`header`]: what all ends of a channel share: its bounds, and which side waits
//! - [`pipe`], [`socket`], [`mqueue`], [`shm`]: the four mechanisms of a channel, each a
//!   [`FrameSink`] and a [`FrameSource`]
//! - [`overflow`]: room for what a mechanism has no room for
//! - [`stream_backoff`]: when a receiver looks away, so that it finds several messages at once
//! - [`bounds`]: what a peer can make this process hold
//! - [`attachment`]: descriptors that travel beside the bytes, and messages too large for their
//!   mechanism
//!
//! # The contract
//!
//! One channel has any number of senders, in any number of processes, and one receiver. Whatever
//! the mechanism:
//!
//! - **Order.** Messages arrive in the order in which they were sent; those of several senders are
//!   interleaved whole, never in parts. Sending is done with the header's lock held, so there is
//!   one sender at a time.
//! - **Capacity.** No more than `capacity` messages are on their way: sent, and not yet received.
//!   The header counts them; each has a number, one more than the one before. A sender that dies
//!   between sending and counting leaves a number that is given out twice, which does no harm.
//! - **Size.** A frame of up to [`FrameSink::inline_max`] bytes goes through the mechanism itself;
//!   a longer one in a sealed memory file, whose descriptor goes with it. A put does not wait,
//!   whatever the receiver and other senders do: the lock is held meanwhile. So no call relies on
//!   flags of an open file that others have too (`O_NONBLOCK`): with a socket each call says so
//!   (`MSG_DONTWAIT`), with a queue a time that has passed does, and a pipe's writing end is opened
//!   anew by each process.
//! - **Backpressure.** When the capacity, or all room, is used up, [`FrameSink::put`] says so, and
//!   the sender waits outside the lock.
//! - **Disconnect.** Both sides hold one end each of a *link*, a pair of Unix sockets, for which
//!   the kernel keeps count: of ends in this process, in others, and on their way inside messages.
//!   When the last of one side is gone, however it went, the other side's poll(2) says so
//!   (`POLLHUP`). A receiver gets what was sent before that, and then the disconnect.
//! - **Death of a peer**, at any instruction: the kernel closes its descriptors, which is a
//!   disconnect if it was the last; a sender's lock is taken over by the next; a part of a frame is
//!   never taken for a message, and is in no other message's way ([`pipe`]).
//! - **Descriptors** go with the frame whose number they bear, through the link (the socket's own
//!   go with the frame itself).
//! - **Hostility.** Each process that shares a channel may write anything into it. What is no frame
//!   is lost alone, where the mechanism keeps frames apart ([`NoFrame`](NotGot::NoFrame)); where it
//!   does not, the channel is [`Corrupt`](NotGot::Corrupt), and is not read again. Nothing that is
//!   allocated is larger than [`MAX_BYTES`](crate::task::codec::MAX_BYTES).

pub(crate) mod attachment;
pub(crate) mod bounds;
pub(crate) mod header;
#[cfg(all(loom, test))]
mod loom_tests;
pub(crate) mod mqueue;
pub(crate) mod overflow;
pub(crate) mod pipe;
pub(crate) mod reactor;
pub(crate) mod ring;
pub(crate) mod shm;
pub(crate) mod socket;
mod stream_backoff;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::sys::error::{self, errno_of};
use header::ChannelHeader;

/// What precedes the bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Counts the messages of a channel.
    pub(crate) number: u64,
    /// Of the bytes that follow it.
    pub(crate) len: u32,
    /// How many descriptors belong to it, the file of a large one included.
    pub(crate) descriptors: u16,
    /// The message is in the first descriptor; the bytes are its length.
    pub(crate) large: bool,
}

const LARGE: u32 = 1 << 31;

impl FrameHeader {
    /// Of a frame that is no message, and only wakes.
    pub(crate) const WAKE_FRAME: FrameHeader = FrameHeader {
        number: 0,
        len: 0,
        descriptors: 0,
        large: true,
    };

    /// Bytes of a header.
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn to_bytes(self) -> [u8; FrameHeader::SIZE] {
        let mut bytes = [0; FrameHeader::SIZE];
        bytes[..8].copy_from_slice(&self.number.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_ne_bytes());
        bytes[12..].copy_from_slice(&self.tag().to_ne_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; FrameHeader::SIZE]) -> Option<FrameHeader> {
        let [a, b, c, d, e, f, g, h, len @ .., i, j, k, l] = *bytes;
        let number = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        FrameHeader::from_parts(
            number,
            u32::from_ne_bytes(len),
            u32::from_ne_bytes([i, j, k, l]),
        )
    }

    /// All but the number and the length.
    pub(crate) fn tag(self) -> u32 {
        u32::from(self.descriptors) | if self.large { LARGE } else { 0 }
    }

    /// `None`: [`tag`](Self::tag) never makes such a tag.
    pub(crate) fn from_parts(number: u64, len: u32, tag: u32) -> Option<FrameHeader> {
        let descriptors = u16::try_from(tag & !LARGE).ok()?;
        let large = tag & LARGE != 0;
        let header = FrameHeader {
            number,
            len,
            descriptors,
            large,
        };
        let sensible = usize::from(descriptors) <= bounds::MAX_DESCRIPTORS
            && (!large || descriptors > 0 || header == FrameHeader::WAKE_FRAME);
        sensible.then_some(header)
    }
}

/// Why a frame was not put.
#[derive(Debug)]
pub(crate) enum NotPut {
    /// Not now: the receiver will say when.
    Full,
    /// Not now: the kernel will say when the mechanism can be written.
    Blocked,
    /// Not now: the kernel will say when the link can be written. It has more descriptors on their
    /// way than it takes.
    LinkBlocked,
    /// Not now, and no descriptor will say when.
    Busy,
    /// No receiver will take it.
    Gone,
    /// For another reason.
    Failed(io::Error),
}

/// Why no frame was got.
#[derive(Debug)]
pub(crate) enum NotGot {
    /// Not now.
    Empty,
    /// Not now, for the kernel is out of memory, or a peer keeps us busy: no descriptor says when.
    Later,
    /// No sender is left, and everything that was sent has been got.
    Gone,
    /// A sender put what is no frame. It is taken out, and the next frame begins behind it.
    NoFrame(String),
    /// A sender does not keep to the protocol, and where the next frame begins cannot be known.
    Corrupt(String),
}

impl From<io::Error> for NotGot {
    fn from(e: io::Error) -> NotGot {
        match errno_of(&e) {
            // A process that had this end before may have made it one that does not wait.
            Some(libc::EAGAIN) => NotGot::Empty,
            Some(libc::ENOMEM | libc::ENOBUFS) => NotGot::Later,
            _ => NotGot::Corrupt(error::needed("receive a message", e).to_string()),
        }
    }
}

/// Both ends of a channel that a process may have: each is one of the two sockets of the link.
pub(crate) type Link = OwnedFd;

/// What both sides of a channel have of it, whatever its mechanism: each call gets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelContext<'c> {
    pub(crate) shared: &'c ChannelHeader,
    pub(crate) link: &'c Link,
}

/// A frame to put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutgoingFrame<'f> {
    pub(crate) header: FrameHeader,
    pub(crate) body: &'f [u8],
    pub(crate) descriptors: &'f [OwnedFd],
}

impl OutgoingFrame<'_> {
    /// One that is no message, and only wakes.
    pub(crate) const WAKE: OutgoingFrame<'static> = OutgoingFrame {
        header: FrameHeader::WAKE_FRAME,
        body: &[],
        descriptors: &[],
    };

    /// Has `send` called with header and body one behind the other.
    pub(crate) fn in_one_piece<R>(&self, send: impl FnOnce(&[u8]) -> R) -> R {
        // Kept for the next one. In a destructor of the thread's own it may be gone already.
        let mut piece = PIECE.try_with(Cell::take).unwrap_or_default();
        piece.clear();
        piece.extend_from_slice(&self.header.to_bytes());
        piece.extend_from_slice(self.body);
        let sent = send(&piece);
        let _ = PIECE.try_with(|kept| kept.set(piece));
        sent
    }
}

thread_local! {
    /// Where [`in_one_piece`](OutgoingFrame::in_one_piece) puts a frame: some 8 KiB at the
    /// most, for longer ones are sent in parts.
    static PIECE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What comes in a frame, behind its header.
#[derive(Debug, Default)]
pub(crate) struct FrameContent {
    pub(crate) body: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// The sending side of a mechanism. [`put`](Self::put) and [`recover`](Self::recovered) are
/// called with the header's lock held.
pub(crate) trait FrameSink: fmt::Debug + Send + Sync {
    /// The longest frame, without its header, that goes through the mechanism itself, or through
    /// what takes its overflow; which takes no frame that has descriptors.
    fn inline_max(&self, has_descriptors: bool) -> usize;

    /// Whether this frame may fit now: asked again after the wait for room was announced, so that
    /// no wake-up is missed.
    fn may_fit(&self, shared: &ChannelHeader, header: FrameHeader) -> bool;

    /// Puts one frame, whole or not at all, and wakes the receiver, unless
    /// [`after_unlock`](Self::after_unlock) does.
    fn put(&self, channel: ChannelContext<'_>, frame: OutgoingFrame<'_>) -> Result<(), NotPut>;

    /// A frame was put, or there was no room for it, and the lock was let go of right before this is
    /// called. A sender may be killed or stopped in between: the next one wakes the receiver then,
    /// also if it finds that there is no room.
    fn after_unlock(&self, _shared: &ChannelHeader) {}

    /// The last sender died with the lock: what it left half-done is put right.
    fn recover(&self, _shared: &ChannelHeader) {}

    /// The mechanism's own descriptor, if it is another than the link's.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// The receiving side of a mechanism.
pub(crate) trait FrameSource: fmt::Debug + Send {
    /// Gets the next frame, whose bytes and descriptors replace what is in `content`. If the
    /// descriptors are fewer than the header says, they could not be had, and none is given. Does
    /// not wait, unless `may_wait` and it is quicker to wait in here: it may, then, for as long as
    /// it takes.
    fn get(
        &mut self,
        channel: ChannelContext<'_>,
        content: &mut FrameContent,
        may_wait: bool,
    ) -> Result<FrameHeader, NotGot>;

    /// Announces that the receiver is about to sleep. `false`: look again first.
    fn prepare_to_wait(&mut self, _shared: &ChannelHeader) -> bool {
        true
    }

    /// Whether a frame is there, if that can be seen without the kernel: then it is worth looking
    /// for a moment before sleeping.
    fn peek(&self, _shared: &ChannelHeader) -> Option<bool> {
        None
    }

    /// Before it is looked for frames again and again: a moment to look away, if that has proved
    /// good.
    fn back_off(&mut self) {}

    /// Whether it has taken something out of its mechanism that may be a whole frame, so that
    /// waiting for the mechanism would be wrong.
    fn has_buffered(&self, _shared: &ChannelHeader) -> bool {
        false
    }

    /// What was taken out of the mechanism and is not received yet. It goes along when the receiver
    /// moves to another process.
    fn buffered(&self) -> Buffered<'_> {
        Buffered::default()
    }
}

/// Bytes that are part of frames, and a frame that waits for its turn.
#[derive(Debug, Default)]
pub(crate) struct Buffered<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) held: Option<&'a HeldFrame>,
}

/// A frame that waits for its turn.
#[derive(Debug)]
pub(crate) struct HeldFrame {
    pub(crate) header: FrameHeader,
    pub(crate) content: FrameContent,
}
