//! Printing: bars, and text that cannot disturb a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `width` characters, `share` of it full. In eighths of a character, so that small differences show.
pub(crate) fn bar(share: f32, width: usize) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f32).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    if eighths / 8 < width {
        text.push(PARTS[eighths % 8]);
    }
    let missing = width - text.chars().count();
    text.push_str(&" ".repeat(missing));
    text
}

/// A text on one line: control characters, which a terminal would obey, are shown as their names in Rust.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_debug()) } else { line.push(c) }
    }
    line
}

/// As [`one_line`], of a text that may have several.
pub(crate) fn printable(text: &str) -> String {
    text.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}

/// A progress bar over `texts` texts on stderr: shown only on a terminal and after the first moment.
pub(crate) fn progress(texts: usize) -> ProgressBar {
    const WORTH_SHOWING: usize = 256;
    if texts < WORTH_SHOWING {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(texts as u64), ProgressDrawTarget::stderr_with_hz(10));
    match ProgressStyle::with_template("{bar:40} {pos}/{len} texts, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Bytes in MiB with one decimal.
pub(crate) fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_their_width() {
        assert_eq!(bar(0.0, 4), "    ");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.53, 4), "██▏ ");
        assert_eq!(bar(7.0, 2), "██");
        assert_eq!(bar(-1.0, 2), "  ");
        assert_eq!(bar(f32::NAN, 2), "  ");
    }

    #[test]
    fn control_characters_are_named() {
        assert_eq!(one_line("a\u{1b}[31mb\nc é 今"), "a\\u{1b}[31mb\\nc é 今");
        assert_eq!(printable("a\u{1b}\n  b\r"), "a\\u{1b}\n  b\\r");
    }
}
