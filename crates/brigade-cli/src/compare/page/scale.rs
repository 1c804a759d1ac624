//! How values lie on an axis, and which of them are written at it.

/// Equal steps, or equal factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// The least and the most; around a single value, some room.
pub(super) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = values.fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(least, most), value| (least.min(value), most.max(value)),
    );
    // One value has no range; it goes to the middle of one.
    if least < most {
        (least, most)
    } else {
        (least / 2.0, most * 2.0 + 1e-9)
    }
}

/// Where in the range a value lies: 0 to 1.
pub(super) fn share(scale: Scale, (least, most): (f64, f64), value: f64) -> f64 {
    match scale {
        Scale::Linear => (value - least) / (most - least),
        Scale::Log => (value.ln() - least.ln()) / (most.ln() - least.ln()),
    }
}

/// Round values in the range: powers of ten, or up to six steps of 1, 2 or 5.
pub(super) fn ticks(scale: Scale, (least, most): (f64, f64)) -> Vec<f64> {
    match scale {
        Scale::Log => {
            let powers = least.log10().ceil() as i32..=(most.log10() + 1e-9).floor() as i32;
            let every = (powers.clone().count() / 9 + 1) as i32;
            powers
                .filter(|power| power.rem_euclid(every) == 0)
                .map(|power| 10_f64.powi(power))
                .collect()
        }
        Scale::Linear => {
            let rough = (most - least) / 5.0;
            let power = 10_f64.powf(rough.log10().floor());
            let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
            let step = steps
                .into_iter()
                .find(|step| *step >= rough)
                .unwrap_or(rough);
            let first = (least / step).ceil() as i64;
            (first..)
                .map(|index| index as f64 * step)
                .take_while(|value| *value <= most)
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(Scale::Log, (10.0, 10_000.0)), [10.0, 100.0, 1e3, 1e4]);
        assert_eq!(ticks(Scale::Linear, (0.0, 4.2)), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert!(ticks(Scale::Log, (1e-300, 1e300)).len() < 12);
    }
}
