//! `selfie search`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use candle_core::{DType, Device};
use clap::Args;
use selfie_data::decode::Rgb;
use selfie_data::{Map, Pictures};
use selfie_eval::embedding_file::{EmbeddingFormat, Name, NamesHeader, NamesSource, array_of};
use selfie_eval::neighbours::{Neighbour, nearest};
use selfie_eval::record::from_json;
use selfie_eval::{EmbeddedBatch, Matrix, embed};
use selfie_model::InferenceModel;
use selfie_pictures::{Heading, NeighbourRow, Tile, neighbour_sheet};
use selfie_train::{NumberType, TrainError, hash_file};
use serde_json::json;

use crate::arguments::Compute;
use crate::choice;
use crate::commands::data::exit_code;
use crate::commands::embed::names_path;
use crate::context;
use crate::output::{self, Usage};

/// Side of an image on a sheet, px.
const TILE: usize = 96;
/// Queries and neighbours that a sheet has room for.
const MAX_ROWS: usize = 40;
const MAX_COLUMNS: usize = 16;

#[derive(Args, Debug)]
pub(crate) struct Search {
    /// Embeddings that `selfie embed` wrote: .npy or .safetensors
    pub(crate) index: PathBuf,
    /// Images to look for: files, folders, lists or shards
    #[arg(required = true)]
    pub(crate) queries: Vec<PathBuf>,
    /// Nearest images of each query
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) top: u32,
    /// The weights the index was made with [default: where they were then]
    #[arg(long, value_name = "RUN_OR_WEIGHTS")]
    pub(crate) weights: Option<PathBuf>,
    /// Draw each query and its nearest images into a PNG file
    #[arg(long, value_name = "FILE", value_parser = crate::arguments::png_file())]
    pub(crate) sheet: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Print an object a query as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A query's number and its nearest images.
type Answer = (usize, Vec<Neighbour>);

/// An index's rows by name.
struct Names {
    header: NamesHeader,
    names: Vec<Name>,
}

pub(crate) fn run(arguments: &Search) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let Names { header, names } = names(&arguments.index)?;
    let what = arguments.index.display().to_string();
    let map = Map::open(&arguments.index).map_err(output::data)?;
    let rows = array_of(&map, &what).map_err(output::eval)?;
    if (rows.n_rows(), rows.width()) != (names.len(), header.width) {
        let expected = format!("{} rows of {} numbers as its list of names says", names.len(), header.width);
        let got = format!("{} rows of {}", rows.n_rows(), rows.width());
        return Err(output::eval(selfie_eval::EvalError::Embeddings { what, expected, got }));
    }
    let dtype = dtype(&header, &device)?;
    let model = InferenceModel::load_as(weights(arguments, &header)?, &device, dtype).map_err(output::model)?;
    let queries = choice::files(&arguments.queries)?;
    let mut embedded = EmbeddedBatch::default();
    embed(&model, &queries, header.at, 0..queries.len(), |batch| {
        embedded.append(batch);
        Ok::<(), TrainError>(())
    })?;
    let query_rows = Matrix::new(&embedded.rows, header.width).map_err(output::eval)?;
    let found = nearest(rows, query_rows, arguments.top as usize, None).map_err(output::eval)?;
    let answers: Vec<Answer> = embedded.pictures.iter().copied().zip(found).collect();
    for (query, found) in &answers {
        output::print(&answer(&queries.name(*query), found, &names, arguments.json))?;
    }
    for bad in &embedded.bad {
        output::note(&format!("left out: {}: expected an image, got {}", bad.path, bad.reason));
    }
    if let Some(path) = arguments.sheet.as_ref().filter(|_| !answers.is_empty()) {
        context::folder_of(path);
        sheet(path, &queries, &answers, (&header, &names))?;
        output::note(&format!("{}: the queries and their neighbours", path.display()));
    }
    Ok(exit_code(&embedded.bad))
}

fn answer(query: &str, found: &[Neighbour], names: &[Name], as_json: bool) -> String {
    let named = found.iter().map(|neighbour| (neighbour.cosine, &names[neighbour.row]));
    if as_json {
        let nearest: Vec<_> =
            named.map(|(cosine, name)| json!({ "cosine": cosine, "image": name.name, "class": name.class })).collect();
        return json!({ "query": query, "nearest": nearest }).to_string();
    }
    let lines = named.map(|(cosine, name)| {
        let class = name.class.as_ref().map_or_else(String::new, |class| format!("  {class}"));
        format!("\n  {cosine:.4}  {}{class}", name.name)
    });
    format!("{query}{}", lines.collect::<String>())
}

/// The list beside an index.
fn names(index: &Path) -> anyhow::Result<Names> {
    let path = names_path(index);
    if EmbeddingFormat::of_name(&index.to_string_lossy()) == Some(EmbeddingFormat::JsonLines) {
        let got = index.display();
        return Err(Usage(format!(
            "INDEX: expected an .npy or .safetensors file, whose rows are mapped, got {got}; embed into one of them"
        ))
        .into());
    }
    if !index.is_file() {
        let hint = "expected an .npy or .safetensors file that `selfie embed` made".to_owned();
        return Err(TrainError::Missing { path: index.to_owned(), hint }.into());
    }
    if !path.is_file() {
        let hint = "expected the list of names that `selfie embed` writes beside its array".to_owned();
        return Err(TrainError::Missing { path, hint }.into());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut lines = text.lines().enumerate();
    let what = |line_idx: usize| format!("{} line {}", path.display(), line_idx + 1);
    let header = lines.next().map(|(idx, line)| from_json(&what(idx), line)).transpose().map_err(output::eval)?;
    let header: NamesHeader = match header {
        Some(header) => header,
        None => from_json(&what(0), "").map_err(output::eval)?,
    };
    let names: Result<Vec<Name>, _> = lines.map(|(idx, line)| from_json(&what(idx), line)).collect();
    Ok(Names { header, names: names.map_err(output::eval)? })
}

/// The weights that made the index: those given, or where they were then. Others would compare what cannot be compared.
fn weights(arguments: &Search, header: &NamesHeader) -> anyhow::Result<PathBuf> {
    let path = match &arguments.weights {
        Some(path) => context::weights_file(path)?,
        None => {
            let path = PathBuf::from(&header.weights);
            if !path.is_file() {
                let hint = "the index was made with these weights; say where they are with --weights".to_owned();
                return Err(TrainError::Missing { path, hint }.into());
            }
            path
        }
    };
    let got = hash_file(&path)?;
    if got != header.weights_hash {
        let (expected, path) = (&header.weights_hash, path.display());
        let hint = "make the index again, or give the weights it was made with as --weights";
        return Err(Usage(format!("{path}: expected the index's weights, BLAKE3 {expected}, got {got}; {hint}")).into());
    }
    Ok(path)
}

/// The number type of the index, so that an image finds itself at a cosine of 1; f32 on a device that lacks it.
fn dtype(header: &NamesHeader, device: &Device) -> anyhow::Result<DType> {
    Ok(match NumberType::named(&header.dtype)?.on(device) {
        Ok(dtype) => dtype,
        Err(error) => {
            output::note(&format!("the queries are embedded in f32, the index was in {}: {error}", header.dtype));
            NumberType::F32.on(device)?
        }
    })
}

/// Draws each query and its nearest images. An image that is no longer there leaves its place grey, and is named.
fn sheet(
    path: &Path,
    queries: &Pictures,
    answers: &[Answer],
    (header, names): (&NamesHeader, &[Name]),
) -> anyhow::Result<()> {
    let indexed = indexed_pictures(header)?;
    let (mut rows, mut n_drawn, mut gone) = (Vec::new(), 0, Vec::new());
    for (query, found) in answers.iter().take(MAX_ROWS) {
        let mut neighbours = Vec::new();
        for neighbour in found.iter().take(MAX_COLUMNS) {
            let name = &names[neighbour.row];
            let class = name.class.as_ref().map_or_else(String::new, |class| format!(" {class}"));
            // The cosine first: a long class is cut off.
            let tile = indexed.tile(name, format!("{:.3}{class}", neighbour.cosine));
            n_drawn += 1;
            gone.extend((tile.side == 0).then_some(&name.name));
            neighbours.push(tile);
        }
        let name = Path::new(&queries.name(*query)).file_name().unwrap_or_default().to_string_lossy().into_owned();
        rows.push(NeighbourRow { query: tile(queries.picture(*query).ok(), name), neighbours });
    }
    if let Some(first) = gone.first() {
        let n_gone = gone.len();
        output::note(&format!(
            "--sheet: {n_gone} of {n_drawn} neighbours are grey, as their images are gone or cannot be read; the first is {first}"
        ));
    }
    let explanation = "Left the query, then its neighbours, the nearest first, with their cosines".to_owned();
    let heading = Heading::new(format!("Nearest of {} images at {}", names.len(), header.at), explanation);
    let sheet = neighbour_sheet(&heading, &rows, TILE as i32);
    sheet.save(path).map_err(|error| output::picture("--sheet", error))
}

fn tile(picture: Option<Rgb<'_>>, caption: String) -> Tile {
    let Some(picture) = picture else { return Tile { side: 0, pixels: Vec::new(), caption, frame: None } };
    // Small images are shown pixel by pixel, large ones are resized with care.
    let side = if picture.width.min(picture.height) < TILE { picture.width.min(picture.height) } else { TILE };
    let mut pixels = vec![0; side * side * 3];
    match picture.square(side, &mut pixels) {
        Ok(()) => Tile { side, pixels, caption, frame: None },
        Err(_) => Tile { side: 0, pixels: Vec::new(), caption, frame: None },
    }
}

/// Where an index's images are.
enum Indexed {
    Files(PathBuf),
    Split(Pictures),
}

impl Indexed {
    fn tile(&self, name: &Name, caption: String) -> Tile {
        match self {
            Self::Files(folder) => match Pictures::files(&[folder.join(&name.name)]) {
                Ok(file) => tile(file.picture(0).ok(), caption),
                Err(_) => tile(None, caption),
            },
            Self::Split(pictures) if name.picture < pictures.len() => {
                tile(pictures.picture(name.picture).ok(), caption)
            }
            Self::Split(_) => tile(None, caption),
        }
    }
}

fn indexed_pictures(header: &NamesHeader) -> anyhow::Result<Indexed> {
    Ok(match &header.source {
        NamesSource::Files { folder } => Indexed::Files(PathBuf::from(folder)),
        NamesSource::Set { set, dir, split } => {
            let data = choice::data_set(set, dir.as_deref().map(Path::new))?;
            Indexed::Split(match split.as_str() {
                "test" => Pictures::split(data.test, "test"),
                _ => Pictures::split(data.train, "train"),
            })
        }
    })
}
