//! The lock that lets one process at a time download a file.
//!
//! Some file systems have no locks: Lustre and NFS as some clusters mount them, and mounted
//! buckets. There, each process downloads to a partial file with a random name. Nothing is shared,
//! so nothing can be damaged, but an interrupted download starts again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::cache_writer::{create_parent, io_error};
use crate::error::Result;

/// Characters of the random part of a name.
const RANDOM_NAME_CHARS: usize = 16;

/// The error codes of a file system without locks: `ENOSYS`, `ENOLCK`, `ENOTSUP` and `EOPNOTSUPP`.
/// Not all of them have an [`io::ErrorKind`].
const NO_LOCKS: &[i32] = if cfg!(any(target_os = "linux", target_os = "android")) {
    &[37, 38, 95]
} else if cfg!(unix) {
    &[45, 77, 78, 102]
} else {
    &[]
};

/// Takes the lock at `path`, which other processes also use. Calls `on_wait` if another process
/// holds it. Returns None if the file system has no locks.
///
/// # Errors
/// If the file cannot be created or locked.
pub(super) fn lock(path: &Path, on_wait: impl FnOnce()) -> Result<Option<File>> {
    create_parent(path)?;
    let file = OpenOptions::new().append(true).create(true).open(path).map_err(io_error(path, "open"))?;
    let tried = match file.try_lock() {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            on_wait();
            file.lock()
        }
        Err(TryLockError::Error(source)) => Err(source),
    };
    is_locked(tried).map(|locked| locked.then_some(file)).map_err(io_error(path, "lock"))
}

/// Returns whether a lock was taken, or false if the file system has no locks.
fn is_locked(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(error) if error.raw_os_error().is_some_and(|code| NO_LOCKS.contains(&code)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates an empty file with a random name that starts with that of `path`. It is removed when the
/// result is dropped.
pub(super) fn unshared_file(path: &Path) -> Result<TempPath> {
    create_parent(path)?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let mut prefix = path.file_stem().unwrap_or_default().to_owned();
    prefix.push(".");
    let mut suffix = std::ffi::OsString::from(".");
    suffix.push(path.extension().unwrap_or_default());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(&suffix).rand_bytes(RANDOM_NAME_CHARS);
    // tempfile's own files are readable by their owner only.
    let file = builder.make_in(folder, |path| File::create_new(path)).map_err(io_error(path, "create"))?;
    Ok(file.into_temp_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn file_system_without_locks_is_no_error() {
        let code = |code| Err(io::Error::from_raw_os_error(code));
        for code_without_locks in NO_LOCKS {
            assert!(!is_locked(code(*code_without_locks)).expect("no error"), "{code_without_locks}");
        }
        assert!(!is_locked(Err(io::ErrorKind::Unsupported.into())).expect("no error"));
        assert!(is_locked(Ok(())).expect("no error"));
        // EIO and EACCES.
        assert!(is_locked(code(5)).is_err() && is_locked(code(13)).is_err());
    }

    #[test]
    fn lock_is_held_until_the_file_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("locks/a.lock");
        let held = lock(&path, || panic!("nobody holds the lock")).expect("no error").expect("a lock");
        let other = File::open(&path).expect("the file");
        assert!(other.try_lock().is_err(), "locked");
        drop(held);
        other.try_lock().expect("free");
    }

    #[test]
    fn unshared_files_have_different_names_and_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("blobs/etag.incomplete");
        let files = [(); 2].map(|()| unshared_file(&path).expect("a file"));
        assert_ne!(files[0].to_path_buf(), files[1].to_path_buf());
        for file in &files {
            let name = file.file_name().expect("a name").to_string_lossy();
            assert!(file.is_file() && name.starts_with("etag.") && name.ends_with(".incomplete"), "{name}");
        }
        drop(files);
        assert_eq!(std::fs::read_dir(folder.path().join("blobs")).expect("a folder").count(), 0);
    }
}
