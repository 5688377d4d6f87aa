//! Progress bars on stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Fewer texts than these take too short a time for a progress bar.
const MIN_TEXTS: usize = 256;

/// Returns a progress bar for `texts` texts. It is drawn on a terminal only.
pub(crate) fn text_bar(texts: usize) -> ProgressBar {
    if texts < MIN_TEXTS {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(texts as u64), ProgressDrawTarget::stderr_with_hz(10));
    match ProgressStyle::with_template("{bar:40} {pos}/{len} texts, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
