//! Access to a model's files, in a folder or in memory.

mod content;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::bytes::WeightBytes;
use crate::config::JsonObject;
use crate::error::{Error, Result};

use content::check_content;
pub(crate) use content::{explain_pytorch, explain_weights};

/// The files of a model, by their names in its folder.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    folder: Option<PathBuf>,
    /// Precedes every file name: empty, or the name of a subfolder and a slash.
    prefix: String,
    /// The name of the model, if it differs from the folder's.
    name: Option<String>,
    /// Files in memory. They take precedence over files in the folder.
    memory: BTreeMap<String, Arc<Cow<'static, [u8]>>>,
    /// Whether weight files in the folder are mapped. Otherwise they are read.
    mmap: bool,
}

impl ModelFiles {
    /// The files in a folder. Weight files are memory-mapped on access, all others are read.
    ///
    /// Do not modify the weight files in place while the model is open, unless you use
    /// [`Self::without_mmap`].
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self { folder: Some(path.into()), ..Self::in_memory() }
    }

    /// An empty set of files. Add files with [`Self::with`]. Nothing is mapped.
    ///
    /// A model needs `config.json`, `tokenizer.json` and `model.safetensors` (or
    /// `pytorch_model.bin`). For its sentence head it also needs `modules.json` and the
    /// configurations of the modules (`1_Pooling/config.json`).
    pub fn in_memory() -> Self {
        Self { folder: None, prefix: String::new(), name: None, memory: BTreeMap::new(), mmap: true }
    }

    /// Reads weights into memory instead of mapping them, which takes additional memory of the
    /// files' size.
    ///
    /// Use this for folders whose files may be modified or truncated in place while the model is
    /// open. A memory map cannot survive that.
    #[must_use]
    pub fn without_mmap(mut self) -> Self {
        self.mmap = false;
        self
    }

    /// Adds a file, or replaces the file of that name in the folder.
    ///
    /// A `&'static [u8]` (from `include_bytes!`) is used without a copy. A `Vec<u8>` is moved.
    #[must_use]
    pub fn with(mut self, name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        self.memory.insert(name.to_owned(), Arc::new(bytes.into()));
        self
    }

    /// Removes a file that was added with [`Self::with`]. Files in the folder are not affected.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.memory.remove(name);
        self
    }

    /// Sets the name of the model. Default: the folder's name, or `model` without a folder.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Returns the name of the model.
    pub fn name(&self) -> String {
        let folder = || {
            let folder = self.folder.as_ref()?;
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            folder.file_name().map(|name| name.to_string_lossy().into_owned())
        };
        self.name.clone().or_else(folder).unwrap_or_else(|| "model".to_owned())
    }

    /// Returns the files in a subfolder, by their names there. The path "" is this folder.
    pub(crate) fn subfolder(&self, path: &str) -> Self {
        let subfolder = if path.is_empty() { String::new() } else { format!("{path}/") };
        Self { prefix: format!("{}{subfolder}", self.prefix), ..self.clone() }
    }

    /// Returns a file's name relative to the model's folder.
    pub(crate) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Names the source of the model in messages.
    pub(crate) fn origin(&self) -> String {
        self.folder.as_ref().map_or_else(|| "memory".to_owned(), |folder| folder.display().to_string())
    }

    /// Names a file in messages.
    pub(crate) fn label(&self, name: &str) -> String {
        let name = self.full_name(name);
        match &self.folder {
            Some(folder) if !self.memory.contains_key(&name) => folder.join(name).display().to_string(),
            _ => name,
        }
    }

    /// Lists the names of the files in memory and of those at the top level of the folder.
    pub(crate) fn list(&self) -> Result<BTreeSet<String>> {
        let mut names: BTreeSet<String> = self.memory.keys().cloned().collect();
        if let Some(folder) = &self.folder {
            let failed = |source| Error::Io { path: folder.clone(), action: "list", source };
            for entry in std::fs::read_dir(folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // Follow links: the snapshots in a hub cache consist of links.
                if entry.path().is_file() {
                    names.extend(entry.file_name().into_string());
                }
            }
        }
        Ok(names)
    }

    /// Reads a configuration file, or returns None if it does not exist.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>> {
        self.read_up_to(name, MAX_SMALL_FILE_BYTES)
    }

    /// Reads a file, or returns None if it does not exist.
    ///
    /// # Errors
    /// If the file has more than `max_bytes`, cannot be read, is outside of the folder, or has
    /// content of another kind than its name promises.
    pub(crate) fn read_up_to(&self, name: &str, max_bytes: u64) -> Result<Option<Cow<'_, [u8]>>> {
        let full_name = self.full_name(name);
        let bytes = if let Some(bytes) = self.memory.get(&full_name) {
            Cow::Borrowed(bytes.as_ref().as_ref())
        } else {
            let Some(path) = self.path(&full_name, full_name.contains('/'))? else { return Ok(None) };
            let Some(bytes) = read_up_to(&path, max_bytes)? else { return Ok(None) };
            Cow::Owned(bytes)
        };
        check_content(&full_name, &self.label(name), &bytes)?;
        Ok(Some(bytes))
    }

    /// Reads a configuration file that must exist.
    pub(crate) fn require(&self, name: &str, why: &'static str) -> Result<Cow<'_, [u8]>> {
        self.read(name)?.ok_or_else(|| self.missing_file(name, why))
    }

    /// Makes the error that a file does not exist. `why` says what the file is needed for.
    pub(crate) fn missing_file(&self, name: &str, why: &'static str) -> Error {
        let has_no_folder = self.folder.as_ref().is_some_and(|folder| !folder.is_dir());
        let why = if has_no_folder { "there is no such folder" } else { why };
        Error::MissingFile { origin: self.origin(), name: self.full_name(name), why }
    }

    /// Returns whether a file exists. A link counts even if it leads nowhere.
    pub(crate) fn contains(&self, name: &str) -> bool {
        let name = self.full_name(name);
        let is_in = |folder: &PathBuf| folder.join(&name).symlink_metadata().is_ok();
        self.memory.contains_key(&name) || self.folder.as_ref().is_some_and(is_in)
    }

    /// Lists the names of the files that match, here and in the subfolders, in alphabetical order.
    /// The names are relative to the model's folder. Folders that cannot be listed are skipped.
    pub(crate) fn matching(&self, is_match: impl Fn(&str) -> bool) -> Vec<String> {
        let inner = |name: &str| name.strip_prefix(&self.prefix).is_some_and(|name| name.split('/').count() <= 2);
        let mut names: BTreeSet<String> = self.memory.keys().filter(|name| inner(name)).cloned().collect();
        if let Some(folder) = &self.folder {
            let here = file_names(&folder.join(&self.prefix));
            for (name, is_folder) in here {
                let below = if is_folder { file_names(&folder.join(&self.prefix).join(&name)) } else { Vec::new() };
                names.extend(below.into_iter().map(|(inner, _)| format!("{}{name}/{inner}", self.prefix)));
                names.insert(format!("{}{name}", self.prefix));
            }
        }
        names.into_iter().filter(|name| is_match(name)).collect()
    }

    /// Parses a JSON file that contains an object, or returns None if the file does not exist.
    pub(crate) fn json(&self, name: &str) -> Result<Option<JsonObject>> {
        self.read(name)?.map(|bytes| JsonObject::parse(&self.label(name), &bytes)).transpose()
    }

    /// Opens a weight file, or returns None if it does not exist. A file in the folder is mapped.
    pub(crate) fn weights(&self, name: &str) -> Result<Option<WeightBytes>> {
        // The name of a subfolder comes from modules.json.
        self.open_weights(name, self.full_name(name).contains('/'))
    }

    /// Opens a weight file as [`Self::weights`] does. Another file of the model defines the name.
    pub(crate) fn shard(&self, name: &str) -> Result<Option<WeightBytes>> {
        self.open_weights(name, true)
    }

    fn open_weights(&self, name: &str, is_untrusted: bool) -> Result<Option<WeightBytes>> {
        let name = self.full_name(name);
        if let Some(bytes) = self.memory.get(&name) {
            return Ok(Some(WeightBytes::Memory(bytes.clone())));
        }
        let Some(path) = self.path(&name, is_untrusted)? else { return Ok(None) };
        if !self.mmap {
            return Ok(read_up_to(&path, u64::MAX)?.map(|bytes| WeightBytes::Memory(Arc::new(Cow::Owned(bytes)))));
        }
        let Some((file, _)) = open(&path)? else { return Ok(None) };
        WeightBytes::map(&file).map(Some).map_err(|source| Error::Io { path, action: "map", source })
    }

    /// Returns the path of a file in the folder, or None without a folder.
    ///
    /// `is_untrusted`: the name comes from a file of the model, so links must not leave the folder.
    fn path(&self, full_name: &str, is_untrusted: bool) -> Result<Option<PathBuf>> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = resolve_inside(folder, full_name)?;
        if is_untrusted {
            reject_symlink_escape(folder, full_name, &path)?;
        }
        Ok(Some(path))
    }
}

/// Limits configuration files and the index of shards. The largest known has a few megabytes.
pub(crate) const MAX_SMALL_FILE_BYTES: u64 = 64 << 20;
/// Limits vocabulary files. The largest known has forty megabytes.
pub(crate) const MAX_VOCABULARY_BYTES: u64 = 512 << 20;

/// Returns the names in a folder, and whether each is a folder. An unreadable folder counts as
/// empty.
fn file_names(folder: &Path) -> Vec<(String, bool)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path().is_dir()))).collect()
}

/// Opens a file and returns its size, or None if it does not exist.
///
/// # Errors
/// If the path is not a file (reading from a pipe could block forever), or is a link that leads
/// nowhere.
fn open(path: &Path) -> Result<Option<(File, u64)>> {
    let open_file = || {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            let found = if metadata.is_dir() { "a folder" } else { "a pipe, socket or device" };
            return Err(std::io::Error::new(ErrorKind::InvalidInput, format!("not a file but {found}")));
        }
        Ok((File::open(path)?, metadata.len()))
    };
    let source = match open_file() {
        Ok(file) => return Ok(Some(file)),
        Err(source) => source,
    };
    let explained = match (source.kind(), std::fs::read_link(path)) {
        (ErrorKind::NotFound, Err(_)) => return Ok(None),
        (ErrorKind::NotFound, Ok(target)) => {
            format!("it links to {}, which does not exist; download or copy the file again", target.display())
        }
        (ErrorKind::PermissionDenied, _) => "permission denied; make it readable for this user".to_owned(),
        _ => return Err(Error::Io { path: path.to_owned(), action: "open", source }),
    };
    Err(Error::Io { path: path.to_owned(), action: "open", source: std::io::Error::new(source.kind(), explained) })
}

/// Reads a whole file, or returns None if it does not exist.
///
/// # Errors
/// If the file cannot be read, or has more than `max_bytes`. No more than `max_bytes` + 1 are read.
pub(crate) fn read_up_to(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>> {
    let Some((file, size)) = open(path)? else { return Ok(None) };
    let too_large = |found: String| {
        Error::config(&path.display().to_string(), "(the whole file)", format!("at most {max_bytes} bytes"), found)
    };
    if size > max_bytes {
        return Err(too_large(size.to_string()));
    }
    let failed = |source| Error::Io { path: path.to_owned(), action: "read", source };
    let mut bytes = Vec::new();
    // Reserve the announced size first, so that a lack of memory is an error and not an abort.
    bytes.try_reserve_exact(size as usize).map_err(|_| failed(ErrorKind::OutOfMemory.into()))?;
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large("more".to_owned()));
    }
    Ok(Some(bytes))
}

/// Reads a configuration file, or returns None if it does not exist.
///
/// # Errors
/// If the file cannot be read, or its content is of another kind than its name promises.
#[cfg(feature = "hub")]
pub(crate) fn read_small_file(path: &Path) -> Result<Option<Vec<u8>>> {
    let bytes = read_up_to(path, MAX_SMALL_FILE_BYTES)?;
    let label = path.display().to_string();
    bytes.map(|bytes| check_content(&label, &label, &bytes).map(|()| bytes)).transpose()
}

/// Returns the path of a file in a folder.
///
/// # Errors
/// If the name would leave the folder. (Names come from untrusted files: modules.json and the index
/// of shards.)
pub(crate) fn resolve_inside(folder: &Path, name: &str) -> Result<PathBuf> {
    if name.contains('\\') {
        let expected = "the name of a file, with `/` between folders";
        return Err(Error::config(&folder.display().to_string(), name, expected, "a backslash"));
    }
    let relative = Path::new(name);
    let stays_inside = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !stays_inside {
        let file = folder.display().to_string();
        let expected = "the name of a file inside the model's folder";
        return Err(Error::config(&file, name, expected, "a path that leaves it"));
    }
    Ok(folder.join(relative))
}

/// Rejects a link that leads out of the folder.
///
/// The author of the folder could link an untrusted name to any file of this machine. Snapshots in
/// a hub cache are links to blobs of their repository, so links to these blobs are allowed.
fn reject_symlink_escape(folder: &Path, name: &str, path: &Path) -> Result<()> {
    // Opening the file will report that it does not exist.
    let (Ok(folder), Ok(target)) = (folder.canonicalize(), path.canonicalize()) else { return Ok(()) };
    let mut allowed = vec![folder.clone()];
    let mut parents = folder.ancestors().skip(1);
    if let (Some(snapshots), Some(repository)) = (parents.next(), parents.next())
        && snapshots.file_name().is_some_and(|name| name == "snapshots")
    {
        // The repository's blobs, and the blobs that all repositories share. They may be on another
        // disk.
        let blobs = [Some(repository), repository.parent()].into_iter().flatten().map(|folder| folder.join("blobs"));
        allowed.extend(blobs.filter_map(|blobs| blobs.canonicalize().ok()));
    }
    // The owner of the cache controls where a blob leads, so only the first link must lead to one.
    let first_target =
        std::fs::read_link(path).ok().and_then(|next| path.parent()?.join(next).parent()?.canonicalize().ok());
    let is_inside = |allowed: &PathBuf| {
        target.starts_with(allowed) || (*allowed != folder && first_target.as_ref() == Some(allowed))
    };
    if allowed.iter().any(is_inside) {
        return Ok(());
    }
    // The target is not named: a server's clients may see this message.
    let found = "a link to a place outside of it";
    Err(Error::config(&folder.display().to_string(), name, "a file inside the model's folder", found))
}
