//! The two loops, and studies of them, on a few drawn images: they learn, and what was interrupted ends with the bytes of what was not.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code outside tests")]

#[path = "../../../../tests/support/device.rs"]
mod device;
mod faults;
mod flips;
mod learns;
mod resume;
mod study;

use std::path::Path;

use device::device;
use selfie_data::{DataSet, shapes32};
use selfie_eval::record::{Split, Task};
use selfie_train::config::{Base, Overrides, Resolved, resolve};
use selfie_train::finetune::{self, Labels};
use selfie_train::progress::Mode;
use selfie_train::session::{Ended, Session};
use selfie_train::{NumberType, pretrain};

/// A network that takes milliseconds a step.
pub(crate) const SMALL: [&str; 11] = [
    "data.set=shapes32",
    "data.flip=false",
    "warmup_steps=10",
    "model.width=4",
    "model.depths=[1,1,1,1]",
    "model.heads=2",
    "model.ffn=32",
    "model.layers=1",
    "loader.workers=0",
    "data.pad=0",
    "batch=8",
];

pub(crate) fn configuration(task: Task, set: &[&str]) -> Resolved {
    let set = SMALL.iter().chain(set).map(|text| (*text).to_owned()).collect();
    let overrides = Overrides { set, ..Overrides::default() };
    resolve(task, &Base::Defaults, &overrides).unwrap()
}

pub(crate) fn images(n_train: usize) -> DataSet {
    shapes32::draw(n_train, 20)
}

pub(crate) fn session(out: &Path, stop_after: Option<u64>) -> Session {
    let (out, device) = (out.to_owned(), device().clone());
    Session {
        out,
        data_dir: None,
        seed: 1,
        stop_after,
        device,
        number_type: NumberType::F32,
        progress: Mode::Quiet,
        signals: None,
        allow_change: Vec::new(),
        inject: Vec::new(),
    }
}

/// Trains from scratch in `out`, from where the folder stands.
pub(crate) fn train(resolved: &Resolved, task: Task, data: &DataSet, session: &Session) -> Ended {
    let labels = Labels { fraction: 1.0, subset: None, pretrained: None, split: Split::Test };
    match task {
        Task::Pretrain => pretrain::run(resolved, data, session).unwrap(),
        Task::Finetune => finetune::run(resolved, data, &labels, session).unwrap(),
    }
}
