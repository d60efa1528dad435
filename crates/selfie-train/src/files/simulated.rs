//! A disk in memory that fails or crashes at a chosen operation, and that knows what is durable: what a machine finds
//! after losing its power is the content that was synced under the names that were synced.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Files;
use super::operations::{FileOperations, NewFile};

/// What goes wrong at an operation. A write that fails has written half of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies: this and every later operation fails.
    Crash,
    /// EIO, once.
    InputOutput,
    /// ENOSPC from here on, for whatever needs space.
    NoSpace,
    /// The write takes only half of the bytes, as it may.
    ShortWrite,
}

/// What is left when the machine starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Everything: only the process died.
    All,
    /// Every name, but of each file only the content that was synced.
    NamesAndSyncedContent,
    /// Only the synced content under synced names.
    Synced,
}

impl Left {
    pub(crate) const ALL: [Self; 3] = [Self::All, Self::NamesAndSyncedContent, Self::Synced];
}

/// The disk; its clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Simulated(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
struct State {
    nodes: BTreeMap<u64, Node>,
    /// Operations so far that could have failed.
    n_operations: usize,
    fault: Option<(usize, Fault)>,
    crashed: bool,
    full: bool,
}

#[derive(Clone, Debug)]
enum Node {
    File { now: Vec<u8>, synced: Vec<u8> },
    Folder { now: BTreeMap<String, u64>, synced: BTreeMap<String, u64> },
}

const ROOT: u64 = 0;

impl Simulated {
    /// An empty folder `/`.
    pub(crate) fn new() -> Self {
        let root = Node::Folder { now: BTreeMap::new(), synced: BTreeMap::new() };
        let nodes = BTreeMap::from([(ROOT, root)]);
        Self(Arc::new(Mutex::new(State { nodes, n_operations: 0, fault: None, crashed: false, full: false })))
    }

    pub(crate) fn files(&self) -> Files {
        Files(Arc::new(self.clone()))
    }

    /// A copy of the disk, without faults, that counts operations anew.
    pub(crate) fn copy(&self) -> Self {
        let state = State { n_operations: 0, fault: None, crashed: false, full: false, ..self.state().clone() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A copy of the disk on which operation `at`, counted from 0, goes wrong.
    pub(crate) fn with_fault(&self, at: usize, fault: Fault) -> Self {
        let copy = self.copy();
        copy.state().fault = Some((at, fault));
        copy
    }

    /// The disk after a crash.
    pub(crate) fn restarted(&self, left: Left) -> Self {
        let copy = self.copy();
        for node in copy.state().nodes.values_mut() {
            match node {
                Node::File { now, synced } if left != Left::All => *now = synced.clone(),
                Node::Folder { now, synced } if left == Left::Synced => *now = synced.clone(),
                _ => {}
            }
        }
        copy
    }

    pub(crate) fn n_operations(&self) -> usize {
        self.state().n_operations
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// Counts an operation; the fault that meets it, if one does.
    fn operate(&mut self, needs_space: bool) -> Option<Fault> {
        let at = self.n_operations;
        self.n_operations += 1;
        let fault = self.fault.filter(|(fault_at, _)| *fault_at == at).map(|(_, fault)| fault);
        self.crashed |= fault == Some(Fault::Crash);
        self.full |= fault == Some(Fault::NoSpace);
        match fault {
            _ if self.crashed => Some(Fault::Crash),
            _ if self.full => needs_space.then_some(Fault::NoSpace),
            fault => fault,
        }
    }

    /// As [`Self::operate`], for operations that happen or do not.
    fn whole(&mut self, needs_space: bool) -> io::Result<()> {
        match self.operate(needs_space) {
            None | Some(Fault::ShortWrite) => Ok(()),
            Some(fault) => Err(error(fault)),
        }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let names = path.components().filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name),
            _ => None,
        });
        let mut id = ROOT;
        for name in names {
            id = *self.entries(id)?.get(&text(name)).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(id)
    }

    fn entries(&self, id: u64) -> io::Result<&BTreeMap<String, u64>> {
        match &self.nodes[&id] {
            Node::Folder { now, .. } => Ok(now),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn entries_above(&mut self, path: &Path) -> io::Result<&mut BTreeMap<String, u64>> {
        let id = self.find(path.parent().unwrap())?;
        match self.nodes.get_mut(&id).unwrap() {
            Node::Folder { now, .. } => Ok(now),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<u64> {
        let id = self.nodes.len() as u64;
        self.entries_above(path)?.insert(name_of(path), id);
        self.nodes.insert(id, node);
        Ok(id)
    }
}

impl FileOperations for Simulated {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.find(path).is_ok() {
            return Ok(());
        }
        state.whole(true)?;
        state.add(path, Node::Folder { now: BTreeMap::new(), synced: BTreeMap::new() }).map(|_| ())
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let mut state = self.state();
        state.whole(true)?;
        // A file that is there would be emptied; the writer under test removes it first.
        assert!(state.find(path).is_err(), "{} is there", path.display());
        let id = state.add(path, Node::File { now: Vec::new(), synced: Vec::new() })?;
        Ok(Box::new(Writer { disk: self.clone(), id }))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole(false)?;
        let id = state.find(path)?;
        if let Node::Folder { now, synced } = state.nodes.get_mut(&id).unwrap() {
            *synced = now.clone();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole(false)?;
        let id = state.find(from)?;
        let taken = state.find(to).is_ok_and(|id| matches!(state.nodes[&id], Node::Folder { .. }));
        assert!(!taken, "{} is there", to.display());
        state.entries_above(from)?.remove(&name_of(from));
        state.entries_above(to)?.insert(name_of(to), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let id = state.find(path)?;
        let names: Vec<String> = state.entries(id).map_or(Vec::new(), |entries| entries.keys().cloned().collect());
        for name in names {
            // A removal that fails half-way has removed some files of the folder.
            state.whole(false)?;
            state.entries_above(&path.join(&name))?.remove(&name);
        }
        state.whole(false)?;
        state.entries_above(path)?.remove(&name_of(path));
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        self.state().find(path).is_ok()
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.whole(false)?;
        let id = state.find(path)?;
        Ok(state.entries(id)?.keys().cloned().collect())
    }

    fn n_bytes(&self, path: &Path) -> io::Result<u64> {
        self.read(path).map(|bytes| bytes.len() as u64)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.whole(false)?;
        let id = state.find(path)?;
        match &state.nodes[&id] {
            Node::File { now, .. } => Ok(now.clone()),
            Node::Folder { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }
}

struct Writer {
    disk: Simulated,
    id: u64,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        let fault = state.operate(true);
        let n_written = if fault.is_some() { bytes.len() / 2 } else { bytes.len() };
        if let Node::File { now, .. } = state.nodes.get_mut(&self.id).unwrap() {
            now.extend_from_slice(&bytes[..n_written]);
        }
        match fault {
            None | Some(Fault::ShortWrite) => Ok(n_written),
            Some(fault) => Err(error(fault)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for Writer {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.whole(true)?;
        if let Node::File { now, synced } = state.nodes.get_mut(&self.id).unwrap() {
            *synced = now.clone();
        }
        Ok(())
    }
}

fn error(fault: Fault) -> io::Error {
    /// Linux's number of EIO.
    const EIO: i32 = 5;
    match fault {
        Fault::NoSpace => io::ErrorKind::StorageFull.into(),
        Fault::InputOutput | Fault::ShortWrite => io::Error::from_raw_os_error(EIO),
        Fault::Crash => io::Error::other("the machine crashed"),
    }
}

fn name_of(path: &Path) -> String {
    text(path.file_name().unwrap())
}

fn text(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}
