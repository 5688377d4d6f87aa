//! Files that are written completely or not at all.
//!
//! The content goes to a file without a name, which the operating system removes however the
//! process ends. Only the complete content gets a name.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufWriter, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::flush::flushed_if_possible;

/// Symbolic links to follow at most, as on Linux.
const MAX_LINKS: usize = 40;

/// A file to write, which gets its name or its new content only when the content is complete.
///
/// An existing file keeps its mode, owner and group, and symbolic links stay: the file that the
/// last link names is replaced, by a rename. Some files cannot be replaced without a loss, and are
/// overwritten in place under a lock instead: a file with several hard links, of another owner, in
/// a folder that is not writable, or mounted by itself. A file that this process may not write is
/// an error. Pipes and devices are written directly.
///
/// If several processes write a file at the same time, it has the complete content of one of them.
/// [`Self::commit`] waits until the content is on the disk, but not until the name is: after a
/// power failure, the file is either the old or the new one.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// let mut file = likewise::OutputFile::create("scores.txt")?;
/// file.write(|out| writeln!(out, "0.94"))?;
/// file.commit()
/// # }
/// ```
#[derive(Debug)]
pub struct OutputFile {
    /// The path as it was given, for messages.
    path: PathBuf,
    destination: Destination,
    /// The content so far. A pipe or a device itself.
    content: File,
}

#[derive(Debug)]
enum Destination {
    /// A pipe, a device or a descriptor of a process.
    Direct,
    /// A file that gets its name in another folder first.
    Staged { folder: PathBuf, replaces: bool },
    /// A file that is created or replaced.
    Replaced { target: PathBuf, old: Option<File> },
    /// A file that is overwritten.
    Overwritten(File),
}

impl OutputFile {
    /// Prepares to write a file. An existing file stays unchanged until [`Self::commit`].
    ///
    /// Opening a named pipe waits for its reader.
    ///
    /// # Errors
    /// If the folder does not exist, the path names a folder, or the file may not be written.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let (destination, content) = match open_destination(&path) {
            Ok(opened) => opened,
            Err(source) => return Err(Error::Io { path, action: "write", source }),
        };
        Ok(Self { path, destination, content })
    }

    /// Prepares to write a file of which nothing is kept: no link, no mode. `folder` is on the same
    /// file system. The file's own folder may be created before [`Self::commit`].
    ///
    /// `replaces`: whether an existing file is replaced. Otherwise it is an error.
    pub(crate) fn staged_in(folder: &Path, path: PathBuf, replaces: bool) -> Result<Self> {
        match tempfile::tempfile_in(folder) {
            Ok(content) => {
                let destination = Destination::Staged { folder: folder.to_owned(), replaces };
                Ok(Self { path, destination, content })
            }
            Err(source) => Err(Error::Io { path, action: "write", source }),
        }
    }

    /// Appends to the content.
    ///
    /// # Errors
    /// If writing fails, for example because the disk is full.
    pub fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let mut out = BufWriter::new(&mut self.content);
        let result = write(&mut out).and_then(|()| out.flush());
        // Without this, dropping would write the rest once more.
        drop(out.into_parts());
        result.map_err(|source| self.failed(source))
    }

    /// Gives the content its name, or overwrites the existing file.
    ///
    /// # Errors
    /// If writing fails. The old file then stays, unless it is one that is overwritten in place.
    pub fn commit(mut self) -> Result<()> {
        let result = match &mut self.destination {
            // A closed pipe would have been reported by the write.
            Destination::Direct => Ok(()),
            Destination::Staged { folder, replaces } => publish(&mut self.content, &self.path, folder, *replaces, None),
            Destination::Replaced { target, old } => replace(&mut self.content, target, old.as_mut()),
            Destination::Overwritten(old) => overwrite(&mut self.content, old),
        };
        result.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), action: "write", source }
    }
}

/// Finds out how a path is written, and creates the file for the content.
fn open_destination(path: &Path) -> io::Result<(Destination, File)> {
    let target = follow_links(path)?;
    if is_descriptor(&target) {
        // A regular file may have content that others wrote through the descriptor.
        return Ok((Destination::Direct, OpenOptions::new().append(true).open(target)?));
    }
    let folder = folder_of(&target);
    let Some(found) = metadata(&target)? else {
        if !folder.is_dir() {
            let what = format!("there is no folder {}", folder.display());
            return Err(io::Error::new(ErrorKind::NotFound, what));
        }
        let content = tempfile::tempfile_in(folder)?;
        return Ok((Destination::Replaced { target, old: None }, content));
    };
    if found.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    // The permissions of the file count, although those of its folder would allow to replace it.
    let old = OpenOptions::new().write(true).open(&target)?;
    if !found.is_file() {
        return Ok((Destination::Direct, old));
    }
    if has_other_links(&found) {
        return Ok((Destination::Overwritten(old), temporary_anywhere(folder)?));
    }
    match tempfile::tempfile_in(folder) {
        Ok(content) => Ok((Destination::Replaced { target, old: Some(old) }, content)),
        // The folder is not writable.
        Err(_) => Ok((Destination::Overwritten(old), tempfile::tempfile()?)),
    }
}

/// Creates a file without a name in this folder, otherwise in the folder for temporary files.
fn temporary_anywhere(folder: &Path) -> io::Result<File> {
    tempfile::tempfile_in(folder).or_else(|_| tempfile::tempfile())
}

/// Follows the symbolic links of a path itself, but not those that lead to an open file of a
/// process. The last link may lead to a file that does not exist.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let is_link = fs::symlink_metadata(&target).is_ok_and(|found| found.is_symlink());
        if !is_link || is_descriptor(&target) {
            return Ok(target);
        }
        target = folder_of(&target).join(fs::read_link(&target)?);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Whether a path names an open file of a process, such as `/dev/fd/3` or `/proc/self/fd/3`.
///
/// The link `/proc/self/fd/3` shows the name of the file, which may have been renamed or removed,
/// and only looks like a path for a pipe.
fn is_descriptor(path: &Path) -> bool {
    let in_proc = |folder: PathBuf| folder.starts_with("/proc") && folder.ends_with("fd");
    cfg!(target_os = "linux") && folder_of(path).canonicalize().is_ok_and(in_proc)
}

/// Returns the metadata of a file, or None if it does not exist.
fn metadata(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the folder that contains a file.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces a file by a complete one.
fn replace(content: &mut File, target: &Path, mut old: Option<&mut File>) -> io::Result<()> {
    if let Some(old) = &mut old
        && !copy_owner_and_mode(old, content)?
    {
        return overwrite(content, old);
    }
    match (publish(content, target, folder_of(target), true, old.as_deref()), old) {
        // A file that is mounted by itself, or that belongs to another user in a shared folder.
        (Err(error), Some(old)) if is_refused(&error) => overwrite(content, old),
        (result, _) => result,
    }
}

/// Gives the content its final name. If that exists, the content has a temporary name in `folder`
/// for the moment before the rename.
fn publish(content: &mut File, target: &Path, folder: &Path, replaces: bool, old: Option<&File>) -> io::Result<()> {
    flushed_if_possible(content.sync_all())?;
    if old.is_none() && link(content, target).is_ok() {
        return Ok(());
    }
    let named = name(content, folder, old)?;
    let renamed = if replaces { named.persist(target) } else { named.persist_noclobber(target) };
    renamed.map_err(|error| error.error)
}

/// Whether the operating system refused to rename a file over another.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::PermissionDenied)
}

/// Writes the content to an existing file, which other processes may have open.
fn overwrite(content: &mut File, old: &mut File) -> io::Result<()> {
    // Another writer of the file waits. Some file systems have no locks.
    drop(old.lock());
    let length = content.metadata()?.len();
    reserve(old, length)?;
    content.rewind()?;
    io::copy(content, old)?;
    old.set_len(length)?;
    flushed_if_possible(old.sync_all())
}

/// Reserves the space for the content, so that a full disk is noticed before the file is changed.
#[cfg(target_os = "linux")]
fn reserve(file: &File, length: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
        // An empty content, or a file system that cannot reserve space.
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

/// Gives a file without a name a temporary one. Dropping the result removes the name.
fn name(content: &mut File, folder: &Path, old: Option<&File>) -> io::Result<NamedTempFile<()>> {
    // The keys of this hash come from the operating system, so that the name cannot be guessed. The
    // target's own name is not part of it: together they might be too long.
    let random = RandomState::new().build_hasher().finish();
    let prefix = format!(".likewise-{random:016x}");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".partial");
    if let Ok(named) = builder.make_in(folder, |path| link(content, path)) {
        return Ok(named);
    }
    // The file system cannot link a file without a name.
    builder.make_in(folder, |path| copy(content, path, old))
}

#[cfg(target_os = "linux")]
fn link(content: &File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd;
    let unnamed = format!("/proc/self/fd/{}", content.as_raw_fd());
    Ok(linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Copies the content to a new file, with the owner and the mode of the old one.
fn copy(content: &mut File, path: &Path, old: Option<&File>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if old.is_some() {
        use std::os::unix::fs::OpenOptionsExt;
        // The old file may be private.
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    let mut write = || {
        content.rewind()?;
        io::copy(content, &mut file)?;
        if let Some(old) = old {
            copy_owner_and_mode(old, &file)?;
        }
        flushed_if_possible(file.sync_all())
    };
    write().inspect_err(|_| drop(fs::remove_file(path)))
}

/// Whether a file has several names.
#[cfg(unix)]
fn has_other_links(found: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(found) > 1
}

#[cfg(not(unix))]
fn has_other_links(_: &fs::Metadata) -> bool {
    false
}

/// Gives a file the owner, the group and the mode of another. Returns false if this process may not
/// set the owner or the group.
#[cfg(unix)]
fn copy_owner_and_mode(from: &File, to: &File) -> io::Result<bool> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let (old, new) = (from.metadata()?, to.metadata()?);
    let differs = (old.uid(), old.gid()) != (new.uid(), new.gid());
    if differs && fchown(to, Some(old.uid()), Some(old.gid())).is_err() {
        return Ok(false);
    }
    // After the owner, because a new owner clears some bits of the mode.
    to.set_permissions(old.permissions())?;
    Ok(true)
}

#[cfg(not(unix))]
fn copy_owner_and_mode(_: &File, _: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn copy_on_a_file_system_without_links_has_the_mode_of_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
        fs::write(&old, "old").expect("a file");
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).expect("a mode");
        let mut content = tempfile::tempfile().expect("a file");
        content.write_all(b"content").expect("written");
        copy(&mut content, &new, Some(&File::open(&old).expect("a file"))).expect("copied");
        assert_eq!(fs::read(&new).expect("a file"), b"content");
        assert_eq!(fs::metadata(&new).expect("a file").permissions().mode() & 0o7777, 0o640);
        let again = copy(&mut content, &new, None).expect_err("the name exists");
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&new).expect("a file"), b"content", "a failed copy removes only its own file");
    }

    #[test]
    fn staged_file_replaces_only_if_it_should() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for (replaces, content) in [(false, "first"), (true, "second"), (false, "third")] {
            let mut file = OutputFile::staged_in(folder.path(), path.clone(), replaces).expect("a file");
            file.write(|out| out.write_all(content.as_bytes())).expect("written");
            assert_eq!(file.commit().is_ok(), content != "third", "{content}");
        }
        assert_eq!(fs::read(&path).expect("a file"), b"second");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no temporary file is left");
    }

    #[test]
    fn file_that_is_not_committed_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = OutputFile::create(folder.path().join("new")).expect("a file");
        file.write(|out| out.write_all(b"content")).expect("written");
        let failed = file.write(|_| Err(ErrorKind::StorageFull.into())).expect_err("the disk is full");
        assert!(failed.to_string().contains("new: cannot write"), "{failed}");
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
