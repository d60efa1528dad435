//! Every command of the guides, with a network of milliseconds.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::program::{Folder, red_bmp};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// As small as `tiny.toml`, below what a command sets itself.
const SMALL: [(&str, &str); 11] = [
    ("SELFIE_MODEL_WIDTH", "2"),
    ("SELFIE_MODEL_DEPTHS", "[1, 1, 1, 1]"),
    ("SELFIE_MODEL_HEADS", "2"),
    ("SELFIE_MODEL_FFN", "8"),
    ("SELFIE_MODEL_LAYERS", "1"),
    ("SELFIE_PRETRAIN_STEPS", "3"),
    ("SELFIE_PRETRAIN_BATCH", "4"),
    ("SELFIE_PRETRAIN_MICRO_BATCH", "0"),
    ("SELFIE_FINETUNE_STEPS", "3"),
    ("SELFIE_FINETUNE_BATCH", "4"),
    ("SELFIE_FINETUNE_MICRO_BATCH", "0"),
];

/// The guides, by name.
fn guides() -> Vec<(String, String)> {
    let folder = Path::new(ROOT).join("docs/guides");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut guides: Vec<_> = names.map(|name| (name.clone(), fs::read_to_string(folder.join(name)).unwrap())).collect();
    guides.sort();
    guides
}

/// The lines of a guide's code blocks of a language.
fn code<'a>(guide: &'a str, language: &str) -> Vec<&'a str> {
    let (mut lines, mut inside) = (Vec::new(), false);
    for line in guide.lines() {
        match line.strip_prefix("```") {
            Some(fence) => inside = fence == language,
            None if inside => lines.push(line),
            None => {}
        }
    }
    lines
}

/// Pictures of two classes, no two alike: large ones that take the short way through a 224-pixel recipe, and thumbnails.
fn write_pictures(folder: &Folder) {
    for (name, side, n) in [("photos", 100, 12), ("thumbnails", 40, 12)] {
        for class in ["cats", "dogs"] {
            fs::create_dir_all(folder.path(&format!("{name}/{class}"))).unwrap();
            for idx in 0..n {
                let path = folder.path(&format!("{name}/{class}/{idx}.bmp"));
                fs::write(path, red_bmp(side + idx, side)).unwrap();
            }
        }
    }
    for name in ["one.bmp", "two.bmp"] {
        fs::write(folder.path(name), red_bmp(40, 40)).unwrap();
    }
}

/// A command of a guide as the test runs it: the schedule's length and the network are the test's.
fn shortened(arguments: &str) -> String {
    let own = ["--set model.width=16", "--set model.heads=8", "--set model.ffn=160", "--set batch=64"];
    let shortened = own.iter().fold(arguments.to_owned(), |text, own| text.replace(own, ""));
    let steps = ["--steps 2000", "--steps 500"];
    let shortened = steps.iter().fold(shortened, |text, steps| text.replace(steps, "--steps 3"));
    shortened.replace("--stop-after 200", "--stop-after 2")
}

#[test]
fn every_command_of_the_guides_runs() {
    let mut n_commands = 0;
    for (name, guide) in guides() {
        let folder = Folder::new();
        write_pictures(&folder);
        for line in code(&guide, "sh") {
            let Some(arguments) = line.strip_prefix("cargo xtask ") else {
                assert!(line.starts_with("cargo run --release -p selfie-model"), "{name}: what runs `{line}`?");
                continue;
            };
            let arguments = shortened(arguments);
            let output = folder.command(&arguments).envs(SMALL).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{name}: `{line}` as `{arguments}`: {stderr}");
            n_commands += 1;
        }
    }
    assert!(n_commands >= 20, "{n_commands} commands were found");
}

#[test]
fn the_program_in_the_guide_is_the_example_and_runs() {
    let example = fs::read_to_string(Path::new(ROOT).join("crates/selfie-model/examples/similarity.rs")).unwrap();
    let (_, guide) = guides().into_iter().find(|(name, _)| name == "in-a-program.md").unwrap();
    assert_eq!(code(&guide, "rust").join("\n"), example.trim_end());

    let program = Path::new(env!("CARGO_BIN_EXE_selfie")).with_file_name("examples").join("similarity");
    if !program.is_file() {
        println!("skipped: examples were not built with the tests");
        return;
    }
    let folder = Folder::new();
    write_pictures(&folder);
    folder.run("pretrain tiny.toml --data cifar --out run").ends_with(0);
    let run = |first: &str, second: &str| {
        let paths = ["run/weights.safetensors", first, second].map(|name| folder.path(name));
        String::from_utf8(Command::new(&program).args(paths).output().unwrap().stdout).unwrap()
    };
    assert_eq!(run("one.bmp", "two.bmp").trim(), "1.0000");
}
