use selfie_eval::paper;
use selfie_eval::record::{Machine, PretrainedFrom, Split};
use selfie_eval::table::{About, Measurement, Runs, Trial, Variance};
use serde_json::json;

use super::*;

const HOSTILE: &str = "</script><script>alert(1)</script>\"'&<b>";

fn run(name: &str, task: Task, n_steps: u64) -> RunView {
    let config = json!({ "model": { "width": 16, "stem": HOSTILE }, "pretrain": { "steps": n_steps } });
    let record = RunRecord { seed: 7, ..RunRecord::new(task, HOSTILE, config, Default::default()) };
    let line = |step: u64| {
        let time = json!({ "step_s": 0.1, "images_per_s": 640.0, "data_wait": 0.01 });
        json!({ "step": step, "loss": 1.4 - 0.001 * step as f64, "accuracy": 0.3, "chance": 0.25, "lr": 0.1, "grad_norm": 1.0,
            "probe/knn@20": 0.4, HOSTILE: 1.0, "time": time })
        .to_string()
            + "\n"
    };
    let series = Series::parse(&(1..=n_steps).map(line).collect::<String>());
    let pixel = include_bytes!("../../tests/golden/pixel.png").to_vec();
    let pictures = vec![
        Picture { name: "masked".into(), bytes: pixel },
        Picture { name: "broken".into(), bytes: b"no picture".to_vec() },
    ];
    RunView { name: name.to_owned(), record, result: None, goes_on_with: None, series, pictures }
}

fn table() -> StudyTable {
    let mut all = Vec::new();
    for (idx, fraction) in [0.05, 0.08].into_iter().enumerate() {
        for arm in [Arm::Pretrained, Arm::Scratch] {
            let mean = 0.5 + 0.05 * idx as f64 - 0.02 * f64::from(arm as u8);
            let runs = (1..=3).map(|seed| Measurement { seed, top1_accuracy: mean + 0.003 * seed as f64 * mean });
            let trials = vec![
                Trial { learning_rate: 0.05, top1_accuracy: Some(0.4) },
                Trial { learning_rate: 0.15, top1_accuracy: None },
            ];
            all.push(Runs { fraction, arm, learning_rate: 0.05, trials, runs: runs.collect(), diverged: Vec::new() });
        }
    }
    let about = About {
        recipe: "cifar10-small".into(),
        set: "cifar10".into(),
        test_set: None,
        variance: Variance::FinetuningSeeds,
        steps: Some(800),
        pretrained_from: Vec::new(),
        n_runs: 12,
    };
    StudyTable::new(about, all).unwrap()
}

fn page(runs: Vec<RunView>, studies: Vec<StudyView>) -> String {
    Page { title: "A report".into(), made: "2026-11-26T00:00:00Z".into(), runs, studies }.to_html()
}

#[test]
fn hostile_names_are_text_and_nothing_asks_for_another_file() {
    let html = page(vec![run(HOSTILE, Task::Pretrain, 3)], Vec::new());
    assert!(!html.contains("alert(1)</script>"), "a name became markup");
    assert!(!html.contains("<b>"), "a name became markup");
    assert_eq!(html.matches("<script").count(), 1, "the page's own script alone");
    assert!(html.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
    for way_out in ["http://", "https://", "url(", "@import", "src=\"/", "<link rel=\"stylesheet\""] {
        assert!(!html.contains(way_out), "the page has {way_out}");
    }
}

#[test]
fn every_name_has_a_chart_and_chance_is_a_level() {
    let html = page(vec![run("a", Task::Pretrain, 400), run("b", Task::Pretrain, 200)], Vec::new());
    for title in
        ["loss, nats", "accuracy over the batch", "learning rate", "gradient norm", "images a second", "probe/knn@20"]
    {
        assert!(html.contains(&format!("<figcaption>{title}</figcaption>")), "no chart of {title}");
    }
    assert!(html.contains("<p class=\"level\">chance 0.25</p>"));
    assert!(html.contains("<p class=\"level\">chance 1.386</p>"), "the loss of guessing is −ln 0.25");
    assert!(html.contains("a band their least and most"), "400 steps are not all drawn");
    assert!(html.contains("stroke-dasharray=\"8 8\" stroke-dashoffset=\"-8\""), "b lies on a");
    assert!(!html.contains("<figcaption>chance"), "chance is no curve");
    assert!(!html.contains("collapse ("), "what no run has gets no chart");
    // Two runs, each line of at most 160 points.
    assert_eq!(html.matches("class=\"line c1\"").count(), html.matches("class=\"line c0\"").count());
    assert!(html.contains("pretrain.steps"), "what differs between the runs is shown");
}

#[test]
fn probes_have_titles_and_a_chance_of_their_own() {
    let mut probed = run("a", Task::Pretrain, 3);
    let probe = json!({ "chance": 0.1, "linear_accuracy": 0.31, "knn_accuracy": 0.29, "spread": 0.5 });
    probed.series.add(&json!({ "step": 3, "probe": probe }).to_string());
    let html = page(vec![probed], Vec::new());
    for title in ["linear probe: accuracy on held-out images", "spread of held-out embeddings (0: all alike)"] {
        assert!(html.contains(&format!("<figcaption>{title}</figcaption>")), "no chart of {title}");
    }
    assert_eq!(html.matches("chance 0.1<").count(), 2, "the level of both probes");
    assert!(!html.contains("probe/chance"), "chance is no curve");
    assert!(!html.contains("a band their least and most"), "three steps have no band");
}

#[test]
fn a_study_without_a_finished_cell_shows_its_pretraining() {
    let table = StudyTable::new(table().about, Vec::new()).unwrap();
    let runs = vec![run("pretrain-s1", Task::Pretrain, 5)];
    let html = page(Vec::new(), vec![StudyView { name: "s".into(), table, runs }]);
    assert!(html.contains("0 of 12 runs are finished") && html.contains("loss, nats"));
    assert!(!html.contains("test accuracy, %") && !html.contains('±'), "there is nothing to tabulate yet");
}

#[test]
fn a_study_shows_its_table_its_plots_and_the_papers_figures() {
    let runs = vec![run("pretrain-s1", Task::Pretrain, 5), run("0.05-pretrained-s1", Task::Finetune, 5)];
    let html = page(Vec::new(), vec![StudyView { name: "s".into(), table: table(), runs }]);
    let selfie = paper::cell("cifar10", 0.08).unwrap().selfie;
    for part in ["50.30 ± 0.15 (n = 3)", "minus from scratch", "p &lt; 0.001", "not finite", "mean and 95 % interval"]
    {
        assert!(html.contains(part), "no {part}");
    }
    assert!(html.contains(&format!("{:.1} ± {:.1}", selfie.mean, selfie.std)));
    // Four arms and fractions, and two differences.
    assert_eq!(html.matches("class=\"catch\"").count(), 6);
}

#[test]
fn a_mean_of_one_run_says_so_as_in_the_markdown() {
    let runs = vec![Measurement { seed: 1, top1_accuracy: 0.5 }];
    let (arm, trials, diverged) = (Arm::Scratch, Vec::new(), Vec::new());
    let all = vec![Runs { fraction: 0.05, arm, learning_rate: 0.05, trials, runs, diverged }];
    let table = StudyTable::new(table().about, all).unwrap();
    assert!(table.to_markdown().contains("| 50.00 (n = 1) |"), "{}", table.to_markdown());
    let html = page(Vec::new(), vec![StudyView { name: "s".into(), table, runs: Vec::new() }]);
    assert!(html.contains(">50.00 (n = 1)<"), "the cell has no n");
    assert!(html.contains("from scratch, 5 % of the labels: 50.00 (n = 1), accuracy in %"), "the plot has no n");
}

#[test]
fn a_study_says_how_its_table_is_read_as_the_markdown_does() {
    let mut table = table();
    let scratch = &mut table.fractions[0].arms[1];
    scratch.diverged = vec![2];
    for trial in &mut scratch.trials {
        trial.top1_accuracy = None;
    }
    let mut diverged = tuned("0.05-scratch-s2", 0.05, 0.05);
    diverged.record.seed = 2;
    let (notes, markdown) = (table.notes(), table.to_markdown());
    let html = page(Vec::new(), vec![StudyView { name: "s".into(), table, runs: vec![diverged] }]);
    assert_eq!(notes.len(), 5, "±, runs that diverged, pairs, how many, the paper: {notes:?}");
    for note in notes {
        assert!(markdown.contains(&note) && html.contains(&format!("<li>{note}</li>")), "no {note}");
    }
    for part in ["(n = 3, 1 diverged)", "0.15: not finite (the lowest: every one diverged)", "<div>diverged</div>"] {
        assert!(html.contains(part), "no {part}");
    }
}

/// A fine-tuning of a study.
fn tuned(name: &str, fraction: f64, learning_rate: f64) -> RunView {
    let mut tuned = run(name, Task::Finetune, 5);
    tuned.record.fraction = Some(fraction);
    tuned.record.config["finetune"] = json!({ "learning_rate": learning_rate, "batch": 8 });
    tuned.record.config["pretrain"]["steps"] = json!(9);
    tuned
}

#[test]
fn a_studys_configuration_is_that_of_every_run() {
    let mut runs = vec![
        tuned("0.2-pretrained-s1", 0.2, 0.03),
        tuned("0.2-pretrained-s2", 0.2, 0.03),
        tuned("0.2-scratch-s1", 0.2, 0.3),
        tuned("0.5-pretrained-s1", 0.5, 0.3),
        tuned("0.5-scratch-s1", 0.5, 0.3),
        run("pretrain-s1", Task::Pretrain, 5),
    ];
    runs[5].record.machine.cpu = "another".into();
    let html = page(Vec::new(), vec![StudyView { name: "s".into(), table: table(), runs: runs.clone() }]);
    for row in [
        "rowspan=\"2\">finetune.learning_rate</th><td>0.03</td><td>2 of 6: pretrained, 20 %</td></tr>\
         <tr><td>0.3</td><td>3 of 6: from scratch; pretrained, 50 %</td>",
        "<th scope=\"row\">finetune.batch</th><td>8</td>",
        "<th scope=\"row\">pretrain.steps</th><td>5</td>",
        "<td>5 of 6: fine-tuning</td>",
        "<td>1 of 6: pretraining</td>",
        "<td>all 6</td>",
    ] {
        assert!(html.contains(row), "no {row}");
    }
    // One run of an arm that differs from the others goes by its name.
    runs[1] = tuned("0.2-pretrained-s2", 0.2, 0.1);
    let html = page(Vec::new(), vec![StudyView { name: "s".into(), table: table(), runs }]);
    assert!(html.contains("<td>0.1</td><td>1 of 6: 0.2-pretrained-s2</td>"), "the run has no name");
}

#[test]
fn pretrainings_of_a_study_have_colours_of_no_arm() {
    let runs = vec![run("pretrain-s1", Task::Pretrain, 5), run("pretrain-s2", Task::Pretrain, 5)];
    let html = page(Vec::new(), vec![StudyView { name: "s".into(), table: table(), runs }]);
    for arm in 0..Arm::ALL.len() {
        assert!(!html.contains(&format!("class=\"line c{arm}\"")), "colour {arm} is an arm's");
    }
    assert!(html.contains("class=\"line c4\"") && html.contains("class=\"line c5\""), "the two look alike");
}

#[test]
fn a_value_to_compare_with_has_the_digits_of_the_guide() {
    let values = [4f64.ln(), 12f64.ln(), 0.25, 0.1, 1.0 / 12.0, 0.001, 1.0 / 21_841.0];
    assert_eq!(values.map(digits), ["1.386", "2.485", "0.25", "0.1", "0.083", "0.001", "0.000046"]);
}

/// A fine-tuning whose record says where and with what it was made.
fn made() -> RunView {
    let mut made = run("a", Task::Finetune, 3);
    made.record = RunRecord {
        version: "0.1.0".into(),
        device: "cuda:0".into(),
        dtype: "bf16".into(),
        created: "2026-11-26T01:02:03Z".into(),
        data_dir: Some("/photos".into()),
        data_hashes: [("train".to_owned(), "aa11".to_owned()), ("test".to_owned(), "bb22".to_owned())].into(),
        subset_hash: Some("cc33".into()),
        pretrained_from: Some(PretrainedFrom { path: "/runs/p".into(), hash: "dd44".into() }),
        machine: Machine {
            os: "linux".into(),
            arch: "x86_64".into(),
            cpu: "A & B".into(),
            n_cores: 2,
            memory_mib: Some(1024),
        },
        ..made.record
    };
    let (split, per_class) = (Split::Test, Vec::new());
    made.result = Some(ResultRecord {
        steps: 3,
        outcome: Outcome::Classification { split, top1_accuracy: 0.5, loss: 1.0, n_examples: 20, per_class },
        weights_hash: "ee55".into(),
        wall_s: 60.0,
        images_per_s: 10.0,
        finished: "2026-11-26T01:03:03Z".into(),
    });
    made
}

#[test]
fn the_page_has_the_hashes_and_the_environment_of_a_run() {
    let html = page(vec![made()], Vec::new());
    for (name, value) in [
        ("started", "2026-11-26T01:02:03Z"),
        ("finished", "2026-11-26T01:03:03Z"),
        ("program", "selfie 0.1.0"),
        ("device", "cuda:0, bf16"),
        ("machine", "A &amp; B, 2 cores, 1024 MiB, linux x86_64"),
        ("data", "/photos"),
        ("labelled subset", "cc33"),
        ("starts from", "/runs/p (dd44)"),
        ("weights", "ee55"),
        ("hash of test", "bb22"),
        ("hash of train", "aa11"),
        ("model.width", "16"),
    ] {
        let row = format!("<th scope=\"row\">{name}</th><td>{value}</td>");
        assert!(html.contains(&row), "no {row}");
    }
    let html = page(vec![run("b", Task::Pretrain, 3)], Vec::new());
    assert!(!html.contains(">labelled subset<") && !html.contains("hash of"), "what is not there has no row");
    // Of two runs each has its column, also where one has nothing.
    let html = page(vec![made(), run("b", Task::Pretrain, 3)], Vec::new());
    assert!(html.contains("<th scope=\"row\">hash of train</th><td>aa11</td><td></td>"), "no column of the second run");
}

#[test]
fn pictures_lie_in_the_page_and_what_is_none_is_left_out() {
    let html = page(vec![run("a", Task::Pretrain, 1)], Vec::new());
    assert_eq!(html.matches("data:image/png;base64,iVBORw0KGgo").count(), 1);
    assert!(html.contains("width=\"1\" height=\"1\""));
    assert!(
        html.contains("<figure id=\"pictures-0-0-0\" style=\"--ratio: 1.000\"><a href=\"#pictures-0-0-0\""),
        "a picture leads to its full size"
    );
    assert!(html.contains("hidden patches, and which was chosen for each place"));
    assert_eq!(html.matches("pictures-0-0-1").count(), 0, "what is no picture has no place");
}

#[test]
fn a_run_without_a_single_step_has_a_page_too() {
    let run = RunView { goes_on_with: Some("`selfie pretrain`".to_owned()), ..run("a", Task::Pretrain, 0) };
    let html = page(vec![run], Vec::new());
    assert!(html.contains("not finished; go on with <code><span>selfie</span> <span>pretrain</span></code>"));
    assert!(!html.contains("NaN"));
}
