//! What every mistake is answered with: message, cause, what to do and exit code, as one file.
//!
//! `cargo xtask renew` writes it anew, on purpose.

use std::fs;

use crate::golden::compare_or_renew;
use crate::mistakes::{OF_CONFIGURATION, OF_INPUT, OF_USAGE};
use crate::program::Folder;

/// Mistakes that need a run to be made with.
const WITH_A_RUN: [&str; 14] = [
    "pretrain tiny.toml --data cifar --out run --set batch=4 --set model.width=4 --seed 2 -q",
    "pretrain tiny.toml --data cifar --out run --set batch=4 --seed 2 --allow-change batch -q",
    "pretrain tiny.toml --data cifar --out run --set model.width=4 --allow-change width -q",
    "pretrain tiny.toml --data cifar --out run --set optimizer=adamw --allow-change pretrain.optimizer -q",
    "finetune tiny.toml --data cifar --fraction 0.5 --from scratch --out run -q",
    "pretrain tiny.toml --data cifar --out cifar -q",
    "finetune tiny.toml --data cifar --fraction 0.5 --from run --out other",
    "finetune tiny.toml --data cifar --fraction 0.5 --from pretrained --set model.width=4 --out other",
    "predict pretrained red.bmp",
    "pretrain tiny.toml --data cifar --out diverging --set learning_rate=1e30 -q",
    "pretrain tiny.toml --data cifar --out diverging --set learning_rate=1e30 --set on_non_finite=skip --allow-change on_non_finite -q",
    "pretrain tiny.toml --data cifar --out damaged -q",
    "replay pretrained/weights.safetensors",
    "checkpoint diff pretrained nowhere",
];

#[test]
fn every_error_message_and_exit_code_is_the_recorded_one() {
    let folder = Folder::new();
    fs::write(folder.path("broken.toml"), "[pretrain]\nbatch = = 8\n").unwrap();
    fs::write(folder.path("red.bmp"), crate::program::red_bmp(32, 32)).unwrap();
    folder.run("pretrain tiny.toml --data cifar --out run --stop-after 10").ends_with(0);
    folder.run("pretrain tiny.toml --data cifar --out pretrained --steps 5").ends_with(0);
    folder.run("pretrain tiny.toml --data cifar --out damaged --stop-after 10").ends_with(0);
    for (step, file) in [(5, "optimizer.safetensors"), (10, "weights.safetensors")] {
        let file = format!("damaged/checkpoints/step-{step:08}/{file}");
        let mut bytes = folder.bytes(&file);
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(folder.path(&file), bytes).unwrap();
    }
    let mistakes = OF_USAGE.into_iter().chain(OF_CONFIGURATION).chain(OF_INPUT).map(|(command, _, _)| command);
    let (mut text, here) = (String::new(), folder.path("").display().to_string());
    for command in mistakes.chain(WITH_A_RUN) {
        let ran = folder.run(command);
        let code = ran.code.unwrap();
        assert_ne!(code, 0, "selfie {command}");
        let stderr = timeless(&ran.stderr).replace(&here, "FOLDER/");
        text.push_str(&format!("$ selfie {command}\n{stderr}[{code}]\n\n"));
    }
    compare_or_renew("errors.txt", &text);
}

/// Hashes differ with the machine's arithmetic.
fn timeless(stderr: &str) -> String {
    let is_hash = |word: &str| word.len() >= 64 && word.chars().all(|letter| letter.is_ascii_hexdigit());
    let word =
        |word: &str| if is_hash(word.trim_end_matches([',', ':', ';'])) { "HASH".to_owned() } else { word.to_owned() };
    let lines = stderr.lines().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n");
    lines.collect()
}
