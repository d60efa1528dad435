use std::time::Duration;

use super::*;

fn metrics() -> StepMetrics {
    StepMetrics {
        step: 12,
        loss: 1.375,
        accuracy: 0.25,
        chance: 0.25,
        collapse: Some(0.5),
        lr: 0.1,
        grad_norm: 2.0,
        probe: None,
        time: StepTime { step_s: 0.5, images_per_s: 256.0, data_wait: 0.0 },
    }
}

#[test]
fn a_metrics_line_keeps_wall_times_under_time_alone() {
    assert_eq!(
        metrics().to_line().unwrap(),
        "{\"step\":12,\"loss\":1.375,\"accuracy\":0.25,\"chance\":0.25,\"collapse\":0.5,\"lr\":0.1,\"grad_norm\":2.0,\
         \"time\":{\"step_s\":0.5,\"images_per_s\":256.0,\"data_wait\":0.0}}\n"
    );
    let without_collapse = StepMetrics { collapse: None, ..metrics() };
    assert!(!without_collapse.to_line().unwrap().contains("collapse"));
}

#[test]
fn a_non_finite_metric_is_refused_by_name() {
    let message = StepMetrics { grad_norm: f64::NAN, ..metrics() }.to_line().unwrap_err().to_string();
    assert_eq!(message, "grad_norm of step 12 is NaN, expected a finite number");
}

#[test]
fn metrics_are_read_back_without_an_unfinished_last_line() {
    let line = metrics().to_line().unwrap();
    let text = format!("{line}{line}{}", &line[..20]);
    assert_eq!(StepMetrics::parse_lines(&text).unwrap(), vec![metrics(), metrics()]);
    assert_eq!(StepMetrics::parse_lines("").unwrap(), vec![]);
}

#[test]
fn a_damaged_metrics_line_is_named() {
    let message = StepMetrics::parse_lines(&format!("{}{{\n", metrics().to_line().unwrap())).unwrap_err().to_string();
    assert!(message.starts_with("metrics line 2 is not valid"), "{message}");
}

/// `date -u -d @SECONDS +%FT%TZ`
#[test]
fn utc_matches_date_across_leap_days() {
    let cases = [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
        (1_735_689_599, "2024-12-31T23:59:59Z"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
    }
}

fn result() -> ResultRecord {
    ResultRecord {
        steps: 3000,
        outcome: Outcome::Classification {
            split: Split::Test,
            top1_accuracy: 0.64,
            loss: 1.1,
            n_examples: 10_000,
            per_class: vec![ClassAccuracy { class: "cat".into(), n_examples: 1000, top1_accuracy: Some(0.5) }],
        },
        weights_hash: "00".into(),
        wall_s: 240.0,
        images_per_s: 1600.0,
        finished: "2025-01-01T00:00:00Z".into(),
    }
}

#[test]
fn a_result_survives_its_json() {
    let text = result().to_json().unwrap();
    assert_eq!(from_json::<ResultRecord>("result.json", &text).unwrap(), result());
    assert!(text.contains("\"test\""), "{text}");
}

#[test]
fn a_non_finite_result_is_refused() {
    let broken = ResultRecord { wall_s: f64::INFINITY, ..result() };
    assert!(matches!(broken.to_json(), Err(EvalError::NonFinite { .. })));
}

#[test]
fn a_run_record_survives_its_json_and_ignores_keys_of_newer_versions() {
    let record = RunRecord {
        version: "0.1.0".into(),
        task: Task::Finetune,
        recipe: "cifar10-small".into(),
        seed: 1,
        fraction: Some(0.08),
        pretrained_from: Some(PretrainedFrom { path: "runs/pretrain-cifar10-small-s0".into(), hash: "ab".into() }),
        device: "cpu".into(),
        dtype: "f32".into(),
        config: serde_json::json!({"model": {"width": 16}}),
        config_sources: BTreeMap::from([("model.width".into(), "recipe cifar10-small".into())]),
        data_dir: None,
        data_name: None,
        data_hashes: BTreeMap::from([("train".into(), "cd".into())]),
        subset_hash: Some("ef".into()),
        subset_file: None,
        split: None,
        steps: None,
        warmup_steps: None,
        machine: Machine {
            os: "linux".into(),
            arch: "x86_64".into(),
            cpu: "unknown".into(),
            n_cores: 2,
            memory_mib: None,
        },
        created: "2025-01-01T00:00:00Z".into(),
        changes: Vec::new(),
    };
    let mut value = serde_json::to_value(&record).unwrap();
    value["new_key"] = serde_json::json!(1);
    assert_eq!(from_json::<RunRecord>("run.json", &value.to_string()).unwrap(), record);
}

#[test]
fn a_moment_is_read_back_as_it_was_written() {
    for seconds in [0, 951_782_399, 951_782_400, 1_709_251_199, 4_107_542_399, 1_764_115_200] {
        let text = utc(UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        assert_eq!(unix_seconds(&text), Some(seconds), "{text}");
    }
    for text in ["", "2026-11-26", "2026-11-26T00:00:00", "2026-11-26T00:00Z", "1969-12-31T23:59:59Z", "a-b-cTd:e:fZ"] {
        assert_eq!(unix_seconds(text), None, "{text}");
    }
}
