//! The task that draws a frame.

use brigade::Shared;
use brigade::shm::Buffer;
use serde::{Deserialize, Serialize};

use crate::picture::{self, Size};
use crate::{fault, scene};

/// A frame that is wanted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Frame {
    /// From 0.
    pub number: u32,
    /// Frames in a second.
    pub rate: u32,
    /// Its sides.
    pub size: Size,
    /// It breaks what draws it.
    pub is_poisoned: bool,
}

impl Frame {
    /// When it is shown, in seconds.
    pub fn time(&self) -> f32 {
        (f64::from(self.number) / f64::from(self.rate)) as f32
    }
}

/// Draws a frame into memory that the worker which encodes it reads where it lies.
///
/// # Errors
/// There is no memory to share, in the system's words.
pub fn render(frame: Frame) -> Result<Shared<[u8]>, String> {
    if frame.is_poisoned {
        fault::read_nowhere();
    }
    let mut planes = Buffer::zeroed(frame.size.bytes()).map_err(|e| e.to_string())?;
    let pixels = scene::draw(frame.size.width, frame.size.height, frame.time());
    picture::write_planes(&pixels, frame.size, &mut planes);
    planes.into_shared().map_err(|e| e.to_string())
}
