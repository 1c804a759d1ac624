//! Getting back what a dead worker had.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::PoisonError;

use super::owners::{OwnerEntry, OwnerRefusal, Owners};
use super::region::RegionHandle;
use super::{Shared, ShmSafe, Writable};

/// Gives a part of a [`Writable`] back that its owner, in whatever process, has died with or
/// dropped.
///
/// ```
/// use brigade::shm::{RecoverError, Writable};
/// use brigade::{Shared, process};
///
/// fn fill(mut part: Writable<[u8]>) -> Writable<[u8]> {
///     part[0] = 1;
///     std::process::abort();
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// # if cfg!(target_os = "linux") {
/// let part = Shared::<[u8]>::writable(2)?;
/// let recovery = part.recovery()?;
/// assert!(process::spawn(fill, part)?.join().is_err());
/// match recovery.recover() {
///     Err(RecoverError::Poisoned(part)) => assert_eq!(**part.get_ref(), [1, 0]), // half-written
///     other => panic!("{other:?}"),
/// }
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Recovery<T: ?Sized + ShmSafe> {
    region: RegionHandle,
    elements: Range<usize>,
    all: usize,
    table: Shared<[OwnerEntry]>,
    index: usize,
    of: PhantomData<fn() -> Box<T>>,
}

impl<T: ShmSafe> Recovery<[T]> {
    pub(super) fn new(
        region: RegionHandle,
        elements: Range<usize>,
        all: usize,
        table: Shared<[OwnerEntry]>,
        index: usize,
    ) -> Recovery<[T]> {
        Recovery {
            region,
            elements,
            all,
            table,
            index,
            of: PhantomData,
        }
    }

    /// Makes the caller the owner, if no live worker is one. What is in a message that was not
    /// decoded yet (a task that waits, a result that was not joined) is taken out of it: the
    /// message does not decode then.
    ///
    /// # Errors
    /// - [`Poisoned`](RecoverError::Poisoned): its last owner died or panicked, and may have left
    ///   it half-written. The part is in the error.
    /// - [`Owned`](RecoverError::Owned): a live worker has it, or this process.
    /// - [`Retired`](RecoverError::Retired): its owner has split, joined or frozen it. What a
    ///   worker has split, and then died with, is not to be had.
    /// - [`Failed`](RecoverError::Failed): it could not be mapped. It can be tried again.
    pub fn recover(&self) -> Result<Writable<[T]>, RecoverError<[T]>> {
        let Some(entry) = self.table.get(self.index) else {
            return Err(RecoverError::Retired);
        };
        let whole = entry.recover().map_err(|refused| match refused {
            OwnerRefusal::Consumed => RecoverError::Retired,
            _ => RecoverError::Owned,
        })?;
        let owners = Owners::of(self.table.clone());
        let arrived = self.region.open().and_then(|region| {
            Writable::arrived(region, self.elements.clone(), self.all, owners, self.index)
        });
        match arrived {
            Ok(part) if whole => Ok(part),
            Ok(part) => Err(RecoverError::Poisoned(PoisonError::new(part))),
            Err(e) => {
                entry.put_back(whole);
                Err(RecoverError::Failed(e))
            }
        }
    }
}

impl<T: ?Sized + ShmSafe> fmt::Debug for Recovery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("elements", &self.elements)
            .finish_non_exhaustive()
    }
}

/// Why [`Recovery::recover`] did not just give the part back.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError<T: ?Sized + ShmSafe> {
    /// The last owner died or panicked while it could write: here is the memory.
    #[error("its last owner died or panicked, and may have left it half-written")]
    Poisoned(PoisonError<Writable<T>>),
    /// A live worker has it.
    #[error("a live worker has it")]
    Owned,
    /// The memory was split, joined or frozen.
    #[error("it was split, joined or frozen")]
    Retired,
    /// The memory could not be mapped.
    #[error("it could not be mapped: {0}")]
    Failed(#[source] io::Error),
}

impl<T: ?Sized + ShmSafe> fmt::Debug for RecoverError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::Poisoned(part) => {
                f.debug_tuple("Poisoned").field(part.get_ref()).finish()
            }
            RecoverError::Owned => f.write_str("Owned"),
            RecoverError::Retired => f.write_str("Retired"),
            RecoverError::Failed(e) => f.debug_tuple("Failed").field(e).finish(),
        }
    }
}
