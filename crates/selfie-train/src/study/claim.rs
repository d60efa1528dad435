//! Which process computes a cell, among all that share the study's folder.
//!
//! A claim is a file `claims/CELL.N`, made only if it is not there. Its holder keeps the system's lock on it and rewrites it
//! now and then. Whoever finds the claim with the highest N abandoned makes the one with N + 1, so two of them cannot both
//! succeed, and a holder that comes back, say a laptop that slept, sees it and stops.
//!
//! On one machine the lock tells at once that a holder is dead. Locks of another machine are not always seen through a
//! shared folder, so there the file's age decides. Both ages are the file server's, so clocks need not agree.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::TrainError;
use crate::files::Files;
use crate::signals::{Signals, StopSignal};

#[cfg(test)]
mod tests;

/// The folder of claims.
const CLAIMS: &str = "claims";
/// How many times a claim is rewritten before others would lose patience.
const BEATS: u32 = 10;

/// A number that is drawn when the system starts.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// How long a claim of another machine may stay as it is before it counts as abandoned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(pub(super) Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(Duration::from_secs(300))
    }
}

/// A cell that is this process's until the value is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    place: Place,
    /// Asked to stop the run when the claim is lost.
    signals: Arc<Mutex<Option<Signals>>>,
    /// Dropped to end the thread.
    end: Option<mpsc::Sender<()>>,
    beats: Option<JoinHandle<()>>,
}

/// Where a claim lies.
#[derive(Clone, Debug)]
struct Place {
    folder: PathBuf,
    cell: String,
    generation: u64,
}

impl Place {
    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.{}", self.cell, self.generation))
    }

    fn generations(&self) -> Result<Vec<u64>, TrainError> {
        let names = Files::disk().names(&self.folder)?;
        let generation = |name: &String| name.strip_prefix(&self.cell)?.strip_prefix('.')?.parse().ok();
        Ok(names.iter().filter_map(generation).collect())
    }

    /// Whether this is still the newest claim on the cell.
    fn holds(&self) -> Result<bool, TrainError> {
        Ok(self.generations()?.into_iter().max() == Some(self.generation))
    }
}

impl Claim {
    /// Claims a cell of the study in `study`; `None` if another process has it.
    pub(super) fn take(study: &Path, cell: &str, patience: Patience) -> Result<Option<Self>, TrainError> {
        let folder = study.join(CLAIMS);
        Files::disk().create_folder(&folder)?;
        let mut place = Place { folder, cell: cell.to_owned(), generation: 0 };
        if let Some(newest) = place.generations()?.into_iter().max() {
            place.generation = newest;
            if !is_abandoned(&place, patience)? {
                return Ok(None);
            }
        }
        place.generation += 1;
        let path = place.path();
        let mut file = match File::create_new(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(source) => return Err(TrainError::creating(&path, source)),
        };
        // The content comes last: a claim without one is being made.
        let claimed = file.lock().and_then(|()| file.write_all(machine().as_bytes())).and_then(|()| file.sync_all());
        claimed.map_err(|source| TrainError::writing(&path, source))?;
        let signals = Arc::new(Mutex::new(None));
        let (end, ended) = mpsc::channel();
        let holder = Holder { place: place.clone(), file, signals: signals.clone(), every: patience.0 / BEATS };
        let beats = std::thread::Builder::new().name("claim".to_owned()).spawn(move || holder.beat(&ended));
        let beats = beats.map_err(|source| TrainError::writing(&path, source))?;
        Ok(Some(Self { place, signals, end: Some(end), beats: Some(beats) }))
    }

    /// The signals through which the run hears that the claim is lost.
    pub(super) fn stops(&self, signals: Option<Signals>) {
        *self.signals.lock().unwrap_or_else(PoisonError::into_inner) = signals;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(beats) = self.beats.take() {
            // A thread that panicked has said so.
            let _ = beats.join();
        }
        // Those that were abandoned too. What cannot be removed will count as abandoned.
        for generation in self.place.generations().unwrap_or_default() {
            if generation <= self.place.generation {
                let _ = fs::remove_file(Place { generation, ..self.place.clone() }.path());
            }
        }
    }
}

/// The thread that keeps a claim fresh.
struct Holder {
    place: Place,
    /// Holds the lock.
    file: File,
    signals: Arc<Mutex<Option<Signals>>>,
    every: Duration,
}

impl Holder {
    fn beat(mut self, ended: &mpsc::Receiver<()>) {
        while ended.recv_timeout(self.every) == Err(RecvTimeoutError::Timeout) {
            // A folder that cannot be read just now says nothing.
            if let Ok(false) = self.place.holds() {
                let signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(signals) = signals.as_ref() {
                    signals.request(StopSignal::Terminate);
                }
                return;
            }
            let rewritten = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(machine().as_bytes()));
            // A beat that failed is one of several before others lose patience.
            let _ = rewritten.and_then(|()| self.file.sync_all());
        }
    }
}

fn is_abandoned(place: &Place, patience: Patience) -> Result<bool, TrainError> {
    let path = place.path();
    let reading = |source: io::Error| TrainError::reading(&path, source, "expected a claim");
    let holder = match fs::read_to_string(&path) {
        Ok(holder) => holder,
        // Given up since the folder was listed: the next look will see.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(reading(source)),
    };
    if holder == machine() && knows_itself() {
        // A lock through a shared folder may want a file that can be written.
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(reading(source)),
        };
        return match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => Err(reading(source)),
        };
    }
    let clock = place.folder.join(format!(".clock-{}", std::process::id()));
    fs::write(&clock, machine()).map_err(|source| TrainError::writing(&clock, source))?;
    let times = modified(&clock).and_then(|now| Ok((now, modified(&path)?)));
    // It is made anew for every look.
    let _ = fs::remove_file(&clock);
    match times {
        Ok((now, beaten)) => Ok(now.duration_since(beaten).is_ok_and(|age| age > patience.0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(reading(source)),
    }
}

fn modified(path: &Path) -> io::Result<std::time::SystemTime> {
    fs::metadata(path)?.modified()
}

/// What tells this machine, since it was started, from others: those without a name of their own too. Known on Linux only.
fn machine() -> String {
    format!("{} {}\n", first_line("/proc/sys/kernel/hostname"), first_line(BOOT))
}

/// Whether the system told which machine this is; where it did not, a claim's age decides.
fn knows_itself() -> bool {
    !first_line(BOOT).is_empty()
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
