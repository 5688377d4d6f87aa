//! The one rule for finding a model: a folder, else the cache, else a download unless offline.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::cache::find_snapshot;
use super::progress::Progress;
use super::settings::Settings;
use super::similar_folders::{is_model_folder, similar_folders};
use crate::error::{Error, HubErrorKind, Result};
use crate::files::ModelFiles;
#[cfg(feature = "hub")]
use crate::model_folder::has_bge_m3_layers;

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
/// If `model` is neither a folder nor a hub id, the model is not found, or the download fails. A
/// folder has no revisions, so a revision other than [`DEFAULT_REVISION`] is an error.
pub fn resolve(
    model: &str,
    revision: &str,
    settings: &Settings,
    on_progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ModelFiles> {
    let (id, revision_of_id) = split_revision(model, revision);
    if is_folder(Path::new(model))? {
        if revision != DEFAULT_REVISION {
            return Err(folder_with_revision(model));
        }
        return Ok(ModelFiles::folder(model));
    }
    if id != model && is_folder(Path::new(id))? {
        return Err(folder_with_revision(model));
    }
    match snapshot(id, revision_of_id, settings, on_progress) {
        Ok(folder) => Ok(ModelFiles::folder(folder).named(id)),
        Err(error) => Err(explain(error, id, revision_of_id, settings)),
    }
}

/// Returns the files of a model of the hub, with the settings of the environment.
///
/// # Errors
/// See [`Hub::find_or_pull`](super::Hub::find_or_pull).
#[cfg(feature = "hub")]
pub(crate) fn model_files(id: &str, revision: &str) -> Result<ModelFiles> {
    let folder = super::Hub::new(Settings::from_env()).find_or_pull(id, revision, &mut |_| ())?;
    Ok(ModelFiles::folder(folder).named(id))
}

/// Returns the files of a model of the hub as [`model_files`] does. A snapshot without the layers
/// of bge-m3, which other programs may not need, is completed unless the settings forbid it.
///
/// # Errors
/// See [`Hub::find_or_pull`](super::Hub::find_or_pull) and [`Hub::pull`](super::Hub::pull).
#[cfg(feature = "hub")]
pub(crate) fn bge_m3_files(id: &str, revision: &str) -> Result<ModelFiles> {
    let files = model_files(id, revision)?;
    let settings = Settings::from_env();
    if has_bge_m3_layers(|name| files.contains(name)) || settings.offline {
        return Ok(files);
    }
    let folder = super::Hub::new(settings).pull(id, revision, &mut |_| ())?;
    Ok(ModelFiles::folder(folder).named(id))
}

/// Returns whether a path is a folder.
///
/// # Errors
/// If it is a file, or this user may not look.
fn is_folder(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => {
            let id = path.display().to_string();
            let why = "the path is a file, not a model folder";
            let parent = path.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent });
            let folder = parent.filter(|parent| is_model_folder(parent)).map(|parent| parent.display().to_string());
            Err(Error::ModelNotFound { id, why, searched: Vec::new(), similar: Vec::from_iter(folder), source: None })
        }
        Err(source) if source.kind() == ErrorKind::PermissionDenied => {
            Err(Error::Io { path: path.to_owned(), action: "open", source })
        }
        // All other errors mean that there is no such path, such as one that is too long.
        Err(_) => Ok(false),
    }
}

/// Returns the hub id in the address of a model's page.
fn id_of_page(address: &str, endpoint: &str) -> Option<String> {
    let path = address.strip_prefix(endpoint.trim_end_matches('/'))?.strip_prefix('/')?;
    let mut parts = path.split(['/', '?', '#']).filter(|part| !part.is_empty());
    Some(format!("{}/{}", parts.next()?, parts.next()?))
}

fn folder_with_revision(model: &str) -> Error {
    Error::model_not_found(model, "a revision was given, but a folder has no revisions", Vec::new())
}

/// Adds to the error of the hub that there is no such folder, because the name may have been meant
/// as one.
fn explain(error: Error, id: &str, revision: &str, settings: &Settings) -> Error {
    let is_uncached = || find_snapshot(&settings.cache, id, revision).is_err();
    let why = match &error {
        Error::ModelNotFound { .. } => "",
        Error::HubSetting { setting: "HF_HOME", .. } => "no such folder, and the Hugging Face cache is unknown",
        Error::HubUnreachable { .. }
        | Error::HubTlsUnsupported { .. }
        | Error::HubProtocol { .. }
        | Error::HubSetting { .. }
        | Error::HubStatus {
            kind: HubErrorKind::Unavailable | HubErrorKind::InvalidToken | HubErrorKind::UnexpectedStatus,
            ..
        } if is_uncached() => "no such folder, not in the Hugging Face cache, and the hub cannot be searched",
        _ => return error,
    };
    let similar = id_of_page(id, &settings.endpoint).map_or_else(|| similar_folders(id), |id| vec![id]);
    match error {
        Error::ModelNotFound { id, why, searched, source, .. } => {
            Error::ModelNotFound { id, why, searched, similar, source }
        }
        error => {
            let source = Some(Box::new(error));
            Error::ModelNotFound { id: id.to_owned(), why, searched: Vec::new(), similar, source }
        }
    }
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
    find_snapshot(&settings.cache, id, revision).map(|(_, folder)| folder)
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
        assert!(error.contains("not a model folder") && !error.contains("did you mean"), "{error}");
        std::fs::write(folder.path().join("config.json"), "{}").expect("a file");
        let error = resolve(&file).expect_err("a file").to_string();
        assert!(error.contains(&format!("did you mean {}?", folder.path().display())), "{error}");
    }

    #[test]
    fn revision_of_a_folder_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::new(folder.path());
        settings.offline = true;
        let path = folder.path().to_str().expect("UTF-8");
        for (model, revision) in [(path.to_owned(), "v1"), (format!("{path}@v1"), "main")] {
            let error = resolve(&model, revision, &settings, &mut |_| {}).expect_err("a revision").to_string();
            assert!(error.contains("a folder has no revisions"), "{error}");
        }
    }

    #[test]
    fn address_of_a_page_is_answered_by_its_id() {
        let mut settings = Settings::new("cache");
        settings.offline = true;
        for address in ["https://huggingface.co/org/name", "https://huggingface.co/org/name/tree/main?x"] {
            let error = resolve(address, "main", &settings, &mut |_| {}).expect_err("an address").to_string();
            assert!(error.contains("did you mean org/name?"), "{error}");
        }
    }

    #[test]
    fn misspelt_folder_is_answered_by_a_similar_one() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("models/minilm-l6")).expect("a folder");
        std::fs::write(folder.path().join("models/minilm-l6/config.json"), "{}").expect("a file");
        let mut settings = Settings::new(folder.path());
        settings.offline = true;
        for name in ["models/minilm", "models/minilm/", "model/minilm-l6", "models/MiniLM-L6", "models\\minilm-l6"] {
            let path = folder.path().join(name);
            let error = resolve(path.to_str().expect("UTF-8"), "main", &settings, &mut |_| {}).expect_err(name);
            let expected = format!("did you mean {}?", folder.path().join("models/minilm-l6").display());
            assert!(error.to_string().contains(&expected), "{name}: {error}");
        }
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
