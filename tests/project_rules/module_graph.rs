//! The modules of a package, and which of them use which.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust_source::Source;

/// The path of a module from the crate root, such as `["encoder", "linear"]`.
pub(crate) type ModulePath = Vec<String>;

/// A path in the code of a module, such as `super::linear::Linear`.
#[derive(Clone, Debug)]
struct CodePath {
    /// The line, from 1.
    line: usize,
    segments: Vec<String>,
    /// How many modules inside the file enclose it.
    depth: usize,
    /// The name that the path has in this file, if a `use` declares one.
    alias: Option<String>,
}

/// A use of one module by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) from: ModulePath,
    pub(crate) line: usize,
    pub(crate) to: ModulePath,
}

/// Reads the edges between the files of a package. Tests are not part of the graph.
///
/// `sources` has the text of every file by its name below the source folder, such as
/// `encoder/linear.rs`.
pub(crate) fn edges(sources: &BTreeMap<String, String>) -> BTreeSet<Edge> {
    let mut files = BTreeMap::new();
    let mut test_files = BTreeSet::new();
    for (name, text) in sources {
        let tokens = without_tests(tokens(&Source::parse(text).code));
        test_files.extend(test_modules(text).into_iter().map(|module| child(&module_path(name), module)));
        files.insert(module_path(name), code_paths(&tokens));
    }
    files.retain(|module, _| !test_files.contains(module));
    let mut edges = BTreeSet::new();
    for (from, paths) in &files {
        for path in paths {
            let line = path.line;
            let to = resolve(&files, from, path, 0).filter(|to| to != from && !to.is_empty());
            edges.extend(to.map(|to| Edge { from: from.clone(), line, to }));
        }
    }
    // The crate root only declares modules and their public items.
    edges.retain(|edge| !edge.from.is_empty());
    edges
}

fn module_path(file: &str) -> ModulePath {
    let mut path: ModulePath = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        path.pop();
    }
    path
}

fn child(parent: &[String], name: String) -> ModulePath {
    let mut path = parent.to_vec();
    path.push(name);
    path
}

/// A word or a symbol, with its line.
#[derive(Clone, Debug)]
struct Token {
    line: usize,
    text: String,
}

fn tokens(code: &str) -> Vec<Token> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens: Vec<Token> = Vec::new();
    for (i, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(c) = rest.chars().next() {
            let length = if is_word(c) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                c.len_utf8()
            };
            tokens.push(Token { line: i + 1, text: rest[..length].to_owned() });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Returns the modules in separate files that are declared for tests only.
fn test_modules(text: &str) -> Vec<String> {
    let tokens = tokens(&Source::parse(text).code);
    let starts = (0..tokens.len()).filter(|&at| is_test_attribute(&tokens[at..]));
    let declared = starts.filter_map(|at| {
        let item: Vec<&str> = tokens[at + TEST_ATTRIBUTE.len()..].iter().take(3).map(|t| t.text.as_str()).collect();
        if let ["mod", name, ";"] = item[..] { Some(name.to_owned()) } else { None }
    });
    declared.collect()
}

const TEST_ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

fn is_test_attribute(tokens: &[Token]) -> bool {
    tokens.len() > TEST_ATTRIBUTE.len() && TEST_ATTRIBUTE.iter().zip(tokens).all(|(text, token)| token.text == *text)
}

/// Removes the items that are compiled for tests only.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !is_test_attribute(&tokens[at..]) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        // The item ends with its first semicolon outside braces, or with its last brace.
        let mut depth = 0;
        while at < tokens.len() {
            match tokens[at].text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            let ends = depth == 0 && [";", "}"].contains(&tokens[at].text.as_str());
            at += 1;
            if ends {
                break;
            }
        }
    }
    kept
}

/// All paths in the code of a file: those of `use` declarations and those in expressions and types.
fn code_paths(tokens: &[Token]) -> Vec<CodePath> {
    let mut paths = Vec::new();
    let mut modules: Vec<usize> = Vec::new();
    let mut braces = 0;
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text.as_str();
        match text {
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                modules.retain(|&opened| opened <= braces);
            }
            "mod" if tokens.get(at + 2).is_some_and(|token| token.text == "{") => modules.push(braces + 1),
            "use" => {
                let prefix = Vec::new();
                at = use_tree(tokens, at + 1, prefix, modules.len(), &mut paths);
                continue;
            }
            _ => {}
        }
        // The path of a visibility, `pub(in path)`, is no use.
        let before: Vec<&str> = tokens[at.saturating_sub(2)..at].iter().map(|token| token.text.as_str()).collect();
        let follows_path = before.last() == Some(&"::") || before == ["(", "in"];
        if is_name(text) && !follows_path && tokens.get(at + 1).is_some_and(|token| token.text == "::") {
            let names = tokens[at..].chunks(2).take_while(|pair| is_name(&pair[0].text));
            let mut segments = Vec::new();
            for pair in names {
                segments.push(pair[0].text.clone());
                if pair.get(1).is_none_or(|token| token.text != "::") {
                    break;
                }
            }
            paths.push(CodePath { line: tokens[at].line, segments, depth: modules.len(), alias: None });
        }
        at += 1;
    }
    paths
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads a tree of a `use` declaration and returns the index after it.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    mut prefix: Vec<String>,
    depth: usize,
    paths: &mut Vec<CodePath>,
) -> usize {
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = use_tree(tokens, at, prefix.clone(), depth, paths);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => {
                let alias = tokens.get(at + 1).map(|token| token.text.clone());
                paths.push(CodePath { line, segments: prefix, depth, alias });
                return at + 2;
            }
            "*" => {
                paths.push(CodePath { line, segments: prefix, depth, alias: None });
                return at + 1;
            }
            "self" if !prefix.is_empty() => at += 1,
            text if is_name(text) => {
                prefix.push(text.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    let alias = prefix.last().cloned();
    paths.push(CodePath { line, segments: prefix, depth, alias });
    at
}

type Files = BTreeMap<ModulePath, Vec<CodePath>>;

/// Returns the module that defines what a path names. A name that the module imports is followed to
/// its origin.
fn resolve(files: &Files, module: &[String], path: &CodePath, hops: usize) -> Option<ModulePath> {
    const MAX_HOPS: usize = 8;
    let mut segments = path.segments.as_slice();
    let mut base = module.to_vec();
    let mut enclosing = path.depth;
    match segments.first()?.as_str() {
        "crate" => {
            base.clear();
            segments = &segments[1..];
        }
        "self" | "super" => {
            while let Some(first) = segments.first().filter(|first| ["self", "super"].contains(&first.as_str())) {
                if first == "super" && enclosing > 0 {
                    enclosing -= 1;
                } else if first == "super" {
                    base.pop()?;
                }
                segments = &segments[1..];
            }
        }
        first => {
            if !files.contains_key(&child(&base, first.to_owned())) {
                return None;
            }
        }
    }
    while let Some(first) = segments.first() {
        let next = child(&base, first.clone());
        if !files.contains_key(&next) {
            break;
        }
        base = next;
        segments = &segments[1..];
    }
    let imported = segments.first().and_then(|name| {
        let alias = |import: &&CodePath| import.alias.as_deref() == Some(name);
        files.get(&base)?.iter().find(alias)
    });
    match imported {
        Some(import) if base != module && hops < MAX_HOPS => resolve(files, &base, import, hops + 1).or(Some(base)),
        _ => Some(base),
    }
}
