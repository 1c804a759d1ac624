//! Parts become one again, and all of them a region to share.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::{OF_THE_PARENT, Writable, bytes_of};
use crate::shm::owners::Owners;
use crate::shm::region::Region;
use crate::shm::{Shared, ShmSafe};

impl<T: ShmSafe> Writable<[T]> {
    /// Joins parts of one region that lie side by side, given in any order.
    ///
    /// # Errors
    /// They are of several regions, something between them is missing, or there are none. All come
    /// back.
    ///
    /// ```
    /// use brigade::Shared;
    /// use brigade::shm::Writable;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut parts = Shared::<[u8]>::writable(9)?.split_into(3);
    /// let first = parts.remove(0);
    /// let last = Writable::join(parts)?;
    /// assert_eq!(last.range(), 3..9);
    /// drop(first);
    /// assert!(last.freeze().is_err(), "elements 0 to 2 are missing");
    /// # Ok(())
    /// # }
    /// ```
    pub fn join(
        parts: impl IntoIterator<Item = Writable<[T]>>,
    ) -> Result<Writable<[T]>, PartsError<T>> {
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_by_key(|part| (part.range().start, part.range().end));
        let refused = |parts, text: String| {
            let error = io::Error::new(io::ErrorKind::InvalidInput, text);
            Err(PartsError { parts, error })
        };
        let Some((first, last)) = parts.first().zip(parts.last()) else {
            return refused(parts, "there are no parts to be joined".to_owned());
        };
        let region = Arc::clone(first.place.region());
        let (elements, all) = (first.from..last.range().end, first.all);
        if !parts
            .iter()
            .all(|part| Arc::ptr_eq(part.place.region(), &region))
        {
            return refused(
                parts,
                "parts of several regions cannot be joined".to_owned(),
            );
        }
        let gap = parts.windows(2).find_map(|pair| {
            let (end, start) = (pair[0].range().end, pair[1].from);
            (end != start).then_some(end..start)
        });
        if let Some(gap) = gap {
            let text = format!("elements {} to {} are missing", gap.start, gap.end - 1);
            return refused(parts, text);
        }
        let bytes = bytes_of::<T>(&elements);
        let old: Vec<_> = parts.iter().map(|part| part.place.bytes.clone()).collect();
        region.owned().replace(old.iter(), [bytes].iter());
        for part in &mut parts {
            part.place.retire();
        }
        Ok(Writable::listed(region, elements, all, Owners::new(1), 0))
    }

    /// As [`join`](Self::join), of the results of tasks that were given the parts, as `Pool::map`
    /// gives them.
    ///
    /// # Errors
    /// A result is an error, of which the first becomes this one; or as of `join`. All parts that
    /// came, before it or after it, come back.
    ///
    /// ```
    /// use brigade::shm::Writable;
    /// use brigade::{Pool, Shared};
    ///
    /// fn fill(mut part: Writable<[u32]>) -> Writable<[u32]> {
    ///     assert_ne!(part.range().start, 6, "the third of four");
    ///     part.fill(7);
    ///     part
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// # if cfg!(miri) || !cfg!(target_os = "linux") { return Ok(()) }
    /// let pool = Pool::processes(2)?;
    /// let parts = Shared::<[u32]>::writable(6)?.split_into(2);
    /// let sevens = Writable::try_join(pool.map(fill, parts))?.freeze()?;
    /// assert_eq!(*sevens, [7; 6]);
    ///
    /// let parts = Shared::<[u32]>::writable(12)?.split_into(4);
    /// let error = Writable::try_join(pool.map(fill, parts)).expect_err("one panics");
    /// assert!(error.to_string().contains("the third of four"));
    /// assert_eq!(error.into_parts().len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_join<E>(
        results: impl IntoIterator<Item = Result<Writable<[T]>, E>>,
    ) -> Result<Writable<[T]>, PartsError<T>>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let (mut parts, mut first_error) = (Vec::new(), None);
        for result in results {
            match result {
                Ok(part) => parts.push(part),
                Err(e) => first_error = first_error.or(Some(e)),
            }
        }
        match first_error.map(io::Error::other) {
            None => Writable::join(parts),
            Some(error) => Err(PartsError { parts, error }),
        }
    }

    /// Seals all of the region, so that no process can change it any more, hostile or not, and
    /// makes it one to share. No element is copied.
    ///
    /// # Errors
    /// This is not all of the region; or a process still maps it ([`ResourceBusy`], a worker that
    /// is hostile or is just ending), or something else holds its memory at the moment, as a
    /// debugger or a device can. It comes back, and can be frozen later.
    ///
    /// [`ResourceBusy`]: io::ErrorKind::ResourceBusy
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut table = brigade::Shared::<[u16]>::writable(3)?;
    /// table.copy_from_slice(&[2, 3, 5]);
    /// let primes = table.freeze()?;
    /// assert!(primes.is_sealed() && *primes == [2, 3, 5]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn freeze(mut self) -> Result<Shared<[T]>, PartsError<T>> {
        let (elements, all) = (self.range(), self.all);
        if elements != (0..all) {
            let text = format!(
                "elements {} to {} of {all} are not all of the region",
                elements.start, elements.end
            );
            let error = io::Error::new(io::ErrorKind::InvalidInput, text);
            return Err(PartsError {
                parts: vec![self],
                error,
            });
        }
        let place = &mut self.place;
        let region = Arc::clone(place.region());
        if !region.is_of_this_process() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, OF_THE_PARENT);
            return Err(PartsError {
                parts: vec![self],
                error,
            });
        }
        place.region = None;
        region.owned().remove(&place.bytes);
        match Region::freeze(region) {
            Ok(region) => {
                place.retire();
                Ok(Shared::slice(region, all))
            }
            Err((error, region)) => {
                let (owners, index) = (Arc::clone(&place.owners), place.index);
                let parts: Vec<_> = region
                    .and_then(|region| Writable::owned(region, elements, all, owners, index))
                    .into_iter()
                    .collect();
                if parts.is_empty() {
                    place.retire();
                }
                Err(PartsError { parts, error })
            }
        }
    }
}

/// Parts that could not be joined or frozen, and why not.
pub struct PartsError<T: ShmSafe> {
    parts: Vec<Writable<[T]>>,
    error: io::Error,
}

impl<T: ShmSafe> PartsError<T> {
    /// All of them; of [`try_join`](Writable::try_join), all that came. None, if the region could not be mapped anew, for there was no memory: then its
    /// content is lost.
    pub fn into_parts(self) -> Vec<Writable<[T]>> {
        self.parts
    }

    /// [`InvalidInput`](io::ErrorKind::InvalidInput): they are not what can be joined or frozen.
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy): a process still maps the region.
    /// [`Other`](io::ErrorKind::Other): a task that was to give a part back failed, as the source
    /// says, an [`io::Error`] that holds the task's error.
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }
}

impl<T: ShmSafe> fmt::Display for PartsError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: ShmSafe> fmt::Debug for PartsError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartsError")
            .field("parts", &self.parts.len())
            .field("error", &self.error)
            .finish()
    }
}

impl<T: ShmSafe> Error for PartsError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
