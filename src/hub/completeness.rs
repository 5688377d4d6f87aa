//! Which of a model's files a snapshot in the cache lacks.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::cache::CachedRepository;
use super::file_selection::{
    CONVERTED, INDEX, MODULES, Module, OF_MODULES, OF_OLD_TOKENIZERS, REFUSED, SINGLE, VOCABULARIES, encoder, inside,
    modules, optional, required, shards,
};
use crate::config::JsonObject;
use crate::error::Result;
use crate::files::read_table;

/// The version of the lists below trees/ that this code understands.
const TREE_FORMAT_VERSION: u64 = 1;

/// The files that a snapshot lacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MissingFiles {
    /// The model cannot be opened without these files.
    pub(super) required: Vec<String>,
    /// The model opens without these files but gives other results if the commit contains them,
    /// which is certain or unknown.
    pub(super) optional: Vec<String>,
}

impl MissingFiles {
    pub(super) fn is_empty(&self) -> bool {
        self.required.is_empty() && self.optional.is_empty()
    }
}

/// Returns the files that a snapshot lacks.
pub(super) fn missing_files(folder: &Path) -> Result<MissingFiles> {
    let snapshot = Snapshot { folder };
    let modules = match snapshot.read(MODULES)? {
        Some((label, bytes)) => modules(&label, &bytes)?,
        None => Vec::new(),
    };
    let required = snapshot.missing_required(&modules)?;
    let optional = snapshot.missing_optional(encoder(&modules), &required)?;
    Ok(MissingFiles { required, optional })
}

/// A folder of a commit's files.
struct Snapshot<'a> {
    folder: &'a Path,
}

impl Snapshot<'_> {
    /// Returns a small file and its label for messages.
    fn read(&self, name: &str) -> Result<Option<(String, Vec<u8>)>> {
        let path = self.folder.join(name);
        Ok(read_table(&path)?.map(|bytes| (path.display().to_string(), bytes)))
    }

    /// Whether a file exists. Follows links to their end.
    fn contains(&self, name: &str) -> bool {
        self.folder.join(name).is_file()
    }

    fn missing_required(&self, modules: &[Module]) -> Result<Vec<String>> {
        let encoder = encoder(modules);
        let mut missing = required(&|name| self.contains(name), modules);
        let single = inside(encoder, SINGLE);
        if self.contains(&inside(encoder, CONVERTED)) || self.contains(&single) {
            return Ok(missing);
        }
        match self.read(&inside(encoder, INDEX))? {
            Some((label, bytes)) => {
                let shards = shards(&label, &bytes)?.into_iter().map(|shard| inside(encoder, &shard));
                missing.extend(shards.filter(|shard| !self.contains(shard)));
            }
            None => missing.push(single),
        }
        Ok(missing)
    }

    fn missing_optional(&self, encoder: &str, required: &[String]) -> Result<Vec<String>> {
        let commit = CommitFiles::of_snapshot(self.folder);
        let lists_added_tokens = self.lists_added_tokens(encoder)?;
        let has_no_modules = commit.contains(MODULES) == Some(false);
        let is_unused = |name: &String| {
            (lists_added_tokens && OF_OLD_TOKENIZERS.iter().any(|unused| name.ends_with(unused)))
                || (has_no_modules && OF_MODULES.contains(&name.as_str()))
        };
        let mut missing = optional(encoder);
        missing.retain(|name| {
            let exists = self.contains(name) || required.contains(name);
            !is_unused(name) && !exists && commit.contains(name) != Some(false)
        });
        // The model must be rejected if the commit contains these files.
        let is_rejected = |name: &&str| !self.contains(name) && commit.contains(name) == Some(true);
        missing.extend(REFUSED.into_iter().filter(is_rejected).map(str::to_owned));
        Ok(missing)
    }

    /// Whether tokenizer_config.json lists the added tokens, so that the older files do not matter.
    fn lists_added_tokens(&self, encoder: &str) -> Result<bool> {
        let Some((label, bytes)) = self.read(&inside(encoder, "tokenizer_config.json"))? else { return Ok(false) };
        let config = JsonObject::parse(&label, &bytes)?;
        let has_tokenizer = self.contains(&inside(encoder, VOCABULARIES[0]));
        Ok(has_tokenizer && config.get("added_tokens_decoder").is_some())
    }
}

/// What the cache records about all files of a commit, downloaded or not.
struct CommitFiles<'a> {
    snapshot: &'a Path,
    repository: Option<(CachedRepository, String)>,
    tree: Option<CommitTree>,
}

/// The list of a commit's files, as newer versions of huggingface_hub write it.
#[derive(Deserialize)]
struct CommitTree {
    format_version: u64,
    files: BTreeMap<String, IgnoredAny>,
}

impl<'a> CommitFiles<'a> {
    fn of_snapshot(snapshot: &'a Path) -> Self {
        let folder = snapshot.parent().and_then(Path::parent);
        let commit = snapshot.file_name().map(|name| name.to_string_lossy().into_owned());
        let repository = folder.zip(commit).map(|(folder, commit)| (CachedRepository::at_folder(folder), commit));
        let tree = repository.as_ref().and_then(|(repository, commit)| {
            let bytes = read_table(&repository.tree_path(commit)).ok()??;
            // A list in another format is ignored: it proves nothing.
            let tree: CommitTree = serde_json::from_slice(&bytes).ok()?;
            Some(tree).filter(|tree| tree.format_version == TREE_FORMAT_VERSION)
        });
        Self { snapshot, repository, tree }
    }

    /// Whether the commit contains a file. Returns `None` if the cache does not record it.
    fn contains(&self, name: &str) -> Option<bool> {
        if let Some(tree) = &self.tree {
            return Some(tree.files.contains_key(name));
        }
        // A link to a removed blob.
        if self.snapshot.join(name).is_symlink() {
            return Some(true);
        }
        let (repository, commit) = self.repository.as_ref()?;
        repository.missing_marker(commit, name).exists().then_some(false)
    }
}
