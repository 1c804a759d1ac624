//! How a task says that it runs: a datagram to a socket with an abstract name, which leaves nothing
//! behind.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::wait;

/// The program's end.
#[derive(Debug)]
pub struct Doorbell {
    socket: UnixDatagram,
    name: String,
}

impl Doorbell {
    /// A bell with a name of its own.
    ///
    /// # Errors
    /// There is no descriptor, or no memory, for a socket.
    pub fn new() -> io::Result<Doorbell> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "brigade-doorbell-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_read_timeout(Some(wait::LIMIT))?;
        Ok(Doorbell { socket, name })
    }

    /// What a task needs to ring.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The next ring: the process ids that it came with.
    ///
    /// # Errors
    /// No task rang within [`wait::LIMIT`].
    pub fn await_ring(&self) -> io::Result<Vec<u32>> {
        let mut bytes = [0; 64];
        let len = self
            .socket
            .recv(&mut bytes)
            .map_err(|e| io::Error::new(e.kind(), format!("no task rang: {e}")))?;
        let (words, _) = bytes[..len].as_chunks::<4>();
        Ok(words.iter().map(|word| u32::from_ne_bytes(*word)).collect())
    }
}

/// Rings a bell, from a task.
///
/// # Errors
/// The program has dropped the bell.
pub fn ring(name: &str, pids: &[u32]) -> io::Result<()> {
    let bytes: Vec<u8> = pids.iter().flat_map(|pid| pid.to_ne_bytes()).collect();
    UnixDatagram::unbound()?.send_to_addr(&bytes, &SocketAddr::from_abstract_name(name)?)?;
    Ok(())
}

/// A task: rings, and waits until it is killed.
///
/// # Panics
/// The program has dropped the bell.
pub fn ring_and_wait(name: String) {
    ring(&name, &[std::process::id()]).expect("the program listens");
    wait::for_ever()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_heard() {
        let bell = Doorbell::new().expect("a socket");
        ring(&bell.name(), &[7, 8]).expect("rung");
        assert_eq!(bell.await_ring().expect("heard"), [7, 8]);
    }
}
