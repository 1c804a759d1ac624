//! A channel over a ring in shared memory: no system call while both sides are at work.
//!
//! The ring lies behind the gate, in the same memory file. Of its 4 MiB only what was ever needed is taken from the system, and asked for before it is
//! touched (fallocate(2)): so a lack of memory is an error, and not a SIGBUS. A receiver that finds nothing looks for a moment, then announces in the ring
//! that it sleeps, and waits on a descriptor (eventfd(2)), together with the link.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::EventfdFlags;
use rustix::fs::FallocateFlags;

use super::gate::{self, Gate};
use super::parcel::{self, Parcels};
use super::ring::{Consumer, Control, Place, Producer};
use super::{Header, Inlet, Link, NotGot, NotPut, Outlet, Remainder};

const RING: usize = 4 << 20;
const PLACE: Place = Place {
    control: 1024,
    data: gate::LEN,
    capacity: RING,
};
/// Bytes of the memory file, gate and ring.
pub(crate) const LEN: usize = gate::LEN + RING;
/// What is taken from the system at creation, and each time that more is needed.
const STEP: u64 = 64 * 1024;
/// The longest frame: so that one can be written while another is read.
const INLINE_MAX: usize = RING / 4;
/// Of a frame: its number.
const HEAD: usize = 8;

const _: () = assert!(PLACE.control + size_of::<Control>() <= gate::LEN);

/// The receiver's alarm clock.
pub(crate) fn bell(gate: &Gate) -> io::Result<OwnedFd> {
    reserve(gate, 0, STEP)?;
    Ok(rustix::event::eventfd(
        0,
        EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
    )?)
}

fn reserve(gate: &Gate, from: u64, to: u64) -> io::Result<()> {
    let from = gate::LEN as u64 + from;
    let len = gate::LEN as u64 + to - from;
    Ok(rustix::fs::fallocate(
        gate.file(),
        FallocateFlags::empty(),
        from,
        len,
    )?)
}

/// The side that writes the ring.
#[derive(Debug)]
pub(crate) struct MemoryOutlet {
    bell: OwnedFd,
    /// The receiver's count of bytes, as last seen.
    seen: AtomicU64,
    /// Bytes of ring that this process knows to be there.
    reserved: AtomicU64,
}

impl MemoryOutlet {
    pub(crate) fn new(bell: OwnedFd) -> MemoryOutlet {
        MemoryOutlet {
            bell,
            seen: AtomicU64::new(0),
            reserved: AtomicU64::new(STEP),
        }
    }

    fn reserve(&self, gate: &Gate, upto: u64) -> Result<(), NotPut> {
        let reserved = self.reserved.load(Ordering::Relaxed);
        if upto > reserved {
            let upto = upto.next_multiple_of(STEP).min(RING as u64);
            reserve(gate, reserved, upto).map_err(NotPut::Failed)?;
            self.reserved.store(upto, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Outlet for MemoryOutlet {
    fn inline_max(&self) -> usize {
        INLINE_MAX
    }

    fn may_fit(&self, gate: &Gate, len: usize) -> bool {
        Producer::resume(gate.mapping(), PLACE, 0).has_room(HEAD + len)
    }

    fn put(
        &self,
        gate: &Gate,
        link: &Link,
        header: Header,
        body: &[u8],
        descriptors: &[OwnedFd],
    ) -> Result<(), NotPut> {
        if gate.is_closed() {
            return Err(NotPut::Gone);
        }
        let mut ring = Producer::resume(gate.mapping(), PLACE, self.seen.load(Ordering::Relaxed));
        ring.rewind(HEAD + body.len());
        self.reserve(gate, ring.reach(HEAD + body.len()))?;
        if !descriptors.is_empty() {
            // Before they are sent, for nothing takes them back.
            if !ring.has_room(HEAD + body.len()) {
                return Err(NotPut::Full);
            }
            parcel::send_ahead(link, header, descriptors)?;
        }
        let pushed = ring.push_parts(header.tag(), &header.number.to_ne_bytes(), body);
        self.seen.store(ring.seen(), Ordering::Relaxed);
        pushed.map_err(|_| NotPut::Full)?;
        gate.note_sender();
        ring.show();
        if ring.take_bell() {
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }
}

/// The side that reads the ring.
#[derive(Debug)]
pub(crate) struct MemoryInlet {
    bell: Arc<OwnedFd>,
    head: u64,
    parcels: Parcels,
}

impl MemoryInlet {
    /// Goes on where the receiver before left off.
    pub(crate) fn new(
        gate: &Gate,
        bell: Arc<OwnedFd>,
        parcels: VecDeque<(u64, Vec<OwnedFd>)>,
    ) -> MemoryInlet {
        MemoryInlet {
            bell,
            head: Consumer::resume(gate.mapping(), PLACE).position(),
            parcels: Parcels::new(parcels),
        }
    }
}

impl Inlet for MemoryInlet {
    fn get(
        &mut self,
        gate: &Gate,
        link: &Link,
        body: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
        _may_wait: bool,
    ) -> Result<Header, NotGot> {
        let mut ring = Consumer::at(gate.mapping(), PLACE, self.head);
        let mut number = [0];
        let corrupt = || NotGot::Corrupt("what is in the shared memory is no message".to_owned());
        let Some(tag) = ring.pop_parts(&mut number, body).map_err(|_| corrupt())? else {
            return Err(NotGot::Empty);
        };
        self.head = ring.position();
        let header = Header::from_parts(number[0], body.len() as u32, tag).ok_or_else(corrupt)?;
        self.parcels.take(link, header, descriptors)?;
        Ok(header)
    }

    fn announce_sleep(&mut self, gate: &Gate) -> bool {
        let _ = rustix::io::read(&self.bell, &mut [0; 8][..]);
        Consumer::at(gate.mapping(), PLACE, self.head).announce_sleep()
    }

    fn peek(&self, gate: &Gate) -> Option<bool> {
        Some(Consumer::at(gate.mapping(), PLACE, self.head).is_ready())
    }

    fn remainder(&self) -> Remainder<'_> {
        Remainder {
            bytes: &[],
            parcels: self.parcels.waiting(),
        }
    }
}
