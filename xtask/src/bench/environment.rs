//! The Python environment of the peer: made once from PyPI, in the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::say;

/// What the peers import; PyTorch warns at every start where numpy is missing, and torchvision brings Pillow.
const PACKAGES: [&str; 3] = ["torch", "numpy", "torchvision"];
/// Written last, with the packages in it, so that an installation that was interrupted, or lacks one, is taken up again.
const READY: &str = "ready";

/// The interpreter of the named environment, or of the one in `target`, which is made if it is not there.
pub(super) fn python(named: Option<&Path>, target: &Path) -> Result<PathBuf> {
    if let Some(dir) = named {
        let python = interpreter(dir);
        if !python.exists() {
            bail!("--peer-env {}: expected a Python environment, there is no {}", dir.display(), python.display());
        }
        return Ok(std::path::absolute(python)?);
    }
    let dir = target.join("peer-env");
    let python = interpreter(&dir);
    let packages = PACKAGES.join(", ");
    if fs::read_to_string(dir.join(READY)).unwrap_or_default() != packages {
        say(&format!("xtask: making a Python environment with {packages} in {}", dir.display()));
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        run(Command::new(&python).args(["-m", "pip", "install"]).args(PACKAGES))?;
        fs::write(dir.join(READY), &packages).with_context(|| format!("cannot write into {}", dir.display()))?;
    }
    Ok(python)
}

fn interpreter(dir: &Path) -> PathBuf {
    if cfg!(windows) { dir.join("Scripts/python.exe") } else { dir.join("bin/python") }
}

/// Standard output is the table's alone: what the command says goes nowhere, its errors to standard error.
fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{command:?} failed: {status}; mend it, or name an environment that has torch with --peer-env");
    }
    Ok(())
}
