//! Which features `selfie` is built with: what the arguments ask for and what the machine has.
//!
//! The binary itself decides which device it runs on; a device this module does not know is left to its error message.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

#[cfg(test)]
mod tests;

/// What the machine has, as far as building a backend goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) nvidia_device: bool,
    pub(crate) nvcc: bool,
    pub(crate) macos: bool,
}

/// What the arguments and the environment ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) device: Option<String>,
    pub(crate) fetch: bool,
    pub(crate) hub: bool,
    /// `SELFIE_FEATURES`, which goes before everything else.
    pub(crate) features: Option<String>,
}

/// The features to build with, and the reason in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) features: Vec<String>,
    pub(crate) backend: &'static str,
    pub(crate) reason: &'static str,
}

impl Machine {
    /// Looks where candle's and cudarc's build scripts look.
    pub(crate) fn probe() -> Self {
        Self { nvidia_device: has_nvidia_device(), nvcc: has_nvcc(), macos: cfg!(target_os = "macos") }
    }
}

impl Request {
    pub(crate) fn from_environment(arguments: &[OsString]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        let arguments: Vec<&str> = arguments.iter().map(|a| &**a).collect();
        Self {
            device: option(&arguments, "--device").or_else(|| env::var("SELFIE_DEVICE").ok()),
            fetch: needs_fetch(&arguments),
            hub: needs_hub(&arguments),
            features: env::var("SELFIE_FEATURES").ok(),
        }
    }
}

/// # Errors
///
/// If a backend is asked for by name and cannot be built here.
pub(crate) fn choose(request: &Request, machine: Machine) -> Result<Choice> {
    if let Some(features) = &request.features {
        let features: Vec<String> = features.split([',', ' ']).filter(|f| !f.is_empty()).map(String::from).collect();
        return Ok(Choice { backend: backend_of(&features), features, reason: "as SELFIE_FEATURES says" });
    }
    let (backend, reason) = choose_backend(request.device.as_deref(), machine)?;
    let mut features = Vec::new();
    if backend != "cpu" {
        features.push(backend.to_owned());
    }
    if request.hub {
        features.push("hub".to_owned());
    } else if request.fetch {
        features.push("fetch".to_owned());
    }
    Ok(Choice { features, backend, reason })
}

fn choose_backend(device: Option<&str>, machine: Machine) -> Result<(&'static str, &'static str)> {
    match device {
        Some("cpu") => Ok(("cpu", "as asked")),
        Some(device) if device == "cuda" || device.starts_with("cuda:") => {
            if !machine.nvcc {
                bail!(
                    "--device {device}: building for CUDA needs nvcc, which is in neither NVCC, PATH, CUDA_HOME/bin nor \
                     /usr/local/cuda/bin: install the CUDA toolkit, name it in CUDA_HOME, or use --device cpu"
                );
            }
            Ok(("cuda", "as asked"))
        }
        Some("metal") => {
            if !machine.macos {
                bail!("--device metal: Metal exists on macOS only: use --device cpu or --device cuda");
            }
            Ok(("metal", "as asked"))
        }
        _ if machine.nvidia_device && machine.nvcc => Ok(("cuda", "there are an NVIDIA device and nvcc")),
        _ if machine.nvidia_device => {
            Ok(("cpu", "there is an NVIDIA device but no nvcc: install the CUDA toolkit to use it"))
        }
        _ if machine.macos => Ok(("metal", "this is macOS")),
        _ => Ok(("cpu", "there is no NVIDIA device")),
    }
}

fn backend_of(features: &[String]) -> &'static str {
    let has = |name: &str| features.iter().any(|f| f == name);
    if has("cuda") {
        "cuda"
    } else if has("metal") {
        "metal"
    } else {
        "cpu"
    }
}

/// The value of `--name value` or `--name=value`; of several, the last.
fn option(arguments: &[&str], name: &str) -> Option<String> {
    let mut value = None;
    for (i, argument) in arguments.iter().enumerate() {
        if *argument == name {
            value = arguments.get(i + 1).map(|v| (*v).to_owned());
        } else if let Some(v) = argument.strip_prefix(name).and_then(|v| v.strip_prefix('=')) {
            value = Some(v.to_owned());
        }
    }
    value
}

fn needs_fetch(arguments: &[&str]) -> bool {
    arguments.windows(2).any(|pair| pair == ["data", "fetch"])
}

/// ImageNet is to be had from the hub alone.
fn needs_hub(arguments: &[&str]) -> bool {
    let from_hub_alone = |name: &&str| ["imagenet32", "imagenet224"].contains(name);
    matches!(arguments.first(), Some(&("push" | "pull")))
        || (needs_fetch(arguments) && arguments.iter().any(from_hub_alone) && option(arguments, "--url").is_none())
        || arguments.contains(&"--hub")
        || arguments.iter().any(|argument| argument.starts_with("hub:"))
        || option(arguments, "--data").is_some_and(|data| data.starts_with("hub:"))
}

fn has_nvidia_device() -> bool {
    // Hiding every device is how a user says "not the GPU" to all CUDA programs.
    let hidden = env::var("CUDA_VISIBLE_DEVICES").is_ok_and(|v| v.is_empty() || v == "-1");
    let present = ["/dev/nvidiactl", "/dev/nvidia0", "/usr/lib/wsl/lib/libcuda.so.1"];
    !hidden && present.iter().any(|path| Path::new(path).exists())
}

fn has_nvcc() -> bool {
    let nvcc = format!("nvcc{}", env::consts::EXE_SUFFIX);
    let from_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let from_roots = cuda_roots().into_iter().map(|root| root.join("bin"));
    env::var_os("NVCC").is_some_and(|path| Path::new(&path).is_file())
        || from_path.unwrap_or_default().into_iter().chain(from_roots).any(|dir| dir.join(&nvcc).is_file())
}

fn cuda_roots() -> Vec<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let usual = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda"].into_iter().map(PathBuf::from);
    named.chain(usual).collect()
}
