//! What a measurement's record says about where and when it was made.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

/// The sets of instructions that the peer or ours has kernels for.
const INSTRUCTIONS: [&str; 4] = ["avx2", "avx512f", "avx512_bf16", "amx_bf16"];

/// `two cores of …`, with the instructions it has; only Linux tells the processor.
pub(super) fn describe() -> String {
    let cores = available_parallelism().map_or(1, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    format!("{} ({cores} cores)", processor(&cpuinfo))
}

/// As [`describe`], and the GPU before it where that computes.
pub(super) fn describe_with(device: &str) -> String {
    if device == "cpu" {
        return describe();
    }
    let query = ["--query-gpu=name", "--format=csv,noheader", "--id=0"];
    match Command::new("nvidia-smi").args(query).output() {
        Ok(output) if output.status.success() => {
            format!("{}, {}", String::from_utf8_lossy(&output.stdout).trim(), describe())
        }
        _ => format!("unknown GPU, {}", describe()),
    }
}

/// The first processor of `/proc/cpuinfo`.
pub(super) fn processor(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    let model =
        field("model name").map_or_else(|| format!("unknown {} processor", std::env::consts::ARCH), String::from);
    let flags: Vec<&str> = field("flags").unwrap_or_default().split_whitespace().collect();
    let has: Vec<&str> = INSTRUCTIONS.into_iter().filter(|name| flags.contains(name)).collect();
    if has.is_empty() { model } else { format!("{model}, {}", has.join(" ")) }
}

/// Today in UTC, `2026-11-24`.
pub(super) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date(seconds / 86_400)
}

/// The date of a day counted from 1970-01-01.
pub(super) fn date(day: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut day) = (1970, day);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, day + 1)
}
