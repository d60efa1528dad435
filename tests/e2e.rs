//! The `selfie` program as a user drives it: commands, run folders, exit codes, signals, damage and full disks.
//!
//! Most tests train a tiny network on a made-up CIFAR-10 folder of a few images: a run takes a fraction of a second and
//! its figures mean nothing. What is learnt is tested in selfie-train.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy takes for code outside tests"
)]

#[path = "e2e/commands.rs"]
mod commands;
#[path = "e2e/damage.rs"]
mod damage;
#[path = "e2e/datasets.rs"]
mod datasets;
#[path = "e2e/disk.rs"]
mod disk;
#[path = "e2e/embeddings.rs"]
mod embeddings;
#[path = "e2e/errors.rs"]
mod errors;
#[path = "e2e/golden.rs"]
mod golden;
#[path = "e2e/guides.rs"]
mod guides;
#[path = "e2e/memory.rs"]
mod memory;
#[path = "e2e/mistakes.rs"]
mod mistakes;
#[path = "e2e/network.rs"]
mod network;
#[path = "e2e/page.rs"]
mod page;
#[path = "e2e/program.rs"]
mod program;
#[path = "e2e/resume.rs"]
mod resume;
#[path = "e2e/signals.rs"]
mod signals;
#[path = "e2e/soak.rs"]
mod soak;
#[path = "e2e/study.rs"]
mod study;
#[path = "e2e/torture.rs"]
mod torture;
#[path = "e2e/watch.rs"]
mod watch;
