//! The program, a folder to run it in, and what it left there.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A network that trains in milliseconds.
const RECIPE: &str = r#"
[model]
width = 2
depths = [1, 1, 1, 1]
heads = 2
ffn = 8
layers = 1

[data]
set = "cifar10"

[checkpoint]
every_steps = 5

[pretrain]
steps = 20
batch = 8
learning_rate = 0.05
warmup_steps = 2

[finetune]
steps = 12
batch = 8
learning_rate = 0.05
warmup_steps = 1
"#;

const RECORD_BYTES: usize = 1 + 32 * 32 * 3;
const RECORDS_PER_FILE: usize = 20;
/// Longer than any test lasts, in steps.
pub(crate) const ENDLESS: &str = "1000000";

/// A folder with `tiny.toml` and the data set `cifar/`, in which commands run.
pub(crate) struct Folder {
    folder: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tiny.toml"), RECIPE).unwrap();
        let data = folder.path().join("cifar");
        fs::create_dir(&data).unwrap();
        for (file_idx, name) in ["1", "2", "3", "4", "5"].map(|n| format!("data_batch_{n}.bin")).iter().enumerate() {
            fs::write(data.join(name), records(file_idx)).unwrap();
        }
        fs::write(data.join("test_batch.bin"), records(5)).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `selfie` with these words as arguments.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_selfie"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SELFIE_") && name != "SELFIE_OPS" {
                command.env_remove(name);
            }
        }
        command.env("SELFIE_DEVICE", "cpu").env("SELFIE_THREADS", "1");
        command.args(arguments.split_whitespace()).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Ran {
        Ran::new(arguments, &self.command(arguments).output().unwrap())
    }

    pub(crate) fn start(&self, arguments: &str) -> Started {
        self.start_command(arguments, self.command(arguments)).unwrap()
    }

    /// Starts another command than [`Self::command`]'s in its place, such as one that starts that.
    pub(crate) fn start_command(&self, arguments: &str, mut command: Command) -> std::io::Result<Started> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Started { arguments: arguments.to_owned(), child: Some(child) })
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A file as one JSON value.
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The names in a folder, sorted; none if it is not there.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }

    /// `metrics.jsonl` of a run without what the clock says.
    pub(crate) fn metrics(&self, run: &str) -> Vec<Value> {
        let text = String::from_utf8(self.bytes(&format!("{run}/metrics.jsonl"))).unwrap();
        let timeless = |line: &str| {
            let mut metrics: Value = serde_json::from_str(line).unwrap();
            metrics.as_object_mut().unwrap().remove("time").unwrap();
            metrics
        };
        text.lines().map(timeless).collect()
    }

    /// Everything a run computed, by name: its weights, its last checkpoint's tensors, its metrics.
    pub(crate) fn computed(&self, run: &str) -> Vec<(String, Vec<u8>)> {
        let last = self.names(&format!("{run}/checkpoints")).pop().unwrap();
        let files = ["weights", "optimizer"].map(|name| format!("checkpoints/{last}/{name}.safetensors"));
        let files = files.into_iter().chain(["weights.safetensors".to_owned()]);
        let mut computed: Vec<_> = files.map(|file| (file.clone(), self.bytes(&format!("{run}/{file}")))).collect();
        computed.push(("metrics.jsonl".to_owned(), format!("{:?}", self.metrics(run)).into_bytes()));
        computed
    }

    /// Fails unless two finished runs computed the same bytes.
    pub(crate) fn require_same(&self, left: &str, right: &str) {
        for ((left_name, left_bytes), (right_name, right_bytes)) in self.computed(left).iter().zip(self.computed(right))
        {
            assert_eq!(*left_name, right_name);
            assert!(*left_bytes == right_bytes, "{left_name} of {left} and {right} differ");
        }
    }

    /// Fails if a run holds a temporary file or a checkpoint that is not whole.
    pub(crate) fn require_nothing_half_written(&self, run: &str) {
        let checkpoints = format!("{run}/checkpoints");
        for folder in [run, checkpoints.as_str()] {
            let left: Vec<String> = self.names(folder).into_iter().filter(|name| name.starts_with(".tmp")).collect();
            assert!(left.is_empty(), "{folder} holds {left:?}");
        }
        if !self.names(&checkpoints).is_empty() {
            self.run(&format!("checkpoint verify {run}")).ends_with(0);
        }
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A CIFAR-10 file: labels in turn, pixels that differ from image to image.
fn records(file_idx: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORDS_PER_FILE * RECORD_BYTES);
    let mut state = file_idx as u32 + 1;
    for record_idx in 0..RECORDS_PER_FILE {
        bytes.push((record_idx % 10) as u8);
        bytes.extend((1..RECORD_BYTES).map(|_| {
            // The constants of Numerical Recipes' generator.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }));
    }
    bytes
}

/// A 24-bit BMP of one colour.
pub(crate) fn red_bmp(width: u32, height: u32) -> Vec<u8> {
    let row_bytes = (3 * width).next_multiple_of(4);
    let n_bytes = row_bytes * height;
    let mut bmp = b"BM".to_vec();
    bmp.extend((54 + n_bytes).to_le_bytes());
    bmp.extend([0; 4]);
    bmp.extend(54u32.to_le_bytes());
    bmp.extend(40u32.to_le_bytes());
    bmp.extend(width.to_le_bytes());
    bmp.extend(height.to_le_bytes());
    bmp.extend(1u16.to_le_bytes());
    bmp.extend(24u16.to_le_bytes());
    bmp.extend([0; 4]);
    bmp.extend(n_bytes.to_le_bytes());
    bmp.extend([0; 16]);
    for _ in 0..height {
        let mut row: Vec<u8> = (0..width).flat_map(|_| [0, 0, 255]).collect();
        row.resize(row_bytes as usize, 0);
        bmp.extend(row);
    }
    bmp
}

/// A command that has ended.
pub(crate) struct Ran {
    arguments: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn new(arguments: &str, output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { arguments: arguments.to_owned(), code: output.status.code(), stdout, stderr }
    }

    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        let Self { arguments, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "selfie {arguments}\nstdout: {stdout}\nstderr: {stderr}");
        self
    }

    /// Fails unless stderr has every one of `parts`.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "selfie {}: no `{part}` in: {}", self.arguments, self.stderr);
        }
        self
    }

    /// Fails unless stdout has every one of `parts`.
    #[track_caller]
    pub(crate) fn prints(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part), "selfie {}: no `{part}` in: {}", self.arguments, self.stdout);
        }
        self
    }

    /// stdout as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("selfie {}: {error} in: {}", self.arguments, self.stdout))
    }
}

/// A command that runs; it is killed when the test ends.
pub(crate) struct Started {
    arguments: String,
    child: Option<Child>,
}

impl Started {
    /// Waits until the run in the folder `run` has recorded `n` steps.
    #[track_caller]
    pub(crate) fn wait_for_steps(&mut self, run: &Path, n: usize) {
        let path = run.join("metrics.jsonl");
        let deadline = Instant::now() + Duration::from_secs(300);
        // A run of hours has a long file: only what was added is read.
        let (mut n_lines, mut n_bytes) = (0, 0);
        loop {
            let mut added = Vec::new();
            if let Ok(mut file) = fs::File::open(&path) {
                if file.metadata().unwrap().len() < n_bytes {
                    // A resumed run has cut it off at its checkpoint.
                    (n_lines, n_bytes) = (0, 0);
                }
                file.seek(SeekFrom::Start(n_bytes)).unwrap();
                file.read_to_end(&mut added).unwrap();
            }
            n_bytes += added.len() as u64;
            n_lines += added.iter().filter(|&&byte| byte == b'\n').count();
            if n_lines >= n {
                break;
            }
            assert!(Instant::now() < deadline, "{} has no {n} lines after five minutes", path.display());
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                let Ran { arguments, stderr, .. } = self.end();
                panic!("selfie {arguments} ended before step {n}: {stderr}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn send(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.child.as_ref().unwrap());
        rustix::process::kill_process(pid, signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> Ran {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.child.as_mut().unwrap().try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "selfie {} still runs after a minute", self.arguments);
            std::thread::sleep(Duration::from_millis(1));
        }
        self.end()
    }

    fn end(&mut self) -> Ran {
        Ran::new(&self.arguments, &self.child.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
