//! A client's socket: one that takes nothing of its response is given up, and one that still sends
//! when its answer is out gets to read it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long, and how much, is read after the last answer. To close a socket while bytes of the
/// client are unread resets the connection, and the client may lose the answer: a 413, say.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// A connection from a client.
pub(crate) struct Client {
    stream: TcpStream,
    write_time: Duration,
    /// Set while a write waits, and while a closed connection lingers.
    deadline: Option<Pin<Box<Sleep>>>,
    lingering: Option<usize>,
}

impl Client {
    pub(crate) fn new(stream: TcpStream, write_time: Duration) -> Client {
        Client {
            stream,
            write_time,
            deadline: None,
            lingering: None,
        }
    }

    /// What a write gives, or an error if none has made progress for too long.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let time = self.write_time;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing of its response",
        )))
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.lingering = Some(LINGER_BYTES);
            this.deadline = Some(Box::pin(sleep(LINGER)));
        }
        let mut scratch = [0; 8 << 10];
        while let Some(left) = this.lingering.filter(|left| *left > 0) {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    this.lingering = Some(left.saturating_sub(buffer.filled().len()));
                }
                // It has ended, or is gone.
                Poll::Ready(_) => break,
                Poll::Pending => match &mut this.deadline {
                    Some(deadline) if deadline.deadline() > Instant::now() => {
                        ready!(deadline.as_mut().poll(context));
                    }
                    _ => break,
                },
            }
        }
        Poll::Ready(Ok(()))
    }
}
