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
    stat_field(&std::fs::read_to_string("/proc/self/stat").ok()?, MINOR_FAULTS)
}

/// Time that this process's threads have computed so far, s, in steps of a hundredth; `None` where the system does not say.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = stat_field(&stat, USER_TICKS)? + stat_field(&stat, SYSTEM_TICKS)?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

/// Memory of this process that no file backs, MiB: what maps of data sets do not count in. `None` where the system does not say.
#[must_use]
pub fn anonymous_mib() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "RssAnon").and_then(mebibytes)
}

/// Fields of `/proc/self/stat`, numbered as in proc(5).
const MINOR_FAULTS: usize = 10;
const USER_TICKS: usize = 14;
const SYSTEM_TICKS: usize = 15;
/// Of Linux on every processor, for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// A field from the third on; the second is the program's name in brackets, which may hold anything.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(number - 3)?.parse().ok()
}
