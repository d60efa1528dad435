//! A study of a few drawn images: every arm, interrupted after every step or not, gives one table.

use std::path::Path;
use std::time::{Duration, Instant};

use selfie_data::{DataSet, Splits, shapes32};
use selfie_eval::record::{Arm, Outcome, Split};
use selfie_eval::table::{StudyTable, Variance};
use selfie_model::WeightsFile;
use selfie_train::checkpoint::WEIGHTS;
use selfie_train::config::{Base, Overrides};
use selfie_train::finetune::{self, Labels, Pretrained};
use selfie_train::run_folder::{RunFolder, read_metrics, read_record, read_result};
use selfie_train::session::Ended;
use selfie_train::signals::{Signals, StopSignal};
use selfie_train::study::{self, Study, StudyEnded};
use selfie_train::{TrainError, pretrain};

use crate::{SMALL, configuration, images, session};
use selfie_eval::record::Task;

fn small_study(arms: &[Arm], learning_rates: &[f64]) -> Study {
    let set =
        SMALL.iter().chain(&["finetune.steps=3", "pretrain.steps=3", "pretrain.batch=8", "pretrain.warmup_steps=1"]);
    Study {
        base: Base::Defaults,
        overrides: Overrides { set: set.map(|text| (*text).to_owned()).collect(), ..Overrides::default() },
        fractions: vec![0.2, 0.5],
        n_seeds: 2,
        arms: arms.to_vec(),
        learning_rates: learning_rates.to_vec(),
        pretrained: None,
        pretrain_seeds: false,
    }
}

fn table_of(study: &Study, data: &DataSet, out: &Path) -> StudyTable {
    match study::run(study, data, &session(out, None)).unwrap() {
        StudyEnded::Finished(table) => table,
        stopped @ StudyEnded::Stopped { .. } => panic!("nothing stops it, got {stopped:?}"),
    }
}

#[test]
fn a_study_of_every_arm_interrupted_after_every_step_ends_with_the_table_of_one_that_was_not() {
    let data = images(200);
    let whole = tempfile::tempdir().unwrap();
    let study = Study { fractions: vec![0.2], ..small_study(&Arm::ALL, &[0.01, 0.05]) };
    let table = table_of(&study, &data, whole.path());
    assert_eq!(table.fractions.len(), 1);
    for row in &table.fractions {
        assert_eq!(row.arms.iter().map(|cell| cell.arm).collect::<Vec<_>>(), Arm::ALL);
        for cell in &row.arms {
            assert_eq!((cell.runs.len(), cell.trials.len()), (2, 2), "{cell:?}");
            assert_eq!(cell.difference.is_some(), cell.arm != Arm::Scratch);
        }
    }
    for name in ["study.json", "table.md", "table.csv", "table.json"] {
        assert!(whole.path().join(name).is_file(), "{name} is missing");
    }

    let interrupted = tempfile::tempdir().unwrap();
    let signals = Signals::install().unwrap();
    signals.request(StopSignal::User1);
    let stopping = selfie_train::session::Session { signals: Some(signals), ..session(interrupted.path(), None) };
    let mut n_stops = 0;
    let again = loop {
        match study::run(&study, &data, &stopping).unwrap() {
            StudyEnded::Finished(table) => break table,
            StudyEnded::Stopped { .. } => n_stops += 1,
        }
    };
    // A pretraining, 8 trials and 8 tests of 3 steps; the last step of each is its end.
    assert_eq!(n_stops, 17 * 2);
    assert_eq!(again.fractions, table.fractions);

    // A finished study prints its table again and computes nothing.
    std::fs::remove_dir_all(whole.path().join("0.2-scratch-s1").join("checkpoints")).unwrap();
    assert_eq!(table_of(&study, &data, whole.path()), table);
}

#[test]
fn pairs_share_the_subset_and_the_budget() {
    let data = images(200);
    let out = tempfile::tempdir().unwrap();
    table_of(&small_study(&[Arm::Pretrained, Arm::Scratch], &[0.05]), &data, out.path());
    let record = |name: &str| read_record(&out.path().join(name)).unwrap().unwrap();
    let (pretrained, scratch) = (record("0.2-pretrained-s1"), record("0.2-scratch-s1"));
    assert!(pretrained.subset_hash.is_some());
    assert_eq!(pretrained.subset_hash, scratch.subset_hash);
    assert_ne!(pretrained.subset_hash, record("0.2-scratch-s2").subset_hash);
    assert_eq!((pretrained.split, pretrained.pretrained_from.is_some()), (Some(Split::Test), true));
    let n_steps = |name: &str| read_metrics(&out.path().join(name)).unwrap().len();
    assert_eq!((n_steps("0.2-pretrained-s1"), n_steps("0.2-scratch-s1")), (3, 3));
    assert!(!out.path().join("0.2-scratch-learning-rate-0.05").exists(), "one rate is no choice");
}

#[test]
fn every_seed_may_have_a_pretraining_of_its_own() {
    let data = images(200);
    let out = tempfile::tempdir().unwrap();
    let study =
        Study { fractions: vec![0.2], pretrain_seeds: true, ..small_study(&[Arm::Pretrained, Arm::Scratch], &[0.05]) };
    let table = table_of(&study, &data, out.path());
    assert_eq!(table.about.variance, Variance::PretrainingAndFinetuningSeeds);
    let hashes: Vec<&str> = table.about.pretrained_from.iter().map(|from| from.hash.as_str()).collect();
    assert_eq!(hashes.len(), 2);
    assert_ne!(hashes[0], hashes[1]);
    for (seed, hash) in (1..).zip(hashes) {
        let pretraining = out.path().join(format!("pretrain-s{seed}"));
        assert_eq!(read_result(&pretraining).unwrap().unwrap().weights_hash, hash);
        assert_eq!(read_record(&pretraining).unwrap().unwrap().seed, seed);
        let tuned = read_record(&out.path().join(format!("0.2-pretrained-s{seed}"))).unwrap().unwrap();
        assert_eq!(tuned.pretrained_from.unwrap().hash, hash);
    }
}

#[test]
fn what_diverges_is_told_and_the_other_cells_go_on() {
    let data = images(200);
    let out = tempfile::tempdir().unwrap();
    let study = Study { fractions: vec![0.2], ..small_study(&[Arm::Scratch], &[0.01, 1e39]) };
    let table = table_of(&study, &data, out.path());
    let cell = &table.fractions[0].arms[0];
    assert_eq!((cell.learning_rate, cell.trials[1].top1_accuracy), (0.01, None));

    let out = tempfile::tempdir().unwrap();
    let study = Study { learning_rates: vec![1e39, 2e39], ..study };
    let table = table_of(&study, &data, out.path());
    let cell = &table.fractions[0].arms[0];
    assert!(cell.all_diverged(), "{cell:?}");
    assert_eq!(
        (cell.learning_rate, cell.runs.len(), cell.diverged.as_slice(), cell.mean),
        (1e39, 0, &[1, 2][..], None)
    );
    assert_eq!(table.n_finished(), table.about.n_runs);
    assert!(out.path().join("0.2-scratch-s2").join("diverged.json").is_file());
    assert_eq!(table_of(&study, &data, out.path()), table, "nothing is tried again");
}

#[test]
fn learning_rates_are_chosen_on_validation_images_and_the_table_is_of_test_images() {
    let data = shapes32::draw(200, 32);
    let out = tempfile::tempdir().unwrap();
    let study = Study { fractions: vec![0.2], ..small_study(&[Arm::Scratch], &[]) };
    let table = table_of(&study, &data, out.path());
    let measured = |name: &str| {
        let folder = out.path().join(name);
        let record = read_record(&folder).unwrap().unwrap();
        match read_result(&folder).unwrap().unwrap().outcome {
            Outcome::Classification { split, top1_accuracy, n_examples, .. } => {
                assert_eq!(record.split, Some(split), "{name}");
                (record.seed, split, top1_accuracy, n_examples)
            }
            pretext @ Outcome::Pretext { .. } => panic!("{name} is a fine-tuning, got {pretext:?}"),
        }
    };
    let n_validation = Splits::new(data.train.labels()).validation.len() as u64;
    assert_ne!(n_validation, data.test.len() as u64, "which images were read shows in how many");
    let cell = &table.fractions[0].arms[0];
    assert_eq!(cell.trials.len(), 3);
    for trial in &cell.trials {
        let (seed, split, accuracy, n_images) = measured(&format!("0.2-scratch-learning-rate-{}", trial.learning_rate));
        assert_eq!((seed, split, n_images), (1, Split::Validation, n_validation));
        assert_eq!(Some(accuracy), trial.top1_accuracy);
    }
    for run in &cell.runs {
        let (seed, split, accuracy, n_images) = measured(&format!("0.2-scratch-s{}", run.seed));
        assert_eq!((seed, split, n_images), (run.seed, Split::Test, data.test.len() as u64));
        assert_eq!(accuracy, run.top1_accuracy);
    }
}

#[test]
fn a_study_with_other_settings_than_its_finished_runs_is_refused_and_one_with_more_seeds_goes_on() {
    let data = images(200);
    let out = tempfile::tempdir().unwrap();
    let study = Study { fractions: vec![0.2], n_seeds: 1, ..small_study(&[Arm::Scratch], &[0.05]) };
    table_of(&study, &data, out.path());
    let record = || std::fs::read(out.path().join(study::STUDY)).unwrap();
    let before = record();

    let mut wider = study.clone();
    wider.overrides.set.push("model.width=8".to_owned());
    let faster = Study { learning_rates: vec![0.5], ..study.clone() };
    for (changed, data, key) in [
        (&wider, &data, "model.width: was 4, now 8 (--set)"),
        (&faster, &data, "learning_rates: was [0.05], now [0.5]"),
        (&study, &images(190), "images.train"),
    ] {
        let error = study::run(changed, data, &session(out.path(), None)).unwrap_err();
        assert!(error.exit_code() == 78 && error.to_string().contains(key), "{error}");
    }
    assert_eq!(record(), before);
    let more = Study { n_seeds: 2, ..study.clone() };
    let of_two = table_of(&more, &data, out.path());
    assert_eq!(of_two.fractions[0].arms[0].runs.len(), 2);
    assert_eq!(table_of(&study, &data, out.path()), of_two, "what was asked before stays in the table");

    // Of the control at the larger fraction nothing was asked.
    let other = Study { arms: vec![Arm::Pretrained], fractions: vec![0.2, 0.5], ..study };
    let table = table_of(&other, &data, out.path());
    let arms =
        |row: usize| -> Vec<_> { table.fractions[row].arms.iter().map(|cell| (cell.arm, cell.runs.len())).collect() };
    assert_eq!((arms(0), arms(1)), (vec![(Arm::Pretrained, 1), (Arm::Scratch, 2)], vec![(Arm::Pretrained, 1)]));
    assert!(table.fractions[0].arms[0].difference.is_some(), "the control of before is still there");
    assert_eq!((table.about.pretrained_from.len(), table.n_finished(), table.about.n_runs), (1, 4, 4));
}

#[test]
fn a_cell_whose_folder_another_process_holds_is_passed_over_and_waited_for() {
    let data = images(200);
    let out = tempfile::tempdir().unwrap();
    let study = Study { fractions: vec![0.2], n_seeds: 1, ..small_study(&[Arm::Scratch], &[0.05]) };
    table_of(&study, &data, out.path());
    let held = RunFolder::open(&out.path().join("0.2-scratch-s2")).unwrap();
    let next = out.path().join("0.2-scratch-s3").join("result.json");
    let holder = std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !next.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(held);
        next.exists()
    });
    let table = table_of(&Study { n_seeds: 3, ..study }, &data, out.path());
    assert!(holder.join().unwrap(), "the third cell is computed while the second is held");
    assert_eq!(table.fractions[0].arms[0].runs.len(), 3);
}

#[test]
fn what_cannot_be_run_is_refused_before_the_folder_is_made() {
    let data = images(200);
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("study");
    let too_many = Study { fractions: vec![0.2, 0.95], ..small_study(&[Arm::Scratch], &[0.05]) };
    assert!(study::run(&too_many, &data, &session(&folder, None)).is_err());
    assert!(!folder.exists());
    std::fs::write(out.path().join("letter.txt"), "no study").unwrap();
    let study = small_study(&[Arm::Scratch], &[0.05]);
    let error = study::run(&study, &data, &session(out.path(), None)).unwrap_err();
    assert!(matches!(error, TrainError::NotARunFolder { .. }), "{error}");
    // Three images a class, and nothing to choose a learning rate on.
    let choice = Study { learning_rates: vec![0.01, 0.05], ..study.clone() };
    let error = study::run(&choice, &images(12), &session(&folder, None)).unwrap_err();
    assert!(error.exit_code() == 78 && error.to_string().contains("validation"), "{error}");
    assert!(!folder.exists());
}

#[test]
fn a_linear_probe_trains_its_last_layer_and_leaves_the_pretrained_network_as_it_was() {
    let data = images(40);
    let out = tempfile::tempdir().unwrap();
    let pretraining = out.path().join("pretrain");
    pretrain::run(&configuration(Task::Pretrain, &["steps=3"]), &data, &session(&pretraining, None)).unwrap();
    let set = ["steps=40", "learning_rate=0.5", "classifier=patch_network", "last_layer_only=true"];
    let labels = Labels {
        fraction: 1.0,
        subset: None,
        pretrained: Some(Pretrained::read(&pretraining.join(WEIGHTS)).unwrap()),
        split: Split::Test,
    };
    let probe = out.path().join("probe");
    let ended = finetune::run(&configuration(Task::Finetune, &set), &data, &labels, &session(&probe, None)).unwrap();
    assert!(matches!(ended, Ended::Finished { .. }));

    let [before, after] = [&pretraining, &probe].map(|run| WeightsFile::read(&run.join(WEIGHTS)).unwrap().tensors);
    let bytes = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (frozen, trained): (Vec<_>, Vec<_>) = after.iter().partition(|(name, _)| name.starts_with("patch_network."));
    assert!(frozen.len() > 10, "{frozen:?}");
    for (name, tensor) in frozen {
        assert_eq!(bytes(tensor), bytes(&before[name]), "{name} moved");
    }
    assert_eq!(trained.len(), 2, "weight and bias of the last layer");
    let metrics = read_metrics(&probe).unwrap();
    let mean = |metrics: &[selfie_eval::record::StepMetrics]| {
        metrics.iter().map(|metrics| metrics.loss).sum::<f64>() / metrics.len() as f64
    };
    let (first, last) = (mean(&metrics[..5]), mean(&metrics[35..]));
    assert!(last < first, "the loss fell from {first} to {last}");
}
