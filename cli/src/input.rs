//! Texts from files and stdin, a line each.

use std::io::Read;
use std::path::Path;

/// The lines of a file, or of stdin for `-`. Empty lines are texts, too; only the end of the last line is not.
///
/// The line ends `\n` and `\r\n` are understood, and a byte order mark at the beginning is not part of the first line.
pub(crate) fn lines(path: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let text = text(path)?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).lines().map(str::to_owned).collect())
}

/// What to call an input in messages.
pub(crate) fn label(path: &Path) -> String {
    if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() }
}

fn text(path: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let failed = |source| likewise::Error::Io { path: label(path).into(), action: "read", source };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
    } else {
        bytes = std::fs::read(path).map_err(failed)?;
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        let found = format!("the byte 0x{:02x}", error.as_bytes()[error.utf8_error().valid_up_to()]);
        likewise::Error::Line { file: label(path), line, expected: "UTF-8", found }.into()
    })
}
