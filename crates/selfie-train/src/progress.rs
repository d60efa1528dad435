//! What a run tells while it runs: a bar on a terminal, plain lines elsewhere, and all of it in `train.log`.
//!
//! Everything goes to stderr; results on stdout are the commands' business.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use selfie_eval::record::{StepMetrics, utc};

#[cfg(test)]
mod tests;

/// Time between two plain lines.
const INTERVAL: Duration = Duration::from_secs(10);
/// The first steps each get a line, so that a run shows soon that it works.
const N_FIRST_STEPS: u64 = 3;
/// Weight of the newest step in the running means that are shown.
const NEWEST: f64 = 0.1;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A bar that redraws itself.
    Bar,
    /// A line now and then.
    Plain,
    /// Nothing on stderr but warnings; `train.log` is written all the same.
    Quiet,
}

impl Mode {
    /// A bar on a terminal, plain lines elsewhere and where `NO_COLOR` is set or the terminal is dumb.
    #[must_use]
    pub fn detect(quiet: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match quiet {
            true => Self::Quiet,
            false if io::stderr().is_terminal() && !set("NO_COLOR") && !dumb => Self::Bar,
            false => Self::Plain,
        }
    }
}

/// Shows the steps of one run.
pub struct Progress {
    mode: Mode,
    bar: Option<ProgressBar>,
    stderr: Box<dyn Write + Send>,
    log: Option<File>,
    steps: u64,
    started: Instant,
    /// Steps shown in this process.
    n_seen: u64,
    last_line: Option<Duration>,
    means: Means,
}

/// Running means of what is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Means {
    loss: f64,
    accuracy: f64,
    step_s: f64,
    images_per_s: f64,
    data_wait: f64,
}

impl Progress {
    /// Progress over a run of `steps` updates, of which `first_step` are made already, mirrored to `log`.
    #[must_use]
    pub fn new(mode: Mode, steps: u64, first_step: u64, log: Option<File>) -> Self {
        Self::with_stderr(mode, steps, first_step, log, Box::new(io::stderr()))
    }

    fn with_stderr(mode: Mode, steps: u64, first_step: u64, log: Option<File>, stderr: Box<dyn Write + Send>) -> Self {
        let bar = (mode == Mode::Bar).then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            // A template that is wrong would be a bar in indicatif's default style.
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            bar.set_position(first_step);
            bar
        });
        let (started, n_seen, last_line, means) = (Instant::now(), 0, None, Means::default());
        Self { mode, bar, stderr, log, steps, started, n_seen, last_line, means }
    }

    /// Shows a step.
    pub fn step(&mut self, metrics: &StepMetrics) {
        self.step_at(metrics, self.started.elapsed());
    }

    fn step_at(&mut self, metrics: &StepMetrics, elapsed: Duration) {
        self.means.add(metrics, self.n_seen);
        self.n_seen += 1;
        if let Some(bar) = &self.bar {
            bar.set_position(metrics.step);
            bar.set_message(self.figures(metrics));
        }
        let first = self.n_seen <= N_FIRST_STEPS || metrics.step == self.steps;
        if first || self.last_line.is_none_or(|last| elapsed.saturating_sub(last) >= INTERVAL) {
            self.last_line = Some(elapsed);
            let line = format!("step {}/{} {}", metrics.step, self.steps, self.figures(metrics));
            self.log(&line);
            if self.mode == Mode::Plain {
                self.print(&line);
            }
        }
    }

    /// Says something that is not an error: what is loaded, where results go.
    pub fn note(&mut self, text: &str) {
        self.log(text);
        if self.mode != Mode::Quiet {
            self.print(text);
        }
    }

    /// Says that something is wrong but the run goes on; not even `-q` hides it.
    pub fn warn(&mut self, text: &str) {
        let line = format!("warning: {text}");
        self.log(&line);
        self.print(&line);
    }

    /// Ends the bar where it stands.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }

    /// Loss, accuracy beside chance, speed, data wait, learning rate and the time left at the present speed.
    fn figures(&self, metrics: &StepMetrics) -> String {
        let Means { loss, accuracy, step_s, images_per_s, data_wait } = self.means;
        let left = time_left(self.steps, metrics.step, step_s);
        let collapse = metrics.collapse.map_or_else(String::new, |collapse| format!(" collapse {collapse:.4}"));
        format!(
            "loss {loss:.4} accuracy {accuracy:.3} (chance {:.3}){collapse} lr {:.2e} {images_per_s:.1} images/s wait {:.0} % ETA {left}",
            metrics.chance,
            metrics.lr,
            data_wait * 100.0
        )
    }

    /// A closed stderr or a full disk must not end the run: both writers' errors are dropped.
    fn print(&mut self, line: &str) {
        let stderr = &mut self.stderr;
        let mut write = || {
            let _ = writeln!(stderr, "{line}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Writes a line to `train.log` alone.
    pub(crate) fn log(&mut self, line: &str) {
        if let Some(log) = &mut self.log {
            let _ = writeln!(log, "{} {line}", utc(SystemTime::now()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Means {
    fn add(&mut self, metrics: &StepMetrics, n_seen: u64) {
        let weight = NEWEST.max(1.0 / (n_seen + 1) as f64);
        let mix = |mean: &mut f64, newest: f64| *mean += weight * (newest - *mean);
        mix(&mut self.loss, metrics.loss);
        mix(&mut self.accuracy, metrics.accuracy);
        mix(&mut self.step_s, metrics.time.step_s);
        mix(&mut self.images_per_s, metrics.time.images_per_s);
        mix(&mut self.data_wait, metrics.time.data_wait);
    }
}

/// The time left as `h:mm:ss`, or in days from the third on.
fn time_left(steps: u64, step: u64, step_s: f64) -> String {
    let seconds = (steps.saturating_sub(step) as f64 * step_s).round() as u64;
    let days = seconds / 86_400;
    if days > 2 {
        return format!("{days} days");
    }
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
