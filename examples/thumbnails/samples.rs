//! Pictures to work on, for those who have none at hand: made by the same pool.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use brigade::Pool;
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};

use crate::legacy;

/// Makes so many pictures in this directory, and three in the old format; one file is cut off, and
/// one crashes its decoder.
pub(crate) fn make(pool: &Pool, directory: &Path, count: usize) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    println!("making {count} pictures in {}", directory.display());
    let numbers = 0..count as u32;
    for (number, file) in pool.map(paint, numbers.clone()).enumerate() {
        let file = file.map_err(io::Error::other)?;
        let extension = if is_jpeg(number as u32) { "jpg" } else { "png" };
        let name = format!("{number:03}.{extension}");
        fs::write(directory.join(name), &file)?;
        if number == 0 {
            fs::write(directory.join("cut-off.png"), &file[..file.len() / 2])?;
        }
    }
    for (name, side) in [("old-1.leg", 300), ("old-2.leg", 700)] {
        let picture = gray(side);
        fs::write(directory.join(name), legacy::encode(&picture, side * side))?;
    }
    // It says that it has 4 GiB of pixels, and has 10,000.
    fs::write(
        directory.join("old-broken.leg"),
        legacy::encode(&gray(100), u32::MAX),
    )?;
    Ok(directory.to_owned())
}

fn is_jpeg(number: u32) -> bool {
    number % 3 != 0
}

/// A picture's file. The higher the number, the larger, up to some 3 megapixels.
fn paint(number: u32) -> Vec<u8> {
    let (width, height) = (160 + number * 31 % 1900, 120 + number * 23 % 1500);
    let mut noise = number.wrapping_add(1);
    let picture = RgbImage::from_fn(width, height, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let rings = ((x * x + y * y) / (400 + number * 10)) as u8;
        Rgb([
            rings,
            (x * 255 / width) as u8,
            (y * 240 / height) as u8 + (noise >> 28) as u8,
        ])
    });
    let format = if is_jpeg(number) {
        ImageFormat::Jpeg
    } else {
        ImageFormat::Png
    };
    let mut file = Cursor::new(Vec::new());
    match DynamicImage::ImageRgb8(picture).write_to(&mut file, format) {
        Ok(()) => file.into_inner(),
        Err(e) => panic!("picture {number} cannot be encoded: {e}"),
    }
}

fn gray(side: u32) -> GrayImage {
    GrayImage::from_fn(side, side, |x, y| image::Luma([(x ^ y) as u8]))
}
