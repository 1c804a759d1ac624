//! How many workers a pool has: a number, or as many as its work needs.

use std::io;
use std::ops::RangeInclusive;

/// Workers that one pool may have.
const MAX_WORKERS: usize = 4096;

/// How many workers a pool has: a number, or a range in which it [follows its
/// work](crate::PoolBuilder::workers). Made from either by what takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSize {
    pub(super) least: usize,
    pub(super) most: usize,
}

impl From<usize> for PoolSize {
    fn from(workers: usize) -> PoolSize {
        PoolSize {
            least: workers,
            most: workers,
        }
    }
}

impl From<RangeInclusive<usize>> for PoolSize {
    fn from(workers: RangeInclusive<usize>) -> PoolSize {
        let (least, most) = workers.into_inner();
        PoolSize { least, most }
    }
}

impl PoolSize {
    /// Refuses what no pool can have: no workers, more than [`MAX_WORKERS`], an empty range.
    pub(super) fn check(&self) -> io::Result<()> {
        let what = match (self.least, self.most) {
            (0, _) => "a pool needs at least one worker".to_owned(),
            (least, most) if least > most => {
                format!("a pool cannot have at least {least} workers and at most {most}")
            }
            (_, 1..=MAX_WORKERS) => return Ok(()),
            (_, most) => format!("a pool has at most {MAX_WORKERS} workers, not {most}"),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }

    pub(super) fn range(&self) -> RangeInclusive<usize> {
        self.least..=self.most
    }

    /// The number in it that is nearest to this one.
    pub(super) fn nearest(&self, workers: usize) -> usize {
        workers.clamp(self.least, self.most)
    }
}
