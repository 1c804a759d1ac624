//! One frame, as PNG: to look at while a scene is made.

use render_farm::render::Frame;
use render_farm::scene;

use crate::Options;
use crate::film::Draft;

/// Draws a frame, in the program itself.
pub(crate) fn write(number: u32, options: &Options) -> Result<(), String> {
    let mut draft = Draft::create(&options.out)?;
    let size = options.size;
    let frame = Frame {
        number,
        rate: options.rate,
        size,
        is_poisoned: false,
    };
    let pixels = scene::draw(size.width, size.height, frame.time());
    let colours = pixels.iter().flat_map(|pixel| pixel.to_array());
    let bytes: Vec<u8> = colours.map(|colour| (255.0 * colour + 0.5) as u8).collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.width as u32, size.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&bytes)?;
        writer.finish()
    });
    written.map_err(|e| e.to_string())?;
    draft.write(&file)?;
    draft.keep()
}
