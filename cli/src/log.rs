//! The server's log on stderr, which never holds up the server.
//!
//! Whoever started the server may read its stderr slowly, or not at all, or have closed it. So lines are handed to a thread that
//! writes them; if it cannot keep up, lines are left out, and how many is the next line.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Lines that may wait to be written.
const LINES: usize = 10_000;

/// The log. When it is dropped, what waits is written, if somebody reads.
pub(crate) struct Log {
    done: Receiver<()>,
    lines: Lines,
}

/// Begins to log what the server tells.
///
/// # Errors
/// If there is no thread to write it, or this process logs already.
pub(crate) fn start(format: LogFormat, level: LevelFilter) -> Result<Log, Box<dyn std::error::Error>> {
    let (sender, receiver) = sync_channel::<Vec<u8>>(LINES);
    let (finished, done) = sync_channel::<()>(1);
    let lost = Arc::new(AtomicUsize::new(0));
    let lines = Lines { sender, lost: lost.clone() };
    std::thread::Builder::new().name("likewise-log".to_owned()).spawn(move || {
        let mut err = std::io::stderr();
        // An empty line is the end: the subscriber keeps a sender for as long as the process lives.
        for line in receiver.into_iter().take_while(|line| !line.is_empty()) {
            // Whoever read stderr may have left; the server goes on.
            drop(err.write_all(&line));
            match lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => drop(writeln!(err, "{lost} lines of the log were lost: stderr was not read fast enough")),
            }
        }
        // Whoever waits for this end sees it.
        drop(finished);
    })?;
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(lines.clone()).with_target(false);
    let set = match format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| error.to_string())?;
    Ok(Log { done, lines })
}

impl Log {
    /// Writes a line of its own.
    pub(crate) fn line(&self, text: &str) {
        self.lines.send(format!("{text}\n").into_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.send(Vec::new());
        // Nobody may be reading.
        _ = self.done.recv_timeout(Duration::from_secs(1));
    }
}

/// Where lines go.
#[derive(Clone)]
struct Lines {
    sender: SyncSender<Vec<u8>>,
    lost: Arc<AtomicUsize>,
}

impl Lines {
    fn send(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A line that is being made.
struct Line<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, text: Vec::new() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.lines.send(std::mem::take(&mut self.text));
    }
}
