//! In place of `draft` and `region`, where there are no worker processes: a region is memory of
//! this program, whole pages of it, and what travels in a message is one more count of its users.

#![expect(unsafe_code, reason = "memory whose size and type are its user's")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::owned_ranges::OwnedRanges;
use crate::sys::carried::Carried;
use crate::task::carry;

/// What regions are aligned to.
const PAGE: usize = 4096;

/// The bytes of a region for `count` values of `size` bytes: at least a page.
pub(crate) fn file_len(size: usize, count: usize) -> io::Result<usize> {
    super::whole_pages(size, count, PAGE)
}

/// Whether the memory is wanted at once, or comes with what will be written to it: here it is the
/// same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Memory {
    Reserved,
    Written,
}

/// A region that is being made.
#[derive(Debug)]
pub(crate) struct Draft {
    at: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it is memory that no other code has; what is read and written there is the concern of the
// code that dereferences `at`, each with its own argument.
unsafe impl Send for Draft {}
// SAFETY: as above; `&Draft` gives out addresses and lengths only.
unsafe impl Sync for Draft {}

impl Drop for Draft {
    fn drop(&mut self) {
        // SAFETY: from `alloc_zeroed` with this layout, and freed once.
        unsafe { dealloc(self.at.as_ptr(), self.layout) }
    }
}

/// `len` bytes, a result of [`file_len`], all zero.
pub(crate) fn make(len: usize, _: Memory) -> io::Result<Draft> {
    let no_memory = || {
        let text = format!("no memory for a shared region of {len} bytes");
        io::Error::new(io::ErrorKind::OutOfMemory, text)
    };
    let layout = Layout::from_size_align(len.max(PAGE), PAGE).map_err(|_| no_memory())?;
    // SAFETY: the layout has a size, a page or more.
    let at = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(no_memory)?;
    Ok(Draft { at, layout })
}

/// Writes `bytes` bytes of `value` to the start.
///
/// # Safety
/// `value` is valid for reads of `bytes` bytes, which are no more than the draft has.
pub(crate) unsafe fn write(draft: &mut Draft, value: *const u8, bytes: usize) -> io::Result<()> {
    debug_assert!(bytes <= draft.layout.size());
    // SAFETY: the caller's promise; no other code has the draft's memory, so it does not overlap.
    unsafe { draft.at.as_ptr().copy_from_nonoverlapping(value, bytes) };
    Ok(())
}

/// A draft that is written in place.
#[derive(Debug)]
pub(crate) struct MappedDraft(Draft);

impl MappedDraft {
    pub(crate) fn new(draft: Draft, _: usize) -> io::Result<MappedDraft> {
        Ok(MappedDraft(draft))
    }

    /// The first byte. Page-aligned; valid, to write as well, as long as this is.
    pub(crate) fn at(&self) -> NonNull<u8> {
        self.0.at
    }

    /// The memory is there already.
    pub(crate) fn populate(&self) {}

    pub(crate) fn unmap(self) -> Draft {
        self.0
    }
}

/// A region.
#[derive(Debug)]
pub(crate) struct Region {
    memory: Draft,
    frozen: AtomicBool,
    has_owners: bool,
    owned: OwnedRanges,
}

impl Region {
    fn new(memory: Draft, frozen: bool, has_owners: bool) -> Arc<Region> {
        Arc::new(Region {
            memory,
            frozen: AtomicBool::new(frozen),
            has_owners,
            owned: OwnedRanges::default(),
        })
    }

    /// Makes a region of a draft. If it is frozen, no process has a way to write to it.
    pub(crate) fn seal(memory: Draft, frozen: bool) -> io::Result<Arc<Region>> {
        Ok(Region::new(memory, frozen, false))
    }

    /// Makes a region whose ranges have owners: it can be [frozen](Self::freeze) later.
    pub(crate) fn exclusive(memory: Draft) -> io::Result<Arc<Region>> {
        Ok(Region::new(memory, false, true))
    }

    /// The region that came with a message.
    pub(crate) fn receive(carried: Carried) -> io::Result<Arc<Region>> {
        carried
            .downcast()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "what came is no region"))
    }

    /// As [`receive`](Self::receive), of a region whose ranges have owners.
    pub(crate) fn receive_exclusive(carried: Carried) -> io::Result<Arc<Region>> {
        let region = Region::receive(carried)?;
        match region.has_owners() {
            true => Ok(region),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a region that this process has as another kind",
            )),
        }
    }

    /// The ranges of it that have owners.
    pub(crate) fn owned(&self) -> &OwnedRanges {
        &self.owned
    }

    /// Whether it is this process's: there is no other.
    pub(crate) fn is_of_this_process(&self) -> bool {
        true
    }

    /// What can open it again.
    pub(crate) fn handle(this: &Arc<Region>) -> io::Result<RegionHandle> {
        Ok(RegionHandle(Arc::clone(this)))
    }

    /// None of its ranges has an owner, and none will have.
    #[expect(
        clippy::type_complexity,
        reason = "as where sealing it can fail, and it comes back"
    )]
    pub(crate) fn freeze(
        this: Arc<Region>,
    ) -> Result<Arc<Region>, (io::Error, Option<Arc<Region>>)> {
        this.frozen.store(true, Ordering::Release);
        Ok(this)
    }

    /// Attaches it to the message that is being encoded. Gives its number there.
    pub(crate) fn attach<E: serde::ser::Error>(this: &Arc<Region>) -> Result<u32, E> {
        carry::attach_with(|| Ok(Arc::clone(this) as Carried))
    }

    /// The first byte. Page-aligned; valid as long as the region is, to write as well if it is not
    /// frozen.
    pub(crate) fn at(&self) -> NonNull<u8> {
        self.memory.at
    }

    /// Bytes: whole pages.
    pub(crate) fn len(&self) -> usize {
        self.memory.layout.size()
    }

    /// Whether no process can write to it.
    pub(crate) fn frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Whether its ranges have owners: no reference to all of it may be given out.
    pub(crate) fn has_owners(&self) -> bool {
        self.has_owners && !self.frozen()
    }
}

/// What opens a region again.
#[derive(Debug)]
pub(crate) struct RegionHandle(Arc<Region>);

impl RegionHandle {
    pub(crate) fn open(&self) -> io::Result<Arc<Region>> {
        Region::receive_exclusive(Arc::clone(&self.0) as Carried)
    }
}
