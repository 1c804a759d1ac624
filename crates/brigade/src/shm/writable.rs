//! A slice in shared memory that many workers write, each its own part. `join`: parts become one,
//! and what is shared; `message`: how one travels.

#![expect(
    unsafe_code,
    reason = "the elements are borrowed from where they are mapped"
)]

mod join;
mod message;
#[cfg(all(test, target_os = "linux", not(brigade_portable)))]
mod tests;

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;

pub use join::PartsError;

use super::draft::{self, Memory};
use super::owners::Owners;
use super::recovery::Recovery;
use super::region::Region;
use super::shared::len_of;
use super::{Shared, ShmSafe};

/// A slice in shared memory that is written in place, or a part of one. It has one owner, as a
/// `Box<[T]>` has: its holder has `&mut [T]`, and no other worker, thread or process, can
/// read or write these elements.
///
/// Split it, send the parts to workers, which write them and give them back, and join them; what
/// travels each time is a descriptor, whatever the size. When all is written, [`freeze`] makes a
/// [`Shared<[T]>`](Shared) of it, which any number of workers read. No element is ever copied.
///
/// [`freeze`]: Writable::freeze
///
/// ```
/// use brigade::shm::Writable;
/// use brigade::{Kind, Pool, Shared};
///
/// fn square(mut part: Writable<[f64]>) -> Writable<[f64]> {
///     let from = part.range().start;
///     for (i, x) in part.iter_mut().enumerate() {
///         *x = ((from + i) as f64).powi(2);
///     }
///     part
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// for kind in [Kind::Thread, Kind::Process] {
/// #   if cfg!(miri) || !cfg!(target_os = "linux") { continue }
///     let pool = Pool::new(kind, 2)?;
///     let parts = Shared::<[f64]>::writable(10_000)?.split_into(16);
///     let squares: Shared<[f64]> = Writable::try_join(pool.map(square, parts))?.freeze()?;
///     assert_eq!(squares[9_999], 9_999.0 * 9_999.0);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # One owner
///
/// Between threads the value is moved. To a process it goes as a message, and then the message
/// owns it: once the value that was encoded is dropped, as it is when a task is submitted, a
/// result is returned and a message is sent, the message can be decoded, once. If it is decoded
/// a second time (it was kept, or the task is run again) that is an error in words,
/// [`Undeliverable`](crate::JoinError::Undeliverable); so it is if the value was encoded again
/// since, as when a full channel gave it back and it was sent once more: the last message counts.
/// If what was encoded is *not* dropped (`send_ref`), the message does not decode: the receiver
/// waits 5 s for that.
///
/// So a task that has a part in its input is not [retried](crate::PoolBuilder::retries) when it
/// has begun: the death of its worker is the task's result.
///
/// # What a dead worker leaves
///
/// A part that its owner dies with, or drops, has no owner any more: the others cannot be frozen
/// without it. A program that may need it makes a [`recovery`](Writable::recovery) before sending
/// it: that gives it back when no live worker has it, poisoned if its last owner died or panicked
/// while it could write.
///
/// # Limits
///
/// - Elements are of a type without atomics and locks ([`FROZEN`](ShmSafe::FROZEN)); this does not
///   compile otherwise:
///   ```compile_fail,E0080
///   # use std::sync::atomic::AtomicU32;
///   let _ = brigade::Shared::<[AtomicU32]>::writable(1);
///   ```
/// - "No other worker" is what safe code can do. A worker that sets out to do so writes to all of
///   the region, once it has had a part of it: the elements are then other values of their type
///   ([`ShmSafe`] sees to that they are values). When the region is frozen, no process can write
///   to it, whatever it is.
/// - A child that a process makes by `fork` without `exec` does not inherit the memory: to touch it
///   there is a `SIGSEGV`. To send it from there is an error; to drop it has no effect.
/// - The parts of one split share a table of their owners, one more descriptor and page, made when
///   the first of them is sent to a process.
#[doc(alias = "split_at_mut")]
#[doc(alias = "chunks_mut")]
#[doc(alias = "SharedMemory")]
pub struct Writable<T: ?Sized + ShmSafe> {
    at: NonNull<T>,
    /// Where it begins, in elements, and how many the region has.
    from: usize,
    all: usize,
    place: OwnedBytes,
}

// SAFETY: it gives out `&mut T` to a holder that has it mutably, and `&T` to one that has it
// shared, for as long as the region lives, and `T` is `Send + Sync`, as every `ShmSafe` is.
unsafe impl<T: ?Sized + ShmSafe> Send for Writable<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + ShmSafe> Sync for Writable<T> {}

/// Bytes of a region that this process owns, and what says so.
#[derive(Debug)]
struct OwnedBytes {
    /// `None`: it is no place any more.
    region: Option<Arc<Region>>,
    bytes: Range<usize>,
    owners: Arc<Owners>,
    /// Which of them.
    index: usize,
}

impl OwnedBytes {
    fn region(&self) -> &Arc<Region> {
        // Only what consumes the value takes it out.
        self.region.as_ref().expect("a place in a region")
    }

    /// This is no place of its own any more: others are, or none is.
    fn retire(&mut self) -> Option<Arc<Region>> {
        if let Some(table) = self.owners.get() {
            if let Some(entry) = table.get(self.index) {
                entry.retire();
            }
        }
        self.region.take()
    }
}

impl Drop for OwnedBytes {
    fn drop(&mut self) {
        let Some(region) = self.region.take() else {
            return;
        };
        if !region.is_of_this_process() {
            // It is its parent's, and what is mapped here by now is something else.
            let _ = ManuallyDrop::new(region);
            return;
        }
        region.owned().remove(&self.bytes);
        // Before the next owner can have it: it may want to freeze it.
        drop(region);
        if let Some(table) = self.owners.get() {
            if let Some(entry) = table.get(self.index) {
                entry.leave(!std::thread::panicking());
            }
        }
    }
}

/// Bytes of these elements. They are within a region, so nothing overflows.
fn bytes_of<T>(elements: &Range<usize>) -> Range<usize> {
    elements.start * size_of::<T>()..elements.end * size_of::<T>()
}

/// Does not compile for what cannot be written by one owner and then be frozen.
fn file_len<T: ShmSafe>(count: usize) -> io::Result<usize> {
    const {
        assert!(
            T::FROZEN,
            "a slice of atomics or locks has no need of one owner: share it"
        );
    }
    len_of::<T>(count)
}

impl<T: ShmSafe> Shared<[T]> {
    /// A slice whose bytes are all zero, to be written in place by many workers, each its own part.
    ///
    /// # Errors
    /// As [`new`](Shared::new), and if `len` values are more than can be addressed.
    ///
    /// ```
    /// use brigade::Shared;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut table = Shared::<[u32]>::writable(4)?;
    /// table[1] = 7;
    /// let table: Shared<[u32]> = table.freeze()?;
    /// assert_eq!(*table, [0, 7, 0, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn writable(len: usize) -> io::Result<Writable<[T]>> {
        let file = draft::make(file_len::<T>(len)?, Memory::Reserved)?;
        Writable::owned(Region::exclusive(file)?, 0..len, len, Owners::new(1), 0)
            .ok_or_else(|| io::Error::other("a new region has no owners"))
    }
}

impl<T: ShmSafe> Writable<[T]> {
    /// The region has been found, or made, large enough for `all` values; the elements are among
    /// them. `None`: some of them have an owner in this process.
    pub(super) fn owned(
        region: Arc<Region>,
        elements: Range<usize>,
        all: usize,
        owners: Arc<Owners>,
        index: usize,
    ) -> Option<Writable<[T]>> {
        let bytes = bytes_of::<T>(&elements);
        region
            .owned()
            .insert(&bytes)
            .then(|| Writable::listed(region, elements, all, owners, index))
    }

    /// As [`owned`](Self::owned), where the region lists the elements as this one's already.
    fn listed(
        region: Arc<Region>,
        elements: Range<usize>,
        all: usize,
        owners: Arc<Owners>,
        index: usize,
    ) -> Writable<[T]> {
        let bytes = bytes_of::<T>(&elements);
        debug_assert!(bytes.end <= region.len());
        // SAFETY: the elements are within the region, all of which is mapped.
        let at = unsafe { region.at().add(bytes.start) };
        Writable {
            at: NonNull::slice_from_raw_parts(at.cast(), elements.len()),
            from: elements.start,
            all,
            place: OwnedBytes {
                region: Some(region),
                bytes,
                owners,
                index,
            },
        }
    }

    /// Which elements of the region these are.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let (a, b) = brigade::Shared::<[u8]>::writable(10)?.split_at(4);
    /// assert_eq!((a.range(), b.range()), (0..4, 4..10));
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self) -> Range<usize> {
        self.from..self.from + self.at.len()
    }

    /// Splits it into `parts` parts, in order, whose lengths differ by one at the most. Where there
    /// are fewer elements than parts, the last ones are empty.
    ///
    /// # Panics
    /// `parts` is 0.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let parts = brigade::Shared::<[u64]>::writable(10)?.split_into(4);
    /// assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [3, 3, 2, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn split_into(self, parts: usize) -> Vec<Writable<[T]>> {
        assert!(parts > 0, "a slice is split into one part at least");
        let (each, longer) = (self.len() / parts, self.len() % parts);
        let ends = (0..parts).map(|i| (i + 1) * each + longer.min(i + 1));
        self.split_at_all(ends)
    }

    /// Splits it into parts of `len` elements, the last of which may be shorter: the rows of a
    /// matrix, say.
    ///
    /// # Panics
    /// `len` is 0.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let rows = brigade::Shared::<[u64]>::writable(10)?.into_chunks(4);
    /// assert_eq!(rows.iter().map(|row| row.len()).collect::<Vec<_>>(), [4, 4, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_chunks(self, len: usize) -> Vec<Writable<[T]>> {
        assert!(len > 0, "a chunk has one element at least");
        let all = self.len();
        let ends =
            (0..all.div_ceil(len)).map(move |i| i.saturating_add(1).saturating_mul(len).min(all));
        self.split_at_all(ends)
    }

    /// Splits it in two: the first `mid` elements, and the others.
    ///
    /// # Panics
    /// There are fewer than `mid`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let (head, tail) = brigade::Shared::<[u64]>::writable(10)?.split_at(3);
    /// assert_eq!((head.len(), tail.len()), (3, 7));
    /// # Ok(())
    /// # }
    /// ```
    pub fn split_at(self, mid: usize) -> (Writable<[T]>, Writable<[T]>) {
        let len = self.len();
        assert!(mid <= len, "{mid} elements of {len}");
        let mut parts = self.split_at_all([mid, len].into_iter()).into_iter();
        match (parts.next(), parts.next()) {
            (Some(head), Some(tail)) => (head, tail),
            _ => unreachable!("two ends make two parts"),
        }
    }

    /// Splits it into parts that end there, in ascending order; the last one is the length.
    fn split_at_all(mut self, ends: impl ExactSizeIterator<Item = usize>) -> Vec<Writable<[T]>> {
        let (mut start, all) = (self.from, self.all);
        let owners = Owners::new(ends.len());
        let parts: Vec<Range<usize>> = ends
            .map(|end| std::mem::replace(&mut start, self.from + end)..self.from + end)
            .collect();
        let bytes: Vec<_> = parts.iter().map(bytes_of::<T>).collect();
        let old = self.place.bytes.clone();
        let Some(region) = self.place.retire() else {
            return Vec::new();
        };
        region.owned().replace([old].iter(), bytes.iter());
        let part = |(index, elements)| {
            Writable::listed(
                Arc::clone(&region),
                elements,
                all,
                Arc::clone(&owners),
                index,
            )
        };
        parts.into_iter().enumerate().map(part).collect()
    }

    /// What gives this part back when its owner, in another process by then perhaps, has died or
    /// dropped it. To be made before it is sent.
    ///
    /// # Errors
    /// There is no memory, or no more descriptors.
    ///
    /// See [`Recovery`] for an example.
    pub fn recovery(&self) -> io::Result<Recovery<[T]>> {
        let region = Region::handle(self.place.region())?;
        let table = self.place.owners.make()?;
        Ok(Recovery::new(
            region,
            self.range(),
            self.all,
            table,
            self.place.index,
        ))
    }
}

impl<T: ?Sized + ShmSafe> Deref for Writable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: where it was made, `at` was given a part of a region, all of which is mapped and
        // sealed at its size, and `self` keeps it mapped. It is aligned for `T`, its bytes are
        // initialized, for a file has no others, and every pattern of them is a `T`. That nothing
        // else refers to them: in this process the region's list has one owner for each byte; that
        // no other process has them while `self` lives is what their entry in the owners' table
        // says, whose lock this process holds from before it had `self` until `self` is dropped.
        //
        // That a process keeps to the table is its good will, as with `Shared`: one that does not
        // changes what is borrowed here, which the language does not provide for; what is read then
        // is some value of the type, and nothing of ours relies on it.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ?Sized + ShmSafe> DerefMut for Writable<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; it is mapped to be written, and `self` is borrowed mutably.
        unsafe { self.at.as_mut() }
    }
}

impl<T: ?Sized + ShmSafe> AsRef<T> for Writable<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized + ShmSafe> AsMut<T> for Writable<T> {
    fn as_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: ?Sized + ShmSafe> fmt::Debug for Writable<T> {
    /// What it is, not what is in it, which may be large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable")
            .field("type", &format_args!("{}", std::any::type_name::<T>()))
            .field("from", &self.from)
            .field("bytes", &size_of_val(&**self))
            .finish_non_exhaustive()
    }
}

const OF_THE_PARENT: &str = "a part of a region that the process owns of which this one is a fork";
