//! What may be in shared memory.

#![expect(
    unsafe_code,
    reason = "the trait is unsafe to implement, and implemented here for what std has"
)]

use crate::sync::{Barrier, Condvar, Mutex, Once, RwLock, Semaphore};
use std::num::Wrapping;
use std::sync::atomic;

/// Derives [`ShmSafe`](trait@ShmSafe) for a struct whose fields are all `ShmSafe`, and that does
/// not implement `Drop`.
#[cfg(feature = "derive")]
pub use brigade_derive::ShmSafe;

/// What may be in memory that several processes share: integers, floats, arrays and slices of them,
/// std's atomics, and structs that [derive](macro@ShmSafe) it.
///
/// No more than "plain data" is asked for than this: another process may die in the middle of a
/// write, or write what it likes. So whatever bytes are there must be a value: that rules out
/// `bool`, `char`, enums, `NonZero` and `AtomicBool`. And they must mean the same in every process:
/// that rules out pointers, references and what owns memory, `Box`, `Vec` and `String`.
///
/// ```
/// use std::sync::atomic::AtomicU32;
/// use brigade::{Shared, ShmSafe};
///
/// #[derive(ShmSafe)]
/// struct Frame {
///     width: u32,
///     height: u32,
///     ready: AtomicU32, // rather than a bool
///     pixels: [[u8; 3]; 64],
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let frame = Shared::new(Frame { width: 8, height: 8, ready: AtomicU32::new(0), pixels: [[0; 3]; 64] })?;
/// assert_eq!(frame.width * frame.height, frame.pixels.len() as u32);
/// # Ok(())
/// # }
/// ```
///
/// Structs may be generic; what their fields need is asked of the parameters.
///
/// ```
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Matrix<T, const ROWS: usize, const COLUMNS: usize>([[T; COLUMNS]; ROWS]);
///
/// fn is_shm_safe<T: ShmSafe>() {}
/// is_shm_safe::<Matrix<f64, 3, 3>>();
/// ```
///
/// # What is refused
///
/// A `bool` has two valid bytes out of 256. Use an integer:
/// ```
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Flag(u8);
/// ```
/// ```compile_fail,E0277
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Flag(bool);
/// ```
/// So has an `AtomicBool`:
/// ```
/// # use brigade::{Shared, ShmSafe};
/// # use std::sync::atomic::*;
/// Shared::new(AtomicU8::new(0));
/// ```
/// ```compile_fail,E0277
/// # use brigade::{Shared, ShmSafe};
/// # use std::sync::atomic::*;
/// Shared::new(AtomicBool::new(false));
/// ```
/// A `char` is not every 32 bits:
/// ```
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Key { letter: u32 }
/// ```
/// ```compile_fail,E0277
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Key { letter: char }
/// ```
/// A `NonZero` is not zero:
/// ```
/// # use brigade::Shared;
/// Shared::new([1_u32; 2]);
/// ```
/// ```compile_fail,E0277
/// # use brigade::Shared;
/// Shared::new([std::num::NonZero::new(1_u32).unwrap(); 2]);
/// ```
/// A reference or a pointer means nothing in another process. Use an index:
/// ```
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Node { next: usize }
/// ```
/// ```compile_fail,E0277
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Node { next: &'static u32 }
/// ```
/// ```compile_fail,E0277
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Node { next: *const u32 }
/// ```
/// Nor does what owns memory of its own:
/// ```
/// # use brigade::{Shared, ShmSafe};
/// #[derive(ShmSafe)]
/// struct Name { id: u64, text: [u8; 24] }
/// Shared::new(7_u32);
/// ```
/// ```compile_fail,E0277
/// # use brigade::{Shared, ShmSafe};
/// #[derive(ShmSafe)]
/// struct Name { id: u64, text: String }
/// ```
/// ```compile_fail,E0277
/// # use brigade::{Shared, ShmSafe};
/// Shared::new(Box::new(7_u32));
/// ```
/// A `Cell` can be changed by one thread only. Use an atomic:
/// ```
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Count(std::sync::atomic::AtomicU64);
/// ```
/// ```compile_fail,E0277
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Count(std::cell::Cell<u64>);
/// ```
/// A generic struct is as safe as what is in it:
/// ```
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Pair<T>(T, T);
/// # fn is_shm_safe<T: ShmSafe>() {}
/// is_shm_safe::<Pair<u8>>();
/// ```
/// ```compile_fail,E0277
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Pair<T>(T, T);
/// # fn is_shm_safe<T: ShmSafe>() {}
/// is_shm_safe::<Pair<bool>>();
/// ```
/// An enum has bytes that are none of its variants. Keep an integer, and convert it when it is
/// read:
/// ```
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct State(u8);
/// ```
/// ```compile_fail
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// #[repr(u8)]
/// enum State { Idle, Busy }
/// ```
/// A union has fields that may not be there. Keep the bytes:
/// ```
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Word { bytes: [u8; 4] }
/// ```
/// ```compile_fail
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// union Word { bytes: [u8; 4], number: u32 }
/// ```
/// A struct with a `Drop` of its own would be dropped in no process, or in each:
/// ```
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Guard(u32);
/// impl Clone for Guard { fn clone(&self) -> Guard { Guard(self.0) } }
/// ```
/// ```compile_fail,E0119
/// # use brigade::ShmSafe;
/// #[derive(ShmSafe)]
/// struct Guard(u32);
/// impl Drop for Guard { fn drop(&mut self) {} }
/// ```
/// And what is aligned to more than a page has no place in one:
/// ```
/// # use brigade::{Shared, ShmSafe};
/// #[derive(ShmSafe)]
/// #[repr(align(4096))]
/// struct Page([u8; 4096]);
/// Shared::new(Page([0; 4096]));
/// ```
/// ```compile_fail,E0080
/// # use brigade::{Shared, ShmSafe};
/// #[derive(ShmSafe)]
/// #[repr(align(8192))]
/// struct Page([u8; 8192]);
/// Shared::new(Page([0; 8192]));
/// ```
///
/// # Safety
///
/// An implementation by hand promises, of every field however deep:
///
/// - every pattern of initialized bytes is a valid value, and using it is safe, whichever process
///   wrote it;
/// - there are no pointers, references, descriptors or thread identities: nothing whose meaning
///   belongs to one process;
/// - there is nothing to drop;
/// - [`FROZEN`](ShmSafe::FROZEN) is true only if nothing in it is ever written through a shared
///   reference.
///
/// An invariant that a struct's own safe code relies on for memory safety is no exception: another
/// process may have broken it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be in shared memory",
    label = "not `ShmSafe`",
    note = "it must be valid whatever bytes another process left there, and hold no pointers: integers, floats, their arrays, std's atomics, and structs that `#[derive(ShmSafe)]`",
    note = "instead of a bool, a char or an enum keep an integer; instead of a pointer an index; instead of a String or a Vec an array, or a `Shared<[T]>` beside it"
)]
pub unsafe trait ShmSafe: Send + Sync + 'static {
    /// Whether nothing in it is ever written through a shared reference: true of numbers, false of
    /// atomics and locks. The regions of such a type are sealed, and mapped to be read only.
    ///
    /// ```
    /// use brigade::ShmSafe;
    ///
    /// #[derive(ShmSafe)]
    /// struct Sample { at: u64, value: f64 }
    ///
    /// assert!(Sample::FROZEN);
    /// assert!(!std::sync::atomic::AtomicU64::FROZEN);
    /// ```
    const FROZEN: bool = false;
}

/// Implemented for everything that has a `Drop`, and by the derive for everything else: a type that
/// is both is a compile error that bears this name.
#[doc(hidden)]
pub trait ShmSafeTypesMustNotImplementDrop {}

#[expect(
    drop_bounds,
    reason = "it is exactly an implementation of `Drop` that is looked for"
)]
impl<T: ?Sized + Drop> ShmSafeTypesMustNotImplementDrop for T {}

macro_rules! shm_safe {
    ($frozen:literal: $($ty:ty),+) => {$(
        // SAFETY: the integers, the floats and the atomics over them are valid for every pattern of
        // bits, hold nothing that belongs to a process and have nothing to drop; the atomics are
        // written through shared references, and are told apart.
        unsafe impl ShmSafe for $ty {
            const FROZEN: bool = $frozen;
        }
    )+};
}

shm_safe!(true: u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, ());
shm_safe!(false: atomic::AtomicU8, atomic::AtomicU16, atomic::AtomicU32, atomic::AtomicU64, atomic::AtomicUsize);
shm_safe!(false: atomic::AtomicI8, atomic::AtomicI16, atomic::AtomicI32, atomic::AtomicI64, atomic::AtomicIsize);

// SAFETY: words of which any pattern is tolerated (a garbage holder is a dead one: see `sync`), and
// what the lock guards, which is `ShmSafe` itself. They hold no pointers: a waiter sleeps on the
// word's place in the shared file. They are written through shared references. A peer that takes no
// lock may change what it guards while a guard is there: see `MutexGuard::deref`.
unsafe impl<T: ShmSafe> ShmSafe for Mutex<T> {}
// SAFETY: see above.
unsafe impl<T: ShmSafe> ShmSafe for RwLock<T> {}

macro_rules! locks {
    ($($lock:ty),+) => {$(
        // SAFETY: as for `Mutex`, and they guard nothing.
        unsafe impl ShmSafe for $lock {}
    )+};
}

locks!(Barrier, Condvar, Once, Semaphore);

// SAFETY: an array is its elements, one after the other, and nothing else.
unsafe impl<T: ShmSafe, const N: usize> ShmSafe for [T; N] {
    const FROZEN: bool = T::FROZEN;
}

// SAFETY: as an array; its length is kept outside the region.
unsafe impl<T: ShmSafe> ShmSafe for [T] {
    const FROZEN: bool = T::FROZEN;
}

// SAFETY: it is a struct of one field, which is `ShmSafe`, and has no invariant of its own.
unsafe impl<T: ShmSafe> ShmSafe for Wrapping<T> {
    const FROZEN: bool = T::FROZEN;
}
