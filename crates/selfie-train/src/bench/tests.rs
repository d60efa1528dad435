use selfie_ops::profile::{OpClass, ProfileRow};

use super::*;

fn small(task: BenchTask) -> BenchStep {
    BenchStep { task, image_size: 32, width: 2, batch: 4, micro_batch: 4, dtype: NumberType::F32, steps: 1 }
}

fn full(task: BenchTask, image_size: usize) -> BenchStep {
    BenchStep { image_size, width: 64, ..small(task) }
}

fn assert_near(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance * expected, "expected about {expected}, got {got}");
}

#[test]
fn products_of_resnet_50_are_the_published_number() {
    // 4.09 G multiplications at 224 px with the classifier (He et al. and every table since), v2's stride on the 3×3 as v1.5's.
    let forward = gflop_per_image(&Work::from(&full(BenchTask::Embed, 224)));
    assert_near(forward, 2.0 * (4.09 - 0.002), 0.01);
    let step = gflop_per_image(&Work::from(&full(BenchTask::Finetune, 224)));
    assert_near(step, 3.0 * forward - 2.0 * 0.118 + 6.0 * 0.002, 0.001);
}

#[test]
fn products_of_a_pretraining_step_are_those_counted_by_hand() {
    let stem = 1024 * 27 * 64_u64;
    let stage1 = 1024 * (73_728 + 2 * 69_632);
    let stage2 = 1024 * 32_768 + 256 * (147_456 + 65_536 + 131_072) + 3 * 256 * 278_528;
    let stage3 = 256 * 131_072 + 64 * (589_824 + 262_144 + 524_288) + 5 * 64 * 1_114_112;
    let (d, f) = (1024, 640);
    let whole_layer = 13 * (4 * d * d + 2 * d * f) + 2 * 13 * 13 * d;
    let last_layer = 2 * 13 * d * d + 2 * d * d + 2 * d * f + 2 * 13 * d;
    let forward = stem + stage1 + stage2 + stage3 + 2 * whole_layer + last_layer + 16 * d;
    let expected = 2.0 * (3 * forward - stem) as f64 / 1e9;
    assert_near(gflop_per_image(&Work::from(&full(BenchTask::Pretrain, 32))), expected, 1e-9);
    assert_near(expected, 7.25, 0.01);
}

#[test]
fn a_batch_of_micro_batches_takes_as_many_images_and_reports_what_was_asked() {
    for task in [BenchTask::Pretrain, BenchTask::Finetune, BenchTask::Embed] {
        let asked = BenchStep { micro_batch: 2, ..small(task) };
        let result = step(asked, false, &Device::Cpu).unwrap();
        assert_eq!(result.asked, asked);
        assert_near(result.images_per_s * result.median_step_s, 4.0, 1e-9);
        assert!(result.loss.is_finite() && result.best_step_s <= result.median_step_s);
        let json = serde_json::to_value(&result).unwrap();
        assert_eq!((json["micro_batch"].as_u64(), json["dtype"].as_str()), (Some(2), Some("f32")), "{json}");
        assert!(json.get("profile").is_none(), "{json}");
    }
}

#[test]
fn micro_batches_of_inference_give_the_same_features() {
    let whole = step(small(BenchTask::Embed), false, &Device::Cpu).unwrap();
    let parts = step(BenchStep { micro_batch: 1, ..small(BenchTask::Embed) }, false, &Device::Cpu).unwrap();
    assert_near(parts.loss, whole.loss, 1e-5);
}

#[test]
fn what_cannot_be_measured_is_refused_as_a_bad_configuration() {
    for (asked, named) in [
        (BenchStep { micro_batch: 3, ..small(BenchTask::Embed) }, "--micro-batch"),
        (BenchStep { micro_batch: 0, ..small(BenchTask::Embed) }, "--micro-batch"),
        (BenchStep { width: 0, ..small(BenchTask::Finetune) }, "width"),
    ] {
        let error = step(asked, false, &Device::Cpu).unwrap_err();
        assert_eq!(error.exit_code(), 78, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn a_product_has_a_rate() {
    let asked = BenchRate { dtype: NumberType::F32, size: 64, products: 3 };
    let result = rate(asked, &Device::Cpu).unwrap();
    assert!(result.median_gflop_per_s > 0.0 && result.gflop_per_s >= result.median_gflop_per_s, "{result:?}");
}

// That the shares are a whole needs a process of its own, where no other test computes: tests/e2e.
#[test]
fn a_profile_of_a_step_names_its_classes_and_what_is_outside() {
    let result = step(BenchStep { steps: 2, ..small(BenchTask::Finetune) }, true, &Device::Cpu).unwrap();
    let lines = result.profile.unwrap();
    assert_eq!(lines.last().unwrap().op, "outside selfie-ops");
    for op in [OpClass::Loss, OpClass::Optimizer] {
        let line = lines.iter().find(|line| line.op == op.to_string());
        assert!(line.is_some_and(|line| line.calls >= Some(1.0) && line.gb_per_s > Some(0.0)), "{op}: {lines:?}");
    }
}

#[test]
fn a_profiles_lines_are_means_over_its_steps_with_the_longest_first() {
    let row = |class, ms, flop, bytes| ProfileRow { class, calls: 6, time: Duration::from_millis(ms), flop, bytes };
    let rows = [row(OpClass::ConvolutionForward, 20, 4_000_000_000, 0), row(OpClass::Norm, 60, 0, 3_000_000_000)];
    let lines = profile::lines(&rows, Duration::from_millis(100), 2);
    let names: Vec<&str> = lines.iter().map(|line| line.op.as_str()).collect();
    assert_eq!(names, ["norm", "convolution forward", "outside selfie-ops"]);
    for (line, (ms, share)) in lines.iter().zip([(30.0, 0.6), (10.0, 0.2), (10.0, 0.2)]) {
        assert_near(line.ms, ms, 1e-9);
        assert_near(line.share, share, 1e-9);
    }
    assert_eq!(lines[0].calls, Some(3.0));
    assert_near(lines[1].gflop_per_s.unwrap(), 200.0, 1e-9);
    assert_near(lines[0].gb_per_s.unwrap(), 50.0, 1e-9);
    assert_eq!((lines[0].gflop_per_s, lines[1].gb_per_s, lines[2].calls), (None, None, None));
}

#[test]
fn a_median_of_an_even_number_is_between_the_two() {
    assert_near(median(&[4.0, 1.0, 2.0]), 2.0, 0.0);
    assert_near(median(&[8.0, 1.0, 4.0, 2.0]), 3.0, 0.0);
}
