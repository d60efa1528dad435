//! `cargo xtask dist`: the program as it is published, the same bytes wherever it is built.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, exit_code, print, say, target_dir};

const HELP: &str = "\
Usage: cargo xtask dist [--twice]

Builds selfie for publishing and prints its path. No path of this machine is in it, so that the same sources, compiler and
features give the same bytes in any target folder. SELFIE_FEATURES names the features, as everywhere.

  --twice   build a second time, from nothing into another folder, and compare
";

/// Builds once, or twice and compares.
pub(crate) fn run(root: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let twice = match arguments {
        [] => false,
        [only] if only == "--twice" => true,
        [only] if only == "--help" || only == "-h" => {
            print(HELP)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => bail!("expected nothing or --twice, got {}", arguments.join(OsStr::new(" ")).display()),
    };
    let folder = target_dir(root).join("dist");
    let first = match build(root, &folder)? {
        Ok(binary) => binary,
        Err(code) => return Ok(code),
    };
    if twice {
        let elsewhere = target_dir(root).join("dist-again");
        if elsewhere.exists() {
            fs::remove_dir_all(&elsewhere).with_context(|| format!("cannot remove {}", elsewhere.display()))?;
        }
        let second = match build(root, &elsewhere)? {
            Ok(binary) => binary,
            Err(code) => return Ok(code),
        };
        let (a, b) = (read(&first)?, read(&second)?);
        if a != b {
            let n = a.iter().zip(&b).filter(|(a, b)| a != b).count() + a.len().abs_diff(b.len());
            say(&format!("{} and {} differ in {n} of {} bytes", first.display(), second.display(), a.len()));
            return Ok(ExitCode::FAILURE);
        }
        fs::remove_dir_all(&elsewhere).with_context(|| format!("cannot remove {}", elsewhere.display()))?;
        say(&format!("built twice, the same {} bytes", a.len()));
    }
    print(&format!("{}\n", first.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The binary, or how cargo ended.
fn build(root: &Path, folder: &Path) -> Result<Result<PathBuf, ExitCode>> {
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "-p", "selfie-cli", "--target-dir"]).arg(folder);
    if let Some(features) = env::var_os("SELFIE_FEATURES").filter(|features| !features.is_empty()) {
        command.arg("--features").arg(features);
    }
    let names = [(Some(root.to_owned()), "selfie"), (cargo_home(), "cargo"), (Some(folder.to_owned()), "target")];
    let (mut rust, mut c) = (Vec::new(), Vec::new());
    for (path, name) in names {
        let path = path.context("neither CARGO_HOME nor HOME is set")?;
        let path = path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?.to_owned();
        rust.push(format!("--remap-path-prefix={path}={name}"));
        c.push(format!("'-ffile-prefix-map={path}={name}'"));
    }
    // Not RUSTFLAGS, nor C flags without quotes, which a space in a path would cut.
    command.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"));
    command.env("CC_SHELL_ESCAPED_FLAGS", "1").env("CFLAGS", c.join(" "));
    let status = command.current_dir(root).status().context("cannot start cargo")?;
    if !status.success() {
        return Ok(Err(exit_code(status)));
    }
    Ok(Ok(folder.join("release").join(format!("selfie{}", env::consts::EXE_SUFFIX))))
}

/// Where the sources of the dependencies lie.
fn cargo_home() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
