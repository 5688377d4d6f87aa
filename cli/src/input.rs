//! Texts from files and stdin, a line each.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use crate::outcome::{Outcome, UsageError};

/// The file name that means stdin.
const STDIN: &str = "-";

/// Returns the texts of the arguments, then those of a file. The lines of stdin take the place of
/// an argument `-`.
pub(crate) fn texts(arguments: &[String], file: Option<&Path>) -> Outcome<Vec<String>> {
    reject_second_stdin(arguments.iter().map(OsStr::new).chain(file.map(Path::as_os_str)))?;
    let mut texts = Vec::new();
    for argument in arguments {
        if argument != STDIN {
            texts.push(argument.clone());
            continue;
        }
        let lines = lines(Path::new(STDIN))?;
        if lines.is_empty() {
            // Without this, the next argument could become the source.
            return Err("no texts for '-': stdin is empty".into());
        }
        texts.extend(lines);
    }
    if let Some(path) = file {
        texts.extend(lines(path)?);
    }
    Ok(texts)
}

/// Rejects a second `-`: stdin can be read only once.
pub(crate) fn reject_second_stdin<'a>(inputs: impl Iterator<Item = &'a OsStr>) -> Result<(), UsageError> {
    if inputs.filter(|&input| input == STDIN).count() < 2 {
        return Ok(());
    }
    Err(UsageError("expected '-' (stdin) at most once, found it twice".to_owned()))
}

/// Reads the lines of a file, or of stdin for `-`. Empty lines count as texts.
///
/// Lines end with `\n` or `\r\n`; a byte order mark at the start of the file is dropped.
pub(crate) fn lines(path: &Path) -> Outcome<Vec<String>> {
    let text = text(path)?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).lines().map(str::to_owned).collect())
}

/// Returns the name of an input in messages.
pub(crate) fn label(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() }
}

/// Whether an input is stdin.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

/// Reads a file, or stdin for `-`.
pub(crate) fn bytes(path: &Path) -> likewise::Result<Vec<u8>> {
    let read = || {
        let mut bytes = Vec::new();
        if is_stdin(path) {
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            Ok(bytes)
        } else {
            std::fs::read(path)
        }
    };
    let failed = |source| likewise::Error::Io {
        path: if is_stdin(path) { "stdin".into() } else { path.to_owned() },
        action: "read",
        source,
    };
    read().map_err(failed)
}

fn text(path: &Path) -> Outcome<String> {
    String::from_utf8(bytes(path)?).map_err(|error| {
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
