//! Where the cache has a model, read only.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::read_up_to;

/// Bytes of a file that names a commit.
const MAX_REF_BYTES: u64 = 4096;

/// The snapshot folder of a model.
///
/// `id` is `organisation/name`; a bare name is also tried under `sentence-transformers/`, as the reference does.
/// `revision` is a branch, a tag or a commit.
///
/// # Errors
/// If the cache has no such model or revision, or `id` is not a model's name. The error lists every path that was tried.
pub fn find(cache: &Path, id: &str, revision: &str) -> Result<PathBuf> {
    find_candidate(cache, id, revision).map(|(_, folder)| folder)
}

/// As [`find`], and which repository it is.
pub(super) fn find_candidate(cache: &Path, id: &str, revision: &str) -> Result<(String, PathBuf)> {
    let mut searched = vec![id.to_owned()];
    for candidate in candidates(id, revision)? {
        match CachedRepository::new(cache, &candidate).find_snapshot(revision)? {
            Ok(snapshot) => return Ok((candidate, snapshot)),
            Err(path) => searched.push(path.display().to_string()),
        }
    }
    Err(Error::ModelNotFound { id: id.to_owned(), why: "neither a folder nor in the Hugging Face cache", searched })
}

/// The repositories that a name can mean, in the order in which they are tried.
///
/// # Errors
/// If it is not a model's name, or `revision` is not that of a revision.
pub(super) fn candidates(id: &str, revision: &str) -> Result<Vec<String>> {
    let wrong = |why, what: &str| Error::ModelNotFound { id: id.to_owned(), why, searched: vec![what.to_owned()] };
    if !is_repository(id) {
        return Err(wrong("not a folder, and not a model's name (organisation/name)", id));
    }
    if !is_revision(revision) {
        return Err(wrong("the revision is not the name of a branch, tag or commit", revision));
    }
    let bare = (!id.contains('/')).then(|| format!("sentence-transformers/{id}"));
    Ok(std::iter::once(id.to_owned()).chain(bare).collect())
}

/// A repository's folder in the cache.
pub(super) struct CachedRepository {
    pub(super) folder: PathBuf,
}

impl CachedRepository {
    pub(super) fn new(cache: &Path, id: &str) -> Self {
        Self { folder: cache.join(folder_name(id)) }
    }

    /// The one that has this folder.
    #[cfg(feature = "hub")]
    pub(super) fn at_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot_folder(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The list of a commit's files that newer versions of huggingface_hub keep.
    #[cfg(feature = "hub")]
    pub(super) fn tree_path(&self, commit: &str) -> PathBuf {
        self.folder.join("trees").join(format!("{commit}.json"))
    }

    /// The file that says that a commit has no such file.
    #[cfg(feature = "hub")]
    pub(super) fn missing_marker(&self, commit: &str, name: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit).join(name)
    }

    /// The file that says which commit a branch or tag is.
    pub(super) fn ref_path(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    /// The folder of a revision, or, if it is not there, the path that should have been.
    fn find_snapshot(&self, revision: &str) -> Result<std::result::Result<PathBuf, PathBuf>> {
        let by_commit = self.snapshot_folder(revision);
        if !revision.contains('/') && by_commit.is_dir() {
            return Ok(Ok(by_commit));
        }
        let reference = self.ref_path(revision);
        let bytes = if reference.is_dir() { None } else { read_up_to(&reference, MAX_REF_BYTES)? };
        match bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes.trim_ascii())) {
            Some(commit) if is_plain(&commit) => {
                let snapshot = self.snapshot_folder(&commit);
                Ok(if snapshot.is_dir() { Ok(snapshot) } else { Err(snapshot) })
            }
            _ => Ok(Err(reference)),
        }
    }
}

/// What a repository's folder is called, in the cache and among the locks.
pub(super) fn folder_name(id: &str) -> String {
    format!("models--{}", id.replace('/', "--"))
}

/// Where the cache is, given the values of HF_HUB_CACHE (or HUGGINGFACE_HUB_CACHE), HF_HOME, XDG_CACHE_HOME and HOME.
pub fn cache_folder(
    hub_cache: Option<PathBuf>,
    hf_home: Option<PathBuf>,
    xdg_cache: Option<PathBuf>,
    home: Option<PathBuf>,
) -> PathBuf {
    hub_cache.unwrap_or_else(|| {
        let hf_home = hf_home.unwrap_or_else(|| {
            let cache = xdg_cache.unwrap_or_else(|| home.unwrap_or_default().join(".cache"));
            cache.join("huggingface")
        });
        hf_home.join("hub")
    })
}

/// `name` or `organisation/name`, of the characters that the hub allows.
fn is_repository(id: &str) -> bool {
    let part = |part: &str| is_plain(part) && !part.contains('/') && !part.contains("--");
    match id.split_once('/') {
        Some((organisation, name)) => part(organisation) && part(name),
        None => part(id),
    }
}

/// The name of a branch, a tag or a commit. Of the characters that git allows in it, those that need no care in a path.
fn is_revision(name: &str) -> bool {
    let others = |c: char| "+@#,=%!".contains(c);
    is_plain(&name.replace(others, "_"))
}

/// A relative path that stays where it is: letters, digits, `.`, `_`, `-` and `/`, and no part that is empty or only dots.
pub(super) fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    name.chars().all(allowed) && name.split('/').all(|part| !part.trim_matches('.').is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }

    #[test]
    fn finds_branches_commits_and_bare_names() {
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
            assert_eq!(find(cache.path(), id, revision).expect("found"), snapshot, "{id} {revision}");
        }
    }

    #[test]
    fn says_where_it_looked() {
        let cache = tempfile::tempdir().expect("a folder");
        write(cache.path().join("models--a--b/refs/main"), "gone");
        let message = find(cache.path(), "a/b", "main").expect_err("no snapshot").to_string();
        assert!(message.contains("snapshots/gone"), "{message}");
        let message = find(cache.path(), "c", "main").expect_err("no model").to_string();
        assert!(message.contains("models--c") && message.contains("models--sentence-transformers--c"), "{message}");
        for (id, revision) in
            [("../b", "main"), ("a/..", "main"), ("a/b/c", "main"), ("a/b", "../../x"), ("", "main"), ("a/b", "")]
        {
            assert!(find(cache.path(), id, revision).is_err(), "{id} {revision}");
        }
    }

    #[test]
    fn the_cache_follows_the_environment() {
        let path = |s: &str| Some(PathBuf::from(s));
        assert_eq!(cache_folder(path("/c"), path("/h"), None, path("/u")), Path::new("/c"));
        assert_eq!(cache_folder(None, path("/h"), None, path("/u")), Path::new("/h/hub"));
        assert_eq!(cache_folder(None, None, path("/x"), path("/u")), Path::new("/x/huggingface/hub"));
        assert_eq!(cache_folder(None, None, None, path("/u")), Path::new("/u/.cache/huggingface/hub"));
    }
}
