//! Rules for the text of the project: comments, documentation, help, and the length of files and
//! functions.

use std::path::{Path, PathBuf};

use crate::rust_source::{Source, files, name, read, root};

/// Columns of a comment.
const MAX_COMMENT_COLUMNS: usize = 100;
/// Characters of the help of an argument.
const MAX_HELP_CHARACTERS: usize = 80;
const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;

/// Phrases that have a plainer equivalent.
const BANNED: [&str; 20] = [
    "a mistake of ours",
    "anew",
    "are told",
    "asked for",
    "asks for",
    "begun",
    "besides",
    "comes to stand",
    "for ever",
    "in place of",
    "is told",
    "lies",
    "nobody",
    "of its own",
    "of their own",
    "the house",
    "there are such",
    "we are told",
    "whoever",
    "without end",
];

/// All Rust files of the repository.
fn rust_files() -> Vec<PathBuf> {
    ["src", "kernels", "cli", "benches", "tests", "fuzz"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .collect()
}

/// All documentation of the repository.
fn documents() -> Vec<PathBuf> {
    let mut documents = files(&root().join("docs"), "md");
    documents.extend(["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "fuzz/README.md"].map(|file| root().join(file)));
    documents
}

/// Collects the violations of a rule by all Rust files and fails if there are any.
fn check(rule: &str, find: impl Fn(&Path, &str) -> Vec<(usize, String)>) {
    let violations: Vec<String> = rust_files()
        .iter()
        .flat_map(|path| {
            let found = find(path, &read(path));
            found.into_iter().map(|(line, what)| format!("{}:{line}: {what}", name(path))).collect::<Vec<_>>()
        })
        .collect();
    report(rule, &violations);
}

fn report(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}: {} violations\n{}", violations.len(), violations.join("\n"));
}

/// Lines with comments that extend beyond the last column. Addresses and the rows of tables cannot
/// be broken.
fn wide_comments(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let wide = Source::parse(text).comments.into_iter().filter_map(|comment| {
        let columns = lines[comment.line - 1].chars().count();
        let content = comment.text.trim_start_matches(['/', '!', ' ']);
        let breakable = !content.starts_with('|') && !content.contains("://");
        (columns > MAX_COMMENT_COLUMNS && breakable).then(|| (comment.line, format!("{columns} columns")))
    });
    wide.collect()
}

/// Banned phrases in some text.
fn banned(text: &str) -> impl Iterator<Item = &'static str> {
    let words = |text: &str| {
        let words: Vec<String> =
            text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
        format!(" {} ", words.join(" "))
    };
    let text = words(text);
    BANNED.into_iter().filter(move |phrase| text.contains(&words(phrase)))
}

/// Whether a line of code begins a function.
fn is_function(code: &str) -> bool {
    let is_modifier = |word: &&str| word.starts_with("pub") || ["const", "async", "unsafe", "extern"].contains(word);
    code.split_whitespace().find(|word| !is_modifier(word)) == Some("fn")
}

/// Functions that are too long. The files are formatted, so a function ends at the first brace with
/// its indentation.
fn long_functions(text: &str) -> Vec<(usize, String)> {
    let source = Source::parse(text);
    let lines: Vec<&str> = source.code.lines().map(str::trim_end).collect();
    let mut long = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indentation = &line[..line.len() - code.len()];
        if !is_function(code) {
            continue;
        }
        let end = format!("{indentation}}}");
        let signature_end = format!("{indentation})");
        let is_end = |(k, line): &(usize, &&str)| {
            **line == end
                || (line.ends_with(';') && (*k == i || line.starts_with(&signature_end)))
                || (*k == i && line.ends_with('}'))
        };
        let last = lines.iter().enumerate().skip(i).find(is_end).map_or(lines.len(), |(k, _)| k);
        if last - i + 1 > MAX_FUNCTION_LINES {
            long.push((i + 1, format!("`{code}` has {} lines", last - i + 1)));
        }
    }
    long
}

/// The help of arguments, values and subcommands that is too long: doc comments in types that clap
/// derives from.
fn long_help(text: &str) -> Vec<(usize, String)> {
    let mut long = Vec::new();
    let mut derived = false;
    let mut inside = false;
    let mut help = String::new();
    for (i, line) in text.lines().enumerate() {
        let code = line.trim();
        if line.starts_with("#[derive(") {
            derived = ["Args", "Subcommand", "ValueEnum"].iter().any(|derive| code.contains(derive));
        }
        inside = (inside && line != "}") || (derived && !line.starts_with(' ') && code.ends_with('{'));
        let Some(comment) = code.strip_prefix("///").filter(|_| inside) else {
            derived &= inside || line.starts_with("#[") || line.starts_with("///") || line.starts_with([' ', ')']);
            let characters = help.chars().count();
            if characters > MAX_HELP_CHARACTERS {
                long.push((i, format!("help of {characters} characters: {help}")));
            }
            help.clear();
            continue;
        };
        if !help.is_empty() {
            help.push(' ');
        }
        help.push_str(comment.trim());
    }
    long
}

#[test]
fn comments_fit_the_columns() {
    check("comments within 100 columns", |_, text| wide_comments(text));
}

#[test]
fn comments_contain_no_banned_phrase() {
    check("plain English in comments", |path, text| {
        // This list.
        if path.ends_with("project_rules/text.rs") {
            return Vec::new();
        }
        let comments = Source::parse(text).comments;
        let found = comments.iter().flat_map(|c| banned(&c.text).map(|phrase| (c.line, format!("\"{phrase}\""))));
        let errors = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("#[error("));
        let errors = errors.flat_map(|(i, line)| banned(line).map(move |phrase| (i + 1, format!("\"{phrase}\""))));
        found.chain(errors).collect()
    });
}

#[test]
fn documents_contain_no_banned_phrase() {
    let mut violations = Vec::new();
    for path in documents() {
        for (i, line) in read(&path).lines().enumerate() {
            violations.extend(banned(line).map(|phrase| format!("{}:{}: \"{phrase}\"", name(&path), i + 1)));
        }
    }
    report("plain English in documents", &violations);
}

#[test]
fn help_fits_a_line() {
    check("help of at most 80 characters", |path, text| {
        if name(path).starts_with("cli/src/") { long_help(text) } else { Vec::new() }
    });
}

#[test]
fn files_have_at_most_400_lines() {
    check("files of at most 400 lines", |_, text| {
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES { vec![(lines, format!("{lines} lines"))] } else { Vec::new() }
    });
}

#[test]
fn functions_have_at_most_60_lines() {
    check("functions of at most 60 lines", |_, text| long_functions(text));
}

/// Each rule finds what it must find.
mod mutants {
    use super::*;

    fn lines(found: Vec<(usize, String)>) -> Vec<usize> {
        found.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn wide_comment_is_found() {
        let wide = "x".repeat(100);
        let text = format!("// {wide}\n/// | {wide} |\nlet a = 1; // {wide}\nlet b = \"// {wide}\";\n// short\n");
        assert_eq!(lines(wide_comments(&text)), [1, 3]);
    }

    #[test]
    fn banned_phrase_is_found_by_words() {
        assert_eq!(banned("It asks\u{a0}for more, Besides.").collect::<Vec<_>>(), ["asks for", "besides"]);
        assert_eq!(banned("families, a newcomer, replies").count(), 0);
    }

    #[test]
    fn long_function_is_found() {
        let body = "    a();\n".repeat(60);
        let text =
            format!("fn short() {{\n    a();\n}}\n\npub(crate) fn long(\n    a: u8,\n) {{\n{body}}}\nfn one() {{}}\n");
        assert_eq!(lines(long_functions(&text)), [5]);
        let declared =
            format!("trait T {{\n    fn a(\n        self,\n    ) -> u8;\n{}\n    }}\n}}\n", "    // b\n".repeat(70));
        assert_eq!(lines(long_functions(&declared)), Vec::<usize>::new());
    }

    #[test]
    fn long_help_is_found() {
        let long = "word ".repeat(20);
        let text = format!(
            "/// {long}\n#[derive(clap::Args)]\nstruct A {{\n    /// {long}\n    #[arg(long)]\n    a: u8,\n\n    /// Short\n    b: u8,\n}}\n\n\
             #[derive(Clone)]\nstruct B {{\n    /// {long}\n    a: u8,\n}}\n"
        );
        assert_eq!(lines(long_help(&text)), [4]);
    }
}
