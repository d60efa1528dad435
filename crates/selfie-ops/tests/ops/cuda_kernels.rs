//! CUDA's kernels without a GPU: `tests/cuda` compiles them as C++ and runs their blocks thread by thread.

use selfie_random::{DropoutKey, Purpose};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// `tests/cuda/kernels.cpp` as a program, or why there is none here.
fn compiled(name: &str, definitions: &[&str]) -> Result<String, String> {
    if !cfg!(target_os = "linux") {
        return Err("the coroutines of tests/cuda are Linux's".to_owned());
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).display().to_string();
    let purpose = format!("-DPURPOSE_DROPOUT={}u", Purpose::Dropout as u32);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda/kernels.cpp");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let mut command = Command::new(&compiler);
    command.args(["-std=c++17", "-O1", "-w", &purpose]).args(definitions).args(["-o", &program, source]);
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(program)
        }
        Err(error) => Err(format!("no C++ compiler, {compiler}: {error}")),
    }
}

/// What the program answers to `input`; it ends with an error where a check fails.
fn run(program: &str, input: &str) -> String {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn n_checks(said: &str) -> usize {
    said.strip_suffix(" checks\n").unwrap().parse().unwrap()
}

/// Keep decisions as the program reads them.
fn dropout(key: DropoutKey, p: f64, first: u64) -> String {
    let mut kept = [false; 64];
    key.keep_mask(p, first, &mut kept);
    let kept: String = kept.iter().map(|&kept| if kept { '1' } else { '0' }).collect();
    let below = DropoutKey::drop_below(p).unwrap();
    format!("{} {} {} {below} {first} {kept}\n", key.seed, key.step, key.layer)
}

/// The names of the kernels in a source.
fn kernels(source: &str) -> Vec<String> {
    let word = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
    let mut names = Vec::new();
    for line in source.lines().filter(|line| !line.contains("##") && !line.contains("void name(")) {
        if let Some(rest) = line.strip_prefix("FOR_PACKS(") {
            names.extend(["single", "wide"].map(|pack| format!("{}_{pack}", word(rest))));
        } else if let Some(rest) = line.strip_prefix("RULE(") {
            names.push(word(rest));
        } else if let Some((_, rest)) = line.split_once("__global__ void ") {
            names.push(word(rest.strip_prefix("__launch_bounds__(1024) ").unwrap_or(rest)));
        }
    }
    names
}

#[test]
fn every_kernel_of_cuda_is_checked_without_a_gpu() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checks = std::fs::read_to_string(folder.join("tests/cuda/kernels.cpp")).unwrap();
    let checked = |name: &str| checks.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
    let mut n_kernels = 0;
    for file in std::fs::read_dir(folder.join("src/cuda/kernels")).unwrap() {
        for name in kernels(&std::fs::read_to_string(file.unwrap().path()).unwrap()) {
            assert!(checked(&name), "{name} is in no check of tests/cuda/kernels.cpp");
            n_kernels += 1;
        }
    }
    assert!(n_kernels > 50, "{n_kernels} kernels were found");
}

#[test]
fn kernels_of_cuda_are_as_defined_have_exact_gradients_and_draw_the_same_dropout() {
    let program = match compiled("cuda_kernels", &[]) {
        Ok(program) => program,
        Err(why) => return eprintln!("passed over: {why}"),
    };
    let keys = [DropoutKey { seed: 7, step: 3, layer: 2 }, DropoutKey { seed: u64::MAX - 5, step: u32::MAX, layer: 8 }];
    let lines = keys.map(|key| dropout(key, 0.1, 0) + &dropout(key, 0.5, 1 << 35) + &dropout(key, 0.9, 13));
    let said = run(&program, &lines.concat());
    assert!(n_checks(&said) > 80_000, "{said}");
}

#[test]
fn kernels_of_cuda_on_bf16_maps_are_as_defined() {
    match compiled("cuda_kernels_bf16", &["-DSUM=float", "-DSTORED_BF16"]) {
        Ok(program) => assert!(n_checks(&run(&program, "")) > 200_000),
        Err(why) => eprintln!("passed over: {why}"),
    }
}
