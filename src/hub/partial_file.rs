//! The part of a file's content that has been downloaded so far.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::cache_writer::io_error;
use super::hash::{Etag, Hasher};
use crate::error::Result;
use crate::flush::flushed_if_possible;

/// The number of bytes read at once.
pub(super) const CHUNK_BYTES: usize = 128 << 10;

/// A partial download and the hash of its bytes.
pub(super) struct PartialFile {
    file: File,
    path: PathBuf,
    etag: Etag,
    /// The size of the complete file in bytes.
    size: u64,
    /// Bytes received so far.
    len: u64,
    /// The hash of these bytes.
    hasher: Hasher,
}

impl PartialFile {
    /// Opens the file that an earlier attempt left, or creates it. Discards its bytes if they are
    /// too many.
    pub(super) fn open(path: PathBuf, etag: &Etag, size: u64) -> Result<Self> {
        // Opening a pipe could block, and a link could lead to another user's file.
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            fs::remove_file(&path).map_err(io_error(&path, "remove"))?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(io_error(&path, "open"))?;
        let mut partial = Self { file, path, etag: etag.clone(), size, len: 0, hasher: etag.hasher(size) };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = partial.file.read(&mut chunk).map_err(io_error(&partial.path, "read"))?;
            if read == 0 {
                return Ok(partial);
            }
            partial.len += read as u64;
            if partial.len > partial.size {
                partial.restart()?;
                return Ok(partial);
            }
            partial.hasher.update(&chunk[..read]);
        }
    }

    /// Returns the number of bytes received so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the hash of the bytes received so far.
    pub(super) fn hash(&self) -> String {
        self.hasher.clone().finish()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(io_error(&self.path, "write"))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Discards all bytes.
    pub(super) fn restart(&mut self) -> Result<()> {
        let truncated = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        truncated.map_err(io_error(&self.path, "write"))?;
        self.len = 0;
        self.hasher = self.etag.hasher(self.size);
        Ok(())
    }

    /// Renames the complete file to its final name.
    pub(super) fn finish(self, blob: &Path) -> Result<()> {
        flushed_if_possible(self.file.sync_all()).map_err(io_error(&self.path, "write"))?;
        fs::rename(&self.path, blob).map_err(io_error(blob, "write"))
    }

    /// Removes the file.
    pub(super) fn remove(self) {
        // A file that remains is discarded by the next download: its hash is wrong.
        drop(fs::remove_file(&self.path));
    }
}
