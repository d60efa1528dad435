//! Models on the Hugging Face hub: what `export` made goes up, and comes down again.
//!
//! The hub client finds its endpoint and its token where every program of the hub does: `HF_ENDPOINT`, `HF_TOKEN`, or the
//! file that `hf auth login` writes.

use std::path::Path;

use hf_hub::{HFClientBuilder, HFClientSync, HFError, RepoTypeModel};

use crate::TrainError;
use crate::checkpoint::{EXPORTED_FILES, EXPORTED_WEIGHTS};
use crate::files::Files;

#[cfg(test)]
mod tests;

/// Without these there is no model.
const NEEDED: [&str; 1] = [EXPORTED_WEIGHTS];

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
    pub fn new() -> Result<Self, TrainError> {
        Self::of(HFClientBuilder::new())
    }

    /// A hub at another address.
    ///
    /// # Errors
    ///
    /// If the client cannot be made.
    pub fn at(endpoint: &str, token: &str) -> Result<Self, TrainError> {
        Self::of(HFClientBuilder::new().endpoint(endpoint).token(token))
    }

    fn of(builder: HFClientBuilder) -> Result<Self, TrainError> {
        let failed = |error: HFError| hub_error("the hub", "starting the client", &error);
        Ok(Self { client: builder.build_sync().map_err(failed)? })
    }

    /// Sends an exported model to `owner/name`, which is made if it is not there, in one commit; returns the commit's address.
    ///
    /// # Errors
    ///
    /// If the folder holds no exported model, the name has no owner, or the hub refuses.
    pub fn push(&self, folder: &Path, repository: &str, private: bool) -> Result<String, TrainError> {
        let (owner, name) = parts(repository)?;
        if let Some(missing) = NEEDED.iter().map(|name| folder.join(name)).find(|path| !path.is_file()) {
            let hint = "expected a folder that `selfie export` made".to_owned();
            return Err(TrainError::Missing { path: missing, hint });
        }
        let failed = |action| move |error: HFError| hub_error(repository, action, &error);
        self.client
            .create_repository()
            .repo_id(repository)
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
            .allow_patterns(EXPORTED_FILES.map(str::to_owned).to_vec())
            .commit_message("Upload with selfie")
            .send()
            .map_err(failed("sending the files"))?;
        Ok(commit.commit_url.unwrap_or_else(|| repository.to_owned()))
    }

    /// Fetches the model `owner/name` into a folder, which is made; returns the names of the files.
    ///
    /// # Errors
    ///
    /// If the name has no owner, the model is not there or holds no weights, or a file cannot be written.
    pub fn pull(&self, repository: &str, revision: &str, folder: &Path) -> Result<Vec<String>, TrainError> {
        let (owner, name) = parts(repository)?;
        Files::disk().create_folder(folder)?;
        let model = self.client.model(owner, name);
        let mut fetched = Vec::new();
        for file in EXPORTED_FILES {
            match model.download_file().filename(file).revision(revision).local_dir(folder.to_path_buf()).send() {
                Ok(_) => fetched.push(file.to_owned()),
                Err(HFError::EntryNotFound { .. }) if !NEEDED.contains(&file) => {}
                Err(error) => return Err(hub_error(repository, "fetching a file", &error)),
            }
        }
        Ok(fetched)
    }
}

fn parts(repository: &str) -> Result<(&str, &str), TrainError> {
    let parts = repository.split_once('/').filter(|(owner, name)| !owner.is_empty() && !name.is_empty());
    parts.filter(|(_, name)| !name.contains('/')).ok_or_else(|| TrainError::Usage {
        argument: "REPOSITORY".to_owned(),
        expected: "owner/name".to_owned(),
        got: repository.to_owned(),
    })
}

fn hub_error(repository: &str, action: &'static str, error: &HFError) -> TrainError {
    TrainError::Hub { repository: repository.to_owned(), action, reason: error.to_string() }
}
