//! `selfie push` and `selfie pull`

use std::path::PathBuf;

use clap::Args;
#[cfg(feature = "hub")]
use selfie_data::hub::models::{Hub, Repository};
#[cfg(feature = "hub")]
use selfie_train::TrainError;
#[cfg(feature = "hub")]
use selfie_train::checkpoint::{EXPORTED_FILES, EXPORTED_WEIGHTS};

#[cfg(feature = "hub")]
use crate::output::{self, Usage};

#[derive(Args, Debug)]
pub(crate) struct Push {
    /// A folder that `selfie export` made
    pub(crate) folder: PathBuf,
    /// Where to send it: owner/name
    pub(crate) repository: String,
    /// Make the repository private, if it is not there yet
    #[arg(long)]
    pub(crate) private: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Pull {
    /// The model: owner/name
    pub(crate) repository: String,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Branch, tag or commit
    #[arg(long, default_value = "main")]
    pub(crate) revision: String,
}

#[cfg(feature = "hub")]
pub(crate) fn push(arguments: &Push) -> anyhow::Result<u8> {
    let Push { folder, repository, private } = arguments;
    let repository = named(repository)?;
    let path = folder.join(EXPORTED_WEIGHTS);
    if !path.is_file() {
        let hint = "expected a folder that `selfie export` made".to_owned();
        return Err(TrainError::Missing { path, hint }.into());
    }
    let commit = Hub::new().and_then(|hub| hub.push(folder, &EXPORTED_FILES, &repository, *private));
    output::print(&commit.map_err(output::data)?)?;
    Ok(0)
}

#[cfg(feature = "hub")]
pub(crate) fn pull(arguments: &Pull) -> anyhow::Result<u8> {
    let Pull { repository, out, revision } = arguments;
    let repository = named(repository)?;
    selfie_train::make_folder(out)?;
    let wanted = (EXPORTED_FILES.as_slice(), EXPORTED_WEIGHTS);
    let files = Hub::new().and_then(|hub| hub.pull(&repository, revision, wanted, out)).map_err(output::data)?;
    output::print(&format!("{}: {}", out.display(), files.join(", ")))?;
    Ok(0)
}

#[cfg(feature = "hub")]
fn named(repository: &str) -> anyhow::Result<Repository> {
    repository.parse().map_err(|expected| Usage(format!("REPOSITORY: {expected}, got {repository}")).into())
}

#[cfg(not(feature = "hub"))]
pub(crate) fn push(_: &Push) -> anyhow::Result<u8> {
    Err(without_hub())
}

#[cfg(not(feature = "hub"))]
pub(crate) fn pull(_: &Pull) -> anyhow::Result<u8> {
    Err(without_hub())
}

/// The client's dependencies are many: it is no part of the usual build.
#[cfg(not(feature = "hub"))]
fn without_hub() -> anyhow::Error {
    crate::output::data(selfie_data::DataError::MissingFeature { feature: "hub" })
}
