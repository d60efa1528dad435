//! From samples to a table of Markdown.

use super::options::Options;
use super::{Measured, Sample};
use crate::bench::table::{count, median};

const HEAD: &str = "\
| batches | cores | ours, images/s | torchvision | ratio (min–max) | ours, images per second of computing | torchvision | ratio (min–max) |
|---|---:|---:|---:|---:|---:|---:|---:|
";

/// A heading, what was run, and the table.
pub(super) fn section(date: &str, machine: &str, options: &Options, peer: &str, measured: &[Measured]) -> String {
    let mut text = format!("## {date}, {machine}: loading\n\n");
    text.push_str(&format!("{peer}, `{}`: medians of {}.\n\n{HEAD}", options.command, count(options.turns, "turn")));
    for row in measured {
        let wall = compared(row, |sample| sample.images_per_s);
        let computing = compared(row, |sample| sample.images_per_cpu_s);
        let cells = [&[row.batches.name().to_owned(), row.cores.to_string()][..], &wall, &computing].concat();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// Ours, torchvision's, and the ratio turn by turn.
fn compared(row: &Measured, of: impl Fn(&Sample) -> f64) -> [String; 3] {
    let pairs = row.ours.iter().zip(&row.torchvision);
    let ratios: Vec<f64> = pairs.map(|(ours, theirs)| of(ours) / of(theirs)).collect();
    let (least, most) = ratios.iter().fold((f64::INFINITY, 0f64), |(a, b), r| (a.min(*r), b.max(*r)));
    [
        format!("{:.0}", median(row.ours.iter().map(&of))),
        format!("{:.0}", median(row.torchvision.iter().map(&of))),
        format!("**{:.2}** ({least:.2}–{most:.2})", median(ratios.into_iter())),
    ]
}
