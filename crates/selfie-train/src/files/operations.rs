//! The operations that files are written with, one method for each that can fail on its own: tests put a simulated disk
//! in the place of the real one, which fails or crashes at any of them.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The operations.
pub(crate) trait FileOperations: Debug + Send + Sync {
    /// Creates a folder in one that is there; a folder that is there already is no error.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Creates a file, or empties the one that is there.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or folder another name, in the place of a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, or a folder with its content.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Whether there is a file or folder.
    fn exists(&self, path: &Path) -> bool;

    /// Names in a folder, in any order.
    fn names(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Size of a file, B.
    fn n_bytes(&self, path: &Path) -> io::Result<u64>;

    /// The bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// A file being written.
pub(crate) trait NewFile: Write {
    /// Makes the content durable, so that reading it back reads what a machine that lost its power would read.
    fn sync(&mut self) -> io::Result<()>;
}

/// The machine's disk.
#[derive(Debug)]
pub(crate) struct Disk;

impl FileOperations for Disk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            created => created,
        }
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        match File::open(path) {
            // A folder above the run's that this user may not list is its owner's business.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            folder => folder?.sync_all(),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn n_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }
}

impl NewFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()?;
        // Otherwise reading back would read the system's copy in memory. A system that does not take the hint loses
        // only that.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&*self, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    }
}
