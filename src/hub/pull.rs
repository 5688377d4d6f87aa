//! Downloads all files of a model that the library needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;

use super::cache::{candidates, find_snapshot, require_cache};
use super::cache_writer::CacheWriter;
use super::client::{Client, protocol_error};
use super::completeness::{MissingFiles, missing_files};
use super::download::CommitDownloader;
use super::file_selection;
use super::progress::{Progress, ProgressCallback};
use super::retry::RetryPolicy;
use super::settings::Settings;
use super::url::escape;
use crate::config;
use crate::error::{Error, HubErrorKind, Result};
use crate::files::read_small_file;
use crate::model_folder::{MODULES, ModuleList, file_in, is_license_or_readme, shard_ending};

/// The maximum size of the list of a repository's files. The largest known one has a few megabytes.
const MAX_LISTING_BYTES: usize = 32 << 20;

/// A Hugging Face hub and a local cache of its models.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// use likewise::hub::{Hub, Progress, Settings};
///
/// let hub = Hub::new(Settings::from_env());
/// let id = "sentence-transformers/all-mpnet-base-v2";
/// let folder = hub.pull(id, "main", &mut |progress: Progress<'_>| {
///     if let Progress::Downloading { name, size, received } = progress {
///         println!("{name}: {received} of {size} bytes");
///     }
/// })?;
/// let model = likewise::Embedder::open(folder)?;
/// # Ok(())
/// # }
/// ```
pub struct Hub {
    settings: Settings,
    /// Created by the first request, because a model in the cache needs none.
    client: OnceLock<Client>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The hub's description of a revision.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// A commit and the names of its files.
struct Commit {
    hash: String,
    files: BTreeSet<String>,
}

impl Hub {
    /// Makes no request, and checks no setting that only requests need.
    pub fn new(settings: Settings) -> Self {
        Self { settings, client: OnceLock::new() }
    }

    /// # Errors
    /// If a setting is invalid, or the token or the certificate authorities cannot be read.
    fn client(&self) -> Result<&Client> {
        match self.client.get() {
            Some(client) => Ok(client),
            None => Client::new(&self.settings).map(|client| self.client.get_or_init(|| client)),
        }
    }

    /// Returns the snapshot folder of a model.
    ///
    /// A model that is complete in the cache needs no request. An incomplete one is completed from
    /// the same commit. One that the cache lacks is downloaded as in [`Self::pull`].
    ///
    /// # Errors
    /// The errors of [`Self::pull`], and in offline mode an incomplete cache.
    pub fn find_or_pull(&self, id: &str, revision: &str, on_progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
        candidates(id, revision)?;
        match find_snapshot(&self.settings.cache, id, revision) {
            Ok((repository, folder)) => {
                let missing = missing_files(&folder)?;
                if missing.is_empty() {
                    return Ok(folder);
                }
                if missing.required.is_empty() {
                    self.try_to_complete(&repository, &folder, &missing.optional, on_progress);
                    return Ok(folder);
                }
                self.complete(&repository, &folder, revision, &missing, on_progress)
            }
            Err(Error::ModelNotFound { searched, .. }) => self.pull_uncached(id, revision, searched, on_progress),
            Err(error) => Err(error),
        }
    }

    /// Downloads a model that the cache lacks. `searched` lists the cache's paths for the error.
    fn pull_uncached(
        &self,
        id: &str,
        revision: &str,
        searched: Vec<String>,
        on_progress: ProgressCallback<'_>,
    ) -> Result<PathBuf> {
        let not_found = |why, searched| Err(Error::model_not_found(id, why, searched));
        if self.settings.offline {
            return not_found(
                "no such folder, not in the Hugging Face cache, and offline mode forbids downloads",
                searched,
            );
        }
        match self.pull(id, revision, on_progress) {
            Err(Error::ModelNotFound { searched: urls, .. }) => not_found(
                "no such folder, not in the Hugging Face cache, and not on the hub (a private repository needs a token \
                 with access)",
                [searched, urls].concat(),
            ),
            other => other,
        }
    }

    /// Downloads optional files that the commit contains and the cache lacks.
    ///
    /// Makes one attempt. The model opens without these files, so a failure is only reported.
    fn try_to_complete(&self, id: &str, folder: &Path, names: &[String], on_progress: ProgressCallback<'_>) {
        let Some(hash) = commit_hash(folder).filter(|_| !self.settings.offline) else {
            on_progress(Progress::UsingIncompleteCache { names, error: None });
            return;
        };
        let commit = self.list(id, hash, RetryPolicy::single_attempt(&self.settings), on_progress);
        let completed = commit.and_then(|commit| self.download(id, hash, &commit, on_progress));
        if let Err(error) = completed {
            on_progress(Progress::UsingIncompleteCache { names, error: Some(&error) });
        }
    }

    /// Downloads required files that the cache lacks, from the same commit. Uses the revision's
    /// current commit only if the hub no longer has the old one.
    fn complete(
        &self,
        id: &str,
        folder: &Path,
        revision: &str,
        missing: &MissingFiles,
        on_progress: ProgressCallback<'_>,
    ) -> Result<PathBuf> {
        let origin = folder.display().to_string();
        let incomplete = |why| match missing.other_weights.as_slice() {
            [] => Error::MissingFile { origin: origin.clone(), name: missing.required.join(", "), why },
            found => Error::UnsupportedWeights { origin: origin.clone(), found: found.to_vec() },
        };
        if self.settings.offline {
            return Err(incomplete("the cache has only part of the model, and offline mode forbids downloads"));
        }
        let Some(hash) = commit_hash(folder) else { return self.pull(id, revision, on_progress) };
        match self.list(id, hash, RetryPolicy::new(&self.settings), on_progress) {
            Ok(commit) => self.download(id, hash, &commit, on_progress),
            Err(Error::HubStatus { kind: HubErrorKind::RevisionNotFound, .. }) if revision != hash => {
                self.pull(id, revision, on_progress)
            }
            Err(Error::HubStatus { kind: HubErrorKind::RepositoryNotFound, .. }) => Err(incomplete(
                "the cache has only part of the model, and the repository is not on the hub (a private repository needs a \
                 token with access)",
            )),
            // Weights that are not read are a better reason than a hub that does not answer.
            Err(Error::HubUnreachable { .. } | Error::HubTlsUnsupported { .. })
                if !missing.other_weights.is_empty() =>
            {
                Err(incomplete("the cache has only part of the model"))
            }
            Err(error) => Err(error),
        }
    }

    /// Downloads a model's current version to the cache and returns its snapshot folder.
    ///
    /// `id` is `organisation/name`. A bare name is also tried under `sentence-transformers/`.
    /// `revision` is a branch, a tag or a commit. One request lists the commit and its files. Then
    /// only required files that the cache lacks, or has damaged, are downloaded. In offline mode
    /// this function returns what the cache contains.
    ///
    /// # Errors
    /// If a setting is invalid, the model does not exist, it has no weights that can be read, the
    /// hub cannot be reached or rejects a request, a download is corrupt, or a file cannot be
    /// written. Received bytes remain in the cache, and the next call resumes.
    pub fn pull(&self, id: &str, revision: &str, on_progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
        if self.settings.offline {
            return self.find_or_pull(id, revision, on_progress);
        }
        let candidates = candidates(id, revision)?;
        require_cache(&self.settings.cache)?;
        let mut searched = Vec::new();
        for candidate in candidates {
            match self.list(&candidate, revision, RetryPolicy::new(&self.settings), on_progress) {
                Ok(commit) => return self.download(&candidate, revision, &commit, on_progress),
                Err(Error::HubStatus { kind: HubErrorKind::RepositoryNotFound, url, .. }) => searched.push(url),
                Err(error) => return Err(error),
            }
        }
        let why = "not on the hub (a private repository needs a token with access)";
        Err(Error::model_not_found(id, why, searched))
    }

    /// Downloads the files of a commit that its model needs.
    fn download(
        &self,
        id: &str,
        revision: &str,
        commit: &Commit,
        on_progress: ProgressCallback<'_>,
    ) -> Result<PathBuf> {
        let cache = CacheWriter::new(&self.settings.cache, id);
        let hash = commit.hash.as_str();
        let client = self.client()?;
        let downloader = CommitDownloader { client, settings: &self.settings, cache: &cache, id, commit: hash };
        let modules = fetch_modules(&downloader, commit, on_progress)?;
        let encoders = file_selection::encoder_folders(modules.as_ref());
        let optional = encoders.iter().flat_map(|encoder| file_selection::optional_files(encoder, modules.as_ref()));
        for (name, _) in optional.filter(|(name, _)| !commit.files.contains(name)) {
            // The marker only saves a later request, so a read-only cache is no failure.
            drop(cache.mark_missing(hash, &name));
        }
        let weights = select_weights(client, id, commit, modules.as_ref())?;
        // Weights come last: a snapshot that contains them contains all other files.
        let mut selected = file_selection::select_model_files(&commit.files);
        let module_files = modules.iter().map(|modules| file_selection::select_module_files(&commit.files, modules));
        selected.extend(module_files.flatten());
        for name in &selected {
            match downloader.fetch(name, on_progress) {
                // The model opens without licence and README.
                Err(Error::HubStatus { .. } | Error::HubProtocol { .. }) if is_license_or_readme(name) => {}
                other => other?,
            }
        }
        for (encoder, weights) in encoders.into_iter().zip(weights) {
            downloader.fetch(&weights, on_progress)?;
            let Some(ending) = shard_ending(&weights) else { continue };
            let (label, bytes) = read_snapshot_file(&cache, hash, &weights)?;
            for name in file_selection::parse_shard_names(&label, &bytes, ending)? {
                downloader.fetch(&file_in(encoder, &name), on_progress)?;
            }
        }
        // The ref comes last, so that it never names an incomplete snapshot.
        if revision != hash {
            cache.write_ref(revision, hash)?;
        }
        Ok(cache.repository.snapshot_folder(hash))
    }

    /// Requests the commit of a revision and the names of its files.
    fn list(
        &self,
        id: &str,
        revision: &str,
        retry: RetryPolicy<'_>,
        on_progress: ProgressCallback<'_>,
    ) -> Result<Commit> {
        let client = self.client()?;
        let url = client.url(&format!("api/models/{id}/revision/{}", escape(revision)))?;
        let bytes = retry.run(on_progress, || client.read(&url, MAX_LISTING_BYTES))?;
        let Listing { sha, siblings } = config::parse_json(&url.without_query(), &bytes)?;
        if !is_commit_hash(&sha) || (is_commit_hash(revision) && revision != sha) {
            let found = format!("{:?}", client.printable(&sha));
            return Err(protocol_error(&url, "the commit of this revision", found));
        }
        // No model needs a file whose name leads out of the folder.
        let names = siblings.into_iter().map(|sibling| sibling.rfilename);
        Ok(Commit { hash: sha, files: names.filter(|name| !escapes_folder(name)).collect() })
    }
}

/// Downloads the files that name the modules of a commit, and returns the modules: with a Router
/// those of its routes. Returns None if there is no modules.json.
fn fetch_modules(
    downloader: &CommitDownloader<'_>,
    commit: &Commit,
    on_progress: ProgressCallback<'_>,
) -> Result<Option<ModuleList>> {
    if !commit.files.contains(MODULES) {
        return Ok(None);
    }
    downloader.fetch(MODULES, on_progress)?;
    let (label, bytes) = read_snapshot_file(downloader.cache, &commit.hash, MODULES)?;
    let modules = file_selection::parse_modules(&label, &bytes)?;
    if !modules.has_router() {
        return Ok(Some(modules));
    }
    let name = file_selection::router_file(&|name| commit.files.contains(name));
    if !commit.files.contains(name) {
        let origin = downloader.client.url(downloader.id)?.without_query();
        let why = "the Router of modules.json requires it, and the repository does not contain it";
        return Err(Error::MissingFile { origin, name: name.to_owned(), why });
    }
    downloader.fetch(name, on_progress)?;
    let (label, bytes) = read_snapshot_file(downloader.cache, &commit.hash, name)?;
    file_selection::parse_router(&label, &bytes).map(Some)
}

/// Selects the weights of a commit, for each encoder: a file, or the index of shards.
///
/// # Errors
/// If the commit lacks weights that can be read, or another required file. This check comes before
/// the download of anything large.
fn select_weights(client: &Client, id: &str, commit: &Commit, modules: Option<&ModuleList>) -> Result<Vec<String>> {
    let mut weights = Vec::new();
    for encoder in file_selection::encoder_folders(modules) {
        match file_selection::select_weights(&commit.files, encoder) {
            Ok(name) => weights.push(name),
            Err(found) => return Err(Error::UnsupportedWeights { origin: client.url(id)?.without_query(), found }),
        }
    }
    let missing = file_selection::missing_required_files(&|name| commit.files.contains(name), modules);
    if !missing.is_empty() {
        let origin = client.url(id)?.without_query();
        let why = "the model requires it, and the repository does not contain it";
        return Err(Error::MissingFile { origin, name: missing.join(", "), why });
    }
    Ok(weights)
}

/// Returns a small file of a snapshot and its label for messages.
fn read_snapshot_file(cache: &CacheWriter, commit: &str, name: &str) -> Result<(String, Vec<u8>)> {
    let path = cache.file(commit, name);
    Ok((path.display().to_string(), read_small_file(&path)?.unwrap_or_default()))
}

/// Returns the commit that a snapshot folder is named after.
fn commit_hash(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str().filter(|name| is_commit_hash(name))
}

/// Whether a text has 40 hexadecimal digits.
fn is_commit_hash(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether a file name could leave its folder, on any operating system.
fn escapes_folder(name: &str) -> bool {
    name.contains('\\')
        || name.contains(char::is_control)
        || name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn file_name_that_passes_stays_in_the_folder(name in "\\PC{0,12}|[a./\\\\:]{0,12}|(\\.\\.|/|a|\\.){0,6}") {
            if !escapes_folder(&name) && super::super::cache::is_plain(&name) {
                let inside = Path::new(&name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
                prop_assert!(inside, "{}", name);
            }
            if Path::new(&name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
                prop_assert!(escapes_folder(&name), "{}", name);
            }
        }
    }

    #[test]
    fn commit_hash_has_forty_lower_case_digits() {
        assert!(is_commit_hash("0123456789abcdef0123456789abcdef01234567"));
        for text in ["", "main", "0123456789ABCDEF0123456789abcdef01234567", "../../../../../../../../../../../../../x"]
        {
            assert!(!is_commit_hash(text), "{text}");
        }
    }
}
