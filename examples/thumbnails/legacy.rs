//! A decoder for a made-up format, as many a C library has one: it believes what the file says of
//! its own length.
//!
//! A LEG file is `LEG1`, width and height (16 bits each), the number of pixels, the sum of all
//! pixels (32 bits each), all little-endian, and the pixels, a byte each.

use image::GrayImage;

pub(crate) const MAGIC: &[u8] = b"LEG1";
const HEADER: usize = 16;

/// Decodes a LEG file.
pub(crate) fn decode(file: &[u8]) -> Result<GrayImage, String> {
    let header = file.get(..HEADER).ok_or("it has no header")?;
    let half = |at: usize| u32::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let word = |at: usize| half(at) | half(at + 2) << 16;
    let (width, height, pixels, sum) = (half(4), half(6), word(8), word(12));
    eprintln!("legacy decoder: {width} x {height}, {pixels} pixels");
    // SAFETY: none. This is the mistake: so many pixels are there only if the file says the truth.
    let pixels = unsafe { std::slice::from_raw_parts(file.as_ptr().add(HEADER), pixels as usize) };
    if sum_of(pixels) != sum {
        return Err("its sum is wrong".to_owned());
    }
    GrayImage::from_raw(width, height, pixels.to_vec()).ok_or("it has too few pixels".to_owned())
}

/// Encodes one. `pixels` is what the file says of their number, whatever it is.
pub(crate) fn encode(picture: &GrayImage, pixels: u32) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend((picture.width() as u16).to_le_bytes());
    file.extend((picture.height() as u16).to_le_bytes());
    file.extend(pixels.to_le_bytes());
    file.extend(sum_of(picture.as_raw()).to_le_bytes());
    file.extend(picture.as_raw());
    file
}

#[inline(never)]
fn sum_of(pixels: &[u8]) -> u32 {
    pixels
        .iter()
        .fold(0, |sum, &pixel| sum.wrapping_add(u32::from(pixel)))
}
