use std::process::Command;

use anyhow::anyhow;

use super::measure::{Measured, Rates, Report, Sample, json};
use super::options::{Options, Parsed, Peer, Row, parse};
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

#[test]
fn without_arguments_the_first_row_of_the_suite_is_measured_against_both_peers_five_times() {
    let plain = options("");
    assert_eq!(plain.rows, options("--suite").rows[..1]);
    assert_eq!((plain.peers.as_slice(), plain.pairs, plain.threads, plain.busy), (&Peer::ALL[..], 5, 2, 0));
    assert!(!plain.appends);
}

#[test]
fn a_step_is_taken_from_its_four_options_and_a_suite_from_none() {
    let asked = options("--task finetune --image-size=224 --width 16 --dtype both --steps 2 --pairs 1 --peer eager");
    let row = |dtype| Row { task: "finetune", image_size: "224", width: 16, batch: 16, dtype };
    assert_eq!(asked.rows, [row("f32"), row("bf16")]);
    assert_eq!((asked.dtypes(), asked.peers, asked.steps, asked.pairs), (vec!["f32", "bf16"], vec![Peer::Eager], 2, 1));
    assert_eq!(options("--suite --dtype bf16").rows.len(), 5);
    assert_eq!(options("--suite --dtype bf16").dtypes(), ["bf16"]);
    let on_cuda = options("--suite --dtype tf32 --device cuda");
    assert_eq!((on_cuda.rows[0].batch, on_cuda.dtypes()), (256, vec!["tf32"]));
}

#[test]
fn arguments_that_make_no_sense_are_refused_by_name() {
    for (arguments, named) in [
        ("--task search", "--task"),
        ("--image-size 64", "--image-size"),
        ("--width 0", "--width"),
        ("--dtype f64", "--dtype"),
        ("--dtype tf32", "--device cuda"),
        ("--device tpu", "--device"),
        ("--pairs five", "--pairs"),
        ("--pairs", "--pairs"),
        ("--peer jax", "--peer"),
        ("--peers eager", "--peers"),
        ("--append=yes", "--append"),
        ("--suite --batch 8", "--suite"),
        ("pretrain", "pretrain"),
    ] {
        let error = format!("{:#}", parsed(arguments).unwrap_err());
        assert!(error.contains(named), "{arguments}: {error}");
    }
}

#[test]
fn every_option_is_in_the_help() {
    assert_eq!(parsed("--suite --help").unwrap(), Parsed::Help);
    let all = "--task --image-size --width --batch --suite --dtype --device --peer --threads --steps --pairs --busy --peer-env --selfie --append";
    assert!(all.split(' ').all(|option| options::HELP.contains(&format!("      {option} "))));
}

#[test]
fn the_recorded_command_names_no_path() {
    let asked = options("--peer-env /home/a/env --selfie=/home/a/selfie --suite --pairs 3 --append");
    assert_eq!(asked.command, "cargo xtask bench peer --suite --pairs 3");
    assert!(asked.appends && asked.peer_env.is_some() && asked.selfie.is_some());
}

fn samples(speeds: &[f64], peak_rss_mib: f64) -> Vec<Sample> {
    speeds.iter().map(|&images_per_s| Sample { images_per_s, peak_rss_mib }).collect()
}

fn report() -> Report {
    let row = Row { task: "pretrain", image_size: "32", width: 64, batch: 64, dtype: "f32" };
    let eager = Ok(samples(&[10.0, 8.0, 10.0], 300.0));
    let compiled = Ok(samples(&[11.0, 9.0, 16.0], 400.0));
    let measured =
        |peers| Measured { row: row.clone(), gflop_per_image: 5.0, ours: samples(&[20.0, 18.0, 16.0], 100.0), peers };
    let failed = vec![(Peer::Eager, Ok(samples(&[10.0; 3], 300.0))), (Peer::Compiled, Err(anyhow!("no `g++`")))];
    Report {
        peer: "PyTorch 2".to_owned(),
        rates: vec![Rates { dtype: "f32", ours: 120.0, peer: Some(180.0) }],
        measured: vec![measured(vec![(Peer::Eager, eager), (Peer::Compiled, compiled)]), measured(failed)],
        failures: vec![(row, anyhow!("out of memory"))],
    }
}

#[test]
fn a_row_holds_medians_ratios_pair_by_pair_and_the_share_of_the_better_product_rate() {
    let section = table::section("2026-01-02", "a processor", &options("--suite"), &report());
    // Ratios: 2, 2.25, 1.6 and 1.82, 2, 1; the medians' own ratios would be 1.8 and 1.64. 18 · 5 of 180 GFLOP/s.
    let row = "| pretrain 32 px, width 64, batch 64, f32 | 18.00 | 10.00 | 2.00 (1.60–2.25) | 11.00 | 1.82 (1.00–2.00) | \
               **1.82** | 100 | 300 | 400 | 90.0 | 50 % |";
    assert!(section.lines().any(|line| line == row), "{section}");
    assert!(section.starts_with("## 2026-01-02, a processor, 2 threads\n"), "{section}");
    assert!(
        section.contains("PyTorch 2, `cargo xtask bench peer --suite`: 5 turns, the median of 5 steps in each.\n"),
        "{section}"
    );
    assert!(section.contains("Product rate in f32: ours 120 GFLOP/s, `torch.mm` 180."), "{section}");
}

#[test]
fn a_peer_that_failed_is_said_to_have_and_the_other_is_the_better() {
    let section = table::section("2026-01-02", "a processor", &options("--busy 1"), &report());
    assert!(section.contains("| failed | – | **1.80** | 100 | 300 | – |"), "{section}");
    assert!(
        section.contains("PyTorch compiled failed, pretrain 32 px, width 64, batch 64, f32: `no  g++ `"),
        "{section}"
    );
    assert!(section.contains("Ours failed, pretrain 32 px, width 64, batch 64, f32: `out of memory`"), "{section}");
    assert!(section.contains("beside 1 busy thread of"), "{section}");
}

#[test]
fn every_line_of_a_table_has_as_many_cells() {
    let section = table::section("2026-01-02", "a processor", &options(""), &report());
    let cells: Vec<usize> = section.lines().filter(|l| l.starts_with('|')).map(|l| l.matches('|').count()).collect();
    assert_eq!(cells, [13; 4]);
}

#[test]
fn a_section_is_appended_after_what_is_there() {
    let path = std::env::temp_dir().join(format!("selfie-xtask-{}.md", std::process::id()));
    std::fs::write(&path, "# Performance\n\n").unwrap();
    append(&path, "## b\n").unwrap();
    append(&path, "## c\n").unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(text, "# Performance\n\n## b\n\n## c\n");
}

#[cfg(unix)]
fn shell(script: &str) -> Result<serde_json::Value> {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    json(command)
}

#[test]
#[cfg(unix)]
fn a_childs_last_line_is_its_answer_and_a_failures_last_line_its_reason() {
    assert_eq!(shell("echo compiling; echo '{\"a\": 1.5}'").unwrap()["a"], 1.5);
    let failure =
        format!("{:#}", shell("echo Traceback >&2; echo 'RuntimeError: no compiler' >&2; exit 3").unwrap_err());
    assert!(failure.contains("3") && failure.ends_with("RuntimeError: no compiler"), "{failure}");
    assert!(format!("{:#}", shell("echo done").unwrap_err()).contains("\"done\""));
    let missing = json(Command::new("/no/such/program")).unwrap_err();
    assert!(missing.to_string().contains("/no/such/program"), "{missing}");
}

#[test]
fn days_are_dates() {
    for (day, date) in [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_781, "2026-11-24")] {
        assert_eq!(machine::date(day), date);
    }
}

#[test]
fn a_processor_is_named_with_the_instructions_that_matter() {
    let cpuinfo = "processor\t: 0\nmodel name\t: A: B\nflags\t\t: fpu avx2 avx512f_not avx512_bf16\nmodel name\t: C\n";
    assert_eq!(machine::processor(cpuinfo), "A: B, avx2 avx512_bf16");
    assert!(machine::processor("").starts_with("unknown "));
}
