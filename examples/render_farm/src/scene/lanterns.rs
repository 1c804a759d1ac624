//! The lanterns, and the way of the camera behind them.

use std::f32::consts::PI;

use glam::Vec3;

use super::hall::PITCH;

/// A light that wanders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lantern {
    pub(super) at: Vec3,
    pub(super) colour: Vec3,
    pub(super) radius: f32,
    /// Columns throw shadows in its light.
    pub(super) is_near: bool,
}

const WARM: Vec3 = Vec3::new(1.0, 0.52, 0.19);
const TEAL: Vec3 = Vec3::new(0.16, 0.62, 0.78);
const ROSE: Vec3 = Vec3::new(1.0, 0.30, 0.34);

/// How far the camera has come, in metres along the hall.
fn way(time: f32) -> f32 {
    1.0 + 0.95 * time
}

/// Where the camera is, and what it looks at.
pub(super) fn camera(time: f32) -> (Vec3, Vec3) {
    let z = way(time);
    let eye = Vec3::new(
        1.75 + 0.45 * (0.45 * z).sin(),
        0.98 + 0.14 * (0.6 * z).cos(),
        z,
    );
    let target = Vec3::new(2.55 + 0.5 * (0.33 * z).sin(), 1.32, z + 5.5);
    (eye, target)
}

pub(super) fn at(time: f32) -> [Lantern; 3] {
    let z = way(time);
    // Each winds its way around one row of columns, and passes no column nearer than this.
    let slalom = |row: f32, z: f32, phase: f32, height: f32| {
        let across = 1.35 * (PI * z / PITCH + phase).cos();
        let height = height + 0.16 * (1.7 * time + phase).sin();
        Vec3::new(row * PITCH + across, height, z)
    };
    let first = 1.12 * z + 3.9;
    let second = 0.9 * z + 9.2;
    let third = 26.5 - 1.05 * z;
    [
        Lantern {
            at: slalom(1.0, first, 0.0, 1.15),
            colour: WARM * 5.2,
            radius: 0.10,
            is_near: true,
        },
        Lantern {
            at: slalom(0.0, second, PI, 1.5),
            colour: TEAL * 5.6,
            radius: 0.085,
            is_near: true,
        },
        Lantern {
            at: slalom(1.0, third, 0.0, 1.9),
            colour: ROSE * 4.6,
            radius: 0.08,
            is_near: false,
        },
    ]
}
