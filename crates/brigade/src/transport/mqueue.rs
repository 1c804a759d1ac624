//! A channel over a POSIX message queue. mq_overview(7).
//!
//! The queue's name is taken away as soon as it is open, so that it lives as long as a process has
//! it. A queue knows nothing of its users' ends: the link does. How many messages a queue may hold,
//! how long they may be, and how many bytes all queues of a user may take is limited
//! (/proc/sys/fs/mqueue, `RLIMIT_MSGQUEUE`); so the queue has no more than the kernel allows, and
//! the rest of the capacity is the overflow ring's; and the longest frame is the shorter, the more
//! messages there are.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::attachment;
use super::header::ChannelHeader;
use super::{
    ChannelContext, FrameContent, FrameHeader, FrameSink, FrameSource, NotGot, NotPut,
    OutgoingFrame,
};
use crate::sys::error::Call;
use crate::sys::mqueue;

/// A frame's longest and shortest limit: the kernel's default, and room for a header and a length.
const LONGEST: usize = 8192;
const SHORTEST: usize = 128;
/// What one queue may take of the user's share, 800 KiB by default.
const SHARE: usize = 64 * 1024;

/// How many messages a queue holds, if no other limit was set.
const MESSAGES: usize = 10;

/// A new queue for `capacity` messages, or as many as the kernel allows.
pub(crate) fn create(capacity: usize) -> io::Result<OwnedFd> {
    let limit = std::fs::read_to_string("/proc/sys/fs/mqueue/msg_max")
        .ok()
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(MESSAGES);
    let messages = capacity.min(limit).max(1);
    let longest = (SHARE / messages).clamp(SHORTEST, LONGEST);
    mqueue::create(messages, longest).at(|| format!("no message queue of {messages} messages"))
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct MqueueSink {
    queue: OwnedFd,
    longest: usize,
}

impl MqueueSink {
    pub(crate) fn new(queue: OwnedFd) -> io::Result<MqueueSink> {
        Ok(MqueueSink {
            longest: longest(&queue)?,
            queue,
        })
    }
}

/// Of a queue that may have come from a hostile peer.
fn longest(queue: &OwnedFd) -> io::Result<usize> {
    let longest = mqueue::message_size(queue)?;
    if !(SHORTEST..=LONGEST).contains(&longest) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this message queue is not a channel's",
        ));
    }
    Ok(longest)
}

impl FrameSink for MqueueSink {
    fn inline_max(&self, _has_descriptors: bool) -> usize {
        self.longest - FrameHeader::SIZE
    }

    fn may_fit(&self, _shared: &ChannelHeader, _header: FrameHeader) -> bool {
        true
    }

    fn put(&self, channel: ChannelContext<'_>, frame: OutgoingFrame<'_>) -> Result<(), NotPut> {
        let descriptors = frame.descriptors;
        // Asked first, for nothing takes descriptors back; and with the lock held no other thread
        // takes the room.
        if !descriptors.is_empty() && !mqueue::has_room(&self.queue).map_err(NotPut::Failed)? {
            return Err(NotPut::Blocked);
        }
        attachment::send_ahead(channel.link, frame.header, descriptors)?;
        frame
            .in_one_piece(|bytes| mqueue::send(&self.queue, bytes))
            .map_err(|e| attachment::not_sent(e, NotPut::Blocked))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct MqueueSource {
    queue: Arc<OwnedFd>,
    /// Where a frame comes in: as long as the longest. Kept, so that it is not made anew for each.
    frame: Box<[u8]>,
}

impl MqueueSource {
    pub(crate) fn new(queue: Arc<OwnedFd>) -> io::Result<MqueueSource> {
        Ok(MqueueSource {
            frame: vec![0; longest(&queue)?].into(),
            queue,
        })
    }
}

impl FrameSource for MqueueSource {
    fn get(
        &mut self,
        channel: ChannelContext<'_>,
        content: &mut FrameContent,
        _may_wait: bool,
    ) -> Result<FrameHeader, NotGot> {
        let len = match mqueue::recv(&self.queue, &mut self.frame) {
            Ok(len) => len,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(NotGot::Empty),
            Err(e) => return Err(e.into()),
        };
        let (header, body) = self.frame[..len]
            .split_first_chunk()
            .and_then(|(head, rest)| Some((FrameHeader::from_bytes(head)?, rest)))
            .filter(|(header, body)| header.len as usize == body.len())
            .ok_or_else(|| NotGot::NoFrame("a frame in the queue is not a message".to_owned()))?;
        content.body.clear();
        content.body.extend_from_slice(body);
        attachment::take(channel.link, header, &mut content.descriptors)?;
        Ok(header)
    }
}
