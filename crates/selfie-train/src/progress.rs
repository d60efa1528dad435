//! What a run tells while it runs: a bar on a terminal, plain lines elsewhere, and all of it in `train.log`.
//!
//! Everything goes to stderr; results on stdout are the commands' business.

use std::collections::VecDeque;
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
/// How the line of a log begins that says that a run stopped, to go on later.
pub const STOPPED: &str = "stopped after step ";
/// How the line begins that says that it ended by an error.
pub const FAILED: &str = "ended by an error: ";
/// Steps whose means are shown; fewer at the start and after a resume.
pub const MEAN_STEPS: usize = 20;

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
    /// The step that the last line was of.
    shown: u64,
    /// The last steps of this process.
    last: VecDeque<StepMetrics>,
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
        let (started, n_seen, last_line, shown, last) = (Instant::now(), 0, None, first_step, VecDeque::new());
        Self { mode, bar, stderr, log, steps, started, n_seen, last_line, shown, last }
    }

    /// Shows a step.
    pub fn step(&mut self, metrics: &StepMetrics) {
        self.step_at(metrics, self.started.elapsed());
    }

    fn step_at(&mut self, metrics: &StepMetrics, elapsed: Duration) {
        if self.last.len() == MEAN_STEPS {
            self.last.pop_front();
        }
        self.last.push_back(*metrics);
        self.n_seen += 1;
        if let Some(bar) = &self.bar {
            bar.set_position(metrics.step);
            bar.set_message(self.figures(metrics));
        }
        let first = self.n_seen <= N_FIRST_STEPS || metrics.step == self.steps;
        if first || self.last_line.is_none_or(|last| elapsed.saturating_sub(last) >= INTERVAL) {
            self.last_line = Some(elapsed);
            self.line(metrics);
        }
    }

    /// Shows the last step, where no line is of it yet: a run that stops says where it stood.
    pub(crate) fn show_last(&mut self) {
        if let Some(metrics) = self.last.back().copied().filter(|metrics| metrics.step != self.shown) {
            self.line(&metrics);
        }
    }

    fn line(&mut self, metrics: &StepMetrics) {
        self.shown = metrics.step;
        let line = format!("step {}/{} {}", metrics.step, self.steps, self.figures(metrics));
        self.log(&line);
        if self.mode == Mode::Plain {
            self.print(&line);
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

    /// Loss, accuracy beside chance, speed, data wait, learning rate and the time left at the present speed, and of how many
    /// steps they are the means.
    fn figures(&self, metrics: &StepMetrics) -> String {
        let n = self.last.len();
        let mean = |of: fn(&StepMetrics) -> f64| self.last.iter().map(of).sum::<f64>() / n.max(1) as f64;
        let (loss, accuracy) = (mean(|metrics| metrics.loss), mean(|metrics| metrics.accuracy));
        let (images_per_s, data_wait) =
            (mean(|metrics| metrics.time.images_per_s), mean(|metrics| metrics.time.data_wait));
        let left = time_left(self.steps, metrics.step, mean(|metrics| metrics.time.step_s));
        let of = if n > 1 { format!(" (means of {n} steps)") } else { String::new() };
        let collapse = metrics.collapse.map_or_else(String::new, |collapse| format!(" collapse {collapse:.4}"));
        format!(
            "loss {loss:.4} accuracy {accuracy:.3} (chance {:.3}){collapse} lr {:.2e} {images_per_s:.1} images/s wait {:.0} % ETA {left}{of}",
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

/// The time left as `h:mm:ss`, or in days from the third on.
fn time_left(steps: u64, step: u64, step_s: f64) -> String {
    let seconds = (steps.saturating_sub(step) as f64 * step_s).round() as u64;
    let days = seconds / 86_400;
    if days > 2 {
        return format!("{days} days");
    }
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
