//! Models on the Hugging Face hub: files of a folder go up, and come down again. Which files is the caller's business.
//!
//! The hub client finds its endpoint and its token where every program of the hub does: `HF_ENDPOINT`, `HF_TOKEN`, or the
//! file that `hf auth login` writes.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use hf_hub::{HFClientBuilder, HFClientSync, HFError, RepoTypeModel};

use crate::DataError;

#[cfg(test)]
mod tests;

/// A repository of the hub: `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    owner: String,
    name: String,
}

impl FromStr for Repository {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').filter(|(owner, name)| !owner.is_empty() && !name.is_empty());
        let parts = parts.filter(|(_, name)| !name.contains('/'));
        let (owner, name) = parts.ok_or_else(|| "expected owner/name".to_owned())?;
        Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// The hub, or what stands in for it.
///
/// Its client sends files that the hub wants by LFS through Xet, the hub's own store, and no other way.
pub struct Hub {
    client: HFClientSync,
}

impl Hub {
    /// The hub of the environment.
    ///
    /// # Errors
    ///
    /// If the client cannot be made.
    pub fn new() -> Result<Self, DataError> {
        Self::of(HFClientBuilder::new())
    }

    /// A hub at another address.
    ///
    /// # Errors
    ///
    /// If the client cannot be made.
    pub fn at(endpoint: &str, token: &str) -> Result<Self, DataError> {
        Self::of(HFClientBuilder::new().endpoint(endpoint).token(token))
    }

    fn of(builder: HFClientBuilder) -> Result<Self, DataError> {
        let failed = |error: HFError| hub_error(&"of the environment", "starting the client", &error);
        Ok(Self { client: builder.build_sync().map_err(failed)? })
    }

    /// Sends those of `files` that a folder has to a repository, which is made if it is not there, in one commit; returns the
    /// commit's address.
    ///
    /// # Errors
    ///
    /// If the hub refuses.
    pub fn push(
        &self,
        folder: &Path,
        files: &[&str],
        repository: &Repository,
        private: bool,
    ) -> Result<String, DataError> {
        let Repository { owner, name } = repository;
        let failed = |action| move |error: HFError| hub_error(repository, action, &error);
        self.client
            .create_repository()
            .repo_id(&repository.to_string())
            .repo_type(RepoTypeModel)
            .private(private)
            .exist_ok(true)
            .send()
            .map_err(failed("making the repository"))?;
        let commit = self
            .client
            .model(owner, name)
            .upload_folder()
            .folder_path(folder)
            .allow_patterns(files.iter().map(|&file| file.to_owned()).collect::<Vec<_>>())
            .commit_message("Upload with selfie")
            .send()
            .map_err(failed("sending the files"))?;
        Ok(commit.commit_url.unwrap_or_else(|| repository.to_string()))
    }

    /// Fetches those of `files` that a repository has into a folder; returns their names. It must have `needed`.
    ///
    /// # Errors
    ///
    /// If the repository or `needed` is not there, or a file cannot be written.
    pub fn pull(
        &self,
        repository: &Repository,
        revision: &str,
        (files, needed): (&[&str], &str),
        folder: &Path,
    ) -> Result<Vec<String>, DataError> {
        let Repository { owner, name } = repository;
        let model = self.client.model(owner, name);
        let mut fetched = Vec::new();
        for &file in files {
            match model.download_file().filename(file).revision(revision).local_dir(folder.to_path_buf()).send() {
                Ok(_) => fetched.push(file.to_owned()),
                Err(HFError::EntryNotFound { .. }) if file != needed => {}
                Err(error) => return Err(hub_error(repository, "fetching a file", &error)),
            }
        }
        Ok(fetched)
    }
}

fn hub_error(repository: &dyn fmt::Display, action: &'static str, error: &HFError) -> DataError {
    DataError::HubModel { repository: repository.to_string(), action, reason: error.to_string() }
}
