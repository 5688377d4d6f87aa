//! Finds models in the cache. Reads only.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::read_up_to;

impl Error {
    /// Returns the error of a model that is in none of the places that were searched.
    pub(super) fn model_not_found(id: &str, why: &'static str, searched: Vec<String>) -> Self {
        Self::ModelNotFound { id: id.to_owned(), why, searched, similar: Vec::new(), source: None }
    }
}

/// The maximum size of a file below refs/, which contains a commit hash.
const MAX_REF_BYTES: u64 = 4096;

/// Returns the repository and the snapshot folder of a model.
///
/// `id` is `organisation/name`. A bare name is also tried under `sentence-transformers/`, as
/// sentence-transformers does. `revision` is a branch, a tag or a commit.
///
/// # Errors
/// If the cache has no such model or revision, or `id` is not a valid hub id. The error lists every
/// path that was searched.
pub(super) fn find_snapshot(cache: &Path, id: &str, revision: &str) -> Result<(String, PathBuf)> {
    let candidates = candidates(id, revision)?;
    require_cache(cache)?;
    let mut searched = vec![id.to_owned()];
    for candidate in candidates {
        match CachedRepository::new(cache, &candidate).find_snapshot(revision)? {
            Lookup::Found(snapshot) => return Ok((candidate, snapshot)),
            Lookup::Missing(path) => searched.push(path.display().to_string()),
        }
    }
    let why = "no such folder, and not in the Hugging Face cache";
    Err(Error::model_not_found(id, why, searched))
}

/// Rejects an empty path, which would be the working folder.
///
/// # Errors
/// If no setting names the cache's folder, and this user has no home folder.
pub(super) fn require_cache(cache: &Path) -> Result<()> {
    if cache.as_os_str().is_empty() {
        return Err(Error::HubSetting {
            setting: "HF_HOME",
            expected: "a folder for the Hugging Face cache, because this user has no home folder",
            found: "nothing".to_owned(),
        });
    }
    Ok(())
}

/// Returns the repositories that a hub id can mean, in the order in which they are tried.
///
/// # Errors
/// If `id` is not a valid hub id, or `revision` is not a valid revision name.
pub(super) fn candidates(id: &str, revision: &str) -> Result<Vec<String>> {
    let invalid = |why, name: &str| Err(Error::model_not_found(id, why, vec![name.to_owned()]));
    if !is_repository_id(id) {
        return invalid("no such folder, and not a hub id (expected organisation/name)", id);
    }
    if !is_revision(revision) {
        return invalid("invalid revision (expected a branch, tag or commit)", revision);
    }
    let with_organisation = (!id.contains('/')).then(|| format!("sentence-transformers/{id}"));
    Ok(std::iter::once(id.to_owned()).chain(with_organisation).collect())
}

/// A repository's folder in the cache.
pub(super) struct CachedRepository {
    pub(super) folder: PathBuf,
}

/// The result of a search for a snapshot.
enum Lookup {
    /// The snapshot folder.
    Found(PathBuf),
    /// The path that does not exist or is invalid.
    Missing(PathBuf),
}

impl CachedRepository {
    pub(super) fn new(cache: &Path, id: &str) -> Self {
        Self { folder: cache.join(repository_folder_name(id)) }
    }

    #[cfg(feature = "hub")]
    pub(super) fn at_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Returns the folder of a commit's files.
    pub(super) fn snapshot_folder(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Returns the list of a commit's files, which newer versions of huggingface_hub write.
    #[cfg(feature = "hub")]
    pub(super) fn tree_path(&self, commit: &str) -> PathBuf {
        self.folder.join("trees").join(format!("{commit}.json"))
    }

    /// Returns the marker file that exists if a commit has no file of this name.
    #[cfg(feature = "hub")]
    pub(super) fn missing_marker(&self, commit: &str, name: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit).join(name)
    }

    /// Returns the file that contains the commit of a branch or tag.
    pub(super) fn ref_path(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    fn find_snapshot(&self, revision: &str) -> Result<Lookup> {
        let of_commit = self.snapshot_folder(revision);
        if !revision.contains('/') && of_commit.is_dir() {
            return Ok(Lookup::Found(of_commit));
        }
        let ref_path = self.ref_path(revision);
        let bytes = if ref_path.is_dir() { None } else { read_up_to(&ref_path, MAX_REF_BYTES)? };
        match bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes.trim_ascii())) {
            Some(commit) if is_plain(&commit) => {
                let snapshot = self.snapshot_folder(&commit);
                let exists = snapshot.is_dir();
                Ok(if exists { Lookup::Found(snapshot) } else { Lookup::Missing(snapshot) })
            }
            _ => Ok(Lookup::Missing(ref_path)),
        }
    }
}

/// Returns the name of a repository's folder in the cache and in the lock folder.
pub(super) fn repository_folder_name(id: &str) -> String {
    format!("models--{}", id.replace('/', "--"))
}

/// Whether a text is `name` or `organisation/name`, in the characters that the hub allows.
fn is_repository_id(id: &str) -> bool {
    let is_inner = |part: &str| !part.starts_with(['.', '-']) && !part.ends_with(['.', '-']);
    let is_part = |part: &str| is_plain(part) && is_inner(part) && !part.contains('/') && !part.contains("--");
    match id.split_once('/') {
        Some((organisation, name)) => is_part(organisation) && is_part(name),
        None => is_part(id),
    }
}

/// Whether a text can name a branch, a tag or a commit. Allows only the characters of git names
/// that are safe in a path.
fn is_revision(name: &str) -> bool {
    let also_allowed = |c: char| "+@#,=%!".contains(c);
    is_plain(&name.replace(also_allowed, "_"))
}

/// Whether a text is a relative path that stays in its folder: letters, digits, `.`, `_`, `-` and
/// `/`, without a component that is empty or only dots.
pub(super) fn is_plain(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    name.chars().all(is_allowed) && name.split('/').all(|part| !part.trim_matches('.').is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }

    #[test]
    fn snapshot_is_found_by_branch_tag_commit_and_bare_name() {
        let cache = tempfile::tempdir().expect("a folder");
        let model = cache.path().join("models--sentence-transformers--tiny");
        let snapshot = model.join("snapshots/0123abc");
        write(snapshot.join("config.json"), "{}");
        write(model.join("refs/main"), "0123abc");
        write(model.join("refs/refs/pr/1"), "0123abc\n");
        write(model.join("refs/v1.0+cpu"), "0123abc");
        for (id, revision) in [
            ("sentence-transformers/tiny", "main"),
            ("tiny", "main"),
            ("tiny", "0123abc"),
            ("tiny", "refs/pr/1"),
            ("tiny", "v1.0+cpu"),
        ] {
            let (_, found) = find_snapshot(cache.path(), id, revision).expect("found");
            assert_eq!(found, snapshot, "{id} {revision}");
        }
    }

    #[test]
    fn missing_snapshot_error_lists_the_searched_paths() {
        let cache = tempfile::tempdir().expect("a folder");
        let message = |id, revision| match find_snapshot(cache.path(), id, revision) {
            Ok(found) => panic!("{found:?}"),
            Err(error) => error.to_string(),
        };
        write(cache.path().join("models--a--b/refs/main"), "gone");
        assert!(message("a/b", "main").contains("snapshots/gone"));
        let of_bare_name = message("c", "main");
        for folder in ["models--c", "models--sentence-transformers--c"] {
            assert!(of_bare_name.contains(folder), "{of_bare_name}");
        }
    }

    #[test]
    fn invalid_names_are_errors() {
        for (id, revision) in
            [("../b", "main"), ("a/..", "main"), ("a/b/c", "main"), ("a/b", "../../x"), ("", "main"), ("a/b", "")]
        {
            assert!(find_snapshot(Path::new("cache"), id, revision).is_err(), "{id} {revision}");
        }
        for path in ["./a", "/a", "/a/b", "~/a", "a/", "a/b/", "a//b", "C:\\a", "a\\b", ".a/b", "a/b.", "-a", "a b"] {
            let error = find_snapshot(Path::new("cache"), path, "main").expect_err(path).to_string();
            assert!(error.contains("no such folder, and not a hub id"), "{error}");
        }
    }

    #[test]
    fn cache_without_a_folder_is_an_error_that_names_the_variable() {
        let error = find_snapshot(Path::new(""), "a/b", "main").expect_err("no cache").to_string();
        assert!(error.contains("HF_HOME") && error.contains("home"), "{error}");
    }
}
