//! What a ray sees.

use glam::{Vec2, Vec3};

use super::hall::{self, Material};
use super::lanterns::{self, Lantern};
use super::water;

/// Nothing is seen beyond.
const FAR: f32 = 44.0;
const FOG: Vec3 = Vec3::new(0.010, 0.016, 0.026);
const FOG_DENSITY: f32 = 0.052;
/// What of a lantern's light the fog scatters towards the eye, in a metre.
const GLOW: f32 = 0.0075;

/// The scene at one moment, seen by its camera.
#[derive(Debug)]
pub(super) struct Tracer {
    size: Vec2,
    time: f32,
    eye: Vec3,
    forward: Vec3,
    right: Vec3,
    up: Vec3,
    lanterns: [Lantern; 3],
}

impl Tracer {
    pub(super) fn new(width: usize, height: usize, time: f32) -> Tracer {
        let (eye, target) = lanterns::camera(time);
        let forward = (target - eye).normalize();
        let right = Vec3::Y.cross(forward).normalize();
        Tracer {
            size: Vec2::new(width as f32, height as f32),
            time,
            eye,
            forward,
            right,
            up: forward.cross(right),
            lanterns: lanterns::at(time),
        }
    }

    /// The colour of a place of the picture, in pixels from its upper left.
    pub(super) fn colour(&self, at: Vec2) -> Vec3 {
        let screen = (at * 2.0 - self.size) / self.size.y;
        let ray = (self.forward * 1.45 + self.right * screen.x - self.up * screen.y).normalize();
        let light = self.seen(self.eye, ray, true);
        let towards_corner = (at / self.size - 0.5).length_squared();
        developed(light * (1.0 - 0.55 * towards_corner))
    }

    /// The light that comes to a point against a ray.
    fn seen(&self, from: Vec3, ray: Vec3, is_first: bool) -> Vec3 {
        let to_water = match ray.y < 0.0 {
            true => -from.y / ray.y,
            false => f32::INFINITY,
        };
        let stone = march(from, ray, to_water.min(FAR));
        let (distance, light) = match stone {
            Some(distance) => (distance, self.stone(from + ray * distance, ray, distance)),
            None if is_first && to_water < FAR => {
                (to_water, self.water(from + ray * to_water, ray, to_water))
            }
            None => (FAR, Vec3::ZERO),
        };
        let clear = (-FOG_DENSITY * distance).exp();
        let mut light = light * clear + FOG * (1.0 - clear);
        for lantern in &self.lanterns {
            light += lantern.colour * glow(lantern, from, ray, distance) * GLOW;
            if let Some(near) = globe(lantern, from, ray).filter(|near| *near < distance) {
                light += lantern.colour * 1.6 * (-FOG_DENSITY * near).exp();
            }
        }
        light
    }

    fn stone(&self, p: Vec3, ray: Vec3, distance: f32) -> Vec3 {
        let normal = normal(p, 0.0008 * distance.max(1.0));
        let material = hall::material(p);
        let albedo = hall::albedo(p, normal, material);
        let open = openness(p, normal);
        let mut diffuse = Vec3::new(0.020, 0.026, 0.036) * open * (1.0 + 0.4 * normal.y);
        let mut gloss = Vec3::ZERO;
        for lantern in &self.lanterns {
            let to = lantern.at - p;
            let away = to.length();
            let to = to / away;
            let falloff = lantern.colour / (away * away + 0.12);
            let facing = normal.dot(to);
            if facing > 0.0 && falloff.max_element() > 0.003 {
                let lit = match lantern.is_near {
                    true => shadow(p + normal * 0.004, to, away - lantern.radius),
                    false => 1.0,
                };
                diffuse += falloff * facing * lit;
                let half = (to - ray).normalize().dot(normal).max(0.0);
                gloss += falloff * lit * half.powi(28);
            }
            // From below, by way of the water.
            let mirrored = Vec3::new(lantern.at.x, -lantern.at.y, lantern.at.z) - p;
            let way = mirrored.length();
            let facing = normal.dot(mirrored / way);
            if facing > 0.0 && p.y > 0.0 {
                let struck = p + mirrored * (p.y / -mirrored.y);
                let bright = water::caustic(Vec2::new(struck.x, struck.z), self.time);
                diffuse += lantern.colour / (way * way + 0.5) * facing * bright * 1.3 * open;
            }
        }
        let shine = match material {
            Material::Column => 0.30,
            Material::Vault => 0.04,
        };
        albedo * diffuse + gloss * shine
    }

    fn water(&self, p: Vec3, ray: Vec3, distance: f32) -> Vec3 {
        let normal = water::normal(Vec2::new(p.x, p.z), self.time, distance);
        let mut mirrored = ray.reflect(normal);
        mirrored.y = mirrored.y.max(0.02);
        let facing = (-ray.dot(normal)).clamp(0.0, 1.0);
        let share = 0.06 + 0.94 * (1.0 - facing).powi(5);
        let mut deep = Vec3::new(0.002, 0.007, 0.008);
        for lantern in &self.lanterns {
            let to = lantern.at - p;
            let falloff = lantern.colour / (to.length_squared() + 0.3);
            deep += falloff * Vec3::new(0.004, 0.012, 0.012);
        }
        deep.lerp(
            self.seen(p + Vec3::Y * 0.001, mirrored.normalize(), false),
            share,
        )
    }
}

/// How far away the hall is along a ray, if it is nearer than this.
fn march(from: Vec3, ray: Vec3, far: f32) -> Option<f32> {
    let mut along = 0.0;
    for _ in 0..110 {
        let step = hall::distance(from + ray * along);
        if step < 0.0006 * (1.0 + along) {
            return Some(along);
        }
        along += step;
        if along >= far {
            return None;
        }
    }
    Some(along)
}

/// Which way the surface of the hall looks, by four points around it.
fn normal(p: Vec3, width: f32) -> Vec3 {
    const CORNERS: [Vec3; 4] = [
        Vec3::new(1.0, -1.0, -1.0),
        Vec3::new(-1.0, -1.0, 1.0),
        Vec3::new(-1.0, 1.0, -1.0),
        Vec3::new(1.0, 1.0, 1.0),
    ];
    let sum: Vec3 = (CORNERS.iter())
        .map(|&corner| corner * hall::distance(p + corner * width))
        .sum();
    sum.normalize_or(Vec3::Y)
}

/// How much of a lantern is seen from a point, from 0 to 1: less the nearer the way to it comes to
/// stone.
fn shadow(from: Vec3, ray: Vec3, far: f32) -> f32 {
    const SHARPNESS: f32 = 14.0;
    let mut lit = 1.0_f32;
    let mut along = 0.02;
    for _ in 0..36 {
        if along >= far {
            break;
        }
        let near = hall::distance(from + ray * along);
        lit = lit.min(SHARPNESS * near / along);
        if lit < 0.01 {
            return 0.0;
        }
        along += near.clamp(0.02, 1.0);
    }
    lit * lit * (3.0 - 2.0 * lit)
}

/// How open the hall is around a point, from 0 to 1.
fn openness(p: Vec3, normal: Vec3) -> f32 {
    let mut closed = 0.0;
    for (step, weight) in [(0.06, 1.0), (0.16, 0.6), (0.38, 0.35)] {
        closed += (step - hall::distance(p + normal * step)) * weight / step;
    }
    (1.0 - 0.5 * closed).clamp(0.0, 1.0)
}

/// A lantern's light that fog scatters along a ray: the integral of 1 / distance².
fn glow(lantern: &Lantern, from: Vec3, ray: Vec3, distance: f32) -> f32 {
    let to = lantern.at - from;
    let nearest = to.dot(ray);
    let aside = (to.length_squared() - nearest * nearest).max(0.0).sqrt() + 0.05;
    (((distance - nearest) / aside).atan() + (nearest / aside).atan()) / aside
}

/// How far away a lantern's globe is along a ray that meets it.
fn globe(lantern: &Lantern, from: Vec3, ray: Vec3) -> Option<f32> {
    let to = lantern.at - from;
    let nearest = to.dot(ray);
    let within = lantern.radius * lantern.radius - (to.length_squared() - nearest * nearest);
    (within > 0.0 && nearest > 0.0).then(|| nearest - within.sqrt())
}

/// As a film would show this much light: the curve of ACES, by K. Narkowicz's approximation, and a
/// screen's gamma.
fn developed(light: Vec3) -> Vec3 {
    let light = light * 1.15;
    let filmed = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14);
    filmed.clamp(Vec3::ZERO, Vec3::ONE).powf(1.0 / 2.2)
}
