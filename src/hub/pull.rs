//! A model: all files of it that are needed, from the hub to the cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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

/// Bytes of the list of a repository's files; the largest known has a few megabytes.
const LISTING: usize = 32 << 20;
/// Bytes of a file that says which others there are.
const TABLE: u64 = 64 << 20;

/// The hub, with a cache in front of it.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// use likewise::hub::{Hub, Progress, Settings};
///
/// let hub = Hub::new(Settings::new("/home/me/.cache/huggingface/hub"))?;
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
    client: Client,
    settings: Settings,
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
    /// Makes no request yet.
    ///
    /// # Errors
    /// If a setting cannot be used, or the file of authorities cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self { client: Client::new(&settings)?, settings })
    }

    /// The snapshot folder of a model: that of the cache if all that the model needs is there, without any request; else as
    /// [`Self::pull`].
    ///
    /// # Errors
    /// As of [`Self::pull`]; offline, if the cache does not have all of it.
    pub fn find_or_pull(&self, id: &str, revision: &str, tell: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
        candidates(id, revision)?;
        let looked = match find(&self.settings.cache, id, revision) {
            Ok(folder) => {
                let missing = wanted::missing(&folder)?;
                let sure = self.settings.offline || !missing.perhaps_modules;
                if missing.files.is_empty() && sure {
                    return Ok(folder);
                }
                if self.settings.offline {
                    return Err(Error::MissingFile {
                        origin: folder.display().to_string(),
                        name: missing.files.join(", "),
                        why: "the cache has only a part of the model, and offline nothing is downloaded",
                    });
                }
                Vec::new()
            }
            Err(Error::ModelNotFound { looked, .. }) => looked,
            Err(error) => return Err(error),
        };
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

    /// Sees to it that the cache has a model as the hub has it now, and gives its snapshot folder.
    ///
    /// `id` is `organisation/name`; a bare name is also tried under `sentence-transformers/`. `revision` is a branch, a tag
    /// or a commit. One request says which commit that is and which files it has; of these only what the model needs and
    /// the cache lacks is fetched. Offline it gives what the cache has.
    ///
    /// # Errors
    /// If there is no such model, it has no weights in safetensors, the hub cannot be reached or refuses, what it sends is
    /// not what it announces, or a file cannot be written. What was fetched stays; the next call goes on from there.
    pub fn pull(&self, id: &str, revision: &str, tell: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
        if self.settings.offline {
            return self.find_or_pull(id, revision, tell);
        }
        let mut asked = Vec::new();
        for candidate in candidates(id, revision)? {
            match self.pull_repository(&candidate, revision, tell) {
                Err(Error::HubRefused { refusal: Refusal::Repository, url, .. }) => asked.push(url),
                other => return other,
            }
        }
        let why = "the hub has no such repository, unless it is private and needs a token that may read it";
        Err(Error::ModelNotFound { id: id.to_owned(), why, looked: asked })
    }

    fn pull_repository(&self, id: &str, revision: &str, tell: Tell<'_>) -> Result<PathBuf> {
        let (commit, names) = self.list(id, revision, tell)?;
        let layout = Layout::new(&self.settings.cache, id);
        let files = Files { client: &self.client, settings: &self.settings, layout: &layout, id, commit: &commit };
        let table = |name: &str| read_table(&layout.file(&commit, name));
        let modules = if names.contains(MODULES) {
            files.fetch(MODULES, tell)?;
            let (label, bytes) = table(MODULES)?;
            wanted::modules(&label, &bytes)?
        } else {
            // Only spares a later question, so a cache that cannot be written to is no failure.
            drop(layout.note_absence(&commit, MODULES));
            Vec::new()
        };
        let encoder = wanted::encoder(&modules);
        let weights = wanted::weights(&names, encoder);
        if let Weights::None(found) = weights {
            return Err(Error::HubWeights { url: self.client.url(id)?.shown(), found });
        }
        // Weights last: a snapshot that has them has all the rest.
        for name in wanted::of_any(&names).iter().chain(&wanted::of_modules(&names, &modules)) {
            files.fetch(name, tell)?;
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
            layout.refer(revision, &commit)?;
        }
        Ok(layout.repository.commit(&commit))
    }

    /// The commit of a revision, and the names of its files.
    fn list(&self, id: &str, revision: &str, tell: Tell<'_>) -> Result<(String, BTreeSet<String>)> {
        let url = self.client.url(&format!("api/models/{id}/revision/{}", escaped(revision)))?;
        let bytes = patiently(&self.settings, tell, || self.client.read(&url, LISTING))?;
        let Listing { sha, siblings } = config::parse(&url.shown(), &bytes)?;
        if !is_commit(&sha) || (is_commit(revision) && revision != sha) {
            return Err(answer(&url, "the commit of this revision", format!("{:?}", self.client.shown(&sha))));
        }
        let names: BTreeSet<String> = siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        match names.iter().find(|name| leads_elsewhere(name)) {
            None => Ok((sha, names)),
            Some(name) => {
                let found = format!("{:?}", self.client.shown(name));
                Err(answer(&url, "names of files inside the repository", found))
            }
        }
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

/// A JSON file of a snapshot, and what to call it in messages.
fn read_table(path: &Path) -> Result<(String, Vec<u8>)> {
    let failed = |source| Error::Io { path: path.to_owned(), action: "read", source };
    let label = path.display().to_string();
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > TABLE {
        return Err(Error::config(&label, "(the whole file)", format!("at most {TABLE} bytes"), size.to_string()));
    }
    Ok((label, std::fs::read(path).map_err(failed)?))
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
