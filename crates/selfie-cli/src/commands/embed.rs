//! `selfie embed`

use std::ffi::OsString;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use selfie_data::{BadSample, Pictures};
use selfie_eval::embedding_file::{ArrayWriter, EmbeddingFormat, Name, NamesHeader, NamesSource};
use selfie_eval::{EmbeddedBatch, embed};
use selfie_model::{EmbeddingAt, InferenceModel};
use selfie_train::{NewFile, TrainError, hash_file};
use serde_json::json;

use crate::arguments::{Compute, Dtype};
use crate::choice;
use crate::commands::data::{exit_code, left_out};
use crate::context;
use crate::output::{self, Usage};

/// What the list beside an array adds to its name.
const NAMES: &str = ".names.jsonl";

#[derive(Args, Debug)]
pub(crate) struct Embed {
    /// A run folder or a weights file: of this program, or safetensors of timm's resnetv2_50 or torchvision's resnet50
    pub(crate) weights: PathBuf,
    /// Image files, folders of them, lists of paths (.txt, .tsv) or shards (.tar)
    pub(crate) images: Vec<PathBuf>,
    /// Where to write: .npy or .safetensors, with the names beside them in FILE.names.jsonl (a header, then a line for each
    /// row, in order), or .jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Where in the network to read: stage1 to stage4, h (mean of the patch embeddings) or u (the pooled embedding)
    /// [default: the network's end, before the attention pooling of a pretraining network]
    #[arg(long, value_parser = crate::arguments::place)]
    pub(crate) at: Option<EmbeddingAt>,
    #[command(flatten)]
    pub(crate) split: DataSplit,
    /// Number type of products
    #[arg(long, default_value = "f32", env = "SELFIE_DTYPE")]
    pub(crate) dtype: Dtype,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Print the result as JSON, with every image that cannot be read
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// A split of a data set in the place of image files.
#[derive(Args, Debug)]
pub(crate) struct DataSplit {
    /// In the place of image files a data set: shapes32, cifar10, cifar100, imagenet32 or imagenet224
    #[arg(long, value_name = "SET")]
    pub(crate) data_set: Option<String>,
    /// Folder of the data set; if not given `$SELFIE_DATA/<set>`, then `data/<set>`
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Which split of the data set
    #[arg(long, value_enum, default_value = "train")]
    pub(crate) split: SplitName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SplitName {
    Train,
    Test,
}

pub(crate) fn run(arguments: &Embed) -> anyhow::Result<u8> {
    let format = arguments.out.to_str().and_then(EmbeddingFormat::of_name).ok_or_else(|| {
        Usage(format!(
            "--out: expected a name that ends in .npy, .safetensors or .jsonl, got {}",
            arguments.out.display()
        ))
    })?;
    let (pictures, source) = pictures(&arguments.images, &arguments.split)?;
    let weights = context::weights_file(&arguments.weights)?;
    let device = context::device(&arguments.compute)?;
    let dtype = arguments.dtype.number_type().on(&device)?;
    let model = InferenceModel::load_as(&weights, &device, dtype).map_err(output::model)?;
    let at = arguments.at.unwrap_or_else(|| model.default_at());
    let width = model.width_at(at).map_err(output::model)?;

    let mut header = NamesHeader {
        weights: absolute(&weights).display().to_string(),
        weights_hash: hash_file(&weights)?,
        at,
        dtype: arguments.dtype.number_type().to_string(),
        width,
        n_rows: 0,
        source,
    };
    let clock = Instant::now();
    let bad = write(arguments, format, (&model, &pictures), &mut header)?;
    let (seconds, n_rows) = (clock.elapsed().as_secs_f64(), header.n_rows);
    let images_per_s = n_rows as f64 / seconds.max(1e-9);
    if arguments.json {
        let out = arguments.out.display().to_string();
        let result = json!({
            "out": out, "n_rows": n_rows, "width": width, "at": at, "images_per_s": images_per_s, "bad": bad,
        });
        output::print(&result.to_string())?;
        return Ok(exit_code(&bad));
    }
    let embeddings = output::count(n_rows, "embedding");
    let mut lines = vec![format!(
        "{embeddings} of {width} numbers ({at}) in {}, {images_per_s:.0} images/s",
        arguments.out.display()
    )];
    lines.extend(left_out(&bad));
    output::print(&lines.join("\n"))?;
    Ok(exit_code(&bad))
}

/// The pictures of the files given, else of the data set's split, and what their names are names in.
pub(crate) fn pictures(files: &[PathBuf], split: &DataSplit) -> anyhow::Result<(Pictures, NamesSource)> {
    if split.data_set.is_none() && split.data.is_none() {
        if files.is_empty() {
            return Err(
                Usage("IMAGES: expected image files or folders, or a data set as --data-set or --data".into()).into()
            );
        }
        let folder = std::env::current_dir()?.display().to_string();
        return Ok((choice::files(files)?, NamesSource::Files { folder }));
    }
    if let Some(file) = files.first() {
        let got = file.display();
        return Err(Usage(format!("IMAGES: expected none beside a data set (--data-set, --data), got {got}")).into());
    }
    if let Some(set) = &split.data_set {
        choice::set_name("--data-set", set)?;
    }
    let found = match (&split.data_set, &split.data) {
        (None, Some(dir)) => Some(choice::recognise(dir)?),
        _ => None,
    };
    let set = found.as_ref().map(|found| found.set.to_string()).or_else(|| split.data_set.clone()).unwrap_or_default();
    let data = choice::data_set_found(&set, split.data.as_deref(), found)?;
    let (images, name) = match split.split {
        SplitName::Train => (data.train, "train"),
        SplitName::Test => (data.test, "test"),
    };
    let dir = split.data.as_deref().map(absolute).map(|dir| dir.display().to_string());
    Ok((Pictures::split(images, name), NamesSource::Set { set, dir, split: name.to_owned() }))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Where the names of an array's rows lie.
pub(crate) fn names_path(array: &Path) -> PathBuf {
    let mut name = OsString::from(array);
    name.push(NAMES);
    name.into()
}

/// Embeds the pictures into the file and returns those that cannot be read.
fn write(
    arguments: &Embed,
    format: EmbeddingFormat,
    (model, pictures): (&InferenceModel, &Pictures),
    header: &mut NamesHeader,
) -> anyhow::Result<Vec<BadSample>> {
    let new = NewFile::create(&arguments.out)?;
    let failed = |source| new.error(source);
    let mut array = ArrayWriter::new(BufWriter::new(new.file()), format, header.width).map_err(failed)?;
    let (mut names, mut bad) = (Vec::new(), Vec::new());
    let mut progress = Progress::new(pictures.len(), arguments.quiet);
    embed(model, pictures, header.at, 0..pictures.len(), |batch: EmbeddedBatch| {
        for (&picture, row) in batch.pictures.iter().zip(batch.rows.chunks_exact(header.width)) {
            let name =
                Name { picture, name: pictures.name(picture), class: pictures.class(picture).map(str::to_owned) };
            array.add(&name, row).map_err(failed)?;
            names.push(name);
        }
        progress.add(batch.pictures.len() + batch.bad.len());
        bad.extend(batch.bad);
        Ok::<(), TrainError>(())
    })?;
    if names.is_empty()
        && let Some(first) = bad.first()
    {
        selfie_data::require_few(bad.len(), pictures.len(), 0.0, first).map_err(output::data)?;
    }
    let (mut out, n_rows) = array.finish().map_err(failed)?;
    header.n_rows = n_rows;
    out.flush().map_err(failed)?;
    drop(out);
    if format != EmbeddingFormat::JsonLines {
        write_names(&names_path(&arguments.out), header, &names)?;
    }
    new.publish()?;
    Ok(bad)
}

fn write_names(path: &Path, header: &NamesHeader, names: &[Name]) -> anyhow::Result<()> {
    let new = NewFile::create(path)?;
    let mut out = BufWriter::new(new.file());
    let failed = |source| new.error(source);
    writeln!(out, "{}", serde_json::to_string(header)?).map_err(failed)?;
    for name in names {
        writeln!(out, "{}", serde_json::to_string(name)?).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    drop(out);
    new.publish()?;
    Ok(())
}

/// How far it is, a line now and then.
struct Progress {
    quiet: bool,
    n_total: usize,
    n_done: usize,
    start: Instant,
    last: Instant,
}

impl Progress {
    /// Seconds between two lines.
    const INTERVAL: u64 = 5;

    fn new(n_total: usize, quiet: bool) -> Self {
        let now = Instant::now();
        Self { quiet, n_total, n_done: 0, start: now, last: now }
    }

    fn add(&mut self, n: usize) {
        self.n_done += n;
        if self.quiet || self.last.elapsed().as_secs() < Self::INTERVAL {
            return;
        }
        self.last = Instant::now();
        let rate = self.n_done as f64 / self.start.elapsed().as_secs_f64();
        let left_s = (self.n_total - self.n_done) as f64 / rate;
        output::note(&format!("{} of {} images, {rate:.0} images/s, {left_s:.0} s left", self.n_done, self.n_total));
    }
}
