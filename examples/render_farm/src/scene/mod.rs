//! The scene: a flooded cistern, and lanterns that wander through it.
//!
//! It is a distance field ([`hall`]) that rays march through, lit by three lanterns ([`lanterns`]),
//! over water that mirrors it ([`water`]). A picture depends on its time and its size only, so that
//! any worker draws the same bytes.

mod hall;
mod lanterns;
mod tracer;
mod water;

use glam::{Vec2, Vec3};

use self::tracer::Tracer;

/// A pixel is looked at again where it differs from a neighbour by more than this.
const EDGE: f32 = 0.06;

/// Where it is looked at again, in pixels from its middle: a rotated grid.
const AGAIN: [Vec2; 4] = [
    Vec2::new(-0.125, -0.375),
    Vec2::new(0.375, -0.125),
    Vec2::new(0.125, 0.375),
    Vec2::new(-0.375, 0.125),
];

/// Draws the scene as it is at a time, in seconds: red, green and blue, from 0 to 1, as a screen
/// takes them, line by line from the top.
pub fn draw(width: usize, height: usize, time: f32) -> Vec<Vec3> {
    let tracer = Tracer::new(width, height, time);
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        for x in 0..width {
            pixels.push(tracer.colour(Vec2::new(x as f32, y as f32) + 0.5));
        }
    }
    let first = pixels.clone();
    for y in 0..height {
        for x in 0..width {
            let here = first[y * width + x];
            let neighbours = [
                first[y * width + x.saturating_sub(1)],
                first[y * width + (x + 1).min(width - 1)],
                first[y.saturating_sub(1) * width + x],
                first[(y + 1).min(height - 1) * width + x],
            ];
            let differs = |other: Vec3| (other - here).abs().max_element() > EDGE;
            if neighbours.into_iter().any(differs) {
                let middle = Vec2::new(x as f32, y as f32) + 0.5;
                let more: Vec3 = AGAIN.map(|at| tracer.colour(middle + at)).iter().sum();
                pixels[y * width + x] = (here + more) / 5.0;
            }
        }
    }
    pixels
}

/// The scene's name, with a number that another text of it has not: another scene draws other
/// pictures.
pub fn identity() -> String {
    let mut sum = crc32fast::Hasher::new();
    for text in [
        include_str!("mod.rs"),
        include_str!("hall.rs"),
        include_str!("lanterns.rs"),
        include_str!("tracer.rs"),
        include_str!("water.rs"),
        include_str!("../picture.rs"),
    ] {
        sum.update(text.as_bytes());
    }
    format!("cistern {:08x}", sum.finalize())
}
