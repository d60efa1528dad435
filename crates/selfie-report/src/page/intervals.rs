//! A chart of means with their spread, over fractions of the labels.

use maud::{Markup, html};

use super::axis::Axis;
use super::chart::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, at_y, coordinate};

/// A mean, how far its bar goes, and the values behind it.
#[derive(Clone, Debug)]
pub(super) struct Interval {
    /// Which fraction, counted from 0.
    pub(super) category: usize,
    pub(super) mean: f64,
    /// `None` of one value.
    pub(super) bar: Option<(f64, f64)>,
    pub(super) values: Vec<f64>,
    /// What the pointer shows.
    pub(super) words: String,
}

/// The intervals of one arm.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) colour: usize,
    pub(super) intervals: Vec<Interval>,
}

/// A chart of intervals.
#[derive(Clone, Debug)]
pub(super) struct Intervals {
    pub(super) title: &'static str,
    pub(super) categories: Vec<String>,
    pub(super) groups: Vec<Group>,
    /// Whether the line of 0 is part of the chart.
    pub(super) zero: bool,
}

impl Intervals {
    pub(super) fn figure(&self) -> Markup {
        let all = || self.groups.iter().flat_map(|group| &group.intervals);
        if all().next().is_none() {
            return html! {};
        }
        let ends = all().flat_map(|interval| interval.bar).flat_map(|(low, high)| [low, high]);
        let values = all().flat_map(|interval| interval.values.iter().copied().chain([interval.mean]));
        let y = Axis::over(ends.chain(values).chain(self.zero.then_some(0.0)));
        html! {
            figure {
                figcaption { (self.title) }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) {
                    g.grid {
                        @for (at, label) in y.ticks() {
                            @let at = coordinate(at_y(y, at));
                            line x1=(LEFT) x2=(RIGHT) y1=(at) y2=(at) {}
                            text.end x=(LEFT - 6.0) y=(at) dy="0.35em" { (label) }
                        }
                        @for (idx, category) in self.categories.iter().enumerate() {
                            text.middle x=(coordinate(self.centre(idx))) y=(BOTTOM + 20.0) { (category) }
                        }
                    }
                    @if self.zero {
                        @let at = coordinate(at_y(y, 0.0));
                        line.level x1=(LEFT) x2=(RIGHT) y1=(at) y2=(at) {}
                    }
                    @for (group_idx, group) in self.groups.iter().enumerate() {
                        g class=(format!("interval c{}", group.colour)) {
                            @for interval in &group.intervals { (self.interval(interval, group_idx, y)) }
                        }
                    }
                }
            }
        }
    }

    /// The middle of a fraction's part of the axis.
    fn centre(&self, category: usize) -> f64 {
        LEFT + (RIGHT - LEFT) * (category as f64 + 0.5) / self.categories.len() as f64
    }

    fn interval(&self, interval: &Interval, group_idx: usize, y: Axis) -> Markup {
        let apart = 26.0_f64.min((RIGHT - LEFT) / (self.categories.len() * (self.groups.len() + 1)) as f64);
        let x = self.centre(interval.category) + apart * (group_idx as f64 - (self.groups.len() as f64 - 1.0) / 2.0);
        let (mean, x_text) = (at_y(y, interval.mean), coordinate(x));
        html! {
            g {
                title { (interval.words) }
                // The pointer finds the whole column, not a thin line alone.
                rect.catch x=(coordinate(x - 9.0)) y=(TOP) width="21" height=(BOTTOM - TOP) {}
                @if let Some((low, high)) = interval.bar {
                    line.bar x1=(x_text) x2=(x_text) y1=(coordinate(at_y(y, low))) y2=(coordinate(at_y(y, high))) {}
                    @for end in [low, high] {
                        @let end = coordinate(at_y(y, end));
                        line.bar x1=(coordinate(x - 5.0)) x2=(coordinate(x + 5.0)) y1=(end) y2=(end) {}
                    }
                }
                // Beside the bar, which would hide them.
                @for value in &interval.values {
                    circle.one cx=(coordinate(x + 9.0)) cy=(coordinate(at_y(y, *value))) r="3" {}
                }
                rect.mean x=(coordinate(x - 4.5)) y=(coordinate(mean - 4.5)) width="9" height="9" {}
            }
        }
    }
}
