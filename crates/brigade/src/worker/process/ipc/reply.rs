//! What a worker tells the host: one frame of the ring each.
//!
//! The numbers that tell replies apart in a frame are known here only. The worker writes a
//! [`Reply`] with [`push`](Reply::push); the host takes a frame with [`pop`] or [`next`], and has
//! its [`ReplyTag`] read its bytes as a [`Reply`]. Whatever a worker has written is some reply:
//! what makes no sense is one that the host judges.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::transport::ring::{self, Consumer, Corrupt, Full, NextFrame, Producer};

const READY: u32 = 1;
const RETURNED: u32 = 2;
const LARGE_RETURNED: u32 = 3;
const PANICKED: u32 = 4;
const UNDELIVERABLE: u32 = 5;
const ACCOMPANIED_RETURNED: u32 = 6;
const LEAVING: u32 = 7;
const RAN: u32 = 8;

/// A reply. What it borrows lies in its frame, and is what a worker has written: any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// The setup was done.
    Ready,
    /// The worker could not get ready: an encoded [`NotReady`](super::protocol::NotReady), never
    /// empty.
    NotReady(&'a [u8]),
    /// The task returned: its encoded result.
    Returned(&'a [u8]),
    /// The task returned: its encoded result, whose descriptors are in the descriptor socket.
    AccompaniedReturned(&'a [u8]),
    /// The task returned: the length of its encoded result, which is in the descriptor socket, in a
    /// file, with its descriptors. `None`: the worker has written no length.
    LargeReturned(Option<u64>),
    /// The task panicked: an encoded [`Unwound`](crate::task::panic::Unwound).
    Panicked(&'a [u8]),
    /// The task could not be run, or its result not be sent: a text.
    Undeliverable(&'a [u8]),
    /// Before the reply to a task, where the pool has a timeline: from when to when it ran, by
    /// CLOCK_MONOTONIC in nanoseconds. `None`: the worker has written something else.
    Ran(Option<[u64; 2]>),
    /// The worker begins no more tasks, as its setup asked, and ends.
    Leaving,
    /// There is no such reply: the worker has broken the protocol.
    Unknown(u32),
}

impl Reply<'_> {
    /// Writes it, if there is room. The host sees it when the ring is published or shown.
    // Which reply it is is mostly known where this is called.
    #[inline(always)]
    pub(crate) fn push(self, replies: &mut Producer<'_>) -> Result<(), Full> {
        let (tag, body) = match self {
            Reply::Returned(bytes) => (RETURNED, bytes),
            Reply::Ready => (READY, &[][..]),
            Reply::NotReady(bytes) => (READY, bytes),
            Reply::AccompaniedReturned(bytes) => (ACCOMPANIED_RETURNED, bytes),
            Reply::LargeReturned(Some(len)) => {
                return replies.push(LARGE_RETURNED, &len.to_ne_bytes());
            }
            Reply::LargeReturned(None) => (LARGE_RETURNED, &[][..]),
            Reply::Panicked(bytes) => (PANICKED, bytes),
            Reply::Undeliverable(bytes) => (UNDELIVERABLE, bytes),
            Reply::Leaving => (LEAVING, &[][..]),
            Reply::Ran(Some(times)) => {
                return replies.push_parts(RAN, &times, &[]);
            }
            Reply::Ran(None) => (RAN, &[][..]),
            Reply::Unknown(tag) => (tag, &[][..]),
        };
        replies.push(tag, body)
    }

    /// Bytes of its frame, so that [`Producer::has_room`] can be asked.
    pub(crate) fn len(&self) -> usize {
        match self {
            Reply::NotReady(bytes)
            | Reply::Returned(bytes)
            | Reply::AccompaniedReturned(bytes)
            | Reply::Panicked(bytes)
            | Reply::Undeliverable(bytes) => bytes.len(),
            Reply::LargeReturned(Some(_)) => 8,
            Reply::Ran(Some(_)) => 16,
            Reply::Ran(None)
            | Reply::LargeReturned(None)
            | Reply::Ready
            | Reply::Leaving
            | Reply::Unknown(_) => 0,
        }
    }
}

/// What [`Reply::NotReady`] or [`Reply::Panicked`] carries: never nothing, and nothing that makes
/// sense if it cannot be encoded.
pub(crate) fn encoded<T: Serialize>(what: &T) -> Vec<u8> {
    postcard::to_stdvec(what).unwrap_or_else(|_| vec![0])
}

/// What [`Reply::NotReady`] or [`Reply::Panicked`] says. `None`: the worker has written something
/// else.
pub(crate) fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

/// What sort of reply a frame is. With the frame's bytes it is [read](ReplyTag::read).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyTag(u32);

impl ReplyTag {
    /// Whether it is [`Reply::Returned`]: what a pool hears most, in one comparison.
    #[inline]
    pub(crate) fn is_returned(self) -> bool {
        self.0 == RETURNED
    }

    /// The reply whose bytes these are.
    pub(crate) fn read(self, body: &[u8]) -> Reply<'_> {
        match self.0 {
            RETURNED => Reply::Returned(body),
            READY if body.is_empty() => Reply::Ready,
            READY => Reply::NotReady(body),
            LARGE_RETURNED => Reply::LargeReturned(body.try_into().ok().map(u64::from_ne_bytes)),
            PANICKED => Reply::Panicked(body),
            UNDELIVERABLE => Reply::Undeliverable(body),
            ACCOMPANIED_RETURNED => Reply::AccompaniedReturned(body),
            LEAVING => Reply::Leaving,
            RAN => Reply::Ran(two_words(body)),
            unknown => Reply::Unknown(unknown),
        }
    }
}

fn two_words(body: &[u8]) -> Option<[u64; 2]> {
    let (first, rest) = body.split_first_chunk()?;
    let second = rest.try_into().ok()?;
    Some([u64::from_ne_bytes(*first), u64::from_ne_bytes(second)])
}

/// Takes the next reply, whose bytes replace what is in `into`. `None`: there is none.
pub(crate) fn pop(
    replies: &mut Consumer<'_>,
    into: &mut Vec<u8>,
) -> Result<Option<ReplyTag>, Corrupt> {
    Ok(replies.pop(into)?.map(ReplyTag))
}

/// The next reply, which stays until its frame is taken.
#[inline]
pub(crate) fn next<'c, 'm>(
    replies: &'c mut Consumer<'m>,
) -> Result<Option<(ReplyTag, NextFrame<'c, 'm>)>, Corrupt> {
    let frame = replies.next()?;
    Ok(frame.map(|frame| (ReplyTag(frame.tag()), frame)))
}

/// Takes the next replies that are [`Reply::Returned`] and short, at most `most`: appends them to
/// `into`, for [`returned_at`]. Gives how many they are, and how many bytes the results are.
pub(crate) fn take_returned(
    replies: &mut Consumer<'_>,
    most: u32,
    into: &mut Vec<u8>,
) -> (u32, usize) {
    replies.take_frames(RETURNED, most, into)
}

/// The result at `at` among such replies, and where the next one is.
#[inline]
pub(crate) fn returned_at(replies: &[u8], at: usize) -> Option<(&[u8], usize)> {
    ring::frame_at(replies, at)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::worker::process::ipc::mailbox::{INLINE_MAX, Pair};
    use crate::worker::process::ipc::protocol::NotReady;

    fn replies(bytes: &[u8]) -> [Reply<'_>; 11] {
        [
            Reply::Ready,
            Reply::Returned(bytes),
            Reply::AccompaniedReturned(bytes),
            Reply::LargeReturned(Some(u64::MAX)),
            Reply::LargeReturned(None),
            Reply::Panicked(bytes),
            Reply::Undeliverable(bytes),
            Reply::Leaving,
            Reply::Ran(Some([1, u64::MAX])),
            Reply::Ran(None),
            Reply::Unknown(77),
        ]
    }

    #[test]
    fn replies_arrive_as_they_were_given() {
        let mut pair = Pair::new();
        let mut body = vec![0xff; 3];
        let mut arrives = |reply: Reply<'_>| {
            let before = pair.worker.replies.position();
            reply.push(&mut pair.worker.replies).expect("there is room");
            let took = pair.worker.replies.position() - before;
            assert_eq!(took, ring::frame_size(reply.len()) as u64);
            pair.worker.replies.publish();
            let replies = &mut pair.host.replies;
            let (seen, frame) = next(replies).expect("sound").expect("a reply");
            assert_eq!(frame.len(), reply.len());
            assert_eq!(seen.is_returned(), matches!(reply, Reply::Returned(_)));
            let tag = pop(replies, &mut body).expect("sound").expect("a reply");
            assert_eq!(tag, seen);
            assert_eq!(tag.read(&body), reply);
            assert_eq!(pop(replies, &mut body), Ok(None));
        };
        for bytes in [&[][..], &[1], &[2; 8], &[3; INLINE_MAX]] {
            replies(bytes).into_iter().for_each(&mut arrives);
        }
        arrives(Reply::NotReady(&[0]));
    }

    #[test]
    fn whatever_a_worker_writes_is_some_reply() {
        for tag in (0..=RAN + 1).chain([u32::MAX]) {
            for len in [0, 1, 7, 8, 9, 16, 100] {
                match ReplyTag(tag).read(&vec![0xff; len]) {
                    Reply::LargeReturned(length) => {
                        assert_eq!(
                            (tag, length),
                            (LARGE_RETURNED, (len == 8).then_some(u64::MAX))
                        );
                    }
                    Reply::Unknown(unknown) => {
                        assert!(unknown == tag && !(READY..=RAN).contains(&tag));
                    }
                    Reply::Ran(times) => {
                        let told = (len == 16).then_some([u64::MAX; 2]);
                        assert_eq!((tag, times), (RAN, told));
                    }
                    Reply::Ready => assert_eq!((tag, len), (READY, 0)),
                    Reply::Leaving => assert_eq!(tag, LEAVING),
                    other => assert_eq!(other.len(), len),
                }
            }
        }
        assert_eq!(decoded::<NotReady>(&[0xff; 9]).map(drop), None);
    }
}
