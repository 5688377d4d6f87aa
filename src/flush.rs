//! Flushes of files to the disk.

use std::io::{self, ErrorKind};

/// Accepts the result of a flush also if the file system cannot flush a single file, as some
/// network file systems cannot.
pub(crate) fn flushed_if_possible(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn file_system_that_cannot_flush_is_no_error() {
        let result = |code| flushed_if_possible(Err(io::Error::from_raw_os_error(code)));
        const EIO: i32 = 5;
        const EINVAL: i32 = 22;
        const ENOSPC: i32 = 28;
        assert!(result(EINVAL).is_ok() && flushed_if_possible(Err(ErrorKind::Unsupported.into())).is_ok());
        assert!(result(EIO).is_err() && result(ENOSPC).is_err() && flushed_if_possible(Ok(())).is_ok());
    }
}
