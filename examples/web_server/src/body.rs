//! What a response consists of: bytes, or a file that is read as the client takes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::task::JoinHandle;

/// What is read of a file at once.
const CHUNK: u64 = 256 << 10;

/// The body of a response.
pub(crate) enum Content {
    Bytes(Bytes),
    File(FilePart),
}

/// A part of a file.
pub(crate) struct FilePart {
    file: Arc<File>,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Content {
    pub(crate) fn none() -> Content {
        Content::Bytes(Bytes::new())
    }

    pub(crate) fn of_file(file: File, at: u64, end: u64) -> Content {
        Content::File(FilePart {
            file: Arc::new(file),
            at,
            end,
            reading: None,
        })
    }
}

impl FilePart {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        let (at, len) = (self.at, (self.end - self.at).min(CHUNK) as usize);
        let file = &self.file;
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; len];
                // One that has become shorter is an error: the client was promised its length.
                file.read_exact_at(&mut chunk, at)?;
                Ok(Bytes::from(chunk))
            })
        });
        let chunk = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other);
        self.reading = None;
        self.at += len as u64;
        Poll::Ready(Some(chunk.and_then(|chunk| chunk)))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = match self.get_mut() {
            Content::Bytes(bytes) if bytes.is_empty() => None,
            Content::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Content::File(part) => ready!(part.poll_chunk(context)),
        };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Content::Bytes(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(part) => part.end - part.at,
        })
    }
}
