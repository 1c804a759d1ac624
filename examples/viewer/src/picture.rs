//! A picture that came from a process which may be hostile: checked, then written as PNG.

use std::io::Write;

use crate::render::Drawn;

/// Pixels, as many as its sides say.
#[derive(Clone, Debug)]
pub(crate) struct Picture(Drawn);

impl Picture {
    /// Takes what a tab has drawn, if it is what was asked for.
    pub(crate) fn check(drawn: Drawn, size: u32) -> Result<Picture, String> {
        let Drawn {
            width,
            height,
            pixels,
        } = &drawn;
        let is_asked_for = |side: u32| (1..=size).contains(&side);
        if !is_asked_for(*width) || !is_asked_for(*height) {
            return Err(format!(
                "a picture of {width} x {height} pixels was not asked for"
            ));
        }
        if pixels.len() as u64 != u64::from(*width) * u64::from(*height) * 4 {
            return Err(format!(
                "{} bytes are no picture of {width} x {height}",
                pixels.len()
            ));
        }
        Ok(Picture(drawn))
    }

    pub(crate) fn width(&self) -> u32 {
        self.0.width
    }

    pub(crate) fn height(&self) -> u32 {
        self.0.height
    }

    /// Writes it as PNG, line by line: the region itself cannot be written, by this process or the
    /// one that made it.
    pub(crate) fn write_png(&self, into: impl Write) -> Result<(), png::EncodingError> {
        let Drawn {
            width,
            height,
            pixels,
        } = &self.0;
        let mut encoder = png::Encoder::new(into, *width, *height);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        let mut stream = writer.stream_writer()?;
        let mut straight = vec![0; *width as usize * 4];
        for line in pixels.chunks_exact(straight.len()) {
            for (to, from) in straight.chunks_exact_mut(4).zip(line.chunks_exact(4)) {
                to.copy_from_slice(&demultiplied([from[0], from[1], from[2], from[3]]));
            }
            stream.write_all(&straight)?;
        }
        stream.finish()
    }
}

/// A pixel with its own colours. A hostile one may be brighter than its opacity allows.
fn demultiplied([red, green, blue, opacity]: [u8; 4]) -> [u8; 4] {
    let opacity = u32::from(opacity);
    let whole = |colour: u8| match (u32::from(colour) * 255 + opacity / 2).checked_div(opacity) {
        Some(colour) => u8::try_from(colour).unwrap_or(u8::MAX),
        None => 0,
    };
    [whole(red), whole(green), whole(blue), opacity as u8]
}

#[cfg(test)]
mod tests {
    use brigade::Shared;

    use super::*;

    fn drawn(width: u32, height: u32, bytes: usize) -> Drawn {
        let pixels = Shared::from_slice(&vec![200; bytes]).expect("memory");
        Drawn {
            width,
            height,
            pixels,
        }
    }

    #[test]
    fn what_was_not_asked_for_is_no_picture() {
        assert!(Picture::check(drawn(2, 3, 24), 3).is_ok());
        for (width, height, bytes) in [
            (4, 1, 16),
            (0, 3, 0),
            (2, 3, 23),
            (2, 3, 25),
            (u32::MAX, u32::MAX, 4),
            (1 << 31, 2, 0),
        ] {
            Picture::check(drawn(width, height, bytes), 3).expect_err("it is refused");
        }
    }

    #[test]
    fn any_bytes_are_written() {
        assert_eq!(demultiplied([64, 128, 0, 128]), [128, 255, 0, 128]);
        assert_eq!(demultiplied([255, 1, 0, 1]), [255, 255, 0, 1]);
        assert_eq!(demultiplied([9, 9, 9, 0]), [0, 0, 0, 0]);
    }
}
