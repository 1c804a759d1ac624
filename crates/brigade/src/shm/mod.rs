//! Memory that several workers see at once, of either kind: a region passes as a descriptor inside
//! a message, and its bytes stay where they are.
//!
//! - [`Shared<T>`](Shared): one value, or a slice, in a region of its own. Clone it, put it into a
//!   task's input or result, or into a channel
//! - [`Buffer`]: a writable region with one owner, and then a `Shared<[u8]>` that no process can
//!   change: large results without a copy
//! - [`Writable`]: a slice that is written in place by many workers, each of which owns a part
//! - [`view`]: numbers as numbers of another type
//! - [`ShmSafe`]: what may be in such a region
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use brigade::{Shared, thread};
//!
//! fn count(words: (String, Shared<AtomicU64>)) {
//!     words.1.fetch_add(words.0.split(' ').count() as u64, Ordering::Relaxed);
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! brigade::init();
//! let total = Shared::new(AtomicU64::new(0))?;
//! let a = thread::spawn(count, ("one two".to_owned(), total.clone()))?;
//! let b = thread::spawn(count, ("three".to_owned(), total.clone()))?;
//! a.join()?;
//! b.join()?;
//! assert_eq!(total.load(Ordering::Relaxed), 3);
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! - **What is not made to be written by many cannot be written.** A region whose type has nothing
//!   in it that is written through a shared reference ([`ShmSafe::FROZEN`]: numbers, their arrays
//!   and slices, structs of them) is sealed when it is made: no process can write to it any more,
//!   and `&T` means what it says whatever the other workers do. Atomics and locks are in regions
//!   that every worker can write to; what lies beside them in the same region is as trustworthy as
//!   the workers are.
//! - **The memory is there.** It is all allocated when a region is made, and the size is sealed:
//!   that a limit is reached is an error there, not a `SIGBUS` later. Where a cgroup's memory limit
//!   is reached, the kernel's OOM killer ends the process that makes the region.
//! - **A region is mapped once in a process**, however often it arrives there, and costs one
//!   descriptor. It is gone when the last worker that has it drops it or ends: it has no name that
//!   could be left behind.
//! - **A region that arrives is checked**: that it is a memory file, allocated (in a worker, to
//!   which its program has sent it, as far as can be seen at a glance), of the size that its type
//!   needs, sealed at that size, and writable or not as its type needs. Anything else does not
//!   decode.
//!
//! # Limits
//!
//! - A region is whole pages, and making one takes half a dozen system calls: it is for what is
//!   large, or what is shared.
//! - Where a process forks without `exec`, regions are inherited as they are; a [`Buffer`] is not.
//! - A worker that can write to a region (atomics, locks) can also give its pages back to the
//!   kernel (`fallocate(2)`, punching holes): others then find zeros, in memory that is allocated
//!   anew, and is theirs. Only code that sets out to do so does. That allocation is the one that
//!   can fail where no error can be given: under a memory control group it is the OOM killer's
//!   case, as any other; and where the system refuses to overcommit (`vm.overcommit_memory` = 2)
//!   and has no more, it is a `SIGBUS`.
//! - The bytes between a struct's fields are copied with it, whatever was there.
//!
//! The mechanism: memfd_create(2), file seals in fcntl(2), unix(7) for how the descriptor travels.

mod buffer;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod draft;
mod fill;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
mod heap;
mod owned_ranges;
mod owners;
mod recovery;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod region;
mod safe;
mod shared;
mod view;
mod writable;

#[cfg(any(not(target_os = "linux"), brigade_portable))]
use heap::{self as draft, self as region};

use std::io;

pub use buffer::Buffer;
pub use recovery::{RecoverError, Recovery};
pub use safe::ShmSafe;
#[doc(hidden)]
pub use safe::ShmSafeTypesMustNotImplementDrop;
pub use shared::Shared;
pub use view::{Number, view, view_mut};
pub use writable::{PartsError, Writable};

/// The bytes of whole pages, at least one, that hold `count` values of `size` bytes.
fn whole_pages(size: usize, count: usize, page: usize) -> io::Result<usize> {
    size.checked_mul(count)
        .and_then(|bytes| bytes.max(1).checked_next_multiple_of(page))
        // No value may be larger, nor any file.
        .filter(|&len| len <= isize::MAX as usize)
        .ok_or_else(|| {
            let text = format!("{count} values of {size} bytes are more than can be addressed");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })
}
