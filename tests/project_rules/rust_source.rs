//! Rust files, divided into code and comments.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace")
}

/// Returns the path below the root with forward slashes.
pub(crate) fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/")
}

/// Reads a text file of the repository.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns all files with this extension below a folder, sorted. Folders named `target` are build
/// output.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                found.extend(files(&path, extension));
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A comment, or the part of a block comment on one line.
#[derive(Debug, PartialEq)]
pub(crate) struct Comment {
    /// The line, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The text of a Rust file.
pub(crate) struct Source {
    /// The code. Comments and the contents of literals are replaced by spaces; line breaks stay.
    pub(crate) code: String,
    pub(crate) comments: Vec<Comment>,
}

impl Source {
    /// Separates the code from the comments.
    pub(crate) fn parse(text: &str) -> Self {
        let mut source = Self { code: String::with_capacity(text.len()), comments: Vec::new() };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let length = token_length(rest);
            let token = &rest[..length];
            if token.starts_with("//") || token.starts_with("/*") {
                source.add_comment(token);
            } else if is_literal(token) {
                source.blank(token);
            } else {
                source.code.push(c);
            }
            rest = &rest[length..];
        }
        source
    }

    fn add_comment(&mut self, token: &str) {
        let line = 1 + self.code.matches('\n').count();
        let lines = token.lines().enumerate();
        self.comments.extend(lines.map(|(i, text)| Comment { line: line + i, text: text.to_owned() }));
        self.blank(token);
    }

    fn blank(&mut self, token: &str) {
        self.code.extend(token.chars().map(|c| if c == '\n' { c } else { ' ' }));
    }
}

/// Whether a token of more than one character is a literal.
fn is_literal(token: &str) -> bool {
    let quoted = token.trim_start_matches(['r', 'b', 'c', '#']);
    token.len() > 1 && quoted.starts_with(['"', '\''])
}

/// Returns the length of the comment, literal or word at the start of the text; otherwise of its
/// first character.
fn token_length(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    if let Some(length) = raw_string_length(text).or_else(|| quoted_length(text)) {
        return length;
    }
    text.chars().next().map_or(0, char::len_utf8)
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Returns the length of `r"…"`, `r#"…"#`, `br"…"` and so on.
fn raw_string_length(text: &str) -> Option<usize> {
    let after = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let content = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - content.len();
    Some(content.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// Returns the length of a string or a character. A lifetime is neither.
fn quoted_length(text: &str) -> Option<usize> {
    let after = text.strip_prefix('b').unwrap_or(text);
    let quote = after.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let start = text.len() - after.len() + 1;
    let mut characters = text[start..].char_indices().enumerate();
    while let Some((count, (at, c))) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            return Some(start + at + 1);
        } else if quote == '\'' && count > 0 && !text[start..].starts_with('\\') {
            // A second character before the quote: a lifetime or a label.
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_not_code() {
        let text = "let a = \"x // y\"; // one\nlet b: &'a str = r#\"\"{\"#;\n/* two\n /* three */ */ let c = '\"'; let d = '\\'';";
        let source = Source::parse(text);
        let words: Vec<&str> = source.code.split_whitespace().collect();
        assert_eq!(words.join(" "), "let a = ; let b: &'a str = ; let c = ; let d = ;");
        let comments: Vec<(usize, &str)> = source.comments.iter().map(|c| (c.line, c.text.as_str())).collect();
        assert_eq!(comments, [(1, "// one"), (3, "/* two"), (4, " /* three */ */")]);
        assert_eq!(source.code.lines().count(), text.lines().count());
    }
}
