//! What the cache has of a commit, and what its model lacks.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::cache::Repository;
use super::file_selection::{
    CONVERTED, INDEX, MODULES, OF_MODULES, OF_OLD_TOKENIZERS, REFUSED, SINGLE, VOCABULARIES, encoder, inside, modules,
    optional, required, shards,
};
use crate::config::JsonObject;
use crate::error::Result;
use crate::files::read_small_file;

/// What a snapshot lacks of what its model needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) files: Vec<String>,
    /// Without these it can be opened, and would be another model if the commit has them, which it does or may do.
    pub(super) optional: Vec<String>,
}

impl Missing {
    /// Whether nothing is.
    pub(super) fn is_nothing(&self) -> bool {
        self.files.is_empty() && self.optional.is_empty()
    }
}

/// Looks through a snapshot.
pub(super) fn missing(snapshot: &Path) -> Result<Missing> {
    let read = |name: &str| -> Result<Option<(String, Vec<u8>)>> {
        let path = snapshot.join(name);
        Ok(read_small_file(&path)?.map(|bytes| (path.display().to_string(), bytes)))
    };
    // Through links, all of them.
    let has = |name: &str| snapshot.join(name).is_file();
    let listed = match read(MODULES)? {
        Some((label, bytes)) => modules(&label, &bytes)?,
        None => Vec::new(),
    };
    let encoder = encoder(&listed);
    let mut missing = Missing { files: required(&has, &listed), optional: Vec::new() };
    let single = inside(encoder, SINGLE);
    if !has(&inside(encoder, CONVERTED)) && !has(&single) {
        match read(&inside(encoder, INDEX))? {
            Some((label, bytes)) => {
                let shards = shards(&label, &bytes)?.into_iter().map(|shard| inside(encoder, &shard));
                missing.files.extend(shards.filter(|shard| !has(shard)));
            }
            None => missing.files.push(single),
        }
    }
    let known = Known::of(snapshot);
    let settings = read(&inside(encoder, "tokenizer_config.json"))?;
    let settings = settings.map(|(label, bytes)| JsonObject::parse(&label, &bytes)).transpose()?;
    let whole = has(&inside(encoder, VOCABULARIES[0]));
    let lists_tokens = whole && settings.is_some_and(|keys| keys.get("added_tokens_decoder").is_some());
    let no_modules = known.has(MODULES) == Some(false);
    for name in optional(encoder) {
        let needless = (lists_tokens && OF_OLD_TOKENIZERS.iter().any(|other| name.ends_with(other)))
            || (no_modules && OF_MODULES.contains(&name.as_str()));
        if !needless && !has(&name) && !missing.files.contains(&name) && known.has(&name) != Some(false) {
            missing.optional.push(name);
        }
    }
    let is_refused = |name: &&str| !has(name) && known.has(name) == Some(true);
    missing.optional.extend(REFUSED.into_iter().filter(|name| is_refused(name)).map(str::to_owned));
    Ok(missing)
}

/// What the cache says of a commit's files, beside those that it has.
struct Known<'a> {
    snapshot: &'a Path,
    repository: Option<(Repository, String)>,
    /// All of them.
    listed: Option<BTreeSet<String>>,
}

impl<'a> Known<'a> {
    fn of(snapshot: &'a Path) -> Self {
        let folder = snapshot.parent().and_then(Path::parent);
        let commit = snapshot.file_name().map(|name| name.to_string_lossy().into_owned());
        let repository = folder.zip(commit).map(|(folder, commit)| (Repository::at(folder), commit));
        // Of another form it may be one day, and then it says nothing.
        let tree =
            repository.as_ref().and_then(|(repository, commit)| read_small_file(&repository.tree(commit)).ok()?);
        let tree: Option<Value> = tree.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let tree = tree.filter(|tree| tree["format_version"] == 1);
        let listed = tree.and_then(|tree| Some(tree["files"].as_object()?.keys().cloned().collect()));
        Self { snapshot, repository, listed }
    }

    /// Whether the commit has such a file. None if that is not known.
    fn has(&self, name: &str) -> Option<bool> {
        if let Some(listed) = &self.listed {
            return Some(listed.contains(name));
        }
        // A link whose content is gone.
        if self.snapshot.join(name).is_symlink() {
            return Some(true);
        }
        let (repository, commit) = self.repository.as_ref()?;
        repository.absence(commit, name).exists().then_some(false)
    }
}
