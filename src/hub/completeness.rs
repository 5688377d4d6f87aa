//! Which of a model's files a snapshot in the cache lacks.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::cache::CachedRepository;
use super::file_selection::{
    encoder_folders, missing_required_files, optional_files, parse_modules, parse_router, parse_shard_names,
    router_file, unsupported_files,
};
use crate::checkpoint::Checkpoint;
use crate::config::JsonObject;
use crate::error::{Error, Result};
use crate::files::{ModelFiles, read_small_file};
use crate::model_folder::{
    Condition, MODULES, ModuleList, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, file_in, find_weights, shard_ending,
};

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
    /// The weights in other formats, if the weights are missing and the commit is not known to
    /// contain them.
    pub(super) other_weights: Vec<String>,
}

impl MissingFiles {
    pub(super) fn is_empty(&self) -> bool {
        self.required.is_empty() && self.optional.is_empty()
    }
}

/// Returns the files that a snapshot lacks.
pub(super) fn missing_files(folder: &Path) -> Result<MissingFiles> {
    let snapshot = Snapshot { folder };
    let mut modules = snapshot.read(MODULES)?.map(|(label, bytes)| parse_modules(&label, &bytes)).transpose()?;
    if modules.as_ref().is_some_and(ModuleList::has_router) {
        let name = router_file(&|name| snapshot.contains(name));
        let Some((label, bytes)) = snapshot.read(name)? else {
            // Without it the other files are not known.
            return Ok(MissingFiles { required: vec![name.to_owned()], ..MissingFiles::default() });
        };
        modules = Some(parse_router(&label, &bytes)?);
    }
    let required = snapshot.missing_required(modules.as_ref())?;
    let mut missing = MissingFiles::default();
    for encoder in encoder_folders(modules.as_ref()) {
        for name in snapshot.missing_optional(encoder, modules.as_ref(), &required)? {
            // Files in the model's folder are among those of every encoder.
            if !missing.optional.contains(&name) {
                missing.optional.push(name);
            }
        }
        missing.other_weights.extend(snapshot.other_weights(encoder, &required));
    }
    Ok(MissingFiles { required, ..missing })
}

/// A folder of a commit's files.
struct Snapshot<'a> {
    folder: &'a Path,
}

impl Snapshot<'_> {
    /// Returns a small file and its label for messages.
    fn read(&self, name: &str) -> Result<Option<(String, Vec<u8>)>> {
        // A link to a removed blob is a missing file.
        if !self.contains(name) {
            return Ok(None);
        }
        let path = self.folder.join(name);
        Ok(read_small_file(&path)?.map(|bytes| (path.display().to_string(), bytes)))
    }

    /// Whether a file exists. Follows links to their end.
    fn contains(&self, name: &str) -> bool {
        self.folder.join(name).is_file()
    }

    fn missing_required(&self, modules: Option<&ModuleList>) -> Result<Vec<String>> {
        let mut missing = missing_required_files(&|name| self.contains(name), modules);
        for encoder in encoder_folders(modules) {
            missing.extend(self.missing_weights(encoder)?);
        }
        Ok(missing)
    }

    fn missing_weights(&self, encoder: &str) -> Result<Vec<String>> {
        let has = |name: &str| self.contains(name);
        // A link to a removed blob is a file of the model: the model does not open without it.
        let exists = |name: &str| has(name) || self.folder.join(name).is_symlink();
        let Some(weights) = find_weights(|name| exists(&file_in(encoder, name))) else {
            return Ok(vec![file_in(encoder, WEIGHTS)]);
        };
        let weights = file_in(encoder, weights);
        if !has(&weights) {
            return Ok(vec![weights]);
        }
        if let Some(ending) = shard_ending(&weights)
            && let Some((label, bytes)) = self.read(&weights)?
        {
            let shards = parse_shard_names(&label, &bytes, ending)?.into_iter();
            return Ok(shards.map(|shard| file_in(encoder, &shard)).filter(|shard| !has(shard)).collect());
        }
        Ok(Vec::new())
    }

    fn missing_optional(
        &self,
        encoder: &str,
        modules: Option<&ModuleList>,
        required: &[String],
    ) -> Result<Vec<String>> {
        let commit = CommitFiles::of_snapshot(self.folder);
        let lists_added_tokens = self.lists_added_tokens(encoder)?;
        let has_no_modules = commit.contains(MODULES) == Some(false);
        let is_unused = |condition: Condition| match condition {
            Condition::WithoutTokenList => lists_added_tokens,
            Condition::WithModules => has_no_modules,
            Condition::Always | Condition::WithoutModules => false,
        };
        let is_missing = |name: &String| {
            let exists = self.contains(name) || required.contains(name);
            !exists && commit.contains(name) != Some(false)
        };
        let used =
            optional_files(encoder, modules).filter(|(_, condition)| !is_unused(*condition)).map(|(name, _)| name);
        let mut missing: Vec<String> = used.filter(is_missing).collect();
        // The model must be rejected if the commit contains these files.
        let is_rejected = |name: &String| !self.contains(name) && commit.contains(name) == Some(true);
        missing.extend(unsupported_files(encoder).filter(is_rejected));
        Ok(missing)
    }

    /// Returns the weights in other formats, if they are the only ones that the commit may have.
    fn other_weights(&self, encoder: &str, required: &[String]) -> Vec<String> {
        let weights = file_in(encoder, WEIGHTS);
        let commit = CommitFiles::of_snapshot(self.folder);
        let is_partial = find_weights(|name| commit.contains(&file_in(encoder, name)) == Some(true)).is_some();
        if !required.contains(&weights) || is_partial {
            return Vec::new();
        }
        match Checkpoint::reject_other_formats(&ModelFiles::folder(self.folder).subfolder(encoder)) {
            Err(Error::UnsupportedWeights { found, .. }) => found,
            _ => Vec::new(),
        }
    }

    /// Whether tokenizer_config.json lists the added tokens, so that the older files do not matter.
    fn lists_added_tokens(&self, encoder: &str) -> Result<bool> {
        let Some((label, bytes)) = self.read(&file_in(encoder, TOKENIZER_CONFIG))? else { return Ok(false) };
        let config = JsonObject::parse(&label, &bytes)?;
        let has_tokenizer = self.contains(&file_in(encoder, TOKENIZER));
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
            let bytes = read_small_file(&repository.tree_path(commit)).ok()??;
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
