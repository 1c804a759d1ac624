//! The hall: columns in water on a square grid, and groin vaults from each to the next.

use glam::{FloatExt, Vec2, Vec3};

/// From a column to the next, in metres.
pub(super) const PITCH: f32 = 4.0;

/// Where the vaults begin.
const SPRING: f32 = 2.5;
/// The radius of their arches. What it leaves of half a pitch is half a pier.
const ARCH: f32 = 1.72;

/// Of what a point of the hall is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Material {
    Column,
    Vault,
}

/// The place within its cell, whose column stands at its middle.
fn in_cell(p: Vec3) -> Vec2 {
    let across = Vec2::new(p.x, p.z);
    across - PITCH * nearest_whole(across / PITCH)
}

/// As [`Vec2::round`], which is a call where the processor may be an old one, and takes longer than
/// most else here. A number as large as this has no bits for a fraction.
fn nearest_whole(v: Vec2) -> Vec2 {
    const LARGE: f32 = (3 << 22) as f32;
    (v + LARGE) - LARGE
}

/// The hall is as far away as this, at least.
pub(super) fn distance(p: Vec3) -> f32 {
    let cell = in_cell(p);
    let column = column(p.y, cell);
    // The vault is no nearer than where it begins, which will do from farther away.
    let below = SPRING - p.y;
    match below > column.min(0.6) {
        true => column.min(below),
        false => column.min(vault(p.y, cell)),
    }
}

/// As [`distance`], with what it is the distance to.
pub(super) fn material(p: Vec3) -> Material {
    let cell = in_cell(p);
    match vault(p.y, cell) < column(p.y, cell) {
        true => Material::Vault,
        false => Material::Column,
    }
}

/// Stone outside of two barrels that cross, above where they begin.
fn vault(y: f32, cell: Vec2) -> f32 {
    let from_axes = Vec2::splat(PITCH / 2.0) - cell.abs();
    let above = (y - SPRING).max(0.0);
    let barrel = |across: f32| ARCH - across.hypot_fast(above);
    let barrels = barrel(from_axes.x).max(barrel(from_axes.y));
    // A rib along each arch, between column and column.
    let rib = |along: f32, across: f32| {
        let from_arch = (ARCH - 0.02 - across.hypot_fast(above)).abs();
        (from_arch - 0.05).max(along.abs() - 0.16)
    };
    let ribs = rib(cell.x, from_axes.y).min(rib(cell.y, from_axes.x));
    barrels.min(ribs).max(SPRING - y)
}

/// A round shaft that narrows, on a base, under a capital and its slab.
fn column(y: f32, cell: Vec2) -> f32 {
    let from_axis = cell.length();
    // All of it is within its slab's corners, which will do from farther away than shadows are
    // soft.
    if from_axis > 1.0 {
        return from_axis - 0.51;
    }
    let shaft = 0.235 - 0.014 * y;
    let capital = (y - 1.95).max(0.0);
    let flare = 0.5 * capital * capital;
    let foot = (0.42 - y).clamp(0.0, 0.3);
    let round = from_axis - shaft - flare - 0.6 * foot * foot;
    // Nothing else is near its middle.
    if y > 0.75 && y < 1.6 && from_axis < 0.5 {
        return round * 0.88;
    }
    let shaft = (round * 0.88).max(y - SPRING + 0.1);
    let ring = ring(y - 1.93, from_axis - 0.215, 0.035);
    let slab = block(y - SPRING + 0.05, cell, 0.36, 0.06);
    let plinth = block(y, cell, 0.34, 0.13);
    let torus = self::ring(y - 0.19, from_axis - 0.27, 0.06);
    shaft.min(ring).min(slab).min(plinth).min(torus)
}

fn ring(up: f32, out: f32, radius: f32) -> f32 {
    up.hypot_fast(out) - radius
}

fn block(up: f32, cell: Vec2, half: f32, half_up: f32) -> f32 {
    const ROUND: f32 = 0.02;
    let beyond = Vec3::new(
        cell.x.abs() - half + ROUND,
        up.abs() - half_up + ROUND,
        cell.y.abs() - half + ROUND,
    );
    beyond.max(Vec3::ZERO).length() + beyond.max_element().min(0.0) - ROUND
}

/// The stone's own colour.
pub(super) fn albedo(p: Vec3, normal: Vec3, material: Material) -> Vec3 {
    let grain = 0.75 * noise(p * 3.1) + 0.25 * noise(p * 13.0);
    match material {
        Material::Column => {
            // Drums of marble, darker where the water has stood.
            let joint = ((p.y / 0.62).fract() - 0.5).abs();
            let joint = smooth(0.485, 0.497, joint);
            let wet = smooth(0.75, 0.15, p.y + 0.2 * grain);
            let vein = (1.0 - (noise(p * 2.3 + 7.0) - 0.5).abs() * 9.0).clamp(0.0, 1.0);
            let marble = Vec3::new(0.66, 0.60, 0.52) * (0.72 + 0.4 * grain) - 0.07 * vein;
            marble * (1.0 - 0.45 * joint) * (1.0 - 0.55 * wet)
        }
        Material::Vault => {
            // Courses of brick along each barrel.
            let cell = in_cell(p);
            let from_axes = Vec2::splat(PITCH / 2.0) - cell.abs();
            let (along, across) = match normal.x.abs() > normal.z.abs() {
                true => (p.z, from_axes.x),
                false => (p.x, from_axes.y),
            };
            let course = across.atan2(p.y - SPRING) * ARCH / 0.13;
            let brick = along / 0.34 + 0.5 * (course.floor() as i32 & 1) as f32;
            let tint = hash(Vec3::new(
                course.floor(),
                brick.floor(),
                3.0 + (p.z / PITCH).round(),
            ));
            let edge = |t: f32| (t.fract().abs() - 0.5).abs();
            let joint = smooth(0.40, 0.48, edge(course)).max(smooth(0.45, 0.485, edge(brick)));
            let fired = Vec3::new(0.50, 0.30, 0.21).lerp(Vec3::new(0.62, 0.43, 0.30), tint);
            let stone = fired * (0.65 + 0.5 * grain);
            stone.lerp(Vec3::new(0.34, 0.31, 0.28), joint * 0.8)
        }
    }
}

/// From 0 to 1 as `x` goes from one edge to the other.
pub(super) fn smooth(from: f32, to: f32, x: f32) -> f32 {
    let t = f32::inverse_lerp(from, to, x).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A number from 0 to 1 for a point of the grid.
fn hash(p: Vec3) -> f32 {
    let mut bits = 0x9e37_79b9_u32;
    for part in p.to_array() {
        bits = (bits ^ (part as i32).cast_unsigned()).wrapping_mul(0x85eb_ca6b);
        bits ^= bits >> 15;
    }
    bits = bits.wrapping_mul(0xc2b2_ae35);
    (bits >> 8) as f32 / (1 << 24) as f32
}

/// From 0 to 1, smooth, with features of the size 1.
fn noise(p: Vec3) -> f32 {
    let whole = p.floor();
    let part = p - whole;
    let part = part * part * (3.0 - 2.0 * part);
    let corner = |x: f32, y: f32, z: f32| hash(whole + Vec3::new(x, y, z));
    let edge = |y: f32, z: f32| corner(0.0, y, z).lerp(corner(1.0, y, z), part.x);
    let side = |z: f32| edge(0.0, z).lerp(edge(1.0, z), part.y);
    side(0.0).lerp(side(1.0), part.z)
}

/// `f32::hypot` guards against overflow, which takes longer than all the rest of a distance.
trait HypotFast {
    fn hypot_fast(self, other: f32) -> f32;
}

impl HypotFast for f32 {
    fn hypot_fast(self, other: f32) -> f32 {
        (self * self + other * other).sqrt()
    }
}
