//! What is written to the cache, so that it is whole or not there.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::cache::{CachedRepository, folder_name};
use crate::error::{Error, Result};

/// A repository's folders in the cache, to be written to.
pub(super) struct CacheWriter {
    pub(super) repository: CachedRepository,
    /// Of its locks, which is also where things are made before they are moved to their places.
    locks: PathBuf,
}

pub(super) fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, action, source }
}

pub(super) fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(io_error(folder, "make the folder"))
}

impl CacheWriter {
    pub(super) fn new(cache: &Path, id: &str) -> Self {
        Self { repository: CachedRepository::new(cache, id), locks: cache.join(".locks").join(folder_name(id)) }
    }

    /// A content, by its name.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.repository.folder.join("blobs").join(etag)
    }

    /// What has come of it so far: the name that huggingface_hub gave it until 1.17, which resumes it, too.
    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.repository.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// The file that whoever fetches a content locks.
    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// A file of a commit.
    pub(super) fn file(&self, commit: &str, name: &str) -> PathBuf {
        self.repository.snapshot_folder(commit).join(name)
    }

    /// Puts a content in its place among a commit's files.
    pub(super) fn link_file(&self, commit: &str, name: &str, etag: &str) -> Result<()> {
        self.link_with(commit, name, etag, symlink)
    }

    fn link_with(
        &self,
        commit: &str,
        name: &str,
        etag: &str,
        link: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> Result<()> {
        let path = self.file(commit, name);
        create_parent(&path)?;
        // From the file's folder up to snapshots/, and one more.
        let target: PathBuf = std::iter::repeat_n("..", name.split('/').count() + 1).collect();
        let new = self.aside(etag);
        create_parent(&new)?;
        if link(&target.join("blobs").join(etag), &new).is_err() {
            // Where there are no links, or one may not make them. huggingface_hub does the same.
            fs::copy(self.blob(etag), &new).map_err(io_error(&path, "copy the content to"))?;
        }
        fs::rename(&new, &path).map_err(io_error(&path, "write"))
    }

    /// Says which commit a branch or tag is.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.repository.ref_path(revision);
        if fs::read_to_string(&path).is_ok_and(|text| text == commit) {
            return Ok(());
        }
        create_parent(&path)?;
        let new = self.aside("ref");
        create_parent(&new)?;
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(commit.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(io_error(&path, "write"))
    }

    /// Notes that a commit has no such file.
    pub(super) fn mark_missing(&self, commit: &str, name: &str) -> Result<()> {
        let path = self.repository.missing_marker(commit, name);
        create_parent(&path)?;
        File::create(&path).map(drop).map_err(io_error(&path, "write"))
    }

    /// A place for what is not yet in its place, on the same file system. By chance, because processes in different containers
    /// may have the same number.
    fn aside(&self, name: &str) -> PathBuf {
        let chance = RandomState::new().hash_one((std::process::id(), std::thread::current().id()));
        self.locks.join(format!("{name}.{chance:016x}.new"))
    }
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn writer() -> (tempfile::TempDir, CacheWriter) {
        let cache = tempfile::tempdir().expect("a folder");
        let writer = CacheWriter::new(cache.path(), "org/name");
        let blob = writer.blob("etag");
        create_parent(&blob).expect("folders");
        fs::write(blob, "content").expect("a blob");
        (cache, writer)
    }

    #[cfg(unix)]
    #[test]
    fn links_are_relative_and_replace_broken_ones() {
        let (cache, writer) = writer();
        for (name, target) in [("a", "../../blobs/etag"), ("1_Pooling/b/c", "../../../../blobs/etag")] {
            let path = cache.path().join("models--org--name/snapshots").join(COMMIT).join(name);
            create_parent(&path).expect("folders");
            std::os::unix::fs::symlink("nowhere", &path).expect("a broken link");
            writer.link_file(COMMIT, name, "etag").expect("placed");
            assert_eq!(fs::read_link(&path).expect("a link"), Path::new(target));
            assert_eq!(fs::read_to_string(&path).expect("a file"), "content");
        }
        assert_eq!(fs::read_dir(cache.path().join(".locks/models--org--name")).expect("a folder").count(), 0);
    }

    #[test]
    fn places_are_nobody_elses() {
        let (_cache, writer) = writer();
        let places: std::collections::HashSet<_> = (0..100).map(|_| writer.aside("x")).collect();
        assert_eq!(places.len(), 100);
    }

    #[test]
    fn without_links_contents_are_copied() {
        let (_cache, writer) = writer();
        let refuse = |_: &Path, _: &Path| Err(io::ErrorKind::PermissionDenied.into());
        writer.link_with(COMMIT, "x/y", "etag", refuse).expect("placed");
        let path = writer.file(COMMIT, "x/y");
        assert!(path.symlink_metadata().expect("a file").is_file());
        assert_eq!(fs::read_to_string(path).expect("a file"), "content");
    }

    #[test]
    fn references_are_a_commit_and_nothing_else() {
        let (cache, writer) = writer();
        for revision in ["main", "refs/pr/1", "main"] {
            writer.write_ref(revision, COMMIT).expect("written");
            let path = cache.path().join("models--org--name/refs").join(revision);
            assert_eq!(fs::read_to_string(path).expect("a file"), COMMIT);
        }
    }
}
