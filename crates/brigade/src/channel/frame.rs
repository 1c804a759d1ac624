//! A frame that was received: a message that is not decoded yet.

use crate::Message;
use crate::sys::value_file::ValueFile;
use crate::task::codec;
use crate::transport::{FrameContent, attachment};

/// A message, not decoded.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) content: FrameContent,
    /// How many descriptors it should have.
    pub(super) announced: u16,
    pub(super) large: bool,
}

impl Frame {
    /// One to come, into this memory.
    pub(super) fn new(body: Vec<u8>) -> Frame {
        Frame {
            content: FrameContent {
                body,
                descriptors: Vec::new(),
            },
            announced: 0,
            large: false,
        }
    }

    /// Decodes the message. All that can fail here is this message's own.
    #[inline(always)]
    pub(super) fn decode<T: Message>(&mut self) -> Result<T, String> {
        let file = match self.is_bytes_only() {
            true => None,
            false => self.open()?,
        };
        let FrameContent { body, descriptors } = &mut self.content;
        let descriptors = std::mem::take(descriptors);
        match file {
            Some(file) => codec::decode_file_frame(file, descriptors),
            None => codec::decode_frame(body, descriptors),
        }
    }

    #[inline(always)]
    fn is_bytes_only(&self) -> bool {
        !self.large && self.announced == 0 && self.content.descriptors.is_empty()
    }

    /// A large message is in its first descriptor.
    fn open(&mut self) -> Result<Option<ValueFile>, String> {
        let FrameContent { body, descriptors } = &mut self.content;
        if descriptors.len() != usize::from(self.announced) {
            return Err(format!(
                "came without its {} descriptors: this process has as many as it may \
                 (RLIMIT_NOFILE), or its sender did not send them",
                self.announced
            ));
        }
        if !self.large {
            return Ok(None);
        }
        let len = <[u8; 8]>::try_from(body.as_slice()).map_or(u64::MAX, u64::from_ne_bytes);
        // A sender of this build attaches the file. A wake frame has none, but the overflow takes
        // those out: this frame is a hostile sender's.
        if descriptors.is_empty() {
            return Err("is not a message that was sent".to_owned());
        }
        let file = descriptors.remove(0);
        attachment::map(file, len)
            .map(Some)
            .map_err(|e| format!("could not be read from its {len} bytes of memory: {e}"))
    }
}
