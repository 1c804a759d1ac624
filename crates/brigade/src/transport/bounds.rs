//! What a peer can make this process hold, and no more.
//!
//! | what | bound | where it is held to |
//! |---|---|---|
//! | a value | [`MAX_BYTES`] of encoding | before it is sent; and by its receiver, before any memory is taken for it |
//! | the memory of a large value | no more than its sender has taken for it | [`attachment`](super::attachment) |
//! | descriptors of a value | [`MAX_DESCRIPTORS`] | before it is sent; and by its receiver, by number |
//! | descriptors of results that no caller has asked for yet | half of what this process may have (RLIMIT_NOFILE) | [`Unclaimed`] |
//! | a frame in a ring | the ring | [`ring`](super::ring) |
//! | messages of a channel that were taken out of its mechanism | one | [`overflow`](super::overflow) |
//!
//! A pool takes a worker's results as they come, so that the worker can go on; their values are
//! made when they are asked for. What waits in between is memory, which a program can be expected
//! to have for what it has ordered, and descriptors, of which there are few.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Resource;

use crate::sys::process;
pub(crate) use crate::task::codec::MAX_BYTES;

/// Of one value, the file of a large one included.
pub(crate) const MAX_DESCRIPTORS: usize = crate::task::carry::MAX + 1;

/// Of all results in this process.
static UNCLAIMED: AtomicUsize = AtomicUsize::new(0);

/// How many may be.
fn most() -> usize {
    let all = process::limit(Resource::Nofile).and_then(|limit| limit.current);
    all.map_or(usize::MAX, |all| {
        usize::try_from(all / 2).unwrap_or(usize::MAX)
    })
}

/// Descriptors of a result that no caller has asked for yet.
#[derive(Debug)]
pub(crate) struct Unclaimed {
    descriptors: Vec<OwnedFd>,
}

/// There are too many already.
#[derive(Debug)]
pub(crate) struct TooMany {
    pub(crate) descriptors: Vec<OwnedFd>,
    unclaimed: usize,
    most: usize,
}

impl TooMany {
    pub(crate) fn why(&self) -> String {
        format!(
            "it brought {} descriptors, and results that were not asked for yet hold {} already, of at most {}",
            self.descriptors.len(),
            self.unclaimed,
            self.most
        )
    }
}

impl Unclaimed {
    /// Those of a result that has none.
    pub(crate) fn none() -> Unclaimed {
        Unclaimed {
            descriptors: Vec::new(),
        }
    }

    /// If these may be held, too.
    pub(crate) fn hold(descriptors: Vec<OwnedFd>) -> Result<Unclaimed, TooMany> {
        let (count, most) = (descriptors.len(), most());
        let held = UNCLAIMED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unclaimed| {
            Some(unclaimed + count).filter(|&all| all <= most)
        });
        match held {
            Ok(_) => Ok(Unclaimed { descriptors }),
            Err(unclaimed) => Err(TooMany {
                descriptors,
                unclaimed,
                most,
            }),
        }
    }

    /// A caller has asked.
    pub(crate) fn claim(mut self) -> Vec<OwnedFd> {
        let descriptors = std::mem::take(&mut self.descriptors);
        UNCLAIMED.fetch_sub(descriptors.len(), Ordering::Relaxed);
        descriptors
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        UNCLAIMED.fetch_sub(self.descriptors.len(), Ordering::Relaxed);
    }
}
