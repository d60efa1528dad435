//! A configuration: a TOML file's text, then every line of it as `--set`, up to the plans.
#![no_main]

use selfie_eval::record::Task;
use selfie_train::config::{Base, Overrides, resolve};
use selfie_train::plan::{FinetunePlan, PretrainPlan, Request};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let path = std::env::temp_dir().join(format!("selfie-fuzz-{}.toml", std::process::id()));
    std::fs::write(&path, text).expect("the folder of temporary files is writable");
    let lines = Overrides { set: text.lines().map(str::to_owned).collect(), ..Overrides::default() };
    let layers = [(Base::File(path), Overrides::default()), (Base::Defaults, lines)];
    for (base, overrides) in &layers {
        for task in [Task::Pretrain, Task::Finetune] {
            let Ok(resolved) = resolve(task, base, overrides) else { continue };
            let request = Request { n_examples: 100, seed: 1, stop_after: None };
            let _ = PretrainPlan::new(&resolved, request);
            let _ = FinetunePlan::new(&resolved, request, 0.5);
        }
    }
});
