//! Signals to the first process of a container.
//!
//! The kernel ends a process by SIGTERM and SIGINT, but not the first process of a container (PID
//! 1): without a handler, that process would ignore Ctrl-C and `docker stop` until it is killed.

#[cfg(unix)]
mod unix {
    use std::sync::atomic::AtomicBool;
    #[cfg(feature = "serve")]
    use std::sync::atomic::Ordering;
    use std::sync::{Arc, LazyLock};

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag::register_conditional_shutdown;

    /// The exit code of a process that a signal ends is this plus the signal, as in shells.
    const SIGNAL_EXIT_CODE: i32 = 128;

    /// Whether a signal ends the process.
    static ENDS_PROCESS: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

    /// Lets signals end the process, as they do for any process but the first one.
    pub(crate) fn end_at_signals() {
        if std::process::id() != 1 {
            return;
        }
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            // Without the handler, the process would ignore the signal.
            drop(register_conditional_shutdown(signal, SIGNAL_EXIT_CODE + signal, ENDS_PROCESS.clone()));
        }
    }

    /// Leaves SIGTERM and SIGINT to the handlers of the server.
    #[cfg(feature = "serve")]
    pub(crate) fn leave_signals_to_server() {
        ENDS_PROCESS.store(false, Ordering::Relaxed);
    }
}

#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(not(unix))]
pub(crate) fn end_at_signals() {}

#[cfg(all(not(unix), feature = "serve"))]
pub(crate) fn leave_signals_to_server() {}
