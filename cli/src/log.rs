//! The server's log on stderr, which never blocks the server.
//!
//! A process that reads stderr may be slow, stop reading or close it. So a separate thread writes
//! the lines. If it cannot keep up, lines are dropped, and the next line is the number of dropped
//! lines. Without permission to create that thread, the server writes the lines itself.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::output;

/// Lines that may wait to be written.
const MAX_WAITING_LINES: usize = 10_000;

/// How long the end of the process waits for lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The log. Dropping it writes the waiting lines, unless stderr blocks.
pub(crate) struct Log {
    finished: Receiver<()>,
    lines: LineSender,
}

/// Starts to log the server's events.
///
/// # Errors
/// If this process has a log already.
pub(crate) fn start(format: LogFormat, level: LevelFilter) -> Result<Log, Box<dyn std::error::Error>> {
    let (sender, receiver) = sync_channel::<Vec<u8>>(MAX_WAITING_LINES);
    let (finish, finished) = sync_channel::<()>(1);
    let dropped = Arc::new(AtomicUsize::new(0));
    let lines = LineSender { sender, dropped: dropped.clone() };
    let thread = std::thread::Builder::new().name("likewise-log".to_owned()).spawn(move || {
        write_lines(receiver, &dropped);
        // Disconnects the channel that `Log::drop` waits for.
        drop(finish);
    });
    if thread.is_err() {
        // The thread's end of the channel is gone, so every line is written by its sender.
        output::to_stderr("note: the operating system allows few threads: a slow reader of the log delays the server");
    }
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(lines.clone()).with_target(false);
    let installed = match format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| error.to_string())?;
    Ok(Log { finished, lines })
}

/// Writes lines to stderr until an empty one arrives. The channel never closes, because the
/// subscriber keeps a sender for as long as the process lives.
fn write_lines(receiver: Receiver<Vec<u8>>, dropped: &AtomicUsize) {
    let mut stderr = std::io::stderr();
    for line in receiver.into_iter().take_while(|line| !line.is_empty()) {
        // Stderr may be closed; the server continues.
        drop(stderr.write_all(&line));
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            drop(writeln!(stderr, "{count} lines of the log were dropped: stderr was not read fast enough"));
        }
    }
}

impl Log {
    /// Writes a line that is not an event.
    pub(crate) fn line(&self, text: &str) {
        self.lines.send(format!("{text}\n").into_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.send(Vec::new());
        // Writing may block forever if stderr is not read.
        _ = self.finished.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// Sends lines to the thread that writes them.
#[derive(Clone)]
struct LineSender {
    sender: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicUsize>,
}

impl LineSender {
    fn send(&self, line: Vec<u8>) {
        match self.sender.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => _ = self.dropped.fetch_add(1, Ordering::Relaxed),
            // There is no thread, or it has written its last line. Stderr may be closed.
            Err(TrySendError::Disconnected(line)) => drop(std::io::stderr().write_all(&line)),
        }
    }
}

/// Collects the parts of a line, and sends the line when it is dropped.
struct LineBuffer<'a> {
    lines: &'a LineSender,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for LineSender {
    type Writer = LineBuffer<'a>;

    fn make_writer(&'a self) -> LineBuffer<'a> {
        LineBuffer { lines: self, text: Vec::new() }
    }
}

impl Write for LineBuffer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for LineBuffer<'_> {
    fn drop(&mut self) {
        self.lines.send(std::mem::take(&mut self.text));
    }
}
