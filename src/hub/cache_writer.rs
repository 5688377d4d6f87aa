//! Writes to the cache. Every file appears by an atomic rename, complete or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::cache::{CachedRepository, repository_folder_name};
use crate::error::{Error, Result};
use crate::output_file::OutputFile;

/// Random characters in the name of a staged link. Processes of different containers may stage
/// links in the same folder.
const RANDOM_NAME_CHARS: usize = 16;

/// The writable folders of a repository in the cache.
pub(super) struct CacheWriter {
    pub(super) repository: CachedRepository,
    /// The lock folder. Files are also staged here before an atomic rename.
    locks: PathBuf,
}

/// Returns a function that wraps an I/O error with its path and action.
pub(super) fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, action, source }
}

/// Creates the folder that contains `path`.
pub(super) fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(io_error(folder, "create the folder"))
}

impl CacheWriter {
    pub(super) fn new(cache: &Path, id: &str) -> Self {
        let locks = cache.join(".locks").join(repository_folder_name(id));
        Self { repository: CachedRepository::new(cache, id), locks }
    }

    /// Returns the path of a file's content.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.repository.folder.join("blobs").join(etag)
    }

    /// Returns the path of a partial download. huggingface_hub used this name until 1.17, and
    /// those versions also resume from it.
    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.repository.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Returns the file that a process locks while it downloads a blob.
    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// Returns the path of a commit's file.
    pub(super) fn file(&self, commit: &str, name: &str) -> PathBuf {
        self.repository.snapshot_folder(commit).join(name)
    }

    /// Links a commit's file to its blob.
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
        // From the file's folder up to snapshots/, and from there to the repository.
        let up: PathBuf = std::iter::repeat_n("..", name.split('/').count() + 1).collect();
        let target = up.join("blobs").join(etag);
        let link_or_copy = |staged: &Path| match link(&target, staged) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Some file systems and accounts have no symbolic links. huggingface_hub also copies.
            Err(_) => fs::copy(self.blob(etag), staged).map(drop),
            Ok(()) => Ok(()),
        };
        let write = || -> io::Result<()> {
            self.stage(link_or_copy)?.persist(&path)?;
            Ok(())
        };
        write().map_err(io_error(&path, "write"))
    }

    /// Writes the commit of a branch or tag.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.repository.ref_path(revision);
        if fs::read_to_string(&path).is_ok_and(|text| text == commit) {
            return Ok(());
        }
        create_parent(&path)?;
        fs::create_dir_all(&self.locks).map_err(io_error(&self.locks, "create the folder"))?;
        // Another user's file in a shared cache is replaced, although it may not be written.
        let mut file = OutputFile::staged_in(&self.locks, path, true)?;
        file.write(|out| out.write_all(commit.as_bytes()))?;
        file.commit()
    }

    /// Notes that a commit has no file of this name.
    pub(super) fn mark_missing(&self, commit: &str, name: &str) -> Result<()> {
        let path = self.repository.missing_marker(commit, name);
        create_parent(&path)?;
        File::create(&path).map(drop).map_err(io_error(&path, "write"))
    }

    /// Creates a link or a copy under a random name, on the file system of the cache. It is removed
    /// unless it is renamed.
    fn stage<F>(&self, create: impl FnMut(&Path) -> io::Result<F>) -> io::Result<NamedTempFile<F>> {
        fs::create_dir_all(&self.locks)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("").suffix(".new").rand_bytes(RANDOM_NAME_CHARS);
        builder.make_in(&self.locks, create)
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

    fn writer_with_blob() -> (tempfile::TempDir, CacheWriter) {
        let cache = tempfile::tempdir().expect("a folder");
        let writer = CacheWriter::new(cache.path(), "org/name");
        let blob = writer.blob("etag");
        create_parent(&blob).expect("folders");
        fs::write(blob, "content").expect("a blob");
        (cache, writer)
    }

    fn staged_files(cache: &Path) -> usize {
        fs::read_dir(cache.join(".locks/models--org--name")).expect("a folder").count()
    }

    #[cfg(unix)]
    #[test]
    fn file_link_is_relative_and_replaces_a_broken_one() {
        let (cache, writer) = writer_with_blob();
        for (name, target) in [("a", "../../blobs/etag"), ("1_Pooling/b/c", "../../../../blobs/etag")] {
            let path = cache.path().join("models--org--name/snapshots").join(COMMIT).join(name);
            create_parent(&path).expect("folders");
            std::os::unix::fs::symlink("nowhere", &path).expect("a broken link");
            writer.link_file(COMMIT, name, "etag").expect("linked");
            assert_eq!(fs::read_link(&path).expect("a link"), Path::new(target));
            assert_eq!(fs::read_to_string(&path).expect("a file"), "content");
        }
        assert_eq!(staged_files(cache.path()), 0);
    }

    #[test]
    fn file_without_symlink_support_is_copied() {
        let (cache, writer) = writer_with_blob();
        let fail = |_: &Path, _: &Path| Err(io::ErrorKind::PermissionDenied.into());
        writer.link_with(COMMIT, "x/y", "etag", fail).expect("copied");
        let path = writer.file(COMMIT, "x/y");
        assert!(path.symlink_metadata().expect("a file").is_file());
        assert_eq!(fs::read_to_string(path).expect("a file"), "content");
        assert_eq!(staged_files(cache.path()), 0);
    }

    #[test]
    fn staged_file_is_removed_if_the_rename_fails() {
        let (cache, writer) = writer_with_blob();
        fs::create_dir_all(writer.file(COMMIT, "folder").join("not-empty")).expect("a folder");
        assert!(writer.link_file(COMMIT, "folder", "etag").is_err());
        assert_eq!(staged_files(cache.path()), 0);
    }

    #[test]
    fn ref_contains_only_the_commit() {
        let (cache, writer) = writer_with_blob();
        for revision in ["main", "refs/pr/1", "main"] {
            writer.write_ref(revision, COMMIT).expect("written");
            let path = cache.path().join("models--org--name/refs").join(revision);
            assert_eq!(fs::read_to_string(path).expect("a file"), COMMIT);
        }
    }

    #[cfg(unix)]
    #[test]
    fn ref_has_the_permissions_of_an_ordinary_file() {
        use std::os::unix::fs::PermissionsExt;
        let (cache, writer) = writer_with_blob();
        writer.write_ref("main", COMMIT).expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode();
        let ordinary = cache.path().join("ordinary");
        fs::write(&ordinary, "").expect("a file");
        assert_eq!(mode(&writer.repository.ref_path("main")), mode(&ordinary));
    }
}
