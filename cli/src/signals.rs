//! The signals that this program does not leave to the operating system.

/// Makes a write beyond the limit of file sizes (`ulimit -f`) an error. Otherwise the signal
/// SIGXFSZ would end the process.
#[cfg(unix)]
pub(crate) fn report_file_size_limit() {
    use std::sync::Arc;
    // Any handler makes the write return an error, so this flag is not read. If no handler can be
    // installed, the signal keeps its effect.
    drop(signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()));
}

#[cfg(not(unix))]
pub(crate) fn report_file_size_limit() {}
