//! Printing: messages on stderr, bars, and text that cannot disturb a terminal.

use std::fmt::Display;
use std::io::Write;

use likewise::TokenUsage;

/// Prints a line to stderr. A closed stderr is ignored, whereas `eprintln!` would panic.
pub(crate) fn to_stderr(line: impl Display) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Reports on stderr how many texts were truncated.
pub(crate) fn note_truncation(usage: &[TokenUsage]) {
    let truncated: Vec<&TokenUsage> = usage.iter().filter(|usage| usage.truncated()).collect();
    let Some(longest) = truncated.iter().max_by_key(|usage| usage.total) else { return };
    let texts = if usage.len() == 1 { "text" } else { "texts" };
    to_stderr(format_args!(
        "note: {} of {} {texts} truncated to {} tokens (the longest has {}); --truncation error rejects such texts",
        truncated.len(),
        usage.len(),
        longest.used,
        longest.total
    ));
}

/// Reports on stderr how many pairs were truncated.
pub(crate) fn note_truncated_pairs(usage: &[[TokenUsage; 2]]) {
    let truncated = usage.iter().filter(|texts| texts.iter().any(TokenUsage::truncated)).count();
    if truncated > 0 {
        let pairs = if usage.len() == 1 { "pair" } else { "pairs" };
        to_stderr(format_args!(
            "note: {truncated} of {} {pairs} truncated to the model's maximum length; --truncation error rejects such \
             pairs",
            usage.len()
        ));
    }
}

/// Reports on stderr that a model has fewer threads than requested.
pub(crate) fn note_fewer_threads(threads: usize, requested_threads: usize) {
    if threads < requested_threads {
        to_stderr(format_args!(
            "note: using {threads} of {requested_threads} threads: the operating system does not allow more"
        ));
    }
}

/// Returns a bar of `width` characters, `share` of it filled. Its resolution is an eighth of a
/// character.
pub(crate) fn bar(share: f32, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f32).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    if eighths / 8 < width {
        text.push(EIGHTHS[eighths % 8]);
    }
    let missing = width - text.chars().count();
    text.push_str(&" ".repeat(missing));
    text
}

/// Returns the text on one line. Control characters, which a terminal would obey, are escaped as in
/// Rust.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_debug());
        } else {
            line.push(c);
        }
    }
    line
}

/// Escapes control characters as [`one_line`] does, except line feeds.
pub(crate) fn printable(text: &str) -> String {
    text.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}

/// Formats bytes in MiB with one decimal.
pub(crate) fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_of_any_share_has_the_requested_width() {
        assert_eq!(bar(0.0, 4), "    ");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.53, 4), "██▏ ");
        assert_eq!(bar(7.0, 2), "██");
        assert_eq!(bar(-1.0, 2), "  ");
        assert_eq!(bar(f32::NAN, 2), "  ");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(one_line("a\u{1b}[31mb\nc é 今"), "a\\u{1b}[31mb\\nc é 今");
        assert_eq!(printable("a\u{1b}\n  b\r"), "a\\u{1b}\n  b\\r");
    }
}
