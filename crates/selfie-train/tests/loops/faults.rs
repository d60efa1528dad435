//! Numbers that are not finite, injected into batch, loss and gradient: what each policy does, and that none of them
//! reaches a file.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use selfie_data::DataSet;
use selfie_eval::record::{Action, Happened, Split, Task};
use selfie_train::config::Resolved;
use selfie_train::fault::{Cause, Injected, Injection};
use selfie_train::finetune::{self, Labels};
use selfie_train::replay::replay;
use selfie_train::run_folder::{read_events, read_metrics};
use selfie_train::session::{Ended, Session};
use selfie_train::{NumberType, TrainError, pretrain};

use crate::device::device;
use crate::{configuration, images, session};

const INTO: [Injected; 3] = [Injected::Batch, Injected::Loss, Injected::Gradient];

fn try_train(resolved: &Resolved, task: Task, data: &DataSet, session: &Session) -> Result<Ended, TrainError> {
    let labels = Labels { fraction: 1.0, subset: None, pretrained: None, split: Split::Test };
    match task {
        Task::Pretrain => pretrain::run(resolved, data, session),
        Task::Finetune => finetune::run(resolved, data, &labels, session),
    }
}

/// A session with these injections.
fn injecting(out: &Path, injections: &[(u64, Injected)]) -> Session {
    let inject = injections.iter().map(|&(step, into)| Injection { step, into }).collect();
    Session { inject, ..session(out, None) }
}

/// Fails if a file of a run folder holds a number that is not finite. A capture's weights are finite too.
fn require_finite_files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            require_finite_files(&path);
        } else if path.extension().is_some_and(|extension| extension == "safetensors") {
            require_finite(&path, &fs::read(&path).unwrap());
        } else if path.extension().is_some_and(|extension| extension == "jsonl" || extension == "json") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{}: {text}", path.display());
        }
    }
}

fn require_finite(path: &Path, bytes: &[u8]) {
    for (name, tensor) in SafeTensors::deserialize(bytes).unwrap().iter() {
        match tensor.dtype() {
            safetensors::Dtype::F32 => {
                let mut values = tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                assert!(values.all(f32::is_finite), "{name} of {}", path.display());
            }
            // A capture holds a weights file.
            safetensors::Dtype::U8 if name == "weights" => require_finite(path, tensor.data()),
            _ => {}
        }
    }
}

#[test]
fn a_fault_ends_the_run_names_step_layer_and_examples_and_replays() {
    // Only the CPU has bf16.
    let narrow = if device().is_cpu() { NumberType::Bf16 } else { NumberType::F32 };
    for (task, number_type) in [(Task::Pretrain, NumberType::F32), (Task::Finetune, narrow)] {
        for into in INTO {
            let folder = tempfile::tempdir().unwrap();
            let (resolved, data) = (configuration(task, &["steps=12", "every_steps=4"]), images(30));
            let session = Session { number_type, ..injecting(folder.path(), &[(7, into)]) };
            let error = try_train(&resolved, task, &data, &session).unwrap_err();
            assert_eq!(error.exit_code(), 70);
            let message = error.to_string();
            let TrainError::Fault { fault, captured, .. } = error else { panic!("{message}") };
            assert_eq!((fault.step, fault.examples.len()), (7, 8), "{message}");
            let (cause, layer) = match into {
                Injected::Batch => (Cause::Statistic, "norm"),
                Injected::Loss => (Cause::Loss, ""),
                Injected::Gradient => (Cause::Gradient, ""),
            };
            assert_eq!(fault.cause, cause, "{message}");
            let named = fault.layers.first().map_or("", String::as_str);
            assert!(named.contains(layer) && named.is_empty() == (into == Injected::Loss), "{message}");
            let (examples, captured) = (fault.examples[0].to_string(), captured.unwrap());
            for part in ["is not finite at step 7", &examples, named, "selfie replay", "learning rate"] {
                assert!(message.contains(part), "no `{part}` in: {message}");
            }
            require_finite_files(folder.path());
            assert_eq!(read_metrics(folder.path()).unwrap().len(), 6);
            let replayed = replay(&captured, &session.device).unwrap();
            assert_eq!(replayed.captured, fault);
            assert_eq!(replayed.again, Some(fault), "{task}, {into:?}");
        }
    }
}

/// Everything a run of this policy wrote, stopped and resumed at `stops`.
fn outcome(task: Task, policy: &str, injections: &[(u64, Injected)], stops: &[u64]) -> (Vec<u8>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let policy = format!("on_non_finite={policy}");
    let (resolved, data) = (configuration(task, &["steps=40", "every_steps=5", policy.as_str()]), images(30));
    let session = injecting(folder.path(), injections);
    for stop in stops {
        let stopped = Session { stop_after: Some(*stop), ..session.clone() };
        assert!(matches!(try_train(&resolved, task, &data, &stopped).unwrap(), Ended::Stopped { .. }));
    }
    let ended = try_train(&resolved, task, &data, &session).unwrap();
    assert!(matches!(ended, Ended::Finished { earlier: false, .. }), "{ended:?}");
    require_finite_files(folder.path());
    let timeless: Vec<String> = read_metrics(folder.path())
        .unwrap()
        .iter()
        .map(|line| format!("{} {:?} {:?} {:?} {:?}", line.step, line.loss, line.accuracy, line.lr, line.grad_norm))
        .collect();
    let events = fs::read_to_string(folder.path().join("events.jsonl")).unwrap();
    (fs::read(folder.path().join("weights.safetensors")).unwrap(), timeless.join("\n"), events)
}

const THREE: [(u64, Injected); 3] = [(8, Injected::Batch), (17, Injected::Loss), (33, Injected::Gradient)];

#[test]
fn a_skipped_step_leaves_its_batch_out_and_a_resumed_run_writes_the_same_bytes() {
    for task in [Task::Pretrain, Task::Finetune] {
        let whole = outcome(task, "skip", &THREE, &[]);
        let steps: Vec<&str> = whole.1.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(steps.len(), 37);
        assert!(["8", "17", "33"].iter().all(|step| !steps.contains(step)));
        assert_eq!(whole.2.lines().filter(|line| line.contains("\"action\":\"skip\"")).count(), 3, "{}", whole.2);
        assert!(whole == outcome(task, "skip", &THREE, &[7, 17, 30]));
    }
}

#[test]
fn a_roll_back_leaves_out_the_steps_since_the_checkpoint_and_a_resumed_run_writes_the_same_bytes() {
    for task in [Task::Pretrain, Task::Finetune] {
        let whole = outcome(task, "roll_back", &THREE, &[]);
        let steps: Vec<u64> = whole.1.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        // Back to 5, 15 and 30: those steps and all that are not between a checkpoint and its fault.
        let expected: Vec<u64> =
            (1..=40).filter(|step| ![6..=8, 16..=17, 31..=33].iter().any(|left_out| left_out.contains(step))).collect();
        assert_eq!(steps, expected);
        assert!(whole == outcome(task, "roll_back", &THREE, &[10, 20, 35]));
    }
}

#[test]
fn faults_at_random_steps_never_reach_a_file() {
    // Numerical Recipes' generator: steps and places that look random and are the same every time.
    let mut state = 7u32;
    let mut draw = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    // `SELFIE_TORTURE` says how many in the long form.
    let wanted = std::env::var("SELFIE_TORTURE").map_or(12, |rounds| rounds.parse().unwrap());
    // So many that there is a place for every one.
    let n_steps = 40 * wanted as u32;
    let mut injections = Vec::new();
    while injections.len() < wanted {
        let (step, into) = (u64::from(2 + draw(n_steps - 1)), INTO[draw(3) as usize]);
        // More than ten in a hundred steps would end the run.
        let crowded = injections.iter().filter(|(other, _): &&(u64, _)| other.abs_diff(step) < 60).count() > 4;
        if !crowded && injections.iter().all(|(other, _)| *other != step) {
            injections.push((step, into));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let steps = format!("steps={n_steps}");
    let set = [steps.as_str(), "every_steps=20", "on_non_finite=skip", "model.width=1", "model.heads=1", "batch=2"];
    let (resolved, data) = (configuration(Task::Pretrain, &set), images(30));
    let ended = try_train(&resolved, Task::Pretrain, &data, &injecting(folder.path(), &injections)).unwrap();
    assert!(matches!(ended, Ended::Finished { .. }));
    require_finite_files(folder.path());
    let skipped = |happened: &Happened| matches!(happened, Happened::NonFinite { action: Action::Skip, .. });
    let events = read_events(folder.path()).unwrap();
    let mut found: Vec<u64> = events.iter().filter(|event| skipped(&event.what)).map(|event| event.step).collect();
    let mut expected: Vec<u64> = injections.iter().map(|(step, _)| *step).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(read_metrics(folder.path()).unwrap().len(), n_steps as usize - wanted);
    assert_eq!(fs::read_dir(folder.path().join("faults")).unwrap().count(), 3, "only the first captures are kept");
}

#[test]
fn too_many_faults_and_a_fault_before_the_first_checkpoint_end_the_run_whatever_the_policy() {
    let many: Vec<(u64, Injected)> = (10..30).map(|step| (step, Injected::Loss)).collect();
    for (policy, injections, says) in [
        ("skip", many.as_slice(), "training does not recover"),
        ("roll_back", many.as_slice(), "training does not recover"),
        ("roll_back", &[(3, Injected::Loss)], "no checkpoint yet"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let policy = format!("on_non_finite={policy}");
        let (resolved, data) =
            (configuration(Task::Pretrain, &["steps=40", "every_steps=5", policy.as_str()]), images(30));
        let error = try_train(&resolved, Task::Pretrain, &data, &injecting(folder.path(), injections)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        require_finite_files(folder.path());
    }
}

#[test]
fn a_loss_spike_is_an_event_and_training_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // A learning rate that jumps the loss up after a quiet start would be as good; the first steps have none.
    let (resolved, data) = (configuration(Task::Pretrain, &["steps=60", "learning_rate=1e-6"]), images(30));
    try_train(&resolved, Task::Pretrain, &data, &session(folder.path(), Some(40))).unwrap();
    let changed = configuration(Task::Pretrain, &["steps=60", "learning_rate=30"]);
    let allow_change = vec!["learning_rate".to_owned()];
    let session = Session { allow_change, ..session(folder.path(), None) };
    let _ = try_train(&changed, Task::Pretrain, &data, &session);
    let events = read_events(folder.path()).unwrap();
    let spike = events.iter().find(|event| matches!(event.what, Happened::LossSpike { .. }));
    let spike = spike.unwrap_or_else(|| panic!("{events:?}"));
    assert!(spike.step > 40 && spike.examples.len() == 8, "{spike:?}");
}
