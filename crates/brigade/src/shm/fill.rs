//! Values into a region of their own, in one call.

#![expect(unsafe_code, reason = "values are written where they are mapped")]

use std::io;

use super::draft::{self, MappedDraft, Memory};
use super::region::Region;
use super::shared::len_of;
use super::{Shared, ShmSafe};

impl<T: ShmSafe> Shared<[T]> {
    /// A slice of what `value` gives for each place, each written where it will be: there is no
    /// copy, and the type need not be `Copy`.
    ///
    /// # Errors
    /// As [`new`](Shared::new), and if `len` values are more than can be addressed.
    ///
    /// ```
    /// use brigade::Shared;
    /// use brigade::sync::Mutex;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let squares = Shared::<[u64]>::from_fn(1000, |i| (i * i) as u64)?;
    /// assert_eq!(squares[30], 900);
    /// let locks = Shared::<[Mutex<u32>]>::from_fn(8, |i| Mutex::new(i as u32))?;
    /// assert_eq!(*locks[5].lock().expect("not poisoned"), 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_fn(len: usize, mut value: impl FnMut(usize) -> T) -> io::Result<Shared<[T]>> {
        let bytes = len_of::<T>(len)?;
        let memory = MappedDraft::new(draft::make(bytes, Memory::Reserved)?, bytes)?;
        memory.populate();
        for i in 0..len {
            let value = value(i);
            // SAFETY: the draft has room for `len` values, is mapped to be written, and begins at a
            // page, which is aligned for them. It has never left this function.
            unsafe { memory.at().cast::<T>().add(i).write(value) };
        }
        let region = Region::seal(memory.unmap(), T::FROZEN)?;
        Ok(Shared::slice(region, len))
    }

    /// Moves the elements of a vector into a region of their own: one copy of its bytes, and the
    /// type need not be `Copy`.
    ///
    /// # Errors
    /// As [`new`](Shared::new). The vector is lost.
    ///
    /// ```
    /// use brigade::Shared;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let words = Shared::from_vec("to be or not".split(' ').map(str::len).collect())?;
    /// assert_eq!(*words, [2, 2, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_vec(values: Vec<T>) -> io::Result<Shared<[T]>> {
        let len = values.len();
        let bytes = len_of::<T>(len)?;
        let used = size_of_val(&*values);
        let memory = if used == 0 {
            Memory::Reserved
        } else {
            Memory::Written
        };
        let mut file = draft::make(bytes, memory)?;
        // SAFETY: the vector's elements are valid for reads of their own size.
        unsafe { draft::write(&mut file, values.as_ptr().cast(), used) }?;
        // What is in the region are the values now: none of them has anything to drop.
        Ok(Shared::slice(Region::seal(file, T::FROZEN)?, len))
    }
}
