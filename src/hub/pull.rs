//! A model: all files of it that are needed, from the hub to the cache.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Deserialize;

use super::Refusal;
use super::cache::{candidates, find};
use super::client::{Client, answer};
use super::download::Files;
use super::layout::Layout;
use super::retry::patiently;
use super::settings::{Progress, Settings, Tell};
use super::url::escaped;
use super::wanted::{self, MODULES, Weights};
use crate::config;
use crate::error::{Error, Result};
use crate::files::{read_table, says_whose};

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

    /// The snapshot folder of a model: that of the cache if all that the model needs is there, without any request; else as
    /// [`Self::pull`].
    ///
    /// # Errors
    /// As of [`Self::pull`]; offline, if the cache does not have all of it.
    pub fn find_or_pull(&self, id: &str, revision: &str, tell: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
        candidates(id, revision)?;
        let mut looked = Vec::new();
        // What the cache has, if that may be all there is.
        let mut usable = None;
        match find(&self.settings.cache, id, revision) {
            Ok(folder) => {
                let missing = wanted::missing(&folder)?;
                if missing.files.is_empty() && missing.unknown.is_empty() {
                    return Ok(folder);
                }
                if missing.files.is_empty() {
                    usable = Some((folder, missing.unknown));
                } else if self.settings.offline {
                    return Err(Error::MissingFile {
                        origin: folder.display().to_string(),
                        name: missing.files.join(", "),
                        why: "the cache has only a part of the model, and offline nothing is downloaded",
                    });
                }
            }
            Err(Error::ModelNotFound { looked: paths, .. }) => looked = paths,
            Err(error) => return Err(error),
        }
        let not_found = |why, looked| Err(Error::ModelNotFound { id: id.to_owned(), why, looked });
        let pulled = if self.settings.offline { None } else { Some(self.pull(id, revision, tell)) };
        let nobody = |error: &Error| {
            matches!(error, Error::HubUnreachable { .. } | Error::HubRefused { refusal: Refusal::Busy, .. })
        };
        match (pulled, usable) {
            // As huggingface_hub does: without an answer, what there is.
            (None, Some((folder, unknown))) => {
                tell(Progress::Unsure { names: &unknown, error: None });
                Ok(folder)
            }
            (Some(Err(error)), Some((folder, unknown))) if nobody(&error) => {
                tell(Progress::Unsure { names: &unknown, error: Some(&error) });
                Ok(folder)
            }
            (None, None) => {
                not_found("neither a folder nor in the Hugging Face cache, and offline nothing is downloaded", looked)
            }
            (Some(Err(Error::ModelNotFound { looked: asked, .. })), _) => not_found(
                "neither a folder, nor in the Hugging Face cache, nor on the hub, unless it is private there and needs a \
                 token that may read it",
                [looked, asked].concat(),
            ),
            (Some(other), _) => other,
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
            match self.list(&candidate, revision, tell) {
                Ok((commit, names)) => return self.pull_repository(&candidate, revision, &commit, &names, tell),
                Err(Error::HubRefused { refusal: Refusal::Repository, url, .. }) => asked.push(url),
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
            Ok((path.display().to_string(), read_table(&path)?.unwrap_or_default()))
        };
        let modules = if names.contains(MODULES) {
            files.fetch(MODULES, tell)?;
            let (label, bytes) = table(MODULES)?;
            wanted::modules(&label, &bytes)?
        } else {
            Vec::new()
        };
        let encoder = wanted::encoder(&modules);
        for name in wanted::optional(encoder).iter().filter(|name| !names.contains(*name)) {
            // Only spares a later question, so a cache that cannot be written to is no failure.
            drop(layout.note_absence(commit, name));
        }
        let weights = wanted::weights(names, encoder);
        if let Weights::None(found) = weights {
            return Err(Error::HubWeights { url: client.url(id)?.shown(), found });
        }
        // Weights last: a snapshot of ours that has them has all the rest.
        for name in wanted::of_any(names).iter().chain(&wanted::of_modules(names, &modules)) {
            match files.fetch(name, tell) {
                // No model needs it.
                Err(Error::HubRefused { refusal: Refusal::File, .. }) if says_whose(name) => {}
                other => other?,
            }
        }
        match weights {
            Weights::File(name) => files.fetch(&name, tell)?,
            Weights::Shards(index) => {
                files.fetch(&index, tell)?;
                let (label, bytes) = table(&index)?;
                for name in wanted::shards(&label, &bytes)? {
                    files.fetch(&wanted::inside(encoder, &name), tell)?;
                }
            }
            Weights::None(_) => {}
        }
        // What names the commit comes when all of it is there.
        if revision != commit {
            layout.refer(revision, commit)?;
        }
        Ok(layout.repository.commit(commit))
    }

    /// The commit of a revision, and the names of its files.
    fn list(&self, id: &str, revision: &str, tell: Tell<'_>) -> Result<(String, BTreeSet<String>)> {
        let client = self.client()?;
        let url = client.url(&format!("api/models/{id}/revision/{}", escaped(revision)))?;
        let bytes = patiently(&self.settings, tell, || client.read(&url, LISTING))?;
        let Listing { sha, siblings } = config::parse(&url.shown(), &bytes)?;
        if !is_commit(&sha) || (is_commit(revision) && revision != sha) {
            return Err(answer(&url, "the commit of this revision", format!("{:?}", client.shown(&sha))));
        }
        // The others, which no model's files have, might not stand where they say.
        let names = siblings.into_iter().map(|sibling| sibling.rfilename).filter(|name| !leads_elsewhere(name));
        Ok((sha, names.collect()))
    }
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
    use std::path::Path;

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
