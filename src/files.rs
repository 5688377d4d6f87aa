//! Where a model's files come from: a folder, or memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::WeightBytes;
use crate::config::JsonObject;
use crate::error::{Error, Result};

/// The files of a model, by their names in its folder.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    folder: Option<PathBuf>,
    /// What stands before every name: nothing, or a folder below and a slash.
    below: String,
    /// What the model is called, if not as its folder.
    name: Option<String>,
    /// Files in memory, which come before those of the folder.
    memory: BTreeMap<String, Arc<Cow<'static, [u8]>>>,
    /// Whether weights in a folder are mapped, or read.
    mapped: bool,
    /// The names of files that were there when they were asked for.
    used: Arc<Mutex<BTreeSet<String>>>,
}

impl ModelFiles {
    /// The files in a folder. They are read (the weights: mapped) when they are needed.
    ///
    /// The weight files must not be changed in place while the model is open, but for [`Self::without_mmap`].
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self { folder: Some(path.into()), ..Self::in_memory() }
    }

    /// No files yet: add them with [`Self::with`]. Nothing is mapped.
    ///
    /// A model needs `config.json`, `tokenizer.json` and `model.safetensors`, and for its sentence head `modules.json` and
    /// the configurations of its modules (`1_Pooling/config.json`).
    pub fn in_memory() -> Self {
        Self {
            folder: None,
            below: String::new(),
            name: None,
            memory: BTreeMap::new(),
            mapped: true,
            used: Arc::default(),
        }
    }

    /// Reads weights into memory and does not map them: for folders whose files somebody may change in place or cut short while
    /// the model is open, which a map cannot survive. It takes as much memory more as the files are large.
    #[must_use]
    pub fn without_mmap(mut self) -> Self {
        self.mapped = false;
        self
    }

    /// Adds a file, or puts it in the place of the folder's. `&'static [u8]` (from `include_bytes!`) is used as it lies; a
    /// `Vec<u8>` is taken over.
    #[must_use]
    pub fn with(mut self, name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        self.memory.insert(name.to_owned(), Arc::new(bytes.into()));
        self
    }

    /// Without a file that was added; a folder's is not affected.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.memory.remove(name);
        self
    }

    /// Calls the model so. Default: as its folder, or `model` if it has none.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What the model is called.
    pub fn name(&self) -> String {
        let folder = || {
            let folder = self.folder.as_ref()?;
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            folder.file_name().map(|name| name.to_string_lossy().into_owned())
        };
        self.name.clone().or_else(folder).unwrap_or_else(|| "model".to_owned())
    }

    /// The files in a folder below, by their names in it. "" is this one.
    pub(crate) fn subfolder(&self, path: &str) -> Self {
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        Self { below: format!("{}{below}", self.below), ..self.clone() }
    }

    /// A file's name in the model's folder.
    pub(crate) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.below)
    }

    /// What to call the model's place in messages.
    pub(crate) fn origin(&self) -> String {
        self.folder.as_ref().map_or_else(|| "memory".to_owned(), |folder| folder.display().to_string())
    }

    /// What to call a file in messages.
    pub(crate) fn label(&self, name: &str) -> String {
        let name = self.full_name(name);
        match &self.folder {
            Some(folder) if !self.memory.contains_key(&name) => folder.join(name).display().to_string(),
            _ => name,
        }
    }

    /// The same files, of which none was asked for yet.
    pub(crate) fn anew(&self) -> Self {
        Self { used: Arc::default(), ..self.clone() }
    }

    /// The names of the files that were there when they were asked for.
    pub(crate) fn used(&self) -> BTreeSet<String> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_use(&self, name: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// The names of the files that say whose the model is and what may be done with it.
    pub(crate) fn license_and_readme_files(&self) -> Result<Vec<String>> {
        let mut names: BTreeSet<String> = self.memory.keys().cloned().collect();
        if let Some(folder) = &self.folder {
            let failed = |source| Error::Io { path: folder.clone(), action: "list", source };
            for entry in std::fs::read_dir(folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // Through links, which is what a hub's cache consists of.
                if entry.path().is_file() {
                    names.extend(entry.file_name().into_string());
                }
            }
        }
        Ok(names.into_iter().filter(|name| is_license_or_readme(name)).collect())
    }

    /// A whole file, or None if there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>> {
        let file = self.find(name)?;
        if file.is_some() {
            self.note_use(&self.full_name(name));
        }
        Ok(file)
    }

    fn find(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>> {
        let name = self.full_name(name);
        if let Some(bytes) = self.memory.get(&name) {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = inside(folder, &name)?;
        if name.contains('/') {
            reject_symlink_escape(folder, &name, &path)?;
        }
        let bytes = if is_vocabulary(&name) { read_up_to(&path, VOCABULARY) } else { read_small_file(&path) };
        Ok(bytes?.map(Cow::Owned))
    }

    /// A file that must be there.
    pub(crate) fn require(&self, name: &str, why: &'static str) -> Result<Cow<'_, [u8]>> {
        let missing = |why| Error::MissingFile { origin: self.origin(), name: self.full_name(name), why };
        let file = self.read(name)?;
        let nowhere = self.folder.as_ref().is_some_and(|folder| !folder.is_dir());
        file.ok_or_else(|| missing(if nowhere { "there is no such folder" } else { why }))
    }

    /// The keys of a JSON file that holds an object, or None if there is no such file.
    pub(crate) fn json(&self, name: &str) -> Result<Option<JsonObject>> {
        self.read(name)?.map(|bytes| JsonObject::parse(&self.label(name), &bytes)).transpose()
    }

    /// A weight file: mapped from a folder, as it lies from memory. None if there is none.
    pub(crate) fn weights(&self, name: &str) -> Result<Option<WeightBytes>> {
        // A module's folder, the encoder's among them, is named by modules.json.
        let file = self.find_weights(name, self.full_name(name).contains('/'))?;
        if file.is_some() {
            self.note_use(&self.full_name(name));
        }
        Ok(file)
    }

    /// As [`Self::weights`], of a file whose name another file says.
    pub(crate) fn shard(&self, name: &str) -> Result<Option<WeightBytes>> {
        let file = self.find_weights(name, true)?;
        if file.is_some() {
            self.note_use(&self.full_name(name));
        }
        Ok(file)
    }

    /// `named`: whether the name comes from a file, and may not lead out of the folder.
    fn find_weights(&self, name: &str, named: bool) -> Result<Option<WeightBytes>> {
        let name = self.full_name(name);
        if let Some(bytes) = self.memory.get(&name) {
            return Ok(Some(WeightBytes::Memory(bytes.clone())));
        }
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = inside(folder, &name)?;
        if named {
            reject_symlink_escape(folder, &name, &path)?;
        }
        if !self.mapped {
            return Ok(read_up_to(&path, u64::MAX)?.map(|bytes| WeightBytes::Memory(Arc::new(Cow::Owned(bytes)))));
        }
        let Some((file, _)) = open(&path)? else { return Ok(None) };
        WeightBytes::map(&file).map(Some).map_err(|source| Error::Io { path, action: "map", source })
    }
}

/// Bytes of a file that says what there is: configurations, modules, the index of shards. The largest known has a few megabytes.
const TABLE: u64 = 64 << 20;
/// Bytes of a vocabulary; the largest known has forty megabytes.
const VOCABULARY: u64 = 512 << 20;
const VOCABULARIES: [&str; 4] = ["tokenizer.json", "vocab.json", "vocab.txt", "merges.txt"];

/// Bytes of a file, by its name, that are read at most.
#[cfg(feature = "hub")]
pub(crate) fn size_limit(name: &str) -> u64 {
    match name {
        _ if name.ends_with(".safetensors") => u64::MAX,
        _ if is_vocabulary(name) => VOCABULARY,
        _ => TABLE,
    }
}

fn is_vocabulary(name: &str) -> bool {
    VOCABULARIES.iter().any(|end| name.ends_with(end))
}

/// A file and its size, or None if there is none. Whatever else has the name (a folder, a pipe, which might be waited for without
/// end) is an error.
fn open(path: &Path) -> Result<Option<(File, u64)>> {
    let failed = |action, source| Error::Io { path: path.to_owned(), action, source };
    let there = std::fs::metadata(path).and_then(|found| match found.is_file() {
        true => Ok((File::open(path)?, found.len())),
        false => Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file")),
    });
    match there {
        Ok(file) => Ok(Some(file)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("open", source)),
    }
}

/// A whole file, or None if there is none.
///
/// # Errors
/// If it cannot be read, or has more bytes than `limit`; of these no more is read.
pub(crate) fn read_up_to(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some((file, size)) = open(path)? else { return Ok(None) };
    let too_large = |found: String| {
        Error::config(&path.display().to_string(), "(the whole file)", format!("at most {limit} bytes"), found)
    };
    if size > limit {
        return Err(too_large(size.to_string()));
    }
    let failed = |source| Error::Io { path: path.to_owned(), action: "read", source };
    let mut bytes = Vec::new();
    // No more than it says it has is allocated at once.
    bytes.try_reserve_exact(size as usize).map_err(|_| failed(std::io::ErrorKind::OutOfMemory.into()))?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(too_large("more".to_owned()));
    }
    Ok(Some(bytes))
}

/// [`read_up_to`] of a file that says what there is.
pub(crate) fn read_small_file(path: &Path) -> Result<Option<Vec<u8>>> {
    read_up_to(path, TABLE)
}

/// Whether a file by its name says whose the model is and what may be done with it.
pub(crate) fn is_license_or_readme(name: &str) -> bool {
    const BEGINNINGS: [&str; 5] = ["license", "licence", "copying", "notice", "readme"];
    BEGINNINGS.iter().any(|word| name.to_lowercase().starts_with(word))
}

/// A path below the folder. Names come from files (modules.json, the index of shards), so they are not trusted.
pub(crate) fn inside(folder: &Path, name: &str) -> Result<PathBuf> {
    let relative = Path::new(name);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain {
        let file = folder.display().to_string();
        return Err(Error::config(
            &file,
            name,
            "the name of a file inside the model's folder",
            "a path that leaves it",
        ));
    }
    Ok(folder.join(relative))
}

/// Refuses a link that leads out of the folder. (Where a file stands whose name nobody but us has chosen, whoever made the folder
/// may have put a link to anywhere.) A hub's cache consists of links, so there the way to its blobs is open.
fn reject_symlink_escape(folder: &Path, name: &str, path: &Path) -> Result<()> {
    // What is not there is found out by whoever opens it.
    let (Ok(folder), Ok(target)) = (folder.canonicalize(), path.canonicalize()) else { return Ok(()) };
    let mut allowed = vec![folder.clone()];
    let mut above = folder.ancestors().skip(1);
    if let (Some(snapshots), Some(repository)) = (above.next(), above.next())
        && snapshots.file_name().is_some_and(|name| name == "snapshots")
    {
        // The blobs of the repository, and those that all repositories share. They may be kept on another disk.
        let blobs = [Some(repository), repository.parent()].into_iter().flatten().map(|folder| folder.join("blobs"));
        allowed.extend(blobs.filter_map(|blobs| blobs.canonicalize().ok()));
    }
    // Where a blob leads is said by whoever the cache belongs to.
    let first = std::fs::read_link(path).ok().and_then(|next| path.parent()?.join(next).parent()?.canonicalize().ok());
    let leads_there =
        |allowed: &PathBuf| target.starts_with(allowed) || (*allowed != folder && first.as_ref() == Some(allowed));
    if allowed.iter().any(leads_there) {
        return Ok(());
    }
    let found = format!("a link to {}", target.display());
    Err(Error::config(&folder.display().to_string(), name, "a file inside the model's folder", found))
}
