//! Suggests the folder that a misspelt path may have meant.

use std::path::{Component, Path, PathBuf};

use super::environment::home_folder;
use crate::checkpoint::edit_distance;
use crate::model_folder::{CONFIG, MODULES};

const MAX_SUGGESTIONS: usize = 3;
/// A folder with more entries is not searched to its end.
const MAX_ENTRIES: usize = 10_000;

/// Returns whether a folder contains a file that every model has.
pub(super) fn is_model_folder(path: &Path) -> bool {
    [CONFIG, MODULES].iter().any(|name| path.join(name).is_file())
}

/// Returns existing folders whose path resembles one that does not exist, the best first.
pub(super) fn similar_folders(path: &str) -> Vec<String> {
    let mut found: Vec<PathBuf> = Vec::new();
    // No shell has expanded the tilde of an environment variable or of `--model=~/x`.
    let in_home = path.strip_prefix("~/").and_then(|rest| Some(home_folder()?.join(rest)));
    let with_slashes = path.contains('\\').then(|| PathBuf::from(path.replace('\\', "/")));
    for other in [in_home, with_slashes].into_iter().flatten() {
        if other.is_dir() { found.push(other) } else { found.extend(similar_to(&other)) }
    }
    if found.is_empty() {
        found = similar_to(Path::new(path));
    }
    found.truncate(MAX_SUGGESTIONS);
    found.into_iter().map(|path| path.display().to_string()).collect()
}

/// Follows a path as far as it exists, and replaces the first component that does not.
fn similar_to(path: &Path) -> Vec<PathBuf> {
    let mut parent = PathBuf::new();
    let mut components = path.components();
    let missing = loop {
        let Some(component) = components.next() else { return Vec::new() };
        let next = parent.join(component);
        match component {
            Component::Normal(name) if !next.is_dir() => break name.to_string_lossy().into_owned(),
            _ => parent = next,
        }
    };
    let rest = components.as_path();
    let complete = |candidate: PathBuf| {
        let whole = if rest.as_os_str().is_empty() { candidate } else { candidate.join(rest) };
        is_model_folder(&whole).then_some(whole)
    };
    let listed = if parent.as_os_str().is_empty() { Path::new(".") } else { &parent };
    let entries = std::fs::read_dir(listed).into_iter().flatten().flatten().take(MAX_ENTRIES);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut ranked: Vec<(usize, PathBuf)> = names
        .filter_map(|name| Some((difference(&missing, &name)?, name)))
        .filter_map(|(difference, name)| Some((difference, complete(parent.join(name))?)))
        .collect();
    ranked.sort();
    ranked.into_iter().map(|(_, path)| path).collect()
}

/// Returns how much two names differ, or None if they are not similar. Case, `-` and `_` count
/// little.
fn difference(a: &str, b: &str) -> Option<usize> {
    /// A longer name is no misspelt one, and would take long to compare.
    const MAX_NAME_BYTES: usize = 256;
    if a.len().max(b.len()) > MAX_NAME_BYTES {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace(['_', '.', ' '], "-");
    let (a, b) = (plain(a), plain(b));
    let shorter = a.chars().count().min(b.chars().count());
    let distance = edit_distance(&a, &b);
    let is_part = shorter >= 3 && (a.contains(&b) || b.contains(&a));
    (is_part || distance <= (shorter / 3).clamp(1, 3)).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_ranked_and_others_are_not() {
        for (a, b) in
            [("minilm", "minilm-l6"), ("minilm", "MiniLM"), ("all-mpnet", "all_mpnet"), ("bge-smal", "bge-small")]
        {
            assert!(difference(a, b).is_some(), "{a} {b}");
        }
        for (a, b) in [("minilm", "mpnet"), ("a", "bcd"), ("src", "models"), ("x", "minilm-x")] {
            assert!(difference(a, b).is_none(), "{a} {b}");
        }
        assert!(difference("minilm", "minilm") < difference("minilm", "minilm-l6"));
    }

    #[test]
    fn folder_without_a_model_is_not_suggested() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("models/empty")).expect("a folder");
        let path = folder.path().join("models/empti");
        assert_eq!(similar_folders(path.to_str().expect("UTF-8")), [""; 0]);
        std::fs::write(folder.path().join("models/empty/modules.json"), "[]").expect("a file");
        let expected = folder.path().join("models/empty").display().to_string();
        assert_eq!(similar_folders(path.to_str().expect("UTF-8")), [expected]);
    }
}
