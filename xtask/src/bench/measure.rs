//! Runs ours and the peer in turns and reads what they print.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Error, Result, anyhow, bail};
use serde_json::Value;

use super::options::{Options, Peer, Row};
use crate::process::say;

/// What runs, and what is asked of it.
pub(super) struct Bench {
    pub(super) selfie: PathBuf,
    pub(super) python: PathBuf,
    pub(super) script: PathBuf,
    /// Where `torch.compile` keeps what it compiled, so that only its first run takes minutes.
    pub(super) cache: PathBuf,
    pub(super) options: Options,
}

/// What one process measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) images_per_s: f64,
    pub(super) peak_rss_mib: f64,
}

/// A row's samples; those of one place in each list were measured one after the other.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) row: Row,
    pub(super) gflop_per_image: f64,
    pub(super) ours: Vec<Sample>,
    /// Of each peer, or why it has none.
    pub(super) peers: Vec<(Peer, Result<Vec<Sample>>)>,
}

/// The largest rates of one large product, 10⁹ operations a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) dtype: &'static str,
    pub(super) ours: f64,
    /// None where PyTorch did not say.
    pub(super) peer: Option<f64>,
}

#[derive(Debug)]
pub(super) struct Report {
    /// The peer's name and version, as it says.
    pub(super) peer: String,
    pub(super) rates: Vec<Rates>,
    pub(super) measured: Vec<Measured>,
    /// Rows that ours failed in, and why.
    pub(super) failures: Vec<(Row, Error)>,
}

impl Bench {
    /// Measures every row, and the rates before each row and at the end.
    ///
    /// # Errors
    ///
    /// If ours has no product rate. What fails in a row is a part of the report: the other rows took their time.
    pub(super) fn run(&self) -> Result<Report> {
        let dtypes = self.options.dtypes();
        let mut rates: Vec<Rates> = dtypes.into_iter().map(|dtype| Rates { dtype, ours: 0.0, peer: None }).collect();
        let mut peer = String::from("PyTorch");
        let (mut measured, mut failures) = (Vec::new(), Vec::new());
        for row in &self.options.rows {
            self.update_rates(&mut rates, &mut peer)?;
            match self.measure(row) {
                Ok(samples) => measured.push(samples),
                Err(error) => {
                    say(&format!("xtask: ours failed, {row}: {error:#}"));
                    failures.push((row.clone(), error));
                }
            }
        }
        self.update_rates(&mut rates, &mut peer)?;
        Ok(Report { peer, rates, measured, failures })
    }

    /// Takes over the larger rates of each number type: what a busy neighbour leaves is not the machine's limit.
    fn update_rates(&self, rates: &mut [Rates], peer: &mut String) -> Result<()> {
        for rate in rates {
            // On a GPU a product of the usual size is over before it is measured.
            let size = if self.options.device == "cpu" { &[][..] } else { &["--size", "8192"][..] };
            let asked = [&["rate", "--dtype", rate.dtype], size].concat();
            let ours = json(self.ours(&[&["bench"], &asked[..]].concat())).context("selfie bench rate")?;
            rate.ours = rate.ours.max(number(&ours, "gflop_per_s")?);
            match json(self.peer(&asked)) {
                Ok(answer) => {
                    rate.peer = Some(rate.peer.unwrap_or(0.0).max(number(&answer, "gflop_per_s")?));
                    if let Some(name) = answer["peer"].as_str() {
                        name.clone_into(peer);
                    }
                }
                Err(error) => say(&format!("xtask: no product rate of PyTorch: {error:#}")),
            }
            let theirs = rate.peer.map_or_else(String::new, |peer| format!(", torch.mm {peer:.1}"));
            say(&format!("xtask: product rate, {}, GFLOP/s: ours {:.1}{theirs}", rate.dtype, rate.ours));
        }
        Ok(())
    }

    fn measure(&self, row: &Row) -> Result<Measured> {
        let peers = self.options.peers.iter().map(|peer| (*peer, Ok(Vec::new()))).collect();
        let mut measured = Measured { row: row.clone(), gflop_per_image: 0.0, ours: Vec::new(), peers };
        for pair in 1..=self.options.pairs {
            let answer = self.beside(|| json(self.ours_step(row)))?;
            let ours = sample(&answer)?;
            measured.gflop_per_image = number(&answer, "gflop_per_image")?;
            measured.ours.push(ours);
            let mut line = format!("xtask: {row}, pair {pair}: ours {:.2} images/s", ours.images_per_s);
            for (peer, samples) in &mut measured.peers {
                // One that failed would fail again, and a torch.compile that fails takes its minutes.
                let Ok(samples_so_far) = samples else { continue };
                match self.beside(|| json(self.peer_step(row, *peer))).and_then(|answer| sample(&answer)) {
                    Ok(sample) => {
                        samples_so_far.push(sample);
                        line.push_str(&format!(", {peer} {:.2}", sample.images_per_s));
                    }
                    Err(error) => {
                        line.push_str(&format!(", {peer} failed: {error:#}"));
                        *samples = Err(error);
                    }
                }
            }
            say(&line);
        }
        Ok(measured)
    }

    fn ours_step(&self, row: &Row) -> Command {
        let mut command = self.ours(&["bench", "step", "--task", row.task, "--image-size", row.image_size]);
        command.args(["--dtype", row.dtype, "--width", &row.width.to_string(), "--batch", &row.batch.to_string()]);
        command.args(["--steps", &self.options.steps.to_string()]);
        command
    }

    fn peer_step(&self, row: &Row, peer: Peer) -> Command {
        let mut command = self.peer(&["speed", "--task", row.task, "--images", row.image_size]);
        command.args(["--dtype", row.dtype, "--width", &row.width.to_string(), "--batch", &row.batch.to_string()]);
        command.args(["--steps", &self.options.steps.to_string()]);
        if peer == Peer::Compiled {
            command.arg("--compile");
        }
        command
    }

    fn ours(&self, arguments: &[&str]) -> Command {
        let threads = self.options.threads.to_string();
        let mut command = Command::new(&self.selfie);
        command.args(arguments).args(["--json", "--device", self.options.device, "--threads", &threads]);
        command.env("RAYON_NUM_THREADS", &threads);
        command
    }

    fn peer(&self, arguments: &[&str]) -> Command {
        let threads = self.options.threads.to_string();
        let mut command = Command::new(&self.python);
        command.arg(&self.script).args(arguments).args(["--device", self.options.device, "--threads", &threads]);
        command.env("OMP_NUM_THREADS", &threads).env("MKL_NUM_THREADS", &threads);
        command.env("TORCHINDUCTOR_CACHE_DIR", self.cache.join("peer-cache"));
        command
    }

    /// Runs `run` while as many threads as asked for compute beside it, in this process.
    fn beside<R>(&self, run: impl FnOnce() -> R) -> R {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..self.options.busy {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let result = run();
            stop.store(true, Ordering::Relaxed);
            result
        })
    }
}

/// The JSON object that a command prints as its last line.
pub(super) fn json(mut command: Command) -> Result<Value> {
    let output = command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // Of a Python traceback, the last line says what happened.
        let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        bail!("{}: {}", output.status, last.trim());
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|error| anyhow!("expected a JSON object, got {last:?}: {error}"))
}

fn sample(answer: &Value) -> Result<Sample> {
    Ok(Sample { images_per_s: number(answer, "images_per_s")?, peak_rss_mib: number(answer, "peak_rss_mb")? })
}

pub(super) fn number(answer: &Value, key: &str) -> Result<f64> {
    answer[key].as_f64().with_context(|| format!("expected a number `{key}` in {answer}"))
}
