//! Files and sockets as messages.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::carry;
use crate::sys::carried;

/// A file or a socket, as a [`Message`](crate::Message): in a task's input or result, or in a
/// channel.
///
/// It holds anything that is a descriptor and nothing else: [`OwnedFd`], [`std::fs::File`],
/// [`std::net::TcpStream`], [`std::net::TcpListener`], [`std::net::UdpSocket`],
/// [`std::os::unix::net::UnixStream`] and its kin. A process receives a descriptor of its own for
/// the same open file: the position in it and its flags are shared, as after dup(2).
///
/// # Examples
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// use brigade::{Descriptor, process};
///
/// fn greet(Descriptor(mut stream): Descriptor<UnixStream>) {
///     stream.write_all(b"hello").expect("the other end is open");
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     brigade::init();
///     let (mut ours, theirs) = UnixStream::pair()?;
///     process::spawn(greet, Descriptor(theirs))?.join()?;
///     let mut heard = String::new();
///     ours.read_to_string(&mut heard)?;
///     assert_eq!(heard, "hello");
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Descriptor<T = OwnedFd>(pub T);

impl<T> Descriptor<T> {
    /// The file or socket.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Descriptor<T> {
    fn from(inner: T) -> Descriptor<T> {
        Descriptor(inner)
    }
}

impl<T: AsFd> AsFd for Descriptor<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsFd> Serialize for Descriptor<T> {
    /// # Errors
    /// Any serializer but that of a task's input or result or of a channel's message; no more
    /// descriptors.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        carry::attach::<S::Error>(self.0.as_fd())?.serialize(serializer)
    }
}

impl<'de, T: From<OwnedFd>> Deserialize<'de> for Descriptor<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        let came = carry::take::<D::Error>(number)?;
        let descriptor = carried::into_descriptor(came).map_err(D::Error::custom)?;
        Ok(Descriptor(descriptor.into()))
    }
}
