//! Output files that replace an existing file only when they are complete.

use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use likewise::Error;
use tempfile::NamedTempFile;

/// A temporary file in the folder of an output file, which it replaces atomically. If the program
/// fails, the temporary file is removed and the old output file stays.
pub(crate) struct OutputFile {
    path: PathBuf,
    temporary: NamedTempFile,
}

impl OutputFile {
    /// Creates the temporary file.
    ///
    /// # Errors
    /// If the folder does not exist or is not writable.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.to_owned(), action: "write", source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut prefix = path.file_name().map_or_else(OsString::new, OsString::from);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As for any new file: everything that the umask leaves.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let temporary = builder.tempfile_in(folder).map_err(failed)?;
        Ok(Self { path: path.to_owned(), temporary })
    }

    /// Writes the content and moves the file to its path.
    ///
    /// # Errors
    /// If writing fails, or the path names a folder.
    pub(crate) fn write(self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Error> {
        let Self { path, mut temporary } = self;
        let failed = |source| Error::Io { path: path.clone(), action: "write", source };
        let mut out = BufWriter::new(temporary.as_file_mut());
        write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
        drop(out);
        temporary.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}
