//! Models from the hub, with progress bars on a terminal.

#[cfg(feature = "hub")]
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use likewise::hub::{self, Progress, Settings};
use likewise::{ModelFiles, Result};

use crate::output;

const BAR_UPDATES_PER_SECOND: u8 = 10;
const BAR_TEMPLATE: &str =
    "{msg:<32!} {bar:30} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// Returns the files of a folder or a hub id. Downloads what the cache lacks.
pub(crate) fn resolve(model: &str, revision: &str) -> Result<ModelFiles> {
    let settings = Settings::from_env();
    let mut reporter = ProgressReporter::new(&settings);
    hub::resolve(model, revision, &settings, &mut |progress| reporter.report(progress))
}

/// Downloads the hub's current version of a model and returns its folder.
#[cfg(feature = "hub")]
pub(crate) fn pull(model: &str) -> Result<PathBuf> {
    let settings = Settings::from_env();
    let mut reporter = ProgressReporter::new(&settings);
    let (id, revision) = hub::split_revision(model, hub::DEFAULT_REVISION);
    hub::Hub::new(settings).pull(id, revision, &mut |progress| reporter.report(progress))
}

/// Shows one progress bar per file, on a terminal only, and notes about failures.
struct ProgressReporter {
    shows_bars: bool,
    /// The file that is being downloaded, and its bar.
    current: Option<(String, ProgressBar)>,
}

impl ProgressReporter {
    fn new(settings: &Settings) -> Self {
        Self { shows_bars: settings.progress_bars, current: None }
    }

    fn report(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Downloading { name, size, received } => self.bar(name, size).set_position(received),
            Progress::Finished { .. } => {
                if let Some((_, bar)) = self.current.take() {
                    bar.finish();
                }
            }
            Progress::WaitingForLock { name } => {
                self.note(&format!("another process is downloading {name}; waiting for it"));
            }
            Progress::UsingIncompleteCache { names, error } => {
                let reason = match error {
                    Some(error) => output::one_line(&likewise::error_chain(error)),
                    None => "offline mode".to_owned(),
                };
                let names = names.join(", ");
                self.note(&format!("opening the model from the cache, which lacks {names} ({reason})"));
            }
            Progress::Retrying { error, delay } => {
                let reason = output::one_line(&likewise::error_chain(error));
                self.note(&format!("{reason}; retrying in {:.0} s", delay.as_secs_f64()));
            }
            _ => {}
        }
    }

    /// Returns the bar of a file. Replaces the bar of another file.
    fn bar(&mut self, name: &str, size: u64) -> &ProgressBar {
        if let Some((_, bar)) = self.current.take_if(|(shown, _)| shown != name) {
            bar.finish_and_clear();
        }
        let shows_bars = self.shows_bars;
        let (_, bar) = self.current.get_or_insert_with(|| (name.to_owned(), new_bar(name, size, shows_bars)));
        bar
    }

    fn note(&self, text: &str) {
        let print = || output::to_stderr(format_args!("note: {text}"));
        match &self.current {
            Some((_, bar)) => bar.suspend(print),
            None => print(),
        }
    }
}

fn new_bar(name: &str, size: u64, is_visible: bool) -> ProgressBar {
    let target = if is_visible {
        ProgressDrawTarget::stderr_with_hz(BAR_UPDATES_PER_SECOND)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(size), target);
    if let Ok(style) = ProgressStyle::with_template(BAR_TEMPLATE) {
        bar.set_style(style);
    }
    bar.set_message(output::one_line(name));
    bar
}
