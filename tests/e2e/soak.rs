//! A run that goes on for long, ended and resumed: memory, open files and threads stay what they were.
#![cfg(target_os = "linux")]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::program::{ENDLESS, Folder};

const COMMAND: &str = "pretrain shapes32 --set model.width=2 --set batch=8 --set checkpoint.every_steps=50 \
    --out run";
/// Steps after which everything that a run does has happened once: with probes, after the first of them.
const SETTLED: usize = 400;
const SETTLED_WITH_PROBES: usize = PROBED_EVERY + 100;
const PROBED_EVERY: usize = 2000;
/// What a process holds more of after hours than after minutes without losing anything: what the allocator keeps of a
/// probe's embeddings.
const MORE_MIB: f64 = 10.0;

/// What a process held at a moment.
struct Sample {
    life: usize,
    /// Since the first life began.
    seconds: f64,
    anonymous_mib: f64,
    files: f64,
    threads: f64,
}

/// One of its numbers.
type Of = fn(&Sample) -> f64;

fn sample(life: usize, begun: Instant, pid: u32) -> Option<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    Some(Sample {
        life,
        seconds: begun.elapsed().as_secs_f64(),
        anonymous_mib: number("RssAnon:")? / 1024.0,
        files: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as f64,
        threads: number("Threads:")?,
    })
}

fn median(samples: &[&Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| of(sample)).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// MiB an hour, by least squares.
fn slope(samples: &[&Sample]) -> f64 {
    let n = samples.len() as f64;
    let (x, y) = (|sample: &Sample| sample.seconds / 3600.0, |sample: &Sample| sample.anonymous_mib);
    let (mean_x, mean_y) =
        (samples.iter().map(|s| x(s)).sum::<f64>() / n, samples.iter().map(|s| y(s)).sum::<f64>() / n);
    let covariance: f64 = samples.iter().map(|s| (x(s) - mean_x) * (y(s) - mean_y)).sum();
    covariance / samples.iter().map(|s| (x(s) - mean_x).powi(2)).sum::<f64>()
}

/// One process of the run, and what it held from when everything has happened once until it was ended.
fn live(
    folder: &Folder,
    life: usize,
    (command, settled): (&str, usize),
    lasts: Duration,
    begun: Instant,
) -> Vec<Sample> {
    let n_steps = if life == 0 { 0 } else { folder.metrics("run").len() };
    let mut started = folder.start(command);
    started.wait_for_steps(&folder.path("run"), n_steps + settled);
    let (born, mut samples) = (Instant::now(), Vec::new());
    while born.elapsed() < lasts {
        samples.extend(sample(life, begun, started.id()));
        std::thread::sleep(lasts / 300);
    }
    let signal = if life.is_multiple_of(2) { Signal::TERM } else { Signal::KILL };
    started.send(signal);
    let ran = started.wait();
    assert!(ran.code == Some(143) || signal == Signal::KILL, "{}", ran.stderr);
    samples
}

/// Three lines over time, one above the other.
fn plot(samples: &[Sample]) -> String {
    let last = samples.last().unwrap().seconds;
    let mut svg =
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 480" font-family="sans-serif" font-size="13">
<rect width="720" height="480" fill="white"/>
"#
        .to_owned();
    let panels: [(&str, Of); 3] = [
        ("anonymous memory, MiB", |sample| sample.anonymous_mib),
        ("open files", |sample| sample.files),
        ("threads", |sample| sample.threads),
    ];
    for (panel, (title, of)) in panels.into_iter().enumerate() {
        let bottom = 150.0 * (panel + 1) as f64;
        let highest = samples.iter().map(of).fold(0.0, f64::max);
        let _ = writeln!(
            svg,
            r##"<path d="M60 {bottom}H700" stroke="#999"/><text x="60" y="{}">{title}</text>"##,
            bottom - 124.0
        );
        let _ = writeln!(svg, r#"<text x="52" y="{}" text-anchor="end">{highest:.0}</text>"#, bottom - 96.0);
        let _ = writeln!(svg, r#"<text x="52" y="{bottom}" text-anchor="end">0</text>"#);
        for life in 0..=samples.last().unwrap().life {
            let mut points = String::new();
            for sample in samples.iter().filter(|sample| sample.life == life) {
                let (x, y) = (60.0 + 640.0 * sample.seconds / last, bottom - 100.0 * of(sample) / highest);
                let _ = write!(points, "{x:.1},{y:.1} ");
            }
            let colour = if life.is_multiple_of(2) { "#1f6fb4" } else { "#d1622b" };
            let _ = writeln!(svg, r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#);
        }
    }
    let _ = writeln!(
        svg,
        r#"<text x="700" y="470" text-anchor="end">{:.0} minutes; the colour changes where a process ended</text></svg>"#,
        last / 60.0
    );
    svg
}

#[test]
fn a_long_run_holds_no_more_than_a_short_one() {
    let minutes = std::env::var("SELFIE_TORTURE").ok().map(|minutes| minutes.parse::<u64>().unwrap());
    let (n_lives, life) =
        minutes.map_or((3, Duration::from_secs(3)), |minutes| (8, Duration::from_secs(minutes * 60 / 8)));
    // A probe takes seconds.
    let (probes, settled_after) = minutes.map_or((0, SETTLED), |_| (PROBED_EVERY, SETTLED_WITH_PROBES));
    let command = format!("{COMMAND} --set probe.every_steps={probes} --steps {ENDLESS}");
    let (folder, begun) = (Folder::new(), Instant::now());
    let mut samples = Vec::new();
    for i in 0..n_lives {
        samples.extend(live(&folder, i, (&command, settled_after), life, begun));
    }
    let tables = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::write(tables.join("soak.svg"), plot(&samples)).unwrap();

    let mut settled = Vec::new();
    for i in 0..n_lives {
        let of_life: Vec<&Sample> = samples.iter().filter(|sample| sample.life == i).collect();
        let quarter = of_life.len() / 4;
        let (second, last) = (&of_life[quarter..2 * quarter], &of_life[3 * quarter..]);
        let held = |part: &[&Sample]| median(part, |sample| sample.anonymous_mib);
        // The fewest: a save has a thread and files of its own.
        let fewest = |part: &[&Sample], of: Of| part.iter().map(|sample| of(sample)).fold(f64::INFINITY, f64::min);
        let counts = |part: &[&Sample]| [fewest(part, |sample| sample.files), fewest(part, |sample| sample.threads)];
        println!(
            "process {i}: {:.1} MiB, later {:.1} MiB ({:+.1} MiB/h); {:?} files and threads, later {:?}",
            held(second),
            held(last),
            slope(&of_life[quarter..]),
            counts(second),
            counts(last)
        );
        assert!(held(last) <= held(second) + MORE_MIB, "memory grows");
        assert_eq!(counts(second), counts(last), "files or threads change");
        settled.push((held(last), counts(last)));
    }
    // The first process read no checkpoint.
    assert!(settled[1..].iter().all(|(held, counts)| *held <= settled[1].0 + MORE_MIB && *counts == settled[1].1));
    folder.require_nothing_half_written("run");
    println!(
        "soak: {} steps in {n_lives} processes, {:.0} minutes",
        folder.metrics("run").len(),
        begun.elapsed().as_secs_f64() / 60.0
    );
}
