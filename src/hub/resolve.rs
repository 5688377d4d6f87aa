//! The one rule for finding a model: a folder, else the cache, else a download unless offline.

use std::path::{Path, PathBuf};

use super::progress::Progress;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::files::ModelFiles;

/// The revision of a hub id that names none.
pub const DEFAULT_REVISION: &str = "main";

/// Returns the files of a model that is named by a folder or a hub id.
///
/// `model` is a folder, `organisation/name` or `organisation/name@revision`. A bare name is also
/// tried under `sentence-transformers/`. `revision` is a branch, a tag or a commit, usually
/// [`DEFAULT_REVISION`].
///
/// A complete model in the cache needs no request. The feature `hub` downloads missing files,
/// unless [`Settings::offline`] is set. Without that feature only the cache is read.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// use likewise::hub::{self, Settings};
///
/// let settings = Settings::from_env();
/// let id = "sentence-transformers/all-mpnet-base-v2";
/// let files = hub::resolve(id, hub::DEFAULT_REVISION, &settings, &mut |_| {})?;
/// let model = likewise::Embedder::builder().open_files(&files)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If `model` is neither a folder nor a hub id, the model is not found, or the download fails.
pub fn resolve(
    model: &str,
    revision: &str,
    settings: &Settings,
    on_progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ModelFiles> {
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(ModelFiles::folder(path));
    }
    if path.exists() {
        return Err(Error::ModelNotFound {
            id: model.to_owned(),
            why: "the path is a file, not a model folder",
            searched: vec![model.to_owned()],
        });
    }
    let (id, revision) = split_revision(model, revision);
    Ok(ModelFiles::folder(snapshot(id, revision, settings, on_progress)?).named(id))
}

/// Splits `id@revision`. A `revision` other than [`DEFAULT_REVISION`] leaves `model` unsplit.
pub fn split_revision<'a>(model: &'a str, revision: &'a str) -> (&'a str, &'a str) {
    match model.split_once('@') {
        Some(split) if revision == DEFAULT_REVISION => split,
        _ => (model, revision),
    }
}

#[cfg(feature = "hub")]
fn snapshot(
    id: &str,
    revision: &str,
    settings: &Settings,
    on_progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    super::pull::Hub::new(settings.clone()).find_or_pull(id, revision, on_progress)
}

#[cfg(not(feature = "hub"))]
fn snapshot(
    id: &str,
    revision: &str,
    settings: &Settings,
    _on_progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    super::cache::find_snapshot(&settings.cache, id, revision).map(|(_, folder)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_after_an_at_sign_is_split_off_unless_another_is_given() {
        assert_eq!(split_revision("a/b", "main"), ("a/b", "main"));
        assert_eq!(split_revision("a/b@v1", "main"), ("a/b", "v1"));
        assert_eq!(split_revision("a/b@v1", "v2"), ("a/b@v1", "v2"));
    }

    #[test]
    fn folder_is_used_and_file_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let mut settings = Settings::new(folder.path());
        settings.offline = true;
        let resolve = |path: &Path| resolve(path.to_str().expect("UTF-8"), "main", &settings, &mut |_| {});
        assert!(resolve(folder.path()).is_ok());
        let error = resolve(&file).expect_err("a file").to_string();
        assert!(error.contains("not a model folder"), "{error}");
    }

    #[test]
    fn model_missing_offline_is_an_error_with_the_searched_paths() {
        let cache = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::new(cache.path());
        settings.offline = true;
        let error = resolve("org/name", "main", &settings, &mut |_| {}).expect_err("an empty cache");
        assert!(error.to_string().contains("models--org--name/refs/main"), "{error}");
    }
}
