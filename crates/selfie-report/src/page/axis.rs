//! A linear axis: its range, its ticks and how they are written.

/// About as many ticks as fit.
const N_TICKS: f64 = 5.0;

/// A linear axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    tick: f64,
}

impl Axis {
    /// An axis that holds every finite value, begun and ended at a tick.
    pub(super) fn over(values: impl Iterator<Item = f64>) -> Self {
        let range = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let (low, high) = values.filter(|value| value.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), range);
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        // Equal values get room of their own size on both sides.
        let room = if low == high { if low == 0.0 { 1.0 } else { low.abs() / 2.0 } } else { 0.0 };
        let (low, high) = (low - room, high + room);
        let tick = nice((high - low) / N_TICKS);
        Self { low: (low / tick).floor() * tick, high: (high / tick).ceil() * tick, tick }
    }

    /// An axis from the lowest to the highest value, which need not be at ticks.
    pub(super) fn exactly(low: f64, high: f64) -> Self {
        if low < high { Self { low, high, tick: nice((high - low) / N_TICKS) } } else { Self::over([low].into_iter()) }
    }

    /// Where a value lies, in 0–1 for values on the axis.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// The ticks with their labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let first = (self.low / self.tick - 1e-9).ceil();
        let last = (self.high / self.tick + 1e-9).floor();
        (0..=(last - first) as u32)
            .map(|i| (first + f64::from(i)) * self.tick)
            .map(|at| (at, label(at, self.tick)))
            .collect()
    }
}

/// The nearest larger of 1, 2 and 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|nice| *nice >= step * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// A tick's value with as many decimals as ticks that far apart need.
fn label(value: f64, tick: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let (scale, unit) = match value.abs() {
        large if large >= 1e6 => (1e6, "M"),
        large if large >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    if value.abs() < 1e-3 {
        let decimals = (value.abs().log10().floor() - (tick * 1.000_001).log10().floor()).max(0.0) as usize;
        return format!("{value:.decimals$e}").replace('-', "−");
    }
    let decimals = (-(tick / scale).log10().floor()).max(0.0) as usize;
    format!("{:.decimals$}{unit}", value / scale).replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        assert_eq!(labels(Axis::over([1.21, 1.39].into_iter())), ["1.20", "1.25", "1.30", "1.35", "1.40"]);
        assert_eq!(labels(Axis::exactly(1.0, 120_000.0)), ["50k", "100k"]);
        assert_eq!(labels(Axis::over([0.0, 0.1].into_iter())), ["0", "0.02", "0.04", "0.06", "0.08", "0.10"]);
        assert_eq!(labels(Axis::over([-3.0, 7.0].into_iter())), ["−4", "−2", "0", "2", "4", "6", "8"]);
    }

    #[test]
    fn no_two_ticks_read_the_same() {
        for (low, high) in
            [(2.481, 2.4849), (1.2e-4, 3.1e-4), (0.0, 2.5e-4), (9_500.0, 10_400.0), (1.0001e-5, 1.0002e-5)]
        {
            let mut labels = labels(Axis::over([low, high].into_iter()));
            let n = labels.len();
            labels.dedup();
            assert_eq!(labels.len(), n, "{low} to {high}: {labels:?}");
        }
    }

    #[test]
    fn equal_values_no_values_and_values_that_are_not_finite_have_an_axis_too() {
        for values in [vec![], vec![0.0], vec![2.5, 2.5], vec![f64::NAN, 1.0, f64::INFINITY]] {
            let axis = Axis::over(values.iter().copied());
            assert!(axis.low < axis.high, "{values:?}: {axis:?}");
            assert!(axis.ticks().len() > 1, "{values:?}: {axis:?}");
            assert!(axis.ticks().iter().all(|(at, _)| (0.0..=1.0).contains(&axis.share(*at))), "{axis:?}");
        }
    }
}
