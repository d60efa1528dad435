//! Gzip'd shards. Nothing in them can be read without what is before it, so a shard is unpacked whole, into memory, and
//! kept until another one is asked for.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;

/// The largest shard, unpacked; WebDataset's usual one is half of that.
const MAX_BYTES: u64 = 2 << 30;
/// Image files hardly compress: what unpacks to so many times its size is no shard of them.
const MAX_PACKING: u64 = 200;
/// Below this, tar's own padding may compress better than that.
const SMALL_BYTES: u64 = 1 << 20;

/// The shard of a listing that was unpacked last.
#[derive(Debug, Default)]
pub(crate) struct Packed(Mutex<Option<Unpacked>>);

/// A shard's path and bytes.
type Unpacked = (Arc<Path>, Arc<Vec<u8>>);

impl Packed {
    /// Some bytes of an unpacked shard.
    pub(super) fn read(&self, shard: &Arc<Path>, start: u64, len: u64) -> io::Result<Vec<u8>> {
        let unpacked = self.unpacked(shard)?;
        let end = start.checked_add(len).filter(|&end| end <= unpacked.len() as u64);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(unpacked[start as usize..end as usize].to_vec())
    }

    /// A shard as if it were not compressed.
    pub(super) fn open(&self, shard: &Arc<Path>) -> io::Result<Cursor<Shared>> {
        Ok(Cursor::new(Shared(self.unpacked(shard)?)))
    }

    fn unpacked(&self, shard: &Arc<Path>) -> io::Result<Arc<Vec<u8>>> {
        // Held while a shard is unpacked: whoever wants the same one waits for it.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((path, bytes)) if path == shard => Ok(bytes.clone()),
            _ => {
                // The memory first: two shards need not be there at once.
                *last = None;
                let bytes = Arc::new(unpack(shard)?);
                *last = Some((shard.clone(), bytes.clone()));
                Ok(bytes)
            }
        }
    }
}

impl PartialEq for Packed {
    /// What was unpacked last makes no difference.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Packed {}

/// Bytes of an unpacked shard.
pub(super) struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn unpack(shard: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(shard)?;
    let limit = file.metadata()?.len().saturating_mul(MAX_PACKING).clamp(SMALL_BYTES, MAX_BYTES);
    let mut bytes = Vec::new();
    MultiGzDecoder::new(BufReader::new(file)).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it unpacks to more than {limit} bytes")));
    }
    Ok(bytes)
}
