//! The asynchronous runtime of the server.

use std::io;
use std::panic::catch_unwind;
use std::sync::mpsc::channel;

use tokio::runtime::{Builder, Runtime};

/// Starts a runtime with a thread for each CPU. If the operating system does not also allow
/// `others` more threads, the runtime uses the caller's thread only, and leaves the few that exist
/// to the models.
///
/// # Errors
/// If the operating system lacks resources other than threads.
pub(crate) fn start(others: usize) -> io::Result<Runtime> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if can_start(cpus + others) {
        // tokio panics if it cannot start a thread. Another process of the same user may have
        // started the last one in the meantime.
        if let Ok(runtime) = catch_unwind(|| Builder::new_multi_thread().enable_all().build()) {
            return runtime;
        }
    }
    tracing::warn!("the operating system allows few threads: one thread serves all connections");
    Builder::new_current_thread().enable_all().build()
}

/// Whether the operating system allows this many more threads at a time.
fn can_start(count: usize) -> bool {
    let (sender, receiver) = channel::<()>();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(receiver));
    let spawn = |_| {
        let receiver = receiver.clone();
        // The thread ends when the sender is dropped.
        let wait = move || drop(receiver.lock().map(|receiver| receiver.recv()));
        std::thread::Builder::new().spawn(wait).ok()
    };
    let threads: Vec<_> = (0..count).map_while(spawn).collect();
    drop(sender);
    let started = threads.len();
    for thread in threads {
        // The threads do not panic.
        _ = thread.join();
    }
    started == count
}
