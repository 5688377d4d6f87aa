//! What the cache has of a commit, and what its model lacks.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::cache::Repository;
use super::file_selection::{
    encoder_folder, missing_required_files, optional_files, parse_modules, parse_shards, unsupported_files,
};
use crate::config::JsonObject;
use crate::error::Result;
use crate::files::read_small_file;
use crate::model_folder::{
    Condition, MODULES, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, WeightSource, file_in, find_weights,
};

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
    let modules = read(MODULES)?.map(|(label, bytes)| parse_modules(&label, &bytes)).transpose()?;
    let encoder = encoder_folder(modules.as_ref());
    let mut missing = Missing { files: missing_required_files(&has, modules.as_ref()), optional: Vec::new() };
    match find_weights(&has, encoder) {
        Some(WeightSource::File(_)) => {}
        Some(WeightSource::Shards(index)) => {
            if let Some((label, bytes)) = read(&index)? {
                let shards = parse_shards(&label, &bytes)?.into_iter().map(|shard| file_in(encoder, &shard));
                missing.files.extend(shards.filter(|shard| !has(shard)));
            }
        }
        None => missing.files.push(file_in(encoder, WEIGHTS)),
    }
    let known = Known::of(snapshot);
    let settings = read(&file_in(encoder, TOKENIZER_CONFIG))?;
    let settings = settings.map(|(label, bytes)| JsonObject::parse(&label, &bytes)).transpose()?;
    let has_tokenizer = has(&file_in(encoder, TOKENIZER));
    let lists_tokens = has_tokenizer && settings.is_some_and(|keys| keys.get("added_tokens_decoder").is_some());
    let no_modules = known.has(MODULES) == Some(false);
    for (name, condition) in optional_files(encoder) {
        let is_needless = match condition {
            Condition::WithoutTokenList => lists_tokens,
            Condition::WithModules => no_modules,
            Condition::Always | Condition::WithoutModules => false,
        };
        if !is_needless && !has(&name) && !missing.files.contains(&name) && known.has(&name) != Some(false) {
            missing.optional.push(name);
        }
    }
    let exists_in_commit = |name: &String| !has(name) && known.has(name) == Some(true);
    missing.optional.extend(unsupported_files(encoder).filter(exists_in_commit));
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
