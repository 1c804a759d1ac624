//! The task: a picture's file in, its thumbnail's file out.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

use crate::legacy;

/// The longer side of a thumbnail.
const SIDE: u32 = 128;

/// Decodes a picture and shrinks it. The error is the decoder's.
pub(crate) fn shrink(file: Vec<u8>) -> Result<Vec<u8>, String> {
    let picture = if file.starts_with(legacy::MAGIC) {
        DynamicImage::ImageLuma8(legacy::decode(&file)?)
    } else {
        image::load_from_memory(&file).map_err(|e| e.to_string())?
    };
    let mut thumbnail = Cursor::new(Vec::new());
    picture
        .thumbnail(SIDE, SIDE)
        .write_to(&mut thumbnail, ImageFormat::Png)
        .map_err(|e| e.to_string())?;
    Ok(thumbnail.into_inner())
}
