//! A model: all files of it that are needed, from the hub to the cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;

use super::HubRefusal;
use super::cache::{candidates, find_candidate};
use super::cache_writer::Layout;
use super::client::{Client, answer};
use super::completeness::{Missing, missing};
use super::download::Files;
use super::file_selection;
use super::retry::Patience;
use super::settings::{Progress, Settings, Tell};
use super::url::escaped;
use crate::config;
use crate::error::{Error, Result};
use crate::files::read_small_file;
use crate::model_folder::{MODULES, WeightSource, file_in, is_license_or_readme};

/// Bytes of the list of a repository's files; the largest known has a few megabytes.
const LISTING: usize = 32 << 20;

/// The hub, with a cache in front of it.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// use likewise::hub::{Hub, Progress, Settings};
///
/// let hub = Hub::new(Settings::new("/home/me/.cache/huggingface/hub"));
/// let folder = hub.find_or_pull("sentence-transformers/all-mpnet-base-v2", "main", &mut |told: Progress<'_>| {
///     if let Progress::File { name, size, have } = told {
///         println!("{name}: {have} of {size} bytes");
///     }
/// })?;
/// let model = likewise::Embedder::open(folder)?;
/// # Ok(())
/// # }
/// ```
pub struct Hub {
    settings: Settings,
    /// Made when it is needed.
    client: OnceLock<Client>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the hub says of a revision.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Hub {
    /// Makes no request yet, and looks at no setting that only requests need.
    pub fn new(settings: Settings) -> Self {
        Self { settings, client: OnceLock::new() }
    }

    /// # Errors
    /// If a setting cannot be used, or the file of authorities cannot be read.
    fn client(&self) -> Result<&Client> {
        match self.client.get() {
            Some(client) => Ok(client),
            None => Client::new(&self.settings).map(|client| self.client.get_or_init(|| client)),
        }
    }

    /// The snapshot folder of a model, if the cache has all that the model needs. Makes no request.
    ///
    /// # Errors
    /// If what the cache has cannot be read, or is not what it should be.
    pub fn cached(&self, id: &str, revision: &str) -> Result<Option<PathBuf>> {
        match find_candidate(&self.settings.cache, id, revision) {
            Ok((_, folder)) => Ok(missing(&folder)?.is_nothing().then_some(folder)),
            Err(Error::ModelNotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The snapshot folder of a model: that of the cache if all that the model needs is there, without any request; completed
    /// with files of the same commit, if the cache has some of it; else as [`Self::pull`].
    ///
    /// # Errors
    /// As of [`Self::pull`]; offline, if the cache does not have all of it.
    pub fn find_or_pull(&self, id: &str, revision: &str, tell: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
        candidates(id, revision)?;
        match find_candidate(&self.settings.cache, id, revision) {
            Ok((repository, folder)) => {
                let lacking = missing(&folder)?;
                if lacking.is_nothing() {
                    return Ok(folder);
                }
                if lacking.files.is_empty() {
                    return Ok(self.complete_if_possible(&repository, folder, &lacking.optional, tell));
                }
                self.complete_part(&repository, &folder, revision, &lacking, tell)
            }
            Err(Error::ModelNotFound { looked, .. }) => self.pull_instead(id, revision, looked, tell),
            Err(error) => Err(error),
        }
    }

    /// Of a model that the cache does not have. `looked`: where that was found out.
    fn pull_instead(&self, id: &str, revision: &str, looked: Vec<String>, tell: Tell<'_>) -> Result<PathBuf> {
        let not_found = |why, looked| Err(Error::ModelNotFound { id: id.to_owned(), why, looked });
        if self.settings.offline {
            return not_found(
                "neither a folder nor in the Hugging Face cache, and offline nothing is downloaded",
                looked,
            );
        }
        match self.pull(id, revision, tell) {
            Err(Error::ModelNotFound { looked: asked, .. }) => not_found(
                "neither a folder, nor in the Hugging Face cache, nor on the hub, unless it is private there and needs a \
                 token that may read it",
                [looked, asked].concat(),
            ),
            other => other,
        }
    }

    /// Of a snapshot that has all that its model cannot do without: whether the commit also has the `optional` files is asked,
    /// once, and those that it has are fetched. If for whatever reason that does not succeed, it is taken as it is, and that is
    /// told.
    fn complete_if_possible(&self, id: &str, folder: PathBuf, optional: &[String], tell: Tell<'_>) -> PathBuf {
        let completed = match commit_of(&folder).filter(|_| !self.settings.offline) {
            Some(commit) => self.list(id, commit, Patience::impatient(&self.settings), tell),
            None => {
                tell(Progress::Unsure { names: optional, error: None });
                return folder;
            }
        };
        let completed = completed.and_then(|(commit, names)| self.pull_repository(id, &commit, &commit, &names, tell));
        if let Err(error) = completed {
            tell(Progress::Unsure { names: optional, error: Some(&error) });
        }
        folder
    }

    /// Of a snapshot whose model cannot be opened: fetches what it lacks of the commit, which stays what it is unless the hub
    /// no longer has it.
    fn complete_part(
        &self,
        id: &str,
        folder: &Path,
        revision: &str,
        missing: &Missing,
        tell: Tell<'_>,
    ) -> Result<PathBuf> {
        let part =
            |why| Error::MissingFile { origin: folder.display().to_string(), name: missing.files.join(", "), why };
        if self.settings.offline {
            return Err(part("the cache has only a part of the model, and offline nothing is downloaded"));
        }
        let Some(commit) = commit_of(folder) else { return self.pull(id, revision, tell) };
        match self.list(id, commit, Patience::new(&self.settings), tell) {
            Ok((commit, names)) => self.pull_repository(id, &commit, &commit, &names, tell),
            Err(Error::HubRefused { refusal: HubRefusal::Revision, .. }) if revision != commit => {
                self.pull(id, revision, tell)
            }
            Err(Error::HubRefused { refusal: HubRefusal::Repository, .. }) => Err(part(
                "the cache has only a part of the model, and the hub has no such repository, unless it is private there and \
                 needs a token that may read it",
            )),
            Err(error) => Err(error),
        }
    }

    /// Sees to it that the cache has a model as the hub has it now, and gives its snapshot folder.
    ///
    /// `id` is `organisation/name`; a bare name is also tried under `sentence-transformers/`. `revision` is a branch, a tag
    /// or a commit. One request says which commit that is and which files it has; of these only what the model needs and
    /// the cache lacks, or has damaged, is fetched. Offline it gives what the cache has.
    ///
    /// # Errors
    /// If a setting cannot be used, there is no such model, it has no weights in safetensors, the hub cannot be reached or
    /// refuses, what it sends is not what it announces, or a file cannot be written. What was fetched stays; the next call
    /// goes on from there.
    pub fn pull(&self, id: &str, revision: &str, tell: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
        if self.settings.offline {
            return self.find_or_pull(id, revision, tell);
        }
        let mut asked = Vec::new();
        for candidate in candidates(id, revision)? {
            match self.list(&candidate, revision, Patience::new(&self.settings), tell) {
                Ok((commit, names)) => return self.pull_repository(&candidate, revision, &commit, &names, tell),
                Err(Error::HubRefused { refusal: HubRefusal::Repository, url, .. }) => asked.push(url),
                Err(error) => return Err(error),
            }
        }
        let why = "the hub has no such repository, unless it is private and needs a token that may read it";
        Err(Error::ModelNotFound { id: id.to_owned(), why, looked: asked })
    }

    /// Fetches what a model needs of a commit's files, which have these names.
    fn pull_repository(
        &self,
        id: &str,
        revision: &str,
        commit: &str,
        names: &BTreeSet<String>,
        tell: Tell<'_>,
    ) -> Result<PathBuf> {
        let layout = Layout::new(&self.settings.cache, id);
        let client = self.client()?;
        let files = Files { client, settings: &self.settings, layout: &layout, id, commit };
        let table = |name: &str| -> Result<(String, Vec<u8>)> {
            let path = layout.file(commit, name);
            Ok((path.display().to_string(), read_small_file(&path)?.unwrap_or_default()))
        };
        let modules = if names.contains(MODULES) {
            files.fetch(MODULES, tell)?;
            let (label, bytes) = table(MODULES)?;
            Some(file_selection::parse_modules(&label, &bytes)?)
        } else {
            None
        };
        let encoder = file_selection::encoder_folder(modules.as_ref());
        for (name, _) in file_selection::optional_files(encoder).filter(|(name, _)| !names.contains(name)) {
            // Only spares a later question, so a cache that cannot be written to is no failure.
            drop(layout.note_absence(commit, &name));
        }
        let weights = match file_selection::select_weights(names, encoder) {
            Ok(weights) => weights,
            Err(found) => return Err(Error::HubWeights { url: client.url(id)?.shown(), found }),
        };
        let lacking = file_selection::missing_required_files(&|name| names.contains(name), modules.as_ref());
        if !lacking.is_empty() {
            let why = "the repository does not have it, and the model cannot be opened without it";
            return Err(Error::MissingFile { origin: client.url(id)?.shown(), name: lacking.join(", "), why });
        }
        // Weights last: a snapshot of ours that has them has all the rest.
        let mut selected = file_selection::select_model_files(names);
        selected.extend(modules.iter().flat_map(|modules| file_selection::select_module_files(names, modules)));
        for name in &selected {
            match files.fetch(name, tell) {
                // No model needs it.
                Err(Error::HubRefused { .. } | Error::HubAnswer { .. }) if is_license_or_readme(name) => {}
                other => other?,
            }
        }
        match weights {
            WeightSource::File(name) => files.fetch(&name, tell)?,
            WeightSource::Shards(index) => {
                files.fetch(&index, tell)?;
                let (label, bytes) = table(&index)?;
                for name in file_selection::parse_shards(&label, &bytes)? {
                    files.fetch(&file_in(encoder, &name), tell)?;
                }
            }
        }
        // What names the commit comes when all of it is there.
        if revision != commit {
            layout.refer(revision, commit)?;
        }
        Ok(layout.repository.commit(commit))
    }

    /// The commit of a revision, and the names of its files.
    fn list(
        &self,
        id: &str,
        revision: &str,
        patience: Patience<'_>,
        tell: Tell<'_>,
    ) -> Result<(String, BTreeSet<String>)> {
        let client = self.client()?;
        let url = client.url(&format!("api/models/{id}/revision/{}", escaped(revision)))?;
        let bytes = patience.until_done(tell, || client.read(&url, LISTING))?;
        let Listing { sha, siblings } = config::parse_json(&url.shown(), &bytes)?;
        if !is_commit(&sha) || (is_commit(revision) && revision != sha) {
            return Err(answer(&url, "the commit of this revision", format!("{:?}", client.shown(&sha))));
        }
        // The others, which no model's files have, might not stand where they say.
        let names = siblings.into_iter().map(|sibling| sibling.rfilename).filter(|name| !leads_elsewhere(name));
        Ok((sha, names.collect()))
    }
}

/// The commit whose files a snapshot folder has, if it has the name of one.
fn commit_of(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str().filter(|name| is_commit(name))
}

/// 40 hexadecimal digits.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether a name is not that of a file below where it stands, on any system.
fn leads_elsewhere(name: &str) -> bool {
    name.contains('\\')
        || name.contains(char::is_control)
        || name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is let through names a file below the folder, whatever it consists of.
        #[test]
        fn names_stay_inside(name in "\\PC{0,12}|[a./\\\\:]{0,12}|(\\.\\.|/|a|\\.){0,6}") {
            if !leads_elsewhere(&name) && super::super::cache::is_plain(&name) {
                let inside = Path::new(&name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
                prop_assert!(inside, "{}", name);
            }
            if Path::new(&name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
                prop_assert!(leads_elsewhere(&name), "{}", name);
            }
        }
    }

    #[test]
    fn commits_are_forty_digits() {
        assert!(is_commit("0123456789abcdef0123456789abcdef01234567"));
        for text in ["", "main", "0123456789ABCDEF0123456789abcdef01234567", "../../../../../../../../../../../../../x"]
        {
            assert!(!is_commit(text), "{text}");
        }
    }
}
