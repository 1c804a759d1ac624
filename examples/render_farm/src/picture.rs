//! Pictures as encoders take them: a plane of brightness, and two of colour with half its sides
//! (I420), by BT.709 in the limited range.

use std::fmt;
use std::str::FromStr;

use glam::Vec3;
use serde::{Deserialize, Serialize};

/// The sides of a picture, in pixels: both even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Size {
    /// From left to right.
    pub width: usize,
    /// From top to bottom.
    pub height: usize,
}

impl Size {
    /// Bytes of a picture's three planes.
    pub fn bytes(self) -> usize {
        self.width * self.height * 3 / 2
    }

    /// The sides of the planes.
    pub fn planes(self) -> [Size; 3] {
        let half = Size {
            width: self.width / 2,
            height: self.height / 2,
        };
        [self, half, half]
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size.to_string()
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Size, String> {
        text.parse()
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let sides = text.split_once('x').and_then(|(width, height)| {
            let side = |text: &str| text.parse::<usize>().ok();
            Some((side(width)?, side(height)?))
        });
        let (width, height) = sides.ok_or("it is no size: 640x360 is one")?;
        let fits = |side: usize| side.is_multiple_of(2) && (16..=8192).contains(&side);
        match fits(width) && fits(height) {
            true => Ok(Size { width, height }),
            false => Err("each side is an even number from 16 to 8192".to_owned()),
        }
    }
}

/// Turns red, green and blue, from 0 to 1, into the three planes, one after another.
///
/// # Panics
/// `pixels` or `planes` are not as long as `size` says.
pub fn write_planes(pixels: &[Vec3], size: Size, planes: &mut [u8]) {
    let Size { width, height } = size;
    assert_eq!((pixels.len(), planes.len()), (width * height, size.bytes()));
    let (brightness, colour) = planes.split_at_mut(width * height);
    for (to, pixel) in brightness.iter_mut().zip(pixels) {
        *to = (16.0 + 219.0 * luma(*pixel) + 0.5) as u8;
    }
    let (blue, red) = colour.split_at_mut(colour.len() / 2);
    for y in 0..height / 2 {
        for x in 0..width / 2 {
            let at = 2 * y * width + 2 * x;
            let four = [at, at + 1, at + width, at + width + 1];
            let mean = four.iter().map(|&at| pixels[at]).sum::<Vec3>() / 4.0;
            let luma = luma(mean);
            let to = y * (width / 2) + x;
            blue[to] = (128.0 + 224.0 * (mean.z - luma) / 1.8556 + 0.5) as u8;
            red[to] = (128.0 + 224.0 * (mean.x - luma) / 1.5748 + 0.5) as u8;
        }
    }
}

fn luma(pixel: Vec3) -> f32 {
    pixel.dot(Vec3::new(0.2126, 0.7152, 0.0722))
}
