//! The command line. Help texts are the documentation of the commands.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use selfie_model::EmbeddingAt;
use selfie_train::NumberType;

use crate::choice::OtherData;
use crate::commands::embed::Embed;
use crate::commands::export::Export;
use crate::commands::hub::{Pull, Push};
use crate::commands::probe::Probe;
use crate::commands::report::Report;
use crate::commands::search::Search;
use crate::commands::show::Show;
use crate::commands::study::Study;
use crate::commands::watch::Watch;

/// Self-supervised pretraining of image networks: choose the right patch for each hidden place.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
pub(crate) struct Selfie {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pretrain, fine-tune and compare with a from-scratch control on drawn shapes; minutes on two cores
    Demo(Demo),
    /// Pretrain on all images, without labels
    Pretrain(Pretrain),
    /// Fine-tune a pretrained network, or train one from scratch, on a fraction of the labels
    Finetune(Finetune),
    /// Pretrain, then fine-tune every fraction of the labels × seed × arm, and make the table
    Study(Study),
    /// Make one HTML page of runs and studies: curves, tables, pictures, configuration
    Report(Report),
    /// Follow a run in the terminal
    Watch(Watch),
    /// Measure a finished fine-tuning or a classifier's weights on the test set
    Evaluate(Evaluate),
    /// Class probabilities of image files
    Predict(Predict),
    /// How well classes can be told apart by embeddings: nearest neighbours and a linear layer
    Probe(Probe),
    /// Pictures: hidden patches and what was chosen, mistakes, filters, attention, neighbours, a map
    Show(Show),
    /// Embeddings of images as .npy, .safetensors or .jsonl
    Embed(Embed),
    /// The images of an index that are nearest to some images
    Search(Search),
    /// A folder for the hub: weights, model card, config and, if asked for, ONNX
    Export(Export),
    /// Send an exported folder to the Hugging Face hub
    Push(Push),
    /// Fetch a model from the Hugging Face hub
    Pull(Pull),
    /// The resolved configuration
    Config(Config),
    /// Look into checkpoints, compare and verify them
    Checkpoint(Checkpoint),
    /// Make a step again whose loss or gradient was not finite
    Replay(Replay),
    /// Look into data sets and check them
    Data(Data),
    /// Measure this machine
    Bench(Bench),
}

impl Command {
    /// Where and on how many threads the command computes, if it does.
    pub(crate) fn compute(&self) -> Option<&Compute> {
        match self {
            Self::Demo(arguments) => Some(&arguments.compute),
            Self::Pretrain(arguments) => Some(&arguments.train.compute),
            Self::Finetune(arguments) => Some(&arguments.train.compute),
            Self::Study(arguments) => Some(&arguments.compute),
            Self::Evaluate(arguments) => Some(&arguments.compute),
            Self::Predict(arguments) => Some(&arguments.compute),
            Self::Replay(arguments) => Some(&arguments.compute),
            Self::Probe(arguments) => Some(&arguments.compute),
            Self::Show(arguments) => Some(&arguments.compute),
            Self::Embed(arguments) => Some(&arguments.compute),
            Self::Search(arguments) => Some(&arguments.compute),
            Self::Bench(Bench { command: BenchCommand::Step(step) }) => Some(&step.compute),
            Self::Bench(Bench { command: BenchCommand::Rate(rate) }) => Some(&rate.compute),
            // It makes as many threads as its recipe's workers, and computes nothing.
            Self::Bench(Bench { command: BenchCommand::Loader(_) }) => None,
            Self::Config(_) | Self::Checkpoint(_) | Self::Data(_) | Self::Report(_) | Self::Watch(_) => None,
            Self::Export(_) | Self::Push(_) | Self::Pull(_) => None,
        }
    }
}

/// What every command that computes takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Compute {
    /// Where to compute: auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", env = "SELFIE_DEVICE")]
    pub(crate) device: String,
    /// Threads of the CPU; all cores if not given
    #[arg(long, env = "SELFIE_THREADS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
}

/// What every training command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Train {
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Number type of activations and products; sums and parameters are f32
    #[arg(long, default_value = "f32", env = "SELFIE_DTYPE")]
    pub(crate) dtype: Dtype,
    /// Seed of every draw
    #[arg(long, default_value_t = 1, env = "SELFIE_SEED")]
    pub(crate) seed: u64,
    /// Folder of the data set; if not given `$SELFIE_DATA/<set>`, then `data/<set>`
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The run folder; if not given `runs/<task>-<recipe>[-<own folder>][-<fraction>-<arm>]-s<seed>`
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Set a key of the configuration, e.g. batch=32 or model.width=32; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Resume although this key is not what it was, e.g. learning_rate or pretrain.batch; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) allow_change: Vec<String>,
    /// Length of the schedule in updates
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u64>,
    /// Stop after this many updates in all, with a checkpoint; the schedule stays as it is
    #[arg(long, value_name = "N")]
    pub(crate) stop_after: Option<u64>,
    /// Say what would be done, and what it would take, without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    F32,
    /// On CUDA alone
    Tf32,
    Bf16,
}

impl Dtype {
    pub(crate) fn number_type(self) -> NumberType {
        match self {
            Self::F32 => NumberType::F32,
            Self::Tf32 => NumberType::Tf32,
            Self::Bf16 => NumberType::Bf16,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Pretrain {
    /// A recipe (cifar10, cifar10-small, imagenet32, imagenet224, shapes32) or a TOML file [default: the one that fits the
    /// images in --data]
    pub(crate) recipe: Option<String>,
    #[command(flatten)]
    pub(crate) train: Train,
}

#[derive(Args, Debug)]
pub(crate) struct Finetune {
    /// A recipe or a TOML file [default: the pretraining run's, else the one that fits the images in --data]
    pub(crate) recipe: Option<String>,
    /// Share of the full training set's labels to use, above 0 and at most 1
    #[arg(long, value_parser = fraction, required_unless_present = "subset")]
    pub(crate) fraction: Option<f64>,
    /// A file of the labelled examples in place of a fraction: a number a line, counted from 0 in the order of the training set
    #[arg(long, value_name = "FILE", conflicts_with = "fraction")]
    pub(crate) subset: Option<PathBuf>,
    /// A pretraining run folder, its weights file, or `scratch` [default: the newest finished pretraining in runs/]
    #[arg(long, value_name = "RUN_OR_WEIGHTS")]
    pub(crate) from: Option<String>,
    /// Measure on the validation split, to choose a setting, instead of on the test set
    #[arg(long)]
    pub(crate) validate: bool,
    #[command(flatten)]
    pub(crate) train: Train,
}

pub(crate) fn fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok().filter(|fraction| *fraction > 0.0 && *fraction <= 1.0);
    fraction.ok_or_else(|| "expected a share of the labels above 0 and at most 1, such as 0.05".to_owned())
}

/// The name of a PNG file that is to be written.
pub(crate) fn png_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path: PathBuf| {
        let is_png = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        if is_png { Ok(path) } else { Err("expected a name that ends in .png, which is what is written") }
    })
}

/// A place in the network.
pub(crate) fn place(text: &str) -> Result<EmbeddingAt, String> {
    let places = EmbeddingAt::ALL.map(EmbeddingAt::as_str).join(", ");
    text.parse().map_err(|_| format!("expected one of {places}"))
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Seeds of the comparison
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) seeds: u64,
    /// Folder of its runs
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub(crate) out: PathBuf,
    /// Print the table's figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Evaluate {
    /// A finished fine-tuning's run folder, or a classifier's weights file
    pub(crate) run_or_weights: PathBuf,
    #[command(flatten)]
    pub(crate) other_data: OtherData,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Predict {
    /// A classifier's run folder or weights file
    pub(crate) weights: PathBuf,
    /// Image files (JPEG, PNG, WebP, BMP), folders of them, lists of paths (.txt, .tsv) or shards (.tar)
    #[arg(required = true)]
    pub(crate) images: Vec<PathBuf>,
    /// Classes to print for each image, the likeliest first
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: u32,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Print every probability as JSON, a line for each image
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the configuration that a command would use or a run has used, and where each value comes from; exit code 78 if
    /// the command would refuse it
    Show {
        /// A recipe, a TOML file or a run folder
        recipe: String,
        /// The command whose configuration is checked, and whose table bare keys of --set belong to [default: the run's, else
        /// pretrain]
        #[arg(long, value_enum)]
        task: Option<TaskName>,
        /// Set a key of the configuration
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the recipes
    List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskName {
    Pretrain,
    Finetune,
}

#[derive(Args, Debug)]
pub(crate) struct Checkpoint {
    #[command(subcommand)]
    pub(crate) command: CheckpointCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// Step, tensors and sizes of a run's newest checkpoint, of one checkpoint, or of a weights file
    Show {
        /// A run folder, a checkpoint or a weights file
        path: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Which tensors of two checkpoints differ and by how much, and what else does; exit code 1 if anything differs
    Diff {
        /// A run folder (its newest checkpoint counts), a checkpoint or a weights file
        left: PathBuf,
        /// What to compare it with
        right: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check every byte against the manifests' hashes; exit code 65 if one differs, 66 if one is missing
    Verify {
        /// A run folder or a checkpoint
        path: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// A file in the folder `faults` of a run
    pub(crate) capture: PathBuf,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Data {
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

#[derive(Args, Debug)]
pub(crate) struct DataArguments {
    /// shapes32, cifar10, cifar100, imagenet32 or imagenet224 [default: the one that fits what is in --data]
    pub(crate) set: Option<String>,
    /// Folder of the data set; if not given `$SELFIE_DATA/<set>`, then `data/<set>`
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Draw some training images of every class into a PNG file
    #[arg(long, value_name = "FILE", value_parser = png_file())]
    pub(crate) sheet: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Download a set, resumed where an earlier attempt ended and compared with its checksum
    Fetch(DataFetch),
    /// Images, classes, means and content hashes
    Info(DataArguments),
    /// Decode every image, compare hashes and look for duplicates; exit code 65 if an image cannot be used
    Check(DataArguments),
    /// Make the prepared form of a folder of images, a list, tar shards, parquet files or a set's official files; exit code 65
    /// if an image was left out
    Import(DataImport),
}

#[derive(Args, Debug)]
pub(crate) struct DataFetch {
    /// cifar10 or cifar100, from their authors; imagenet32 or imagenet224, from the Hugging Face hub, which asks for HF_TOKEN
    pub(crate) set: String,
    /// Fetch this file instead, say from a mirror
    #[arg(long, conflicts_with = "hub")]
    pub(crate) url: Option<String>,
    /// What the file must hash to: md5:…, sha256:… or blake3:…; known for the archives of CIFAR
    #[arg(long, value_name = "ALGORITHM:HEX", requires = "url")]
    pub(crate) checksum: Option<String>,
    /// Fetch the set's parquet files from the Hugging Face hub into its cache
    #[arg(long)]
    pub(crate) hub: bool,
    /// The folder to write to; if not given `$SELFIE_DATA/<set>`, else `data/<set>`
    #[arg(long, value_name = "DIR", conflicts_with = "hub")]
    pub(crate) out: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DataImport {
    /// A folder, a list (`path<TAB>class` lines in a .txt or .tsv file), a shard (.tar) or a parquet file, or `hub:`
    pub(crate) source: PathBuf,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// What it is: cifar10, cifar100, imagenet32 or imagenet224 [default: the one that fits]
    #[arg(long, value_name = "SET")]
    pub(crate) data_set: Option<String>,
    /// Side in pixels that image files are resized to (up to 64 they are stored as pixels) [default: the set's]
    #[arg(long, value_parser = clap::value_parser!(u16).range(8..=1024))]
    pub(crate) side: Option<u16>,
    /// Share of the files that may be no images, and are left out
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub(crate) max_bad_share: f64,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "expected a share of at least 0 and less than 1, such as 0.01".to_owned())
}

#[derive(Args, Debug)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Images a second of a training step, or of inference, on a resident synthetic batch
    Step(BenchStep),
    /// The rate of one large product: what bounds every step
    Rate(BenchRate),
    /// Images a second of the threads that prepare batches, on a data set, without training
    Loader(BenchLoader),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchStep {
    /// What to measure
    #[arg(long, value_enum, default_value = "pretrain")]
    pub(crate) task: BenchTask,
    /// Side of an image in pixels: 32 or 224
    #[arg(long, value_enum, default_value = "32")]
    pub(crate) image_size: ImageSize,
    /// Channels of the stem
    #[arg(long, default_value_t = 64)]
    pub(crate) width: usize,
    /// Images a step
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Images that go through the network at once, a divisor of the batch: memory follows it [default: the batch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) micro_batch: Option<u32>,
    /// Number type of activations and products; sums and parameters are f32
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Steps to measure, after two that are not
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) steps: u32,
    /// Make as many steps again and say where their time goes
    #[arg(long)]
    pub(crate) profile: bool,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchRate {
    /// Number type
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Rows and columns of the two factors
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) size: u16,
    /// Products to measure, after two that are not
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) products: u16,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchLoader {
    /// A recipe's name, or the path of a TOML file: it says what is done to images
    pub(crate) recipe: String,
    /// Whose batches: patches and masks of pretraining, or images and labels of fine-tuning
    #[arg(long, value_enum, default_value = "pretrain")]
    pub(crate) task: TaskName,
    /// Folder of the data set; if not given `$SELFIE_DATA/<set>`, then `data/<set>`
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Images a batch
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Threads that prepare batches; 0: the one that takes them
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: u16,
    /// Batches to measure
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batches: u32,
    /// Seed of every draw
    #[arg(long, default_value_t = 1, env = "SELFIE_SEED")]
    pub(crate) seed: u64,
    /// Set a key of the configuration
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchTask {
    Pretrain,
    Finetune,
    Embed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageSize {
    #[value(name = "32")]
    Small,
    #[value(name = "224")]
    Large,
}
