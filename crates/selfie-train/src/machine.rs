//! The machine a run starts on, as its record describes it.

use std::thread::available_parallelism;

use selfie_eval::record::Machine;

use crate::TrainError;
use crate::config::Source;

#[cfg(test)]
mod tests;

/// Describes this machine. What the system does not tell is `unknown` or `None`; only Linux tells processor and memory.
#[must_use]
pub fn describe() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Machine {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned(),
        n_cores: available_parallelism().map_or(1, usize::from),
        memory_mib: field(&read("/proc/meminfo"), "MemTotal").and_then(mebibytes),
    }
}

/// Refuses a `SELFIE_ISA` that names no instruction set of this processor.
///
/// # Errors
///
/// [`TrainError::BadValue`], naming those there are.
pub fn check_instruction_set() -> Result<(), TrainError> {
    let there = selfie_ops::instruction_sets();
    let got = std::env::var_os("SELFIE_ISA").unwrap_or_default().to_string_lossy().into_owned();
    if got.is_empty() || there.contains(&got.as_str()) {
        return Ok(());
    }
    Err(TrainError::BadValue {
        key: "instruction set".to_owned(),
        origin: Source::Environment("SELFIE_ISA".to_owned()),
        expected: format!("one of {} on this processor", there.join(", ")),
        got,
    })
}

/// This machine's name; only Linux tells it.
#[must_use]
pub fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "this machine".to_owned() } else { name.trim().to_owned() }
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

fn mebibytes(kibibytes: &str) -> Option<u64> {
    kibibytes.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes / 1024)
}

/// The largest resident memory this process has had, MiB; 0 where the system does not say.
#[must_use]
pub fn peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmHWM").and_then(mebibytes).unwrap_or(0)
}

/// Pages that the system has brought in for this process so far, without reading a disk; `None` where it does not say.
#[must_use]
pub fn page_faults() -> Option<u64> {
    minor_faults(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// The tenth field of `/proc/self/stat`; the second is the program's name in brackets, which may hold anything.
fn minor_faults(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(7)?.parse().ok()
}
