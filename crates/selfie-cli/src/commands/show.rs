//! `selfie show`

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use clap::Args;
use selfie_data::{Images, Pictures, Splits};
use selfie_eval::inspect::{Inspected, inspect, pretext_accuracy, wrong_choices};
use selfie_eval::neighbours::nearest;
use selfie_eval::projection::tsne;
use selfie_eval::{EmbeddedBatch, Matrix, embed};
use selfie_model::{EmbeddingAt, InferenceModel, Metadata, Selfie, WeightsFile};
use selfie_pictures::{
    AttendedImage, Canvas, Colour, Filters, Heading, MaskedImage, Mistake, NeighbourRow, Scatter, Tile,
    attention_sheet, filters_sheet, masked_sheet, mistakes_sheet, neighbour_sheet, positions_sheet, scatter,
};
use selfie_train::{TrainError, make_folder};

use crate::arguments::Compute;
use crate::choice::OtherData;
use crate::context;
use crate::output;

/// Images whose hidden patches are guessed, for the figures and the mistakes.
const N_GUESSED: usize = 512;
/// Mistakes that are shown.
const N_MISTAKES: usize = 12;
/// Images held out from the labels below which all are shown.
const MIN_HELD_OUT: usize = 100;
/// Images on the map, unless asked for otherwise.
const MAP_IMAGES: u32 = 2000;
/// Neighbours of an image.
const N_NEIGHBOURS: usize = 8;
/// Side of an image among neighbours, px.
const TILE: i32 = 96;
/// In the place of the run's folder.
const PICTURES: &str = "pictures";

#[derive(Args, Debug)]
pub(crate) struct Show {
    /// A run folder or a weights file
    pub(crate) weights: PathBuf,
    #[command(flatten)]
    pub(crate) other_data: OtherData,
    /// Folder of the pictures [default: pictures/ in the run folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where in the network to read embeddings: stage1 to stage4, h or u [default: the network's end, before the attention
    /// pooling of a pretraining network]
    #[arg(long, value_parser = crate::arguments::place)]
    pub(crate) at: Option<EmbeddingAt>,
    /// Images shown in a picture
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=40))]
    pub(crate) images: u16,
    /// Images on the map, and among which neighbours are looked for: at most those of the validation split, or of the whole
    /// training set where that has no classes or fewer than 1000 images [default: 2000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(crate) map_images: Option<u32>,
    /// Seed of the masks
    #[arg(long, default_value_t = 1, env = "SELFIE_SEED")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// What the pictures are of.
struct Subject {
    model: InferenceModel,
    file: WeightsFile,
    images: Arc<Images>,
    /// Held out from the labels; all images where there are no classes or few are held out.
    examples: Vec<u32>,
    /// What they are, in words.
    which: &'static str,
    out: PathBuf,
    device: Device,
}

pub(crate) fn run(arguments: &Show) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let weights = context::weights_file(&arguments.weights)?;
    let file = WeightsFile::read(&weights).map_err(output::model)?;
    let model = InferenceModel::load_on(&weights, &device).map_err(output::model)?;
    let images = arguments.other_data.open(&arguments.weights)?.train;
    let splits = Splits::new(images.labels());
    // Of a small set too few are held out to show anything.
    let held_out = images.n_classes() > 1 && splits.validation.len() >= MIN_HELD_OUT;
    let examples = if held_out { splits.validation } else { (0..images.len() as u32).collect() };
    let which = if held_out { "the validation split of the training set" } else { "the training set" };
    if let Some(asked) = arguments.map_images.filter(|asked| *asked as usize > examples.len()) {
        output::note(&format!("--map-images: {asked} asked for, {} are there, of {which}", examples.len()));
    }
    let out = out_folder(arguments)?;
    let subject = Subject { model, file, images, examples, which, out, device };

    let mut names = Vec::new();
    match &subject.file.metadata {
        Metadata::Pretraining(_) => {
            let network =
                Selfie::of_file(&subject.file, &weights, DType::F32, &subject.device).map_err(output::model)?;
            names.extend(subject.guesses(&network, arguments)?);
            names.push(subject.positions(&network)?);
        }
        Metadata::Classifier(_) => output::note(
            "a classifier: hidden patches, mistakes, attention and positions are shown of a pretraining network alone",
        ),
    }
    names.push(subject.filters()?);
    names.extend(subject.embeddings(arguments)?);
    let lines: Vec<String> = names.iter().map(|name| subject.out.join(name).display().to_string()).collect();
    output::print(&lines.join("\n"))?;
    Ok(0)
}

fn out_folder(arguments: &Show) -> anyhow::Result<PathBuf> {
    let out = match (&arguments.out, arguments.weights.is_dir()) {
        (Some(out), _) => out.clone(),
        (None, true) => arguments.weights.join(PICTURES),
        (None, false) => PathBuf::from(PICTURES),
    };
    make_folder(&out)?;
    Ok(out)
}

impl Subject {
    fn save(&self, name: &'static str, canvas: &Canvas) -> anyhow::Result<&'static str> {
        canvas.save(&self.out.join(name)).map_err(|error| output::picture("--out", error))?;
        Ok(name)
    }

    /// Evenly spaced examples.
    fn some(&self, n: usize) -> Vec<u32> {
        let n = n.min(self.examples.len());
        (0..n).map(|i| self.examples[i * self.examples.len() / n]).collect()
    }

    /// `1000 of the 5000 images of the validation split of the training set`.
    fn among(&self, n: usize) -> String {
        let (n_all, which) = (self.examples.len(), self.which);
        if n == n_all { format!("all {n} images of {which}") } else { format!("{n} of the {n_all} images of {which}") }
    }

    fn class(&self, image: u32) -> String {
        match self.images.n_classes() {
            0 | 1 => format!("image {image}"),
            _ => self.images.class_names()[usize::from(self.images.label(image as usize))].clone(),
        }
    }

    /// An image as the network sees it.
    fn pixels(&self, image: u32) -> anyhow::Result<Vec<u8>> {
        let side = self.model.image_size();
        let mut pixels = vec![0; side * side * 3];
        let picture = self.images.picture(image as usize).map_err(output::data)?;
        picture.square(side, &mut pixels).map_err(output::data)?;
        Ok(pixels)
    }

    /// The pictures of hidden patches, of mistakes and of attention.
    fn guesses(&self, network: &Selfie, arguments: &Show) -> anyhow::Result<Vec<&'static str>> {
        let examples = self.some(N_GUESSED.max(arguments.images.into()));
        let inspected = inspect(network, &self.images, &examples, arguments.seed, &self.device);
        let inspected = inspected.map_err(output::eval)?;
        let n = usize::from(arguments.images).min(inspected.len());
        let shown: Vec<&Inspected> = (0..n).map(|i| &inspected[i * inspected.len() / n]).collect();
        let (accuracy, n_targets) = (pretext_accuracy(&inspected), network.config().n_targets);
        let chance = 100.0 / n_targets as f64;

        let masked = shown.iter().map(|image| self.masked(network, image)).collect::<anyhow::Result<Vec<_>>>()?;
        let heading = Heading::new(
            "Which patch belongs where?",
            format!(
                "Hidden places are numbered. Then the patches that were chosen, green where right. Right: the probability of each patch \
                 (column) for each place (line) in %; the framed one belongs there. {:.1} % right over {} images, chance {chance:.1} %",
                100.0 * accuracy,
                inspected.len()
            ),
        );
        let mut names = vec![self.save("masked.png", &masked_sheet(&heading, &masked))?];

        let wrong = wrong_choices(&inspected);
        let mistake = |wrong: &selfie_eval::inspect::WrongChoice| {
            Ok(Mistake { image: self.masked(network, &inspected[wrong.inspected])?, place: wrong.place })
        };
        let mut seen = HashSet::new();
        let surest = wrong.iter().filter(|wrong| seen.insert(wrong.inspected)).take(N_MISTAKES);
        let mistakes = surest.map(mistake).collect::<anyhow::Result<Vec<_>>>()?;
        let explanation = format!(
            "Of {} wrong choices in {} images those of the largest probability, one an image; the place in question is framed",
            wrong.len(),
            inspected.len()
        );
        let heading = Heading::new("The surest mistakes", explanation);
        names.push(self.save("mistakes.png", &mistakes_sheet(&heading, &mistakes))?);

        let attended = shown.iter().map(|image| self.attended(network, image)).collect::<anyhow::Result<Vec<_>>>()?;
        let explanation =
            "How much the pool token attends to each context patch, mean over the heads; grey patches are hidden";
        let heading = Heading::new("What the pool token looks at", explanation);
        names.push(self.save("attention.png", &attention_sheet(&heading, &attended))?);
        Ok(names)
    }

    fn masked(&self, network: &Selfie, inspected: &Inspected) -> anyhow::Result<MaskedImage> {
        let config = network.config();
        Ok(MaskedImage {
            side: config.image_size,
            pixels: self.pixels(inspected.image)?,
            grid: config.grid(),
            places: inspected.order[..config.n_targets].iter().map(|&place| place as usize).collect(),
            probs: inspected.probs.clone(),
            caption: self.class(inspected.image),
        })
    }

    fn attended(&self, network: &Selfie, inspected: &Inspected) -> anyhow::Result<AttendedImage> {
        let config = network.config();
        let layer = |attention: &Vec<f32>| {
            let mut places = vec![None; config.n_patches()];
            for (&place, &share) in inspected.order[config.n_targets..].iter().zip(&attention[1..]) {
                places[place as usize] = Some(share);
            }
            places
        };
        Ok(AttendedImage {
            side: config.image_size,
            pixels: self.pixels(inspected.image)?,
            grid: config.grid(),
            layers: inspected.attention.iter().map(layer).collect(),
            itself: inspected.attention.iter().map(|attention| attention[0]).collect(),
            caption: self.class(inspected.image),
        })
    }

    fn positions(&self, network: &Selfie) -> anyhow::Result<&'static str> {
        let positions = network.positions()?.to_dtype(DType::F32)?;
        let (n, width) = positions.dims2()?;
        let rows = positions.flatten_all()?.to_vec1::<f32>()?;
        let rows = Matrix::new(&rows, width).map_err(output::eval)?;
        let mut similarities = vec![0f32; n * n];
        for (place, found) in nearest(rows, rows, n, None).map_err(output::eval)?.into_iter().enumerate() {
            found.iter().for_each(|near| similarities[place * n + near.row] = near.cosine);
        }
        let explanation = "For each place (framed) the cosine of its embedding with that of every other place";
        let heading = Heading::new("Likeness of the position embeddings", explanation);
        self.save("positions.png", &positions_sheet(&heading, network.config().grid(), &similarities))
    }

    fn filters(&self) -> anyhow::Result<&'static str> {
        let stems = ["stem.conv.weight", "conv1.weight"];
        let names = ["patch_network.", ""].into_iter().flat_map(|prefix| stems.map(|stem| format!("{prefix}{stem}")));
        let weight = names.filter_map(|name| self.file.tensors.get(&name)).next();
        let Some(weight) = weight else {
            return Err(TrainError::Internal("the weights have no first convolution".to_owned()).into());
        };
        let weight: Tensor = weight.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?; // [out, k, k, 3]
        let (n, kernel, _, _) = weight.dims4()?;
        let filters = Filters { kernel, weights: weight.flatten_all()?.to_vec1::<f32>()? };
        let explanation =
            format!("The {n} filters of {kernel} × {kernel} pixels; grey is zero, each scaled by its largest weight");
        self.save("filters.png", &filters_sheet(&Heading::new("The first convolution", explanation), &filters))
    }

    /// The pictures of neighbours and the map.
    fn embeddings(&self, arguments: &Show) -> anyhow::Result<Vec<&'static str>> {
        let at = arguments.at.unwrap_or_else(|| self.model.default_at());
        let width = self.model.width_at(at).map_err(output::model)?;
        let examples = self.some(arguments.map_images.unwrap_or(MAP_IMAGES) as usize);
        let pictures = Pictures::chosen(self.images.clone(), "train", examples.clone()).map_err(output::data)?;
        let mut all = EmbeddedBatch::default();
        embed(&self.model, &pictures, at, 0..pictures.len(), |batch| {
            all.append(batch);
            Ok::<(), TrainError>(())
        })?;
        let rows = Matrix::new(&all.rows, width).map_err(output::eval)?;
        let images: Vec<usize> = all.pictures.iter().map(|&picture| examples[picture] as usize).collect();
        Ok(vec![self.neighbours(arguments, at, rows, &images)?, self.map(at, rows, &images)?])
    }

    fn neighbours(
        &self,
        arguments: &Show,
        at: EmbeddingAt,
        rows: Matrix<'_>,
        images: &[usize],
    ) -> anyhow::Result<&'static str> {
        let itself: Vec<usize> = (0..images.len()).collect();
        let found = nearest(rows, rows, N_NEIGHBOURS, Some(&itself)).map_err(output::eval)?;
        let n = usize::from(arguments.images).min(images.len());
        let labelled = self.images.n_classes() > 1;
        let mut sheet = Vec::with_capacity(n);
        for query in (0..n).map(|i| i * images.len() / n) {
            let label = self.images.label(images[query]);
            let mut neighbours = Vec::new();
            for near in &found[query] {
                let image = images[near.row];
                let same = self.images.label(image) == label;
                let frame = labelled.then_some(if same { Colour::RIGHT } else { Colour::WRONG });
                let class = if labelled { format!(" {}", self.class(image as u32)) } else { String::new() };
                neighbours.push(self.tile(image, format!("{:.3}{class}", near.cosine), frame)?);
            }
            let query = self.tile(images[query], self.class(images[query] as u32), None)?;
            sheet.push(NeighbourRow { query, neighbours });
        }
        let framed = if labelled { "; green frames are of the same class" } else { "" };
        let explanation =
            format!("Each image and those of {} nearest to it by the cosine of {at}{framed}", self.among(images.len()));
        let heading = Heading::new("Nearest neighbours", explanation);
        self.save("neighbours.png", &neighbour_sheet(&heading, &sheet, TILE))
    }

    fn tile(&self, image: usize, caption: String, frame: Option<Colour>) -> anyhow::Result<Tile> {
        let picture = self.images.picture(image).map_err(output::data)?;
        let side = self.images.side().min(TILE as usize);
        let mut pixels = vec![0; side * side * 3];
        picture.square(side, &mut pixels).map_err(output::data)?;
        Ok(Tile { side, pixels, caption, frame })
    }

    fn map(&self, at: EmbeddingAt, rows: Matrix<'_>, images: &[usize]) -> anyhow::Result<&'static str> {
        let points = tsne(rows).map_err(output::eval)?;
        let labelled = self.images.n_classes() > 1;
        let classes = images.iter().filter(|_| labelled).map(|&image| usize::from(self.images.label(image))).collect();
        let class_names = self.images.class_names().to_vec();
        let explanation = format!(
            "{} by t-SNE of {at}: near points have near embeddings; distances between groups mean little",
            self.among(images.len())
        );
        let heading = Heading::new("A map of the embeddings", explanation);
        self.save("map.png", &scatter(&heading, &Scatter { points, classes, class_names }))
    }
}
