use super::options::parse;
use super::*;

fn parsed(arguments: &str) -> Result<Parsed> {
    parse(&arguments.split_whitespace().map(String::from).collect::<Vec<_>>())
}

fn options(arguments: &str) -> Options {
    match parsed(arguments).unwrap() {
        Parsed::Options(options) => options,
        Parsed::Help => panic!("{arguments} asks for help"),
    }
}

fn samples(values: &[(f64, f64)]) -> Vec<Sample> {
    values.iter().map(|&(images_per_s, images_per_cpu_s)| Sample { images_per_s, images_per_cpu_s }).collect()
}

#[test]
fn the_recorded_command_names_no_path() {
    let asked = options("--data /home/a/images --turns=3 --peer-env /home/a/env --append");
    assert_eq!(asked.command, "cargo xtask bench peer loader --data DIR --turns 3");
    assert_eq!((asked.data, asked.turns, asked.appends), (Some("/home/a/images".into()), 3, true));
}

#[test]
fn every_option_is_in_the_help_and_wrong_ones_are_named() {
    assert_eq!(parsed("--turns 2 -h").unwrap(), Parsed::Help);
    let all = "--data --batch --batches --turns --peer-env --selfie --append";
    assert!(all.split(' ').all(|option| options::HELP.contains(&format!("      {option} "))));
    for (arguments, named) in
        [("--turns 0", "--turns"), ("--batch", "--batch"), ("--append=yes", "--append"), ("x", "x")]
    {
        let error = format!("{:#}", parsed(arguments).unwrap_err());
        assert!(error.contains(named), "{arguments}: {error}");
    }
}

#[test]
fn a_row_holds_medians_and_ratios_turn_by_turn() {
    let row = Measured {
        batches: Batches::Files224,
        cores: 2,
        ours: samples(&[(100.0, 400.0), (300.0, 450.0), (200.0, 500.0)]),
        torchvision: samples(&[(50.0, 100.0), (50.0, 100.0), (50.0, 125.0)]),
    };
    let section = table::section("2026-01-02", "a processor", &options("--turns 3"), "torchvision 1", &[row]);
    let expected = "| 224 px: JPEG files, resized crop, flip | 2 | 200 | 50 | **4.00** (2.00–6.00) | 450 | 100 | **4.00** (4.00–4.50) |";
    assert!(section.lines().any(|line| line == expected), "{section}");
    assert!(
        section.contains("torchvision 1, `cargo xtask bench peer loader --turns 3`: medians of 3 turns."),
        "{section}"
    );
}

#[test]
fn both_are_asked_for_the_same_images() {
    let bench = Bench {
        selfie: "selfie".into(),
        python: "python".into(),
        script: "peer.py".into(),
        options: options("--data images --batch 8 --batches 2"),
    };
    let line = |command: Command| format!("{command:?}").replace('"', "");
    let ours = line(bench.ours(Batches::Files224, 2));
    assert!(
        ours.contains("--workers 2 --batch 8 imagenet224 --task finetune") && ours.contains("--data images"),
        "{ours}"
    );
    let theirs = line(bench.torchvision(Batches::Files224, 1));
    assert!(theirs.contains("--workers 0 --batch 8 --images 224 --data images --batches 2"), "{theirs}");
    assert!(line(bench.torchvision(Batches::Patches32, 2)).contains("--workers 2 --batch 8 --images 32"));
}
