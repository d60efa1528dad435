//! Which recipe and which data set a command works on, from what was given and what is there.

use std::path::{Path, PathBuf};

use clap::Args;
use selfie_data::{DataSet, Pictures, Recognised, SetName, is_list, passed_over};
use selfie_train::TrainError;
use selfie_train::config::{Base, Resolved, name_meant_by};
use selfie_train::run_folder::read_record;
use serde_json::Value;

use crate::output;

/// A data set in the place of a run's.
#[derive(Args, Debug)]
pub(crate) struct OtherData {
    /// The data set: shapes32, cifar10, cifar100, imagenet32 or imagenet224 [default: the run's, else the one that fits what
    /// is in --data]
    #[arg(long, value_name = "SET")]
    data_set: Option<String>,
    /// Folder of the data set; if not given the run's, then `$SELFIE_DATA/<set>`, then `data/<set>`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl OtherData {
    /// Opens the data set given, else the run's.
    pub(crate) fn open(&self, run: &Path) -> anyhow::Result<DataSet> {
        let record = read_record(run)?;
        let of_run = record.as_ref().and_then(|record| record.config.pointer("/data/set")?.as_str());
        if let Some(set) = &self.data_set {
            set_name("--data-set", set)?;
        }
        let dir = self.data.clone().or_else(|| record.as_ref()?.data_dir.as_ref().map(PathBuf::from));
        match (&self.data_set, &self.data, of_run) {
            (Some(set), Some(given), _) => data_set(set, Some(given)),
            (Some(set), None, Some(of_run)) if set == of_run => data_set(set, dir.as_deref()),
            // The run's folder has another set.
            (Some(set), None, _) => data_set(set, None),
            (None, None, Some(of_run)) => data_set(of_run, dir.as_deref()),
            (None, Some(given), Some(of_run)) => {
                // Only what is nothing the run could read is read as what it looks like.
                let found = recognise(given).ok().filter(|found| !could_be(of_run, found, given));
                let set = found.as_ref().map_or_else(|| of_run.to_owned(), |found| found.set.to_string());
                data_set_found(&set, Some(given), found)
            }
            (None, Some(given), None) => {
                let found = recognise(given)?;
                data_set_found(&found.set.to_string(), Some(given), Some(found))
            }
            (None, None, None) => {
                let expected = "a data set as --data-set or --data, since this is no run folder".to_owned();
                let (argument, got) = ("--data-set".to_owned(), "neither".to_owned());
                Err(TrainError::Usage { argument, expected, got }.into())
            }
        }
    }
}

/// Whether what was found can be read as the set of a run: image files can as any set but the drawn one, and CIFAR's own
/// files as their own.
fn could_be(of_run: &str, found: &Recognised, dir: &Path) -> bool {
    match (of_run.parse(), found.set) {
        (Err(_) | Ok(SetName::Shapes32), _) => false,
        (Ok(of_run), SetName::Cifar10 | SetName::Cifar100) => selfie_data::name_at(of_run, dir) == of_run.as_str(),
        (Ok(_), _) => true,
    }
}

/// Opens the data set of a name.
pub(crate) fn data_set(name: &str, dir: Option<&Path>) -> anyhow::Result<DataSet> {
    data_set_found(name, dir, None)
}

/// The data set that an argument names.
pub(crate) fn set_name(argument: &str, name: &str) -> anyhow::Result<SetName> {
    let known = SetName::ALL.map(SetName::as_str);
    name.parse().map_err(|_| {
        let near = name_meant_by(name, &known).map_or_else(String::new, |near| format!("; did you mean {near}?"));
        let (argument, expected) = (argument.to_owned(), format!("one of {}", known.join(", ")));
        TrainError::Usage { argument, expected, got: format!("{name}{near}") }.into()
    })
}

/// Opens the data set of a name; what was found in its folder is not looked for again.
pub(crate) fn data_set_found(name: &str, dir: Option<&Path>, found: Option<Recognised>) -> anyhow::Result<DataSet> {
    let open = |name: SetName| match found {
        Some(found) => found.open(name),
        None => selfie_data::open(name, dir),
    };
    name.parse().and_then(open).map_err(output::data)
}

/// What is in a folder of images.
pub(crate) fn recognise(dir: &Path) -> anyhow::Result<Recognised> {
    selfie_data::recognise(dir).map_err(output::data)
}

/// A recipe for some images.
pub(crate) struct Chosen {
    pub(crate) base: Base,
    /// The data set, where it is not the recipe's.
    pub(crate) set: Option<SetName>,
    /// What is in the folder given.
    pub(crate) found: Option<Recognised>,
    /// The table `model` as starting weights have it that bring no recipe.
    pub(crate) model: Option<Value>,
}

/// The recipe named, else the one that fits the images in `data`; `expected` is what to ask for where there are neither.
/// Says what it found, unless `quiet`.
pub(crate) fn choose(recipe: Option<&str>, data: Option<&Path>, quiet: bool, expected: &str) -> anyhow::Result<Chosen> {
    if let Some(recipe) = recipe {
        let base = Base::from_argument(recipe)?;
        // Only to say what it looks like; whether it is the recipe's own set shows when it is opened.
        let found = data.filter(|dir| !quiet && dir.is_dir()).and_then(|dir| recognise(dir).ok());
        return Ok(Chosen { base, set: None, found, model: None });
    }
    let Some(dir) = data else {
        let (argument, expected) = ("RECIPE".to_owned(), expected.to_owned());
        return Err(TrainError::Usage { argument, expected, got: "none".to_owned() }.into());
    };
    let found = recognise(dir)?;
    let (recipe, set) = match found.set {
        // It has CIFAR-10's size.
        SetName::Cifar100 => (SetName::Cifar10, Some(SetName::Cifar100)),
        set => (set, None),
    };
    let stem = if recipe.side() > 64 { "the 7 × 7 stem" } else { "the 3 × 3 stem for small images" };
    if !quiet {
        output::note(&format!("{}: {}: recipe {recipe}, with {stem}", dir.display(), found.reason));
    }
    Ok(Chosen { base: Base::from_argument(recipe.as_str())?, set, found: Some(found), model: None })
}

/// Says so where a recipe reads a folder as another set than it looks like.
pub(crate) fn note_another_set(data: Option<&Path>, found: Option<&Recognised>, resolved: &Resolved) {
    let set = &resolved.config.data.set;
    if let (Some(dir), Some(found)) = (data, found)
        && found.set.as_str() != set
    {
        output::note(&format!("{}: {}; read as {set}, as the recipe says", dir.display(), found.reason));
    }
}

/// What a run is called after: its recipe, and its images where they are not the published ones.
pub(crate) fn title(resolved: &Resolved, data: Option<&Path>) -> String {
    let (recipe, set) = (&resolved.recipe, &resolved.config.data.set);
    let own = data.filter(|dir| dir.exists()).zip(set.parse().ok()).map(|(dir, set)| selfie_data::name_at(set, dir));
    match own.filter(|own| own != set) {
        Some(own) => format!("{recipe}-{own}"),
        None => recipe.clone(),
    }
}

/// The folder of the data set: the one named, else the one that an earlier run was given.
pub(crate) fn data_dir(named: Option<&Path>, run: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(dir) = named {
        return Ok(Some(dir.to_owned()));
    }
    let record = run.map(read_record).transpose()?.flatten();
    Ok(record.and_then(|record| record.data_dir).map(PathBuf::from))
}

/// The data set's folder as a record keeps it. `hub:` is no path.
pub(crate) fn recorded(data_dir: Option<PathBuf>) -> Option<PathBuf> {
    data_dir.map(|dir| if dir.exists() { std::path::absolute(&dir).unwrap_or(dir) } else { dir })
}

/// Image files as a command's arguments. Says what was taken for a list and what was passed over.
pub(crate) fn files(paths: &[PathBuf]) -> anyhow::Result<Pictures> {
    for list in paths.iter().filter(|path| is_list(path)) {
        output::note(&format!("{}: a list, read as one path a line", list.display()));
    }
    let pictures = Pictures::files(paths).map_err(output::data)?;
    if let Some(passed_over) = passed_over(pictures.n_ignored()) {
        output::note(&passed_over);
    }
    Ok(pictures)
}
