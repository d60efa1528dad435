//! Downloads: one file from a URL into a folder, resumed where an earlier attempt ended and compared with its checksum
//! before it gets its name. Where the sets' files are published is here; the Hugging Face hub is `hub`'s business.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::{DataError, SetName};

mod checksum;
mod http;
#[cfg(test)]
pub(crate) mod stand_in;
#[cfg(test)]
mod tests;

pub use checksum::Checksum;
use http::{Answer, Body, Client};

/// The published archives of CIFAR, the first of each set being the one that is fetched, and their MD5.
const PUBLISHED: [(SetName, &str, &str); 4] = [
    (SetName::Cifar10, "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    (SetName::Cifar10, "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    (SetName::Cifar100, "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
    (SetName::Cifar100, "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
];
const PUBLISHED_AT: &str = "https://www.cs.toronto.edu/~kriz/";
const BUFFER_BYTES: usize = 1 << 16;

/// A file on the network and what it must contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    url: String,
    /// The URL's last part, a plain file name.
    name: String,
    checksum: Checksum,
}

/// What happens during a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// More of the file is here.
    Progress {
        /// Bytes on the disk, those of earlier attempts included.
        n_done: u64,
        /// Bytes in all, where the server says.
        n_total: Option<u64>,
    },
    /// An attempt failed; another follows.
    Retry {
        /// Why.
        reason: String,
        /// After how long.
        pause: Duration,
    },
}

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub n_bytes: u64,
    /// Its checksum, as `algorithm:hexadecimal`.
    pub checksum: String,
    /// Whether it was there already, with this checksum.
    pub was_there: bool,
}

/// How often to try again, and when.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Attempts in a row that may bring nothing new.
    n_tries: u32,
    /// After the first of them; doubled after each.
    first_pause: Duration,
    /// What a pause is cut to, a server's wish too.
    longest_pause: Duration,
    /// How long a connection may be silent.
    silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { n_tries: 6, first_pause: seconds(1), longest_pause: seconds(60), silence: seconds(60) }
    }
}

impl Remote {
    /// A file at an `http` or `https` URL. The checksum may be left out where the URL ends in the name of a published
    /// archive, wherever that is mirrored.
    ///
    /// # Errors
    ///
    /// If the URL is none or does not end in a file name, or if a checksum is needed.
    pub fn new(url: &str, checksum: Option<Checksum>) -> Result<Self, DataError> {
        let is_http = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['\\', '\0', ':']);
        if !is_http || !is_plain || path.matches('/').count() < 3 {
            return Err(DataError::setting("--url", "an http or https URL that ends in a file name", url));
        }
        let published = PUBLISHED.iter().find(|(_, archive, _)| *archive == name);
        let Some(checksum) = checksum.or_else(|| published.map(|(_, _, md5)| Checksum::md5(md5))) else {
            let expected = "md5:…, sha256:… or blake3:…, as the file's publisher gives it";
            return Err(DataError::setting("--checksum", expected, "none"));
        };
        Ok(Self { url: url.to_owned(), name: name.to_owned(), checksum })
    }

    /// The archive that a set's authors publish.
    ///
    /// # Errors
    ///
    /// If they publish none that can be had without asking.
    pub fn published(set: SetName) -> Result<Self, DataError> {
        match PUBLISHED.iter().find(|(of, _, _)| *of == set) {
            Some((_, archive, _)) => Self::new(&format!("{PUBLISHED_AT}{archive}"), None),
            None => Err(DataError::setting("SET", "cifar10 or cifar100, or a file's address as --url", set)),
        }
    }

    /// Where the file is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Fetches a file into a folder, which is made if it is not there. Until the file is whole and has its checksum it is
/// called `<name>.part`; an interrupted download goes on where it ended, if the server can do that. What fails for now is
/// tried again, with growing pauses.
///
/// # Errors
///
/// If the file is not to be had ([`crate::DataErrorKind::MissingInput`]), is another one than its checksum says
/// ([`crate::DataErrorKind::BadData`]), or if the network or the disk fail.
pub fn fetch(remote: &Remote, folder: &Path, on_event: impl FnMut(FetchEvent)) -> Result<Fetched, DataError> {
    fetch_patiently(remote, folder, Patience::default(), on_event)
}

fn fetch_patiently(
    remote: &Remote,
    folder: &Path,
    patience: Patience,
    mut on_event: impl FnMut(FetchEvent),
) -> Result<Fetched, DataError> {
    let path = folder.join(&remote.name);
    let fetched = |was_there| {
        let n_bytes = fs::metadata(&path).map_err(|source| DataError::io("looking", &path, source))?.len();
        Ok(Fetched { path: path.clone(), n_bytes, checksum: remote.checksum.to_string(), was_there })
    };
    if path.exists() {
        remote.checksum.require(&path)?;
        return fetched(true);
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DataError::Write { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let part = folder.join(format!("{}.part", remote.name));
    let mut download = Download { remote, client: Client::new(patience.silence), patience, part: Part::open(&part)? };
    let was_begun = download.part.len > 0;
    if let Err(error) = download.finish(&mut on_event) {
        if download.part.len == 0 {
            // Of nothing, nothing is kept; the error says more than a failed clean-up would.
            let _ = fs::remove_file(&part);
        }
        return Err(error);
    }
    if let Err(error) = remote.checksum.require(&part) {
        download.part.cut(0)?;
        // What was there may have been of another version of the file.
        if !was_begun {
            fs::remove_file(&part).map_err(failed(&part))?;
            return Err(error);
        }
        on_event(FetchEvent::Retry { reason: error.to_string(), pause: Duration::ZERO });
        download.finish(&mut on_event)?;
        remote.checksum.require(&part)?;
    }
    fs::rename(&part, &path).map_err(failed(&path))?;
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))?;
    }
    fetched(false)
}

/// What there is of a file that is being downloaded.
struct Part {
    path: PathBuf,
    /// Locked, so that two processes do not write to it at once.
    file: File,
    len: u64,
}

impl Part {
    fn open(path: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::Write { path: path.to_owned(), source };
        let options = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let mut file = options.map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => failed(io::Error::other("another process is downloading it")),
            fs::TryLockError::Error(source) => failed(source),
        })?;
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, len })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file.write_all(bytes).map_err(|source| self.failed(source))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Keeps the first `len` bytes.
    fn cut(&mut self, len: u64) -> Result<(), DataError> {
        let cut = self.file.set_len(len).and_then(|()| self.file.seek(SeekFrom::Start(len)));
        self.len = cut.map_err(|source| self.failed(source))?;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> DataError {
        DataError::Write { path: self.path.clone(), source }
    }
}

/// A download in progress.
struct Download<'a> {
    remote: &'a Remote,
    client: Client,
    patience: Patience,
    part: Part,
}

impl Download<'_> {
    /// Tries until everything is on the disk.
    fn finish(&mut self, on_event: &mut impl FnMut(FetchEvent)) -> Result<(), DataError> {
        let (mut n_fruitless, mut longest) = (0, self.part.len);
        loop {
            let (reason, wish) = match self.client.ask(&self.remote.url, self.part.len)? {
                Answer::Complete => break,
                Answer::StartOver => {
                    self.part.cut(0)?;
                    ("the server has another file than before".to_owned(), Some(Duration::ZERO))
                }
                Answer::Later { reason, wait } => (reason, wait),
                Answer::Body(body) => match self.receive(body, on_event)? {
                    None => break,
                    Some(reason) => (reason, None),
                },
            };
            n_fruitless = if self.part.len > longest { 0 } else { n_fruitless + 1 };
            longest = longest.max(self.part.len);
            if n_fruitless >= self.patience.n_tries {
                return Err(DataError::Fetch { url: self.remote.url.clone(), reason });
            }
            let growing = self.patience.first_pause * 2_u32.pow(n_fruitless.saturating_sub(1).min(16));
            let pause = wish.unwrap_or(growing).min(self.patience.longest_pause);
            on_event(FetchEvent::Retry { reason, pause });
            std::thread::sleep(pause);
        }
        self.part.file.sync_all().map_err(|source| self.part.failed(source))
    }

    /// Writes what comes; returns why it ended early, if it did.
    fn receive(&mut self, mut body: Body, on_event: &mut impl FnMut(FetchEvent)) -> Result<Option<String>, DataError> {
        // A server that knows no ranges begins again.
        self.part.cut(body.start)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match body.reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => self.part.append(&buffer[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Some(format!("the connection ended after {} bytes ({error})", self.part.len))),
            }
            on_event(FetchEvent::Progress { n_done: self.part.len, n_total: body.total });
        }
        let is_short = body.total.is_some_and(|total| self.part.len < total);
        Ok(is_short.then(|| format!("the connection ended after {} bytes", self.part.len)))
    }
}
