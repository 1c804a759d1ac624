//! Which cores this program may use, and how to stay on one of them.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::fail::{Failure, OrFail as _};

/// The numbers of the cores this program may run on, lowest first. Never empty: a program that
/// runs, runs somewhere.
pub(crate) fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        // A machine with more cores than the set has places for: the count is still known, the
        // numbers are a guess.
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        return (0..count).collect();
    };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Two cores for two workers: different ones, where there are two.
pub(crate) fn pair() -> [usize; 2] {
    let cores = allowed();
    let first = cores.first().copied().unwrap_or(0);
    [first, cores.get(1).copied().unwrap_or(first)]
}

/// Keeps the calling thread on one core until it is dropped.
///
/// The old set comes back on drop because the worker may be used again after the task, and others
/// may be forked from it.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    pub(crate) fn to(core: usize) -> Result<Self, Failure> {
        let before = sched_getaffinity(None).or_fail("reading the set of allowed cores")?;
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one).or_fail(&format!("staying on core {core}"))?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Nothing to do about a failure: the set was valid a moment ago, and the figures are
        // already taken.
        let _ = sched_setaffinity(None, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinning_ends_with_the_guard() {
        let before = allowed();
        let core = before[before.len() - 1];
        {
            let _stay = Pinned::to(core).unwrap();
            assert_eq!(allowed(), vec![core]);
        }
        assert_eq!(allowed(), before);
    }
}
