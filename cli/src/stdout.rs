//! Stdout as a file whose errors are reported.
//!
//! `std::io::stdout` reports success if stdout is closed, and ignores errors at the end of the
//! process.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Paths of stdout.
const PATHS: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Symbolic links to follow at most, as on Linux.
const MAX_LINKS: usize = 40;

/// Whether an output file is stdout: `-`, a path of stdout, or a link to one.
///
/// Opening such a path would write to the start of a file that other programs have written to.
pub(crate) fn is_stdout(path: &Path) -> bool {
    let mut path = path.to_owned();
    if path.as_os_str() == "-" {
        return true;
    }
    for _ in 0..MAX_LINKS {
        if PATHS.iter().any(|name| path.as_os_str() == *name) {
            return true;
        }
        let Ok(target) = path.read_link() else { return false };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    false
}

/// Passes stdout to a function.
///
/// # Errors
/// If stdout is closed, or what it leads to cannot be written, for example because a disk is full.
pub(crate) fn write(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let result = open().and_then(|file| {
        let mut out = BufWriter::new(file);
        print(&mut out)?;
        out.flush()
    });
    result.map_err(|source| io::Error::new(source.kind(), StdoutError(source)))
}

/// An error that names stdout.
#[derive(Debug)]
struct StdoutError(io::Error);

impl fmt::Display for StdoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout: cannot write")
    }
}

impl std::error::Error for StdoutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(unix)]
fn open() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;
    if closed_at_start::get() {
        return Err(io::Error::other("it is closed"));
    }
    io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from)
}

#[cfg(not(unix))]
fn open() -> io::Result<io::StdoutLock<'static>> {
    Ok(io::stdout().lock())
}

/// Whether the process was started with a closed stdout. Before `main`, Rust's runtime opens
/// `/dev/null` in its place, which then looks like a choice of the user.
#[cfg(unix)]
mod closed_at_start {
    use std::sync::atomic::{AtomicBool, Ordering};

    static IS_CLOSED: AtomicBool = AtomicBool::new(false);

    ctor::declarative::ctor! {
        // SAFETY: before `main` the standard library may not be used. This is one system call, and
        // a store.
        #[ctor(unsafe)]
        fn check() {
            let flags = rustix::io::fcntl_getfd(rustix::stdio::stdout());
            IS_CLOSED.store(flags == Err(rustix::io::Errno::BADF), Ordering::Relaxed);
        }
    }

    pub(super) fn get() -> bool {
        IS_CLOSED.load(Ordering::Relaxed)
    }
}
