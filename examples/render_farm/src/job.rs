//! What a film is to be: all that decides on its bytes.

use std::ops::Range;

use render_farm::encode::Quality;
use render_farm::picture::Size;
use serde::{Deserialize, Serialize};

/// What a film is to be. Two runs with the same one give the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) size: Size,
    /// Frames in a second.
    pub(crate) rate: u32,
    pub(crate) frames: u32,
    /// Frames in a chunk. The last may have fewer.
    pub(crate) chunk: u32,
    pub(crate) quality: Quality,
    pub(crate) scene: String,
    pub(crate) encoder: String,
}

impl Job {
    pub(crate) fn chunks(&self) -> u32 {
        self.frames.div_ceil(self.chunk)
    }

    /// The frames of a chunk.
    pub(crate) fn frames_of(&self, chunk: u32) -> Range<u32> {
        let first = chunk * self.chunk;
        first..self.frames.min(first + self.chunk)
    }

    /// What is not the same in another one, by name: here and there.
    pub(crate) fn differences(&self, other: &Job) -> Vec<String> {
        let fields = |job: &Job| match serde_json::to_value(job) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let theirs = fields(other);
        let differing = fields(self).into_iter().filter_map(|(name, ours)| {
            let theirs = theirs.get(&name).filter(|theirs| **theirs != ours)?;
            Some(format!("{name}: {ours}, and {theirs} there"))
        });
        differing.collect()
    }
}

#[cfg(test)]
mod tests {
    use render_farm::{encode, scene};

    use super::*;

    fn job(frames: u32, chunk: u32) -> Job {
        Job {
            size: "32x16".parse().expect("a size"),
            rate: 24,
            frames,
            chunk,
            quality: Quality {
                quantizer: 90,
                speed: 10,
            },
            scene: scene::identity(),
            encoder: encode::identity(),
        }
    }

    #[test]
    fn each_frame_is_in_one_chunk() {
        for frames in 1..30 {
            for chunk in 1..32 {
                let job = job(frames, chunk);
                let all: Vec<u32> = (0..job.chunks()).flat_map(|n| job.frames_of(n)).collect();
                assert_eq!(all, (0..frames).collect::<Vec<_>>());
                assert!((0..job.chunks()).all(|n| !job.frames_of(n).is_empty()));
            }
        }
    }

    #[test]
    fn differences_are_told_by_name() {
        assert!(job(24, 6).differences(&job(24, 6)).is_empty());
        let mut other = job(24, 8);
        other.quality.speed = 9;
        let told = job(24, 6).differences(&other);
        assert_eq!(told[0], "chunk: 6, and 8 there");
        assert!(told[1].starts_with("quality: "), "{told:?}");
        assert_eq!(told.len(), 2);
    }
}
