//! The loss of every step of two small runs in portable arithmetic, the same on every machine.
//!
//! `cargo xtask renew` writes these files anew, on purpose.

use std::path::Path;

use crate::program::Folder;

/// `name` beside this file; written where the environment asks for it, else compared.
pub(crate) fn compare_or_renew(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/golden").join(name);
    if std::env::var_os("SELFIE_RENEW").is_some() {
        std::fs::write(&path, got).unwrap();
        println!("renewed {}", path.display());
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (number, (expected, got)) in expected.lines().zip(got.lines()).enumerate() {
        assert_eq!(expected, got, "line {} of {name}: `cargo xtask renew` if that is meant", number + 1);
    }
    assert_eq!(expected.lines().count(), got.lines().count(), "{name}");
}

/// `step loss grad_norm` lines of a run, each number in as many digits as make it exact.
fn trace(folder: &Folder, command: &str) -> String {
    let output = folder.command(&format!("{command} --out run -q")).env("SELFIE_ISA", "portable").output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = folder
        .metrics("run")
        .into_iter()
        .map(|line| format!("{} {} {}\n", line["step"], line["loss"], line["grad_norm"]));
    let trace = lines.collect();
    std::fs::remove_dir_all(folder.path("run")).unwrap();
    trace
}

#[test]
fn two_hundred_pretraining_and_fine_tuning_losses_are_the_recorded_ones() {
    let folder = Folder::new();
    let options = "--data cifar --steps 200 --set clip_norm=1.0 --set ema_decay=0.99";
    let pretraining = trace(&folder, &format!("pretrain tiny.toml {options}"));
    let tuning = format!(
        "finetune tiny.toml {options} --fraction 0.5 --from scratch --set optimizer=adamw --set learning_rate=0.001"
    );
    compare_or_renew("pretrain-losses.txt", &pretraining);
    compare_or_renew("finetune-losses.txt", &trace(&folder, &tuning));
}
