//! A value in a region of its own.

#![expect(
    unsafe_code,
    reason = "a value is read where it was mapped, and written there once"
)]

use std::fmt;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ShmSafe;
use super::draft::{self, Memory, file_len};
use super::region::Region;
use crate::task::carry;

/// A value that workers of either kind see in the same memory.
///
/// It is an [`Arc`] that reaches other processes: cloning it is cheap, and when it is sent to a
/// worker the value stays where it is; what travels is a descriptor, whatever the size. The last
/// worker that drops it, or ends, frees it.
///
/// ```
/// use brigade::{Shared, thread};
///
/// fn largest(samples: Shared<[u32]>) -> Option<u32> {
///     samples.iter().copied().max()
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let samples: Vec<u32> = (0..1_000_000).map(|i| i * 7 % 1_000_003).collect();
/// let samples = Shared::from_slice(&samples)?; // the only copy
/// let found = thread::spawn(largest, samples.clone())?.join()?;
/// assert_eq!(found, samples.iter().copied().max());
/// # Ok(())
/// # }
/// ```
///
/// There is no `&mut`: what several workers are to change is an atomic, or in a lock. Where there
/// is neither, no process can write to it at all ([`is_sealed`](Shared::is_sealed)).
///
/// It is serialized by a task's input and result and by a channel, which can carry descriptors.
/// Other serializers (JSON, say) get an error.
#[doc(alias = "shared_memory")]
#[doc(alias = "SharedMemory")]
#[doc(alias = "mmap")]
#[doc(alias = "Arc")]
pub struct Shared<T: ?Sized + ShmSafe> {
    at: NonNull<T>,
    region: Arc<Region>,
}

// SAFETY: it gives out `&T`, in any thread, for as long as the region lives, and `T` is
// `Send + Sync`, as every `ShmSafe` is. Nothing is dropped with it but the region, whose `Arc` may
// be dropped in any thread.
unsafe impl<T: ?Sized + ShmSafe> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + ShmSafe> Sync for Shared<T> {}

/// The bytes of a file for `count` values. Does not compile for what cannot be in a region.
pub(super) fn len_of<T: ShmSafe>(count: usize) -> io::Result<usize> {
    const {
        // The smallest page there is; a mapping begins at one.
        assert!(
            align_of::<T>() <= 4096,
            "a type that is aligned to more than a page cannot be in shared memory"
        );
        assert!(
            !std::mem::needs_drop::<T>(),
            "a type that has something to drop cannot be in shared memory"
        );
    }
    file_len(size_of::<T>(), count)
}

impl<T: ShmSafe> Shared<T> {
    /// Moves a value into a region of its own.
    ///
    /// # Errors
    /// There is no memory, or a limit of the process (descriptors, RLIMIT_FSIZE, RLIMIT_AS) is
    /// reached.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicI64, Ordering};
    /// use brigade::Shared;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let balance = Shared::new(AtomicI64::new(100))?;
    /// balance.fetch_sub(30, Ordering::Relaxed);
    /// assert_eq!(balance.load(Ordering::Relaxed), 70);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(value: T) -> io::Result<Shared<T>> {
        let len = len_of::<T>(1)?;
        let region = if T::FROZEN {
            frozen(std::slice::from_ref(&value), len)?
        } else {
            let region = Region::seal(draft::make(len, Memory::Reserved)?, false)?;
            // SAFETY: the region is not frozen, so it is mapped to be written; it has room for one
            // `T`, begins at a page, which is aligned for it, and no other code has it yet.
            unsafe { region.at().cast::<T>().write(value) };
            region
        };
        Ok(Shared {
            at: region.at().cast(),
            region,
        })
    }

    fn received(number: u32, count: u64) -> io::Result<Shared<T>> {
        if count != 1 {
            return Err(unfit());
        }
        let region = received::<T>(number, 1)?;
        Ok(Shared {
            at: region.at().cast(),
            region,
        })
    }
}

impl<T: ShmSafe> Shared<[T]> {
    /// Copies a slice into a region of its own.
    ///
    /// # Errors
    /// As [`new`](Shared::new).
    ///
    /// ```
    /// use brigade::Shared;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let primes = Shared::from_slice(&[2_u16, 3, 5, 7])?;
    /// assert_eq!(primes[2], 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_slice(slice: &[T]) -> io::Result<Shared<[T]>>
    where
        T: Copy,
    {
        let len = len_of::<T>(slice.len())?;
        let region = if T::FROZEN {
            frozen(slice, len)?
        } else {
            let region = Region::seal(draft::make(len, Memory::Reserved)?, false)?;
            // SAFETY: the region is mapped to be written, has room for as many `T` as the slice, is
            // aligned for them, and does not overlap the slice, being new. `T` is `Copy`, so both
            // are values of their own.
            unsafe {
                region
                    .at()
                    .cast::<T>()
                    .copy_from_nonoverlapping(NonNull::from(slice).cast(), slice.len());
            }
            region
        };
        Ok(Shared::slice(region, slice.len()))
    }

    /// A slice whose bytes are all zero.
    ///
    /// # Errors
    /// As [`new`](Shared::new), and if `len` values are more than can be addressed.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use brigade::Shared;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let histogram = Shared::<[AtomicU64]>::zeroed(256)?;
    /// for byte in b"mississippi" {
    ///     histogram[usize::from(*byte)].fetch_add(1, Ordering::Relaxed);
    /// }
    /// assert_eq!(histogram[usize::from(b's')].load(Ordering::Relaxed), 4);
    /// # Ok(())
    /// # }
    /// ```
    pub fn zeroed(len: usize) -> io::Result<Shared<[T]>> {
        let file = draft::make(len_of::<T>(len)?, Memory::Reserved)?;
        Ok(Shared::slice(Region::seal(file, T::FROZEN)?, len))
    }

    /// The region has been found, or made, large enough for `len` values.
    pub(super) fn slice(region: Arc<Region>, len: usize) -> Shared<[T]> {
        Shared {
            at: NonNull::slice_from_raw_parts(region.at().cast(), len),
            region,
        }
    }

    fn received(number: u32, count: u64) -> io::Result<Shared<[T]>> {
        let count = usize::try_from(count).map_err(|_| unfit())?;
        Ok(Shared::slice(received::<T>(number, count)?, count))
    }
}

/// A region of `len` bytes that holds these values and that no process can write to.
fn frozen<T: ShmSafe>(values: &[T], len: usize) -> io::Result<Arc<Region>> {
    let bytes = size_of_val(values);
    // A page that nothing is written to has to be asked for.
    let memory = if bytes == 0 {
        Memory::Reserved
    } else {
        Memory::Written
    };
    let mut file = draft::make(len, memory)?;
    // SAFETY: the slice is valid for reads of its own size.
    unsafe { draft::write(&mut file, values.as_ptr().cast(), bytes) }?;
    Region::seal(file, true)
}

/// The region that came with the message under this number, if it is one for `count` values. Its
/// sender may be hostile.
fn received<T: ShmSafe>(number: u32, count: usize) -> io::Result<Arc<Region>> {
    let file = carry::take::<serde::de::value::Error>(number).map_err(io::Error::other)?;
    let region = Region::receive(file)?;
    if region.has_owners() {
        return Err(unfit());
    }
    // To write to a frozen region would be a SIGSEGV; and what is read as frozen must not change.
    if region.len() == len_of::<T>(count)? && region.frozen() == T::FROZEN {
        Ok(region)
    } else {
        Err(unfit())
    }
}

pub(super) fn unfit() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a region that is not of this type",
    )
}

impl<T: ?Sized + ShmSafe> Shared<T> {
    /// Whether no process can write to it any more: so it is if there is neither an
    /// atomic nor a lock in it ([`FROZEN`](ShmSafe::FROZEN)).
    ///
    /// ```
    /// use std::sync::atomic::AtomicU32;
    /// use brigade::Shared;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// assert!(Shared::new([1.0, 2.0])?.is_sealed());
    /// assert!(!Shared::new(AtomicU32::new(0))?.is_sealed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_sealed(&self) -> bool {
        self.region.frozen()
    }

    /// Whether both are the same region, as clones of one another are, also when one of them has
    /// been to another process and back.
    ///
    /// ```
    /// use brigade::Shared;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let one = Shared::new(1_u8)?;
    /// assert!(Shared::ptr_eq(&one, &one.clone()));
    /// assert!(!Shared::ptr_eq(&one, &Shared::new(1_u8)?));
    /// # Ok(())
    /// # }
    /// ```
    pub fn ptr_eq(this: &Shared<T>, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&this.region, &other.region)
    }
}

impl<T: ?Sized + ShmSafe> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: where it was made, `at` was given a region large enough (its whole file is
        // mapped, and sealed at that size), aligned for `T`, and `self` keeps it mapped. Its bytes
        // are initialized, for a file has no others, and every pattern of them is a `T`. If `T` is
        // frozen so is the region: it is sealed against writing, and no process can change it while
        // it is borrowed. If it is not, safe code of every process that has it writes through
        // atomics and locks only.
        //
        // That a process writes in no other way is its good will. One that does not changes plain
        // fields while they are borrowed here, which the language does not provide for: what is
        // read of them then is some value of their type, perhaps another each time, and nothing of
        // ours relies on it. One that punches holes leaves zeros, which are a `T`; where there is
        // no memory for such a page, touching it is a SIGBUS, which ends this process.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ?Sized + ShmSafe> AsRef<T> for Shared<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized + ShmSafe> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared {
            at: self.at,
            region: Arc::clone(&self.region),
        }
    }
}

impl<T: ?Sized + ShmSafe + fmt::Debug> fmt::Debug for Shared<T> {
    /// The value, as of any other pointer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + ShmSafe + PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + ShmSafe + Eq> Eq for Shared<T> {}

/// As bytes it is the number of its descriptor, and how many values are in it.
type SharedWire = (u32, u64);

impl<T: ShmSafe> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wire: SharedWire = (Region::attach(&self.region)?, 1);
        wire.serialize(serializer)
    }
}

impl<T: ShmSafe> Serialize for Shared<[T]> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wire: SharedWire = (Region::attach(&self.region)?, self.at.len() as u64);
        wire.serialize(serializer)
    }
}

impl<'de, T: ShmSafe> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<T>, D::Error> {
        let (number, count) = SharedWire::deserialize(deserializer)?;
        Shared::<T>::received(number, count).map_err(D::Error::custom)
    }
}

impl<'de, T: ShmSafe> Deserialize<'de> for Shared<[T]> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<[T]>, D::Error> {
        let (number, count) = SharedWire::deserialize(deserializer)?;
        Shared::<[T]>::received(number, count).map_err(D::Error::custom)
    }
}

#[cfg(all(test, feature = "derive", target_os = "linux", not(brigade_portable)))]
mod tests;
