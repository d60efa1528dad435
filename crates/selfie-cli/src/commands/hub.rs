//! `selfie push` and `selfie pull`

use std::path::PathBuf;

use clap::Args;

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
    let commit = selfie_train::hub::Hub::new()?.push(&arguments.folder, &arguments.repository, arguments.private)?;
    crate::output::print(&commit)?;
    Ok(0)
}

#[cfg(feature = "hub")]
pub(crate) fn pull(arguments: &Pull) -> anyhow::Result<u8> {
    let Pull { repository, out, revision } = arguments;
    let files = selfie_train::hub::Hub::new()?.pull(repository, revision, out)?;
    crate::output::print(&format!("{}: {}", out.display(), files.join(", ")))?;
    Ok(0)
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
