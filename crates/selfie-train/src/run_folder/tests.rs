use std::collections::BTreeMap;
use std::time::Duration;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use selfie_eval::record::{Machine, StepMetrics, StepTime};

use super::*;

fn record(seed: u64) -> RunRecord {
    RunRecord {
        version: "0.1.0".into(),
        task: Task::Pretrain,
        recipe: "shapes32".into(),
        seed,
        fraction: None,
        pretrained_from: None,
        device: "cpu".into(),
        dtype: "f32".into(),
        config: serde_json::json!({"pretrain": {"batch": 8}}),
        config_sources: BTreeMap::new(),
        data_dir: None,
        data_name: None,
        data_hashes: BTreeMap::new(),
        subset_hash: None,
        subset_file: None,
        split: None,
        steps: None,
        warmup_steps: None,
        machine: Machine { os: "linux".into(), arch: "x86_64".into(), cpu: "a".into(), n_cores: 2, memory_mib: None },
        created: "2025-01-01T00:00:00Z".into(),
        changes: Vec::new(),
    }
}

fn metrics(step: u64) -> StepMetrics {
    let time = StepTime { step_s: 0.5, images_per_s: 16.0, data_wait: 0.0 };
    StepMetrics {
        step,
        loss: 1.0,
        accuracy: 0.5,
        chance: 0.25,
        collapse: None,
        lr: 0.1,
        grad_norm: 1.0,
        probe: None,
        time,
    }
}

fn weights(value: f32) -> Vec<u8> {
    let bytes = value.to_le_bytes();
    let view = TensorView::new(Dtype::F32, vec![1], &bytes).unwrap();
    safetensors::serialize(BTreeMap::from([("w".to_owned(), view)]), None).unwrap()
}

fn finish() -> Finish {
    let outcome = Outcome::Pretext { loss: 1.0, accuracy: 0.5, chance: 0.25 };
    Finish { steps: 10, outcome, wall_s: 5.0, images_per_s: 16.0 }
}

#[test]
fn the_last_metrics_are_those_of_the_whole_file_however_long_lines_are() {
    let folder = tempfile::tempdir().unwrap();
    let line = |step: u64, n_digits: usize| {
        let loss = format!("1.{}", "5".repeat(n_digits));
        format!(
            "{{\"step\":{step},\"loss\":{loss},\"accuracy\":0.5,\"chance\":0.25,\"lr\":0.1,\"grad_norm\":1.0,\
             \"time\":{{\"step_s\":0.1,\"images_per_s\":1.0,\"data_wait\":0.0}}}}\n"
        )
    };
    for n_digits in [1, 2000] {
        let text: String = (1..=300).map(|step| line(step, n_digits)).collect();
        std::fs::write(folder.path().join(METRICS), format!("{text}{{\"step\":30")).unwrap();
        let all = read_metrics(folder.path()).unwrap();
        assert_eq!(all.len(), 300);
        for n in [1, 7, 299, 300, 1000] {
            assert_eq!(lines::read_last_metrics(folder.path(), n).unwrap(), all[300usize.saturating_sub(n)..], "{n}");
        }
    }
}

#[test]
fn the_default_path_names_task_recipe_fraction_arm_and_seed() {
    let pretrain = RunName { task: Task::Pretrain, title: "cifar10-small".into(), finetune: None, seed: 0 };
    assert_eq!(pretrain.default_path(), Path::new("runs/pretrain-cifar10-small-s0"));
    let finetune = RunName { task: Task::Finetune, finetune: Some((0.08, Arm::Scratch)), seed: 3, ..pretrain };
    assert_eq!(finetune.default_path(), Path::new("runs/finetune-cifar10-small-0.08-scratch-s3"));
}

#[test]
fn a_second_process_is_kept_out_until_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    // A lock belongs to an open file, so a second opening in this process stands for another process.
    let first = RunFolder::open(&path).unwrap();
    let error = RunFolder::open(&path).unwrap_err();
    assert_eq!(error.exit_code(), 73);
    assert!(error.to_string().contains(&format!("(process {} on ", std::process::id())), "{error}");
    drop(first);
    // The lock file is still there, as after a crash.
    assert!(path.join(LOCK).exists());
    RunFolder::open(&path).unwrap();
}

#[test]
fn the_same_command_resumes_and_another_one_is_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    assert_eq!(run.begin(&record(0), &[]).unwrap(), Begin::Fresh);
    assert_eq!(run.begin(&record(0), &[]).unwrap(), Begin::Resumed(record(0)));
    std::fs::create_dir_all(folder.path().join(CHECKPOINTS).join("step-00000001")).unwrap();
    let error = run.begin(&record(1), &[]).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("seed: was 0, now 1"), "{error}");
    assert_eq!(read_record(folder.path()).unwrap(), Some(record(0)));
}

#[test]
fn a_run_that_saved_nothing_gives_its_folder_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    assert_eq!(run.begin(&record(0), &[]).unwrap(), Begin::Fresh);
    run.keep_capture(1, b"what replays a fault").unwrap();
    for name in [BAD_SAMPLES, SUBSET] {
        std::fs::write(folder.path().join(name), "of the run before").unwrap();
    }
    // What a kill inside the first checkpoint's write leaves.
    std::fs::create_dir_all(folder.path().join(CHECKPOINTS).join(".tmp-step-00000001")).unwrap();
    let Begin::Replaced(differences) = run.begin(&record(1), &[]).unwrap() else { panic!("nothing was saved") };
    assert_eq!(differences[0].to_string(), "seed: was 0, now 1");
    assert_eq!(read_record(folder.path()).unwrap(), Some(record(1)));
    let left = Files::disk().names(folder.path()).unwrap();
    assert!(!left.iter().any(|name| [BAD_SAMPLES, SUBSET].contains(&name.as_str())), "{left:?}");
    assert!(Files::disk().names(&folder.path().join(CAPTURES)).unwrap().is_empty());
    run.finish(&weights(1.0), finish()).unwrap();
    assert_eq!(run.begin(&record(2), &[]).unwrap_err().exit_code(), 78);
}

#[test]
fn a_folder_of_other_files_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), b"text").unwrap();
    let error = RunFolder::open(folder.path()).unwrap_err();
    assert!(error.exit_code() == 73 && error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(Files::disk().names(folder.path()).unwrap(), ["thesis.tex"]);
}

#[test]
fn a_folder_that_a_crash_left_before_its_record_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    for name in [LOCK, LOG, ".tmp-run.json"] {
        std::fs::write(folder.path().join(name), b"").unwrap();
    }
    let run = RunFolder::open(folder.path()).unwrap();
    assert_eq!(run.begin(&record(0), &[]).unwrap(), Begin::Fresh);
    assert!(!folder.path().join(".tmp-run.json").exists());
}

#[test]
fn a_damaged_record_is_bad_data() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(RECORD), b"{\"version\": ").unwrap();
    let error = read_record(folder.path()).unwrap_err();
    assert!(error.exit_code() == 65 && error.to_string().contains(RECORD), "{error}");
}

#[test]
fn a_resume_cuts_the_metrics_to_the_checkpoints_length() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    let mut log = run.metrics(0).unwrap();
    log.append(&metrics(1).to_line().unwrap()).unwrap();
    let metrics_len = log.sync().unwrap();
    log.append(&metrics(2).to_line().unwrap()).unwrap();
    drop(log);
    // As a killed process would leave it.
    let mut torn = File::options().append(true).open(folder.path().join(METRICS)).unwrap();
    torn.write_all(b"{\"step\":3,\"lo").unwrap();

    let mut log = run.metrics(metrics_len).unwrap();
    assert_eq!(log.n_bytes(), metrics_len);
    log.append(&metrics(2).to_line().unwrap()).unwrap();
    log.append(&metrics(3).to_line().unwrap()).unwrap();
    assert_eq!(read_metrics(folder.path()).unwrap(), [metrics(1), metrics(2), metrics(3)]);
}

#[test]
fn a_fresh_start_empties_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    run.metrics(0).unwrap().append(&metrics(1).to_line().unwrap()).unwrap();
    assert_eq!(run.metrics(0).unwrap().n_bytes(), 0);
    assert_eq!(read_metrics(folder.path()).unwrap(), []);
}

#[test]
fn metrics_that_do_not_reach_the_checkpoint_are_bad_data() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    let mut log = run.metrics(0).unwrap();
    log.append(&metrics(1).to_line().unwrap()).unwrap();
    let metrics_len = log.sync().unwrap();
    assert_eq!(run.metrics(metrics_len + 1).unwrap_err().exit_code(), 65);
    assert_eq!(run.metrics(metrics_len - 1).unwrap_err().exit_code(), 65);
    assert_eq!(run.metrics(metrics_len).unwrap().n_bytes(), metrics_len);
}

#[test]
fn lines_after_a_cut_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    let mut log = run.metrics(0).unwrap();
    log.append(&metrics(1).to_line().unwrap()).unwrap();
    let len = log.sync().unwrap();
    log.append(&metrics(2).to_line().unwrap()).unwrap();
    log.cut_to(len).unwrap();
    log.append(&metrics(3).to_line().unwrap()).unwrap();
    assert_eq!(read_metrics(folder.path()).unwrap(), [metrics(1), metrics(3)]);
}

#[test]
fn a_run_is_finished_once_its_result_is_there_and_its_weights_match() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    run.begin(&record(0), &[]).unwrap();
    assert_eq!(read_result(folder.path()).unwrap(), None);
    let result = run.finish(&weights(1.0), finish()).unwrap();
    assert_eq!(read_result(folder.path()).unwrap().as_ref(), Some(&result));
    assert_eq!(crate::files::hash_file(&folder.path().join(WEIGHTS)).unwrap(), result.weights_hash);

    assert!(crate::checkpoint::verify(folder.path()).unwrap()[0].result.is_ok());
    std::fs::write(folder.path().join(WEIGHTS), weights(2.0)).unwrap();
    assert!(crate::checkpoint::verify(folder.path()).unwrap()[0].result.is_err());
}

#[test]
fn non_finite_weights_finish_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    assert_eq!(run.finish(&weights(f32::NAN), finish()).unwrap_err().exit_code(), 70);
    assert!(!folder.path().join(WEIGHTS).exists() && !folder.path().join(RESULT).exists());
}

#[test]
fn finished_runs_are_listed_newest_first_and_without_unfinished_or_damaged_ones() {
    let runs = tempfile::tempdir().unwrap();
    let (second, later) = ("2025-01-02T00:00:00Z", "2025-01-03T00:00:00Z");
    for (name, finished, written) in
        [("a", second, 1), ("b", later, 0), ("c", "2025-01-01T00:00:00Z", 9), ("d", second, 3), ("e", second, 2)]
    {
        let run = RunFolder::open(&runs.path().join(name)).unwrap();
        run.begin(&record(0), &[]).unwrap();
        let mut result = run.finish(&weights(1.0), finish()).unwrap();
        result.finished = finished.into();
        std::fs::write(run.path().join(RESULT), result.to_json().unwrap()).unwrap();
        let file = std::fs::File::options().append(true).open(run.path().join(RESULT)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(written)).unwrap();
    }
    RunFolder::open(&runs.path().join("unfinished")).unwrap().begin(&record(0), &[]).unwrap();
    std::fs::create_dir(runs.path().join("damaged")).unwrap();
    std::fs::write(runs.path().join("damaged").join(RESULT), b"{").unwrap();
    let names = |task| -> Vec<String> {
        let finished = finished_runs(runs.path(), task).unwrap();
        finished.iter().map(|run| run.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(Task::Pretrain), ["b", "d", "e", "a", "c"]);
    assert_eq!(names(Task::Finetune), Vec::<String>::new());
    assert_eq!(finished_runs(&runs.path().join("none"), Task::Pretrain).unwrap(), []);
}

#[test]
fn the_event_file_holds_each_step_once_whatever_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    let open = |metrics_len| {
        let log = run.metrics(metrics_len).unwrap();
        (log, TensorBoardLog::open(folder.path(), "2026-01-01T00:00:00Z").unwrap())
    };
    let append = |(log, tensorboard): &mut (LineLog, TensorBoardLog), step| {
        let line = metrics(step).to_line().unwrap();
        log.append(&line).and_then(|()| tensorboard.append(&line)).unwrap();
    };
    let events = |folder: &Path| {
        let names = event_files(folder).unwrap();
        let read = |name: &String| std::fs::read(folder.join(name)).unwrap();
        let (last, before) = names.split_last().unwrap();
        assert!(before.iter().all(|name| read(name).is_empty()), "one is in use: {names:?}");
        (last.clone(), read(last))
    };
    let mut logs = open(0);
    append(&mut logs, 1);
    let metrics_len = logs.0.sync().unwrap();
    let (first_name, one_step) = events(folder.path());
    append(&mut logs, 2);
    let (_, two_steps) = events(folder.path());
    assert!(two_steps.len() > one_step.len() && two_steps.starts_with(&one_step));

    // A run that goes back.
    logs.0.cut_to(metrics_len).unwrap();
    logs.1.reopen(folder.path()).unwrap();
    assert_eq!(events(folder.path()).1, one_step);
    append(&mut logs, 2);
    drop(logs);

    // A run that is resumed.
    let mut logs = open(metrics_len);
    let (name, again) = events(folder.path());
    assert!(name > first_name, "a TensorBoard that is open goes on to {name}");
    assert_eq!(again, one_step);
    append(&mut logs, 2);
    assert_eq!(events(folder.path()).1, two_steps);
}

#[test]
fn metrics_that_another_process_writes_to_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    let mut log = run.metrics(0).unwrap();
    let line = |step| metrics(step).to_line().unwrap();
    log.append(&line(1)).unwrap();
    let mut other = File::options().append(true).open(folder.path().join(METRICS)).unwrap();
    other.write_all(line(2).as_bytes()).unwrap();
    assert!(matches!(log.append(&line(3)), Err(TrainError::Locked { .. })));
    assert_eq!(read_metrics(folder.path()).unwrap(), [metrics(1), metrics(2)]);
}
