use std::collections::BTreeSet;

use super::arrows::Manifest;
use super::*;

#[test]
fn this_repository_is_tidy() {
    let problems = check(&crate::process::repository_root().unwrap()).unwrap();
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{}", list.join("\n"));
}

#[test]
fn an_unpacked_archive_is_walked_without_what_git_ignores() {
    let walked = repository::walk(&crate::process::repository_root().unwrap()).unwrap();
    assert!(walked.contains("xtask/src/main.rs") && walked.contains("Cargo.toml"));
    assert!(!walked.iter().any(|f| f.starts_with(".git/") || f.starts_with("target/")));
}

/// Every crate of the diagram, with the arrows the diagram draws; `extra` is added to `name`'s dependencies.
fn workspace(name: &str, extra: &str) -> Vec<Manifest> {
    let crates = [
        ("xtask", "anyhow = \"1\""),
        ("selfie-cli", "selfie-train.workspace = true\nselfie-model = { workspace = true }"),
        ("selfie-train", "selfie-eval.workspace = true\nselfie-data.workspace = true\nselfie-random.workspace = true"),
        ("selfie-report", "selfie-eval.workspace = true"),
        ("selfie-eval", "selfie-model.workspace = true\nselfie-data.workspace = true"),
        ("selfie-model", "selfie-ops.workspace = true"),
        ("selfie-data", "selfie-random.workspace = true\nparquet = { workspace = true, optional = true }"),
        ("selfie-ops", "selfie-random.workspace = true\ncandle-core.workspace = true"),
        ("selfie-pictures", "image.workspace = true"),
        ("selfie-random", "libm.workspace = true"),
    ];
    let manifest = |(crate_name, dependencies): (&str, &str)| {
        let extra = if crate_name == name { extra } else { "" };
        let text = format!("[package]\nname = \"{crate_name}\"\n\n[dependencies]\n{dependencies}\n{extra}\n");
        Manifest::parse(&format!("crates/{crate_name}/Cargo.toml"), &text)
    };
    crates.into_iter().map(manifest).collect()
}

fn arrow_problems(name: &str, extra: &str) -> Vec<String> {
    arrows::check(&workspace(name, extra)).iter().map(ToString::to_string).collect()
}

#[test]
fn the_diagram_itself_has_no_problem() {
    assert_eq!(arrow_problems("", ""), Vec::<String>::new());
}

#[test]
fn an_arrow_that_is_not_in_the_diagram_is_found() {
    for (from, to) in [
        ("selfie-model", "selfie-data"),
        ("selfie-data", "selfie-model"),
        ("selfie-eval", "selfie-train"),
        ("selfie-ops", "selfie-model"),
        ("selfie-random", "selfie-ops"),
        ("xtask", "selfie-cli"),
        ("xtask", "candle-core"),
        ("selfie-data", "candle-nn"),
        ("selfie-random", "candle-core"),
    ] {
        let problems = arrow_problems(from, &format!("{to}.workspace = true"));
        assert_eq!(problems.len(), 1, "{from} → {to}: {problems:?}");
        assert!(problems[0].contains(from) && problems[0].contains(to), "{problems:?}");
    }
}

#[test]
fn an_arrow_is_found_in_every_table_and_under_every_name() {
    for spelling in [
        "[dev-dependencies]\nselfie-data = { path = \"../selfie-data\" }",
        "[build-dependencies]\nselfie-data.workspace = true",
        "[target.'cfg(unix)'.dependencies]\n\"selfie-data\" = \"0.1\"",
        "[dependencies.selfie-data]\nworkspace = true",
        "[dependencies.images]\npackage = \"selfie-data\"\nversion = \"0.1\"",
        "[target.'cfg(any(a.b))'.dependencies.selfie-data]\nversion = \"0.1\"",
        "images = { version = \"0.1\", package = \"selfie-data\" }",
        "selfie-data = { workspace = true, optional = true }",
    ] {
        assert_eq!(arrow_problems("selfie-model", spelling).len(), 1, "{spelling}");
    }
}

#[test]
fn features_and_comments_are_no_arrows() {
    assert!(arrow_problems("selfie-model", "# selfie-data = 1\n[features]\nx = [\"selfie-data/hub\"]").is_empty());
    assert!(arrow_problems("selfie-model", "[package.metadata]\nselfie-data = 1").is_empty());
}

#[test]
fn a_crate_outside_the_table_and_a_missing_crate_are_found() {
    let mut manifests = workspace("", "");
    manifests.retain(|m| m.name != "selfie-random");
    manifests.push(Manifest::parse("crates/new/Cargo.toml", "[package]\nname = \"selfie-new\""));
    let problems: Vec<String> = arrows::check(&manifests).iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("selfie-new") && problems[1].contains("selfie-random"), "{problems:?}");
}

fn map_problems(text: &str) -> Vec<String> {
    let files = ["README.md", "configs/cifar10.toml", "crates/selfie-ops/src/gemm.rs", "crates/selfie-ops/src/lib.rs"];
    let files: BTreeSet<String> = files.into_iter().map(String::from).collect();
    map::check(Some(text), &files, &[]).iter().map(ToString::to_string).collect()
}

#[test]
fn a_map_that_names_what_exists_is_right() {
    let text = "`crates/selfie-ops/src/gemm.rs`, `gemm.rs`, `src/gemm.rs`, `crates/selfie-ops/`, `src`, `README.md`,\n\
                `configs/<recipe>.toml`, `crates/*/src`, `cargo run --example a/b`, `runs/pretrain-cifar10-s0/run.json`,\n\
                `$SELFIE_DATA/<set>`, `https://example.org/a`, `[B, T, D]`, `selfie_ops::gemm`, `1/√D`\n\
                ```\nmissing/drawing.rs `not/a/path`\n```\n";
    assert_eq!(map_problems(text), Vec::<String>::new());
}

#[test]
fn a_path_that_does_not_exist_is_found_with_its_line() {
    for missing in [
        "crates/selfie-ops/src/conv.rs",
        "crates/selfie-op/",
        "conv.rs",
        "emm.rs",
        "src/lib/gemm.rs",
        "recipes/<recipe>.toml",
        "deny.toml",
        "docs/paper.md",
    ] {
        let problems = map_problems(&format!("# Map\n\nsee `README.md` and `{missing}`\n"));
        assert_eq!(problems.len(), 1, "{missing}: {problems:?}");
        assert!(problems[0].contains("line 3") && problems[0].contains(missing), "{problems:?}");
    }
}

#[test]
fn a_missing_map_and_a_missing_crate_are_found() {
    let files = BTreeSet::new();
    assert_eq!(map::check(None, &files, &[]).len(), 1);
    let text = "selfie-dataset, my-selfie-data, `selfie-ops`, [selfie-model](x)";
    let problems = map::check(Some(text), &files, &["selfie-data", "selfie-ops", "selfie-model"]);
    assert_eq!(problems, [Problem::new(MAP, "does not mention the crate selfie-data")]);
}

#[test]
fn a_long_rust_file_is_found() {
    assert!(rules::check_rust("a.rs", &"//\n".repeat(700)).is_empty());
    assert_eq!(rules::check_rust("a.rs", &"//\n".repeat(701)).len(), 1);
}

#[test]
fn unfinished_code_is_found_with_its_line() {
    for text in [concat!("to", "do!()"), concat!("un", "implemented!(\"x\")"), concat!("#[", "ignore = \"slow\"]")] {
        let problems = rules::check_rust("a.rs", &format!("fn f() {{\n    {text}\n}}\n"));
        assert_eq!(problems.len(), 1, "{text}");
        assert!(problems[0].to_string().contains("line 2"), "{}", problems[0]);
    }
}

#[test]
fn a_large_file_is_found() {
    assert!(rules::check_file("a.bin", &vec![0; 2 << 20]).is_empty());
    assert_eq!(rules::check_file("a.bin", &vec![0; (2 << 20) + 1]).len(), 1);
}

#[test]
fn weights_are_found_outside_the_tests_data() {
    for right in ["testdata/a.safetensors", "crates/selfie-model/tests/golden/a.safetensors"] {
        assert!(rules::check_file(right, b"").is_empty(), "{right}");
    }
    for wrong in ["a.safetensors", "crates/selfie-model/a.safetensors", "crates/selfie-model/src/tests/a.safetensors"] {
        assert_eq!(rules::check_file(wrong, b"").len(), 1, "{wrong}");
    }
}

#[test]
fn a_path_of_one_machine_is_found_with_its_line() {
    for text in [concat!("/wo", "rk/main"), concat!("/tm", "p/w/x")] {
        let problems = rules::check_file("README.md", format!("\n\nsee {text}").as_bytes());
        assert_eq!(problems.len(), 1, "{text}");
        assert!(problems[0].to_string().contains("line 3"), "{}", problems[0]);
    }
    assert!(rules::check_file("README.md", concat!("/wo", "rkflows/ci.yml").as_bytes()).is_empty());
}

#[test]
fn the_image_is_built_by_the_repositorys_toolchain() {
    let toolchain = "[toolchain]\nchannel = \"1.95.0\"\n";
    let problems = |dockerfile: &str| rules::check_dockerfile("Dockerfile", dockerfile, toolchain);
    assert!(problems("# comment\nARG RUST=1.95.0\nFROM rust:${RUST}\n").is_empty());
    for wrong in ["ARG RUST=1.94.0\n", "FROM rust:1.95.0\n"] {
        assert_eq!(problems(wrong).len(), 1, "{wrong}");
    }
}
