//! A channel over a Unix socket. unix(7).
//!
//! The link itself, whose sockets are of the kind that keeps messages apart (`SOCK_SEQPACKET`): one
//! frame is one message, and its descriptors go with it.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};

use super::header::ChannelHeader;
use super::{
    ChannelContext, FrameContent, FrameHeader, FrameSink, FrameSource, NotGot, NotPut,
    OutgoingFrame, attachment,
};
use crate::sys::fds;

/// The longest frame. The kernel's buffer takes some 200 KiB by default
/// (/proc/sys/net/core/wmem_default).
const INLINE_MAX: usize = 32 * 1024;

/// The longest frame that is copied together.
const SHORT: usize = 8192;

/// The sending end.
#[derive(Debug)]
pub(crate) struct SocketSink;

impl FrameSink for SocketSink {
    fn inline_max(&self, _has_descriptors: bool) -> usize {
        INLINE_MAX
    }

    fn may_fit(&self, _shared: &ChannelHeader, _header: FrameHeader) -> bool {
        true
    }

    fn put(&self, channel: ChannelContext<'_>, frame: OutgoingFrame<'_>) -> Result<(), NotPut> {
        let OutgoingFrame {
            header,
            body,
            descriptors,
        } = frame;
        if descriptors.is_empty() && body.len() <= SHORT {
            // In one piece, for the kernel takes that in half the time.
            return frame
                .in_one_piece(|bytes| fds::send(channel.link, bytes, &[]))
                .map_err(|e| attachment::not_sent(e, NotPut::LinkBlocked));
        }
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let head = header.to_bytes();
        let parts = [IoSlice::new(&head), IoSlice::new(body)];
        fds::send_parts(channel.link, &parts, &descriptors)
            .map_err(|e| attachment::not_sent(e, NotPut::LinkBlocked))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct SocketSource {
    /// Where a frame comes in, header first: its length is not known before. Kept, so that it is
    /// not made anew for each.
    frame: Box<[u8]>,
}

impl SocketSource {
    pub(crate) fn new() -> SocketSource {
        SocketSource {
            frame: vec![0; FrameHeader::SIZE + INLINE_MAX].into(),
        }
    }
}

impl FrameSource for SocketSource {
    fn get(
        &mut self,
        channel: ChannelContext<'_>,
        content: &mut FrameContent,
        may_wait: bool,
    ) -> Result<FrameHeader, NotGot> {
        let FrameContent { body, descriptors } = content;
        descriptors.clear();
        let got = fds::recv(channel.link, &mut self.frame, descriptors, may_wait);
        match got {
            Ok(got) if got.bytes == 0 => Err(NotGot::Gone),
            Ok(got) => {
                let (header, found) = self.frame[..got.bytes]
                    .split_first_chunk()
                    .and_then(|(head, found)| Some((FrameHeader::from_bytes(head)?, found)))
                    .filter(|(header, found)| {
                        found.len() == header.len as usize
                            && (got.descriptors_lost
                                || descriptors.len() == usize::from(header.descriptors))
                    })
                    .ok_or_else(|| {
                        NotGot::NoFrame("a frame in the socket is not a message".to_owned())
                    })?;
                body.clear();
                body.extend_from_slice(found);
                Ok(header)
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Err(NotGot::Empty),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Err(NotGot::Gone),
            // Longer than a frame may be: the kernel has thrown the rest away.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Err(NotGot::NoFrame(
                "a frame in the socket is longer than any message".to_owned(),
            )),
            Err(e) => Err(e.into()),
        }
    }
}
