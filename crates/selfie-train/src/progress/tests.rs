use std::sync::{Arc, Mutex};

use selfie_eval::record::StepTime;

use super::*;

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Capture {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn metrics(step: u64) -> StepMetrics {
    StepMetrics {
        step,
        loss: 1.5,
        accuracy: 0.3,
        chance: 0.25,
        collapse: Some(0.01),
        lr: 0.1,
        grad_norm: 1.0,
        probe: None,
        time: StepTime { step_s: 2.0, images_per_s: 64.0, data_wait: 0.02 },
    }
}

/// Runs `steps` steps of 2 s and returns what stderr got.
fn shown(mode: Mode, steps: u64) -> String {
    let stderr = Capture::default();
    let mut progress = Progress::with_stderr(mode, steps, 0, None, Box::new(stderr.clone()));
    for step in 1..=steps {
        progress.step_at(&metrics(step), Duration::from_secs(2 * step));
    }
    stderr.text()
}

#[test]
fn plain_lines_come_first_at_once_then_every_ten_seconds_and_at_the_end() {
    let text = shown(Mode::Plain, 15);
    let steps: Vec<&str> = text.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(steps, ["1/15", "2/15", "3/15", "8/15", "13/15", "15/15"]);
}

#[test]
fn a_run_that_stops_between_two_lines_shows_its_last_step_once() {
    let stderr = Capture::default();
    let mut progress = Progress::with_stderr(Mode::Plain, 15, 0, None, Box::new(stderr.clone()));
    for step in 1..=5 {
        progress.step_at(&metrics(step), Duration::from_secs(step));
    }
    for _ in 0..2 {
        progress.show_last();
    }
    let text = stderr.text();
    let steps: Vec<&str> = text.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(steps, ["1/15", "2/15", "3/15", "5/15"]);
}

#[test]
fn a_plain_line_tells_loss_chance_speed_wait_and_time_left() {
    let text = shown(Mode::Plain, 2000);
    assert!(
        text.starts_with(
            "step 1/2000 loss 1.5000 accuracy 0.300 (chance 0.250) collapse 0.0100 lr 1.00e-1 64.0 images/s wait 2 % ETA 1:06:38\n"
        ),
        "{text}"
    );
}

#[test]
fn quiet_hides_everything_but_warnings() {
    let stderr = Capture::default();
    let mut progress = Progress::with_stderr(Mode::Quiet, 10, 0, None, Box::new(stderr.clone()));
    progress.note("loading");
    progress.step(&metrics(1));
    progress.warn("the disk is full");
    assert_eq!(stderr.text(), "warning: the disk is full\n");
}

#[test]
fn the_log_gets_what_quiet_hides() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.log");
    let mut progress =
        Progress::with_stderr(Mode::Quiet, 10, 0, Some(File::create(&path).unwrap()), Box::new(io::sink()));
    progress.note("loading");
    progress.step(&metrics(1));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("Z loading") && lines[1].contains("Z step 1/10 loss"), "{text}");
}

#[test]
fn a_line_has_the_means_of_the_last_twenty_steps_and_says_so() {
    let stderr = Capture::default();
    let mut progress = Progress::with_stderr(Mode::Plain, 30, 0, None, Box::new(stderr.clone()));
    for step in 1..=30 {
        progress.step_at(&StepMetrics { loss: step as f64, ..metrics(step) }, Duration::from_secs(step));
    }
    let text = stderr.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains(" loss 1.0000 ") && !lines[0].contains("means"), "{text}");
    assert!(lines[2].contains(" loss 2.0000 ") && lines[2].ends_with(" (means of 3 steps)"), "{text}");
    let last = lines.last().unwrap();
    assert!(last.contains(" loss 20.5000 ") && last.ends_with(" (means of 20 steps)"), "{text}");
}
