//! From samples to a table of Markdown.

use anyhow::{Error, Result};

use super::measure::{Measured, Rates, Report, Sample};
use super::options::{Options, Peer, Row};

/// A heading, what was run, the table, and what the table cannot say.
pub(super) fn section(date: &str, machine: &str, options: &Options, report: &Report) -> String {
    let busy = match options.busy {
        0 => String::new(),
        n => format!(", beside {} of another process", count(n, "busy thread")),
    };
    let mut text = format!("## {date}, {machine}, {}{busy}\n\n", count(options.threads, "thread"));
    text.push_str(&format!(
        "{}, `{}`: {}, the median of {} in each.\n",
        report.peer,
        options.command,
        count(options.pairs, "turn"),
        count(options.steps, "step")
    ));
    for rates in &report.rates {
        let peer = rates.peer.map_or_else(|| "unknown".to_owned(), |rate| format!("{rate:.0}"));
        text.push_str(&format!(
            "Product rate in {}: ours {:.0} GFLOP/s, `torch.mm` {peer}.\n",
            rates.dtype, rates.ours
        ));
    }
    text.push_str(&format!("\n{}", table(report)));
    let peers = report.measured.iter().flat_map(|measured| {
        let of = |(peer, samples): &(Peer, Result<_>)| {
            let error = samples.as_ref().err()?;
            Some(failure(&format!("PyTorch {peer}"), &measured.row, error))
        };
        measured.peers.iter().filter_map(of)
    });
    let ours = report.failures.iter().map(|(row, error)| failure("Ours", row, error));
    text.extend(peers.chain(ours));
    text
}

pub(super) fn count(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn failure(who: &str, row: &Row, error: &Error) -> String {
    format!("\n{who} failed, {row}: `{}`\n", format!("{error:#}").replace(['`', '\n'], " "))
}

const HEAD: &str = "\
| step | ours, images/s | eager | ratio (min–max) | compiled | ratio (min–max) | to the better | our memory, MiB | eager | compiled | our GFLOP/s | of the product rate |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";

fn table(report: &Report) -> String {
    let mut text = HEAD.to_owned();
    for measured in &report.measured {
        let [eager, compiled] = Peer::ALL.map(|peer| against(measured, peer));
        let ours = median(measured.ours.iter().map(|sample| sample.images_per_s));
        let gflop_per_s = ours * measured.gflop_per_image;
        let share = limit(measured.row.dtype, &report.rates).map(|limit| gflop_per_s / limit);
        let cells = [
            measured.row.to_string(),
            format!("{ours:.2}"),
            eager.images_per_s,
            eager.ratio,
            compiled.images_per_s,
            compiled.ratio,
            to_the_better(measured).map_or_else(dash, |ratio| format!("**{ratio:.2}**")),
            format!("{:.0}", median(measured.ours.iter().map(|sample| sample.peak_rss_mib))),
            eager.memory,
            compiled.memory,
            format!("{gflop_per_s:.1}"),
            share.map_or_else(dash, |share| format!("{:.0} %", 100.0 * share)),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// A row's cells about one peer.
struct Against {
    images_per_s: String,
    ratio: String,
    memory: String,
}

fn against(measured: &Measured, peer: Peer) -> Against {
    let asked = measured.peers.iter().find(|(of, _)| *of == peer).map(|(_, samples)| samples);
    let missing = |text: &str| Against { images_per_s: text.to_owned(), ratio: dash(), memory: dash() };
    match asked {
        None => missing("–"),
        Some(Err(_)) => missing("failed"),
        Some(Ok(samples)) => {
            let ratios = ratios(&measured.ours, samples);
            let (least, most) = ratios.iter().fold((f64::INFINITY, 0f64), |(a, b), r| (a.min(*r), b.max(*r)));
            Against {
                images_per_s: format!("{:.2}", median(samples.iter().map(|sample| sample.images_per_s))),
                ratio: format!("{:.2} ({least:.2}–{most:.2})", median(ratios.into_iter())),
                memory: format!("{:.0}", median(samples.iter().map(|sample| sample.peak_rss_mib))),
            }
        }
    }
}

/// The median ratio to the peer with the better median.
pub(super) fn to_the_better(measured: &Measured) -> Option<f64> {
    let medians = measured.peers.iter().filter_map(|(_, samples)| {
        let samples = samples.as_ref().ok()?;
        Some((median(samples.iter().map(|sample| sample.images_per_s)), samples))
    });
    let (_, better) = medians.max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(median(ratios(&measured.ours, better).into_iter()))
}

/// Ours over theirs, pair by pair.
fn ratios(ours: &[Sample], theirs: &[Sample]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours.images_per_s / theirs.images_per_s).collect()
}

/// What the machine was seen to do: the better of the two product rates.
pub(super) fn limit(dtype: &str, rates: &[Rates]) -> Option<f64> {
    let rates = rates.iter().find(|rates| rates.dtype == dtype)?;
    Some(rates.ours.max(rates.peer.unwrap_or(0.0))).filter(|limit| *limit > 0.0)
}

/// The middle value; of an even number, the mean of the two; of none, not a number.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

fn dash() -> String {
    "–".to_owned()
}
