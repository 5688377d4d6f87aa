//! Texts from files and stdin, a line each.

use std::io::Read;
use std::path::Path;

use crate::outcome::Outcome;

/// The file name that means stdin.
const STDIN: &str = "-";

/// Reads the lines of a file, or of stdin for `-`. Empty lines count as texts.
///
/// Lines end with `\n` or `\r\n`; a byte order mark at the start of the file is dropped.
pub(crate) fn lines(path: &Path) -> Outcome<Vec<String>> {
    let text = text(path)?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).lines().map(str::to_owned).collect())
}

/// Returns the name of an input in messages.
pub(crate) fn label(path: &Path) -> String {
    if path == Path::new(STDIN) { "stdin".to_owned() } else { path.display().to_string() }
}

fn text(path: &Path) -> Outcome<String> {
    let failed = |source| likewise::Error::Io { path: label(path).into(), action: "read", source };
    let mut bytes = Vec::new();
    if path == Path::new(STDIN) {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
    } else {
        bytes = std::fs::read(path).map_err(failed)?;
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
        let found = match error.as_bytes() {
            // Windows PowerShell writes UTF-16 by `>`.
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16 (its byte order mark); save the text as UTF-8".to_owned(),
            bytes => format!("the byte 0x{:02x}", bytes[valid]),
        };
        likewise::Error::Line { file: label(path), line, expected: "UTF-8", found }.into()
    })
}
