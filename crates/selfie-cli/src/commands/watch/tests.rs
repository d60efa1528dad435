use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use selfie_eval::record::{RunRecord, Task, to_pretty_json};
use selfie_eval::table::{About, StudyTable, Variance};
use serde_json::json;

use super::state::State;
use super::{quits, view};

/// A run of 100 steps of which some are made.
fn run(folder: &Path, n_steps: u64) {
    fs::create_dir_all(folder).unwrap();
    let record =
        RunRecord { steps: Some(100), ..RunRecord::new(Task::Pretrain, "shapes32", json!({}), Default::default()) };
    fs::write(folder.join("run.json"), to_pretty_json("run.json", &record).unwrap()).unwrap();
    fs::write(folder.join("metrics.jsonl"), (1..=n_steps).map(line).collect::<String>()).unwrap();
    fs::write(folder.join("train.log"), "2026 run folder here\n2026-01-02T04:05:06Z step 8\n2026 \u{1b}[2J step 9\n")
        .unwrap();
}

fn about() -> About {
    About {
        recipe: "shapes32".into(),
        set: "shapes32".into(),
        test_set: None,
        variance: Variance::FinetuningSeeds,
        steps: None,
        pretrained_from: Vec::new(),
        n_runs: 12,
    }
}

fn line(step: u64) -> String {
    let time = json!({ "step_s": 2.0, "images_per_s": 32.0, "data_wait": 0.0 });
    json!({ "step": step, "loss": 1.4 - 0.001 * step as f64, "accuracy": 0.3, "chance": 0.25, "lr": 0.1, "time": time })
        .to_string()
        + "\n"
}

fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_screen_shows_progress_curves_time_left_and_the_last_events() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 40);
    let state = State::open(folder.path()).unwrap();
    for (width, height) in [(120, 40), (80, 24)] {
        let screen = screen(&state, width, height);
        for part in [
            "step 40 of 100, ETA 0:02:00",
            "means of 20 steps:  loss 1.3695",
            " at step 40 ",
            "(chance 0.250)",
            "32.0 images/s",
            "last events",
            "run folder here",
            "q quits",
            "wait 0 %",
            "04:05:06 step 8",
        ] {
            assert!(screen.contains(part), "{width}×{height}: no `{part}` in\n{screen}");
        }
        assert!(
            screen.chars().any(|character| ('\u{2801}'..='\u{28ff}').contains(&character)),
            "no curve in\n{screen}"
        );
        assert!(!screen.contains('\u{1b}'), "the log moves the cursor");
    }
}

#[test]
fn a_run_that_stopped_failed_or_fell_silent_says_so_and_has_no_time_left() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 40);
    let log = folder.path().join("train.log");
    for said in ["stopped after step 40 by SIGINT", "ended by an error: the disk is full"] {
        fs::write(&log, format!("2026-01-02T04:05:06Z step 40\n2026-01-02T04:05:07Z {said}\n")).unwrap();
        let screen = screen(&State::open(folder.path()).unwrap(), 120, 40);
        assert!(screen.matches(said).count() == 2 && !screen.contains("ETA"), "heading and log: {screen}");
    }
    fs::write(&log, "2026-01-02T04:05:08Z resuming after step 40\n").unwrap();
    assert!(screen(&State::open(folder.path()).unwrap(), 120, 40).contains("ETA 0:02:00"));
    let metrics = fs::File::options().append(true).open(folder.path().join("metrics.jsonl")).unwrap();
    metrics.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let screen = screen(&State::open(folder.path()).unwrap(), 120, 40);
    assert!(screen.contains("no step for 1:00:0") && !screen.contains("ETA"), "{screen}");
}

#[test]
fn an_axis_of_what_is_never_negative_does_not_go_below_zero_and_chance_is_in_sight() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 0);
    let line = |step: u64| {
        let time = json!({ "step_s": 2.0, "images_per_s": 100.0 * step as f64, "data_wait": 0.0 });
        let probe = json!({ "chance": 0.1, "linear_accuracy": 0.31, "knn_accuracy": 0.29, "spread": 0.5 });
        let line = json!({ "step": step, "loss": 1.2, "accuracy": 0.41, "chance": 0.25, "lr": 0.001, "time": time, "probe": probe });
        format!("{line}\n")
    };
    fs::write(folder.path().join("metrics.jsonl"), (1..=20).map(line).collect::<String>()).unwrap();
    let screen = screen(&State::open(folder.path()).unwrap(), 140, 50);
    assert!(!screen.contains("│-"), "a negative tick in\n{screen}");
    for part in ["linear probe 0.310", "neighbours 0.290", "│0.418", "│0.242"] {
        assert!(screen.contains(part), "no `{part}` in\n{screen}");
    }
    assert!(!screen.contains("probe/"), "a name of metrics.jsonl in\n{screen}");
}

#[test]
fn a_small_or_empty_screen_and_a_run_without_steps_are_drawn_too() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 0);
    let state = State::open(folder.path()).unwrap();
    assert!(screen(&state, 80, 24).contains("no step is finished yet"));
    for (width, height) in [(1, 1), (20, 5), (300, 100)] {
        screen(&state, width, height);
    }
}

#[test]
fn what_is_appended_is_read_and_what_a_resume_cut_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 3);
    let mut state = State::open(folder.path()).unwrap();
    let metrics = folder.path().join("metrics.jsonl");
    let mut file = fs::File::options().append(true).open(&metrics).unwrap();
    write!(file, "{}{}", line(4), &line(5)[..20]).unwrap();
    state.refresh().unwrap();
    assert_eq!((state.step(), state.series.get("loss").len()), (4, 4), "half a line is not read");
    write!(file, "{}", &line(5)[20..]).unwrap();
    state.refresh().unwrap();
    assert_eq!((state.step(), state.series.get("loss").len()), (5, 5));
    fs::write(&metrics, line(1) + &line(2)).unwrap();
    state.refresh().unwrap();
    assert_eq!((state.step(), state.series.get("loss").len()), (2, 2));
}

#[test]
fn of_a_study_the_run_written_to_last_is_shown() {
    let study = tempfile::tempdir().unwrap();
    fs::write(study.path().join("study.json"), "{}").unwrap();
    let table = StudyTable::new(about(), Vec::new()).unwrap();
    fs::write(study.path().join("table.json"), to_pretty_json("table.json", &table).unwrap()).unwrap();
    run(&study.path().join("a"), 3);
    std::thread::sleep(std::time::Duration::from_millis(20));
    run(&study.path().join("b"), 2);
    let mut state = State::open(study.path()).unwrap();
    assert_eq!((state.run.clone(), state.step()), (study.path().join("b"), 2));
    assert!(screen(&state, 80, 24).contains("study: 0 of 12 runs of the table are finished"));
    std::thread::sleep(std::time::Duration::from_millis(20));
    run(&study.path().join("a"), 4);
    state.refresh().unwrap();
    assert_eq!((state.run.clone(), state.step()), (study.path().join("a"), 4));
}

#[test]
fn q_escape_and_control_c_quit_and_nothing_else() {
    let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
    assert!(quits(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
    assert!(quits(&key(KeyCode::Esc, KeyModifiers::NONE)));
    assert!(quits(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    assert!(!quits(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
    assert!(!quits(&Event::Resize(80, 24)));
}

#[test]
fn a_folder_that_is_no_run_is_missing_input() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(State::open(folder.path()).unwrap_err().exit_code(), 66);
}
