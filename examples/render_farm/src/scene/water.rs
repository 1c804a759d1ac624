//! The water: how its surface is inclined, and how it throws light at what is above it.

use glam::{Vec2, Vec3};

use super::hall::PITCH;

/// Directions in which waves run, with their length's inverse and speed.
const WAVES: [(Vec2, f32, f32); 5] = [
    (Vec2::new(0.83, 0.55), 2.3, 0.9),
    (Vec2::new(-0.42, 0.91), 3.7, 1.2),
    (Vec2::new(0.12, -0.99), 5.9, 1.5),
    (Vec2::new(-0.96, -0.27), 8.3, 1.9),
    (Vec2::new(0.62, -0.78), 12.1, 2.3),
];

/// Seconds from a drop to the next in the same cell.
const DROPS: f32 = 3.4;

/// Which way the surface looks up.
pub(super) fn normal(at: Vec2, time: f32, from: f32) -> Vec3 {
    // What is less than a pixel is left out, or it would flicker.
    let calm = 1.0 / (1.0 + 0.05 * from * from);
    let mut slope = Vec2::ZERO;
    for (towards, frequency, speed) in WAVES {
        let phase = towards.dot(at) * frequency + time * speed;
        slope += towards * (phase.cos() * 0.013);
    }
    slope += ring(at, time);
    let slope = slope * calm;
    Vec3::new(-slope.x, 1.0, -slope.y).normalize()
}

/// The slope of the ring that the last drop from the vault has left.
fn ring(at: Vec2, time: f32) -> Vec2 {
    let cell = ((at - PITCH / 2.0) / PITCH).round();
    let lot = (cell.x * 12.9 + cell.y * 78.2).sin() * 43_758.547;
    let lot = lot - lot.floor();
    let since = (time + lot * DROPS).rem_euclid(DROPS);
    let middle = cell * PITCH + PITCH / 2.0 + 0.7 * (Vec2::new(lot, 1.0 - lot) - 0.5);
    let out = at - middle;
    let radius = out.length().max(1e-3);
    let behind = radius - 0.62 * since;
    let packet = (-18.0 * behind * behind).exp() * (-0.9 * since).exp();
    let edge = (1.0 - radius / (PITCH / 2.0)).max(0.0);
    out / radius * (behind * 30.0).cos() * packet * edge * 0.16
}

/// How much of a light that strikes the water here goes up again: bright lines that wander, as the
/// surface bends it together and apart.
pub(super) fn caustic(at: Vec2, time: f32) -> f32 {
    let mut p = at * 2.6;
    let mut sum = 0.0;
    for turn in 0..3_u8 {
        let shift = time * (0.9 + 0.25 * f32::from(turn));
        p = Vec2::new(
            p.x + (p.y * 1.3 + shift).sin() * 0.75,
            p.y + (p.x * 1.2 - shift).cos() * 0.75,
        );
        sum += (p.x + p.y * 0.4 + shift).sin().abs();
        p = Vec2::new(0.8 * p.x - 0.6 * p.y, 0.6 * p.x + 0.8 * p.y) * 1.15;
    }
    let lines = 1.0 - sum / 3.0;
    3.2 * lines * lines
}
