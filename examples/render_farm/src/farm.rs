//! A film's chunks, each drawn frame by frame and encoded, by one pool.

use std::ops::Range;

use brigade::{Pool, Shared};
use futures::future;
use futures::stream::{self, StreamExt, TryStreamExt};
use render_farm::encode::{self, Chunk};
use render_farm::render::{self, Frame};

use crate::attempt::{Failure, attempt};
use crate::job::Job;
use crate::progress::Progress;
use crate::state::State;

/// A frame's planes: in shared memory, from where they are drawn to where they are encoded.
type Planes = Shared<[u8]>;

/// What makes a film.
#[derive(Debug)]
pub(crate) struct Farm<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) job: &'a Job,
    pub(crate) state: &'a State,
    pub(crate) progress: &'a Progress,
    /// Frames that break what draws them.
    pub(crate) poisoned: &'a [u32],
    /// How many chunks it stores, and no more.
    pub(crate) pause_after: Option<u32>,
    /// Chunks under way at the same time.
    pub(crate) at_once: usize,
}

/// A frame that could not be drawn, and what is shown in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) frame: u32,
    pub(crate) shown: u32,
    pub(crate) failure: Failure,
}

impl Farm<'_> {
    /// Makes the chunks that are missing. Gives the frames that others stand in for, in their
    /// order.
    ///
    /// It is a future to be dropped when it is to stop: chunks that are stored stay.
    pub(crate) async fn run(&self, missing: Vec<u32>) -> Result<Vec<Patch>, String> {
        let chunks = stream::iter(missing).map(|chunk| self.chunk(chunk));
        let mut patches: Vec<Patch> = chunks.buffer_unordered(self.at_once).try_concat().await?;
        patches.sort_by_key(|patch| patch.frame);
        Ok(patches)
    }

    async fn chunk(&self, chunk: u32) -> Result<Vec<Patch>, String> {
        let numbers = self.job.frames_of(chunk);
        let drawn = numbers.clone().map(|number| self.frame(number));
        let drawn = future::try_join_all(drawn).await?;
        let (frames, patches) = self.patched(numbers, drawn).await?;
        let input = Chunk {
            frames,
            size: self.job.size,
            rate: self.job.rate,
            quality: self.job.quality,
        };
        let named = |why: &str| self.progress.note(&format!("chunk {chunk}: {why}"));
        let packets = attempt(self.pool, encode::encode, input, named).await?;
        let packets = packets.map_err(|failure| {
            let Failure { attempts, why } = failure;
            format!("chunk {chunk} could not be encoded in {attempts} attempts: {why}")
        })?;
        if self.pause_after == Some(self.progress.stored_now()) {
            return future::pending().await;
        }
        // It waits for the disk, and the pool's workers go on in the meantime.
        self.state.store(chunk, &packets, !patches.is_empty())?;
        self.progress.stored(chunk);
        if self.pause_after == Some(self.progress.stored_now()) {
            self.progress.note("paused, as it was asked to");
        }
        Ok(patches)
    }

    async fn frame(&self, number: u32) -> Result<Result<Planes, Failure>, String> {
        let input = Frame {
            number,
            rate: self.job.rate,
            size: self.job.size,
            is_poisoned: self.poisoned.contains(&number),
        };
        let named = |why: &str| self.progress.note(&format!("frame {number}: {why}"));
        let drawn = attempt(self.pool, render::render, input, named).await?;
        self.progress.drawn();
        Ok(drawn)
    }

    /// Puts a neighbour in the place of each frame that could not be drawn: the nearest in its
    /// chunk that could, or else one that is next to the chunk.
    async fn patched(
        &self,
        numbers: Range<u32>,
        drawn: Vec<Result<Planes, Failure>>,
    ) -> Result<(Vec<Planes>, Vec<Patch>), String> {
        let first = numbers.start;
        let good: Vec<u32> = numbers
            .clone()
            .filter(|&number| drawn[(number - first) as usize].is_ok())
            .collect();
        let beside = match good.is_empty() {
            true => self.beside(numbers.clone()).await?,
            false => None,
        };
        let mut frames: Vec<Planes> = Vec::with_capacity(drawn.len());
        let mut patches = Vec::new();
        for (frame, planes) in numbers.zip(&drawn) {
            let failure = match planes {
                Ok(planes) => {
                    frames.push(planes.clone());
                    continue;
                }
                Err(failure) => failure.clone(),
            };
            let nearest = nearest(&good, frame);
            let nearest =
                nearest.and_then(|n| Some((n, drawn[(n - first) as usize].as_ref().ok()?.clone())));
            let Some((shown, planes)) = nearest.or_else(|| beside.clone()) else {
                let Failure { attempts, why } = failure;
                return Err(format!(
                    "frame {frame} could not be drawn in {attempts} attempts, nor could those \
                     beside it: {why}"
                ));
            };
            frames.push(planes);
            patches.push(Patch {
                frame,
                shown,
                failure,
            });
        }
        Ok((frames, patches))
    }

    /// The frame before a chunk, or else the one after it.
    async fn beside(&self, numbers: Range<u32>) -> Result<Option<(u32, Planes)>, String> {
        let before = numbers.start.checked_sub(1);
        let after = Some(numbers.end).filter(|&after| after < self.job.frames);
        for number in before.into_iter().chain(after) {
            if let Ok(planes) = self.frame(number).await? {
                return Ok(Some((number, planes)));
            }
        }
        Ok(None)
    }
}

/// The nearest of these numbers; of two that are as near, the one before.
fn nearest(numbers: &[u32], to: u32) -> Option<u32> {
    let by_distance = |number: &&u32| (number.abs_diff(to), **number);
    numbers.iter().min_by_key(by_distance).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_stands_in() {
        assert_eq!(nearest(&[0, 1, 3, 4], 2), Some(1));
        assert_eq!(nearest(&[3, 4], 2), Some(3));
        assert_eq!(nearest(&[0, 4], 3), Some(4));
        assert_eq!(nearest(&[], 3), None);
    }
}
