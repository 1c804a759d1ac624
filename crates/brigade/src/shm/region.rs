//! A region: one memory file, sealed at its size, and the one mapping of it in this process.
//!
//! Problem: a region arrives again and again, in every message that names it, each time with a new
//! descriptor. Were each kept and mapped, a loop would run out of descriptors, and a lock would be
//! at several addresses of one process. So all regions of the process are listed, by device and
//! inode, which no other memory file ever has (since Linux 5.9, where inodes of memory files have
//! 64 bits), and which is all that a region is: its file. A region that is in the list is used
//! again, and the new descriptor closed. The list does not keep regions alive: the last one to drop
//! a region takes it out. While it does so the same region may arrive once more; then the list has
//! a dead entry or a newer one, and either shows by its count.
//!
//! A region that arrives may be anything: its sender may be hostile. Only what the kernel says of
//! the file is believed.
//!
//! **Whether its memory is there.** A page that is missing would be made when it is touched, of the
//! memory of the process that touches it: a peer could have this process take as much as it likes,
//! for nothing. The kernel counts a file's blocks, but also those behind its end, where
//! fallocate(2) puts some before the size is sealed. So:
//!
//! - If the region can be written, what is behind the end is given back first, and then the count
//!   is right. Later its peers can give back pages inside, but no more than they have once paid
//!   for.
//! - If it is frozen nothing can be given back, neither there nor inside. The kernel says where
//!   data is (`SEEK_HOLE`, lseek(2)); memory that was reserved and not written yet counts as a hole
//!   there, so such places are reserved again: if that makes blocks, they were missing. This takes
//!   some time for each page, and is for a program that is to outlive its workers: a worker is done
//!   without it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{FallocateFlags, SealFlags, SeekFrom};
use rustix::io::Errno;

use super::draft::Draft;
use super::owned_ranges::OwnedRanges;
use crate::sync::liveness;
use crate::sys::error::Call;
use crate::sys::mapping::{Mapping, SIZE_SEALS, add_seals, is_denied};
use crate::sys::opened;
use crate::sys::original::Original;
use crate::task::carry;

/// Device and inode.
type Id = (u64, u64);

static REGIONS: Mutex<BTreeMap<Id, Weak<Region>>> = Mutex::new(BTreeMap::new());

/// Which process has made a region.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RegionMaker {
    Here,
    /// A peer that may be hostile.
    Elsewhere,
}

/// Whether a sealed file of `len` bytes has all of its memory: see above.
fn is_all_there(file: &OwnedFd, len: usize, frozen: bool) -> io::Result<bool> {
    let blocks = || -> io::Result<u64> {
        let blocks = rustix::fs::fstat(file).call("fstat(2)")?.st_blocks as u64;
        Ok(blocks.saturating_mul(512))
    };
    let len = len as u64;
    if blocks()? < len {
        return Ok(false);
    }
    if !frozen {
        let behind = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let rest = i64::MAX as u64 - len;
        match rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, behind, len, rest)) {
            // A descriptor that can only be read.
            Err(Errno::BADF) => return Err(io::ErrorKind::PermissionDenied.into()),
            // It is denied to this process, and so to those that it starts, and what they make has
            // been written: see `reserve`.
            Err(e) if is_denied(e) => {}
            given_back => {
                given_back.call("fallocate(2)")?;
                return Ok(blocks()? >= len);
            }
        }
    }
    if liveness::is_worker() {
        return Ok(true);
    }
    // What is asked for at once: no more than this is made where it was missing.
    const STEP: u64 = 2 << 20;
    let before = blocks()?;
    let mut at = 0;
    while at < len {
        let hole = rustix::fs::seek(file, SeekFrom::Hole(at)).call("lseek(2)")?;
        if hole >= len {
            break;
        }
        let end = match rustix::fs::seek(file, SeekFrom::Data(hole)) {
            Err(Errno::NXIO) => len,
            end => end.call("lseek(2)")?,
        };
        if end <= hole {
            // A process has touched what was reserved, just now: it counts as data from then on.
            continue;
        }
        at = end.min(hole + STEP);
        let plain = FallocateFlags::empty();
        match rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, plain, hole, at - hole)) {
            Err(e) if is_denied(e) => return Ok(false),
            made => made.call("fallocate(2)")?,
        }
        if blocks()? != before {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What may be done with a region, which its seals say.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Access {
    /// No process can write to it.
    Frozen,
    /// Every process that has it writes through atomics and locks.
    Shared,
    /// Each range is one owner's: [`Writable`](super::Writable). It can be frozen later.
    Exclusive,
}

/// A region of this process. Its file stays open, to be sent.
#[derive(Debug)]
pub(crate) struct Region {
    file: OwnedFd,
    mapping: Mapping,
    access: Access,
    id: Id,
    owned: OwnedRanges,
    original: Original,
}

impl Region {
    /// Seals a draft, its content too if it shall be `frozen`, and maps it.
    pub(crate) fn seal(file: Draft, frozen: bool) -> io::Result<Arc<Region>> {
        let mut seals = SIZE_SEALS | SealFlags::SEAL;
        if frozen {
            seals |= SealFlags::WRITE;
        } else {
            liveness::expect_forks();
        }
        add_seals(&file, seals)
            .and_then(|()| Region::open(file, RegionMaker::Here, false))
            .needed_to("share memory")
    }

    /// Maps a draft as it is, for owners of its ranges: it can be [frozen](Self::freeze) later.
    pub(crate) fn exclusive(file: Draft) -> io::Result<Arc<Region>> {
        Region::open(file, RegionMaker::Here, true).needed_to("make shared memory")
    }

    /// The region that a descriptor from anywhere is of.
    pub(crate) fn receive(file: OwnedFd) -> io::Result<Arc<Region>> {
        Region::open(file, RegionMaker::Elsewhere, false).needed_to("receive shared memory")
    }

    /// As [`receive`](Self::receive), of a region whose ranges have owners.
    pub(crate) fn receive_exclusive(file: OwnedFd) -> io::Result<Arc<Region>> {
        Region::open(file, RegionMaker::Elsewhere, true).needed_to("receive shared memory")
    }

    /// The ranges of it that this process owns.
    pub(crate) fn owned(&self) -> &OwnedRanges {
        &self.owned
    }

    /// Whether this is the process that mapped it, and no fork of that.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.original.is_this_process()
    }

    /// What can open it again, and does not keep it mapped.
    pub(crate) fn handle(this: &Arc<Region>) -> io::Result<RegionHandle> {
        Ok(RegionHandle(opened::copy(&this.file)?))
    }

    /// Seals a region that is `exclusive`, of which no other process has a mapping. If it cannot
    /// be, it comes back, mapped anew; unless even that failed.
    pub(crate) fn freeze(
        this: Arc<Region>,
    ) -> Result<Arc<Region>, (io::Error, Option<Arc<Region>>)> {
        let files = opened::copy(&this.file).and_then(|file| Ok((file, opened::copy(&this.file)?)));
        let (file, spare) = match files {
            Ok(files) => files,
            Err(e) => return Err((e, Some(this))),
        };
        // A file that is mapped to be written cannot be sealed against it.
        if let Err(this) = Arc::try_unwrap(this).map(drop) {
            let text = "a part of the region is in use in this process";
            let e = io::Error::new(io::ErrorKind::ResourceBusy, text);
            return Err((e, Some(this)));
        }
        Region::seal(file, true).map_err(|e| {
            let e = match e.kind() {
                io::ErrorKind::ResourceBusy => {
                    let text = format!("another process still maps the region: {e}");
                    io::Error::new(io::ErrorKind::ResourceBusy, text)
                }
                _ => e,
            };
            (e, Region::exclusive(spare).ok())
        })
    }

    fn open(file: OwnedFd, origin: RegionMaker, exclusive: bool) -> io::Result<Arc<Region>> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        // What is no memory file has no seals.
        let seals = match rustix::fs::fcntl_get_seals(&file) {
            Err(Errno::INVAL | Errno::BADF) => {
                return Err(invalid("a region that is no memory file"));
            }
            seals => seals.call("fcntl(F_GET_SEALS)")?,
        };
        let needed = match exclusive {
            true => SIZE_SEALS,
            false => SIZE_SEALS | SealFlags::SEAL,
        };
        if !seals.contains(needed) {
            return Err(invalid("a region whose size is not sealed"));
        }
        // One of huge pages has seals too, but its memory comes from a pool that can be empty
        // later.
        if rustix::fs::fstatfs(&file).call("fstatfs(2)")?.f_type != libc::TMPFS_MAGIC {
            return Err(invalid("a region of another kind of memory"));
        }
        let stat = rustix::fs::fstat(&file).call("fstat(2)")?;
        let len = usize::try_from(stat.st_size)
            .ok()
            .filter(|&len| len > 0 && len % rustix::param::page_size() == 0)
            .ok_or_else(|| invalid("a region of no whole number of pages"))?;
        let frozen = seals.contains(SealFlags::WRITE);
        let access = match (frozen, exclusive) {
            (true, false) => Access::Frozen,
            (false, false) => Access::Shared,
            (false, true) => Access::Exclusive,
            (true, true) => return Err(invalid("a region that was frozen meanwhile")),
        };
        let id = (stat.st_dev, stat.st_ino);
        let known = |regions: &BTreeMap<Id, Weak<Region>>| regions.get(&id)?.upgrade();
        // What another process has sealed since does not make it another region.
        let as_wanted = |region: Arc<Region>| match region.access == access {
            true => Ok(region),
            false => Err(invalid("a region that this process has as another kind")),
        };
        // No region is dropped while the list is locked: that would lock it again.
        let listed = known(&REGIONS.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(region) = listed {
            return as_wanted(region);
        }
        if origin == RegionMaker::Elsewhere && !is_all_there(&file, len, frozen)? {
            return Err(invalid("a region whose memory is not all there"));
        }

        let mut regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = known(&regions);
        if let Some(region) = listed {
            drop(regions);
            return as_wanted(region);
        }
        let mapping = if frozen {
            Mapping::readable(&file, len)?
        } else {
            Mapping::writable(&file, len)?
        };
        if access == Access::Exclusive {
            // A child would be a second owner, and would keep the file from being sealed.
            mapping.keep_from_children()?;
        }
        let region = Arc::new(Region {
            file,
            mapping,
            access,
            id,
            owned: OwnedRanges::default(),
            original: Original::this_process(),
        });
        regions.insert(id, Arc::downgrade(&region));
        Ok(region)
    }

    /// Attaches it to the message that is being encoded. Gives its number there.
    pub(crate) fn attach<E: serde::ser::Error>(this: &Arc<Region>) -> Result<u32, E> {
        carry::attach(&**this)
    }

    /// The first byte. Page-aligned; valid as long as the region is, to write as well if it is not
    /// frozen.
    pub(crate) fn at(&self) -> NonNull<u8> {
        self.mapping.at()
    }

    /// Bytes: whole pages.
    pub(crate) fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Whether no process can write to it any more.
    pub(crate) fn frozen(&self) -> bool {
        self.access == Access::Frozen
    }

    /// Whether its ranges have owners: no reference to all of it may be given out.
    pub(crate) fn has_owners(&self) -> bool {
        self.access == Access::Exclusive
    }
}

/// What opens a region again whose ranges have owners.
#[derive(Debug)]
pub(crate) struct RegionHandle(OwnedFd);

impl RegionHandle {
    pub(crate) fn open(&self) -> io::Result<Arc<Region>> {
        Region::receive_exclusive(opened::copy(&self.0)?)
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let mut regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
        // Not if it arrived again meanwhile: the entry is the newer region's then.
        if regions
            .get(&self.id)
            .is_some_and(|entry| entry.strong_count() == 0)
        {
            regions.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests;
