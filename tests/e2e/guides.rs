//! Every command of the guides, of README.md and of CONTRIBUTING.md, with a network of milliseconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
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

/// What stands in a block of commands and is not run here, by its first words, and why.
const NOT_RUN: [(&str, &str); 12] = [
    ("cargo xtask demo", "takes minutes, which no option makes fewer"),
    ("cargo xtask ci", "runs this test"),
    ("cargo xtask tidy", "is a step of ci"),
    ("cargo xtask torture", "takes an hour or more"),
    ("cargo xtask fuzz", "takes an hour or more"),
    ("cargo xtask renew", "writes into the repository"),
    ("cargo xtask dist", "compiles everything anew"),
    ("cargo xtask bench peer", "needs PyTorch"),
    ("cargo test ", "is a part of ci"),
    ("cargo bench ", "measures, and compiles everything anew"),
    ("cargo run --release -p selfie-model ", "is built and run by `the_program_in_the_guide_is_the_example_and_runs`"),
    ("SELFIE_TEST_DEVICE=cuda ", "needs a GPU"),
];

/// Commands of `cargo xtask` that are not the program's.
const OF_XTASK: [&str; 7] = ["ci", "tidy", "torture", "fuzz", "renew", "dist", "bench peer"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The guides, by name.
fn guides() -> Vec<(String, String)> {
    let names = crate::program::names(&Path::new(ROOT).join("docs/guides"));
    names.into_iter().map(|name| (name.clone(), read(&format!("docs/guides/{name}")))).collect()
}

/// The lines of a page's code blocks of a language.
fn code<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let (mut lines, mut inside) = (Vec::new(), false);
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(fence) => inside = fence == language,
            None if inside => lines.push(line),
            None => {}
        }
    }
    lines
}

/// The commands in a page's blocks, without comments; a line that ends in a backslash goes on in the next.
fn commands(page: &str, language: &str) -> Vec<String> {
    let text = code(page, language).join("\n").replace("\\\n", " ");
    let commands =
        text.lines().map(|line| line.split_once(" #").map_or(line, |(command, _)| command).trim().to_owned());
    commands.filter(|command| !command.is_empty()).collect()
}

/// Pictures of two classes, no two of a class alike, in folders of a name and of a shorter side.
fn write_pictures(folder: &Folder, folders: &[(&str, u32)]) {
    for &(name, side) in folders {
        for class in ["cats", "dogs"] {
            fs::create_dir_all(folder.path(&format!("{name}/{class}"))).unwrap();
            for idx in 0..12 {
                let path = folder.path(&format!("{name}/{class}/{idx}.bmp"));
                fs::write(path, red_bmp(side + idx, side)).unwrap();
            }
        }
    }
    for name in ["one.bmp", "two.bmp"] {
        fs::write(folder.path(name), red_bmp(40, 40)).unwrap();
    }
}

/// Large ones, which take the short way through a 224-pixel recipe, and thumbnails.
const OF_THE_GUIDES: [(&str, u32); 2] = [("photos", 100), ("thumbnails", 40)];
const OF_THE_README: [(&str, u32); 2] = [("path/to/images", 100), ("path/to/imagenet", 100)];

/// A command of a page as the test runs it: the schedule's length, the number of seeds and the network are the test's.
fn shortened(arguments: &str) -> String {
    let own = ["--set model.width=16", "--set model.heads=8", "--set model.ffn=160", "--set batch=64"];
    let shortened = own.iter().fold(arguments.to_owned(), |text, own| text.replace(own, ""));
    let steps = ["--steps 2000", "--steps 500"];
    let shortened = steps.iter().fold(shortened, |text, steps| text.replace(steps, "--steps 3"));
    let others = [("--stop-after 200", "--stop-after 2"), ("--seeds 5", "--seeds 2"), ("--batch 128", "--batch 8")];
    others.iter().fold(shortened, |text, (written, run)| text.replace(written, run))
}

/// Runs the commands of a page, each where those before it ran; says how many.
fn run_commands(folder: &Folder, name: &str, page: &str) -> usize {
    let mut n_commands = 0;
    for line in commands(page, "sh") {
        if NOT_RUN.iter().any(|(words, _)| line.starts_with(words)) {
            continue;
        }
        let Some(arguments) = line.strip_prefix("cargo xtask ") else { panic!("{name}: what runs `{line}`?") };
        let arguments = shortened(arguments);
        let output = folder.command(&arguments).envs(SMALL).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: `{line}` as `{arguments}`: {stderr}");
        n_commands += 1;
    }
    n_commands
}

#[test]
fn every_command_of_the_guides_runs() {
    let mut n_commands = 0;
    for (name, guide) in guides() {
        let folder = Folder::new();
        write_pictures(&folder, &OF_THE_GUIDES);
        n_commands += run_commands(&folder, &name, &guide);
    }
    assert!(n_commands >= 20, "{n_commands} commands were found");
}

#[test]
fn every_command_of_the_readme_and_of_contributing_runs() {
    let folder = Folder::new();
    write_pictures(&folder, &OF_THE_README);
    // The least share of the labels on the page must have one of every class.
    fs::create_dir_all(folder.path("path/to/cifar10")).unwrap();
    for name in folder.names("cifar") {
        let images = folder.bytes(&format!("cifar/{name}")).repeat(5);
        fs::write(folder.path(&format!("path/to/cifar10/{name}")), images).unwrap();
    }
    let n_commands = ["README.md", "CONTRIBUTING.md"].map(|name| run_commands(&folder, name, &read(name)));
    assert!(n_commands[0] >= 8 && n_commands[1] >= 2, "{n_commands:?} commands were found");
}

#[test]
fn what_is_not_run_stands_on_a_page() {
    let mut pages: Vec<String> = guides().into_iter().map(|(_, page)| page).collect();
    pages.extend(["README.md", "CONTRIBUTING.md"].map(read));
    let commands: Vec<String> = pages.iter().flat_map(|page| commands(page, "sh")).collect();
    for (words, why) in NOT_RUN {
        assert!(commands.iter().any(|command| command.starts_with(words)), "no page has `{words}`, which {why}");
    }
}

/// What the program and `cargo xtask` say of their commands and options.
struct Helps {
    folder: Folder,
    /// By command: `data`, `data check`; empty for the list of commands.
    texts: BTreeMap<String, String>,
    /// All of xtask's source.
    xtask: String,
}

impl Helps {
    fn new() -> Self {
        let mut helps = Self { folder: Folder::new(), texts: BTreeMap::new(), xtask: String::new() };
        helps.add("");
        let mut folders = vec![Path::new(ROOT).join("xtask/src")];
        while let Some(folder) = folders.pop() {
            for path in crate::program::names(&folder).into_iter().map(|name| folder.join(name)) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    helps.xtask += &fs::read_to_string(path).unwrap();
                }
            }
        }
        helps
    }

    /// Adds what the program says of a command and of those below it.
    fn add(&mut self, command: &str) {
        let text = self.folder.run(&format!("{command} --help")).ends_with(0).stdout;
        self.texts.insert(command.to_owned(), text);
        for below in self.below(command) {
            self.add(format!("{command} {below}").trim());
        }
    }

    /// The commands below a command.
    fn below(&self, command: &str) -> Vec<String> {
        let list = self.texts[command].split_once("\nCommands:\n").map_or("", |(_, list)| list);
        let lines = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
        let names = lines.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
        names.filter(|name| *name != "help").map(str::to_owned).collect()
    }

    /// Whether a piece of code that a page names is a command or an option that there is; `None` if it is neither.
    fn check(&self, code: &str) -> Option<Result<(), String>> {
        let words: Vec<&str> = code.split_whitespace().collect();
        let (words, named) = match words.as_slice() {
            ["cargo", "xtask", words @ ..] | ["selfie", words @ ..] => (words, true),
            words => (words, false),
        };
        let [first, others @ ..] = words else { return None };
        let two = others.first().map(|second| format!("{first} {second}"));
        let is_of_xtask = OF_XTASK.contains(first) || two.as_ref().is_some_and(|two| OF_XTASK.contains(&two.as_str()));
        let text_of_two = two.as_ref().and_then(|two| self.texts.get(two));
        let texts: Vec<&str> = if named && is_of_xtask {
            vec![self.xtask.as_str()]
        } else if let Some(text) = text_of_two.or_else(|| self.texts.get(*first)) {
            if let (Some(two), None, false) = (two, text_of_two, self.below(first).is_empty()) {
                return Some(Err(format!("there is no command {two}")));
            }
            vec![text.as_str()]
        } else if first.starts_with("--") {
            self.texts.values().chain([&self.xtask]).map(String::as_str).collect()
        } else if named && *first != "X" {
            return Some(Err(format!("there is no command {first}")));
        } else {
            return None;
        };
        let has = |option: &&str| texts.iter().any(|text| text.split(not_of_a_word).any(|word| word == *option));
        let missing: Vec<&str> = words.iter().filter_map(|word| option(word)).filter(|option| !has(option)).collect();
        Some(if missing.is_empty() { Ok(()) } else { Err(format!("there is no option {}", missing.join(", "))) })
    }
}

fn not_of_a_word(letter: char) -> bool {
    !letter.is_ascii_alphanumeric() && letter != '-'
}

/// `--fractions` of `[--fractions=F]`.
fn option(word: &str) -> Option<&str> {
    let word = word.trim_start_matches('[');
    word.split(not_of_a_word).next().filter(|option| option.starts_with("--"))
}

/// What stands between backticks in a page's text.
fn named(page: &str) -> Vec<String> {
    let blocks: Vec<&str> = page.split("```").collect();
    let text = blocks.iter().step_by(2).copied().collect::<Vec<_>>().join("\n");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_command_and_option_that_a_page_names_is_there() {
    let helps = Helps::new();
    let mut pages = guides();
    let others = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/paper.md", "docs/reliability.md"];
    pages.extend(others.map(|name| (name.to_owned(), read(name))));
    let (mut n_checked, mut problems) = (0, Vec::new());
    for (name, page) in pages {
        let blocks = ["sh", "text"].map(|language| commands(&page, language)).concat();
        for code in named(&page).into_iter().chain(blocks) {
            let Some(checked) = helps.check(&code) else { continue };
            n_checked += 1;
            problems.extend(checked.err().map(|problem| format!("{name}: `{code}`: {problem}")));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(n_checked > 150, "{n_checked} were found");
    for wrong in
        ["cargo xtask pretend", "data chek", "study --fraction 0.1", "--sets", "cargo xtask bench peer --sweet"]
    {
        assert!(matches!(helps.check(wrong), Some(Err(_))), "`{wrong}` is taken for right");
    }
}

/// The example, built as the tests were: where they were, by their profile and with the whole workspace's features, so
/// that nothing else is compiled anew.
fn similarity() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_selfie")).parent().unwrap();
    let profile = match built.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let built_example = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--locked", "--workspace", "--example", "similarity"])
        .args(["--profile", profile, "--target-dir"])
        .arg(built.parent().unwrap())
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(built_example.status.success(), "{}", String::from_utf8_lossy(&built_example.stderr));
    built.join("examples/similarity")
}

#[test]
fn the_program_in_the_guide_is_the_example_and_runs() {
    let guide = read("docs/guides/in-a-program.md");
    assert_eq!(code(&guide, "rust").join("\n"), read("crates/selfie-model/examples/similarity.rs").trim_end());

    let program = similarity();
    let folder = Folder::new();
    write_pictures(&folder, &[]);
    folder.run("pretrain tiny.toml --data cifar --out run").ends_with(0);
    let paths = ["run/weights.safetensors", "one.bmp", "two.bmp"].map(|name| folder.path(name));
    let output = Command::new(&program).args(paths).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1.0000", "{output:?}");
}

#[test]
fn the_program_in_the_readme_is_the_one_that_rustdoc_compiles() {
    let source = read("crates/selfie-model/src/lib.rs");
    let doc: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let doc = doc.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let shown: Vec<&str> = code(&doc, "rust").into_iter().filter(|line| !line.starts_with("# ")).collect();
    assert!(shown.len() > 3, "no example in the crate's doc");
    assert_eq!(code(&read("README.md"), "rust"), shown);
}
