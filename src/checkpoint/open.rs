//! Finds and opens the weight files of a model.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::converted::ConvertedFormat;
use super::format::FileFormat;
use super::pytorch;
use super::shard::Shard;
use super::stored_tensor::StoredTensor;
use super::tensor::{Float, Tensor};
use crate::bytes::WeightBytes;
use crate::config::JsonObject;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{
    CONVERTED_WEIGHTS, PYTORCH_WEIGHTS, WEIGHTS, WEIGHTS_INDEX, find_weights, is_weights, module_weights, shard_ending,
};

/// A tensor in a shard.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) shard: usize,
    pub(super) tensor: StoredTensor,
}

/// All tensors of a model, by name.
pub struct Checkpoint {
    shards: Vec<Arc<Shard>>,
    entries: HashMap<String, Entry>,
    /// The file that lists the tensors, for messages.
    label: String,
    /// The level and precision of a converted model.
    format: Option<ConvertedFormat>,
    /// The names of its files in the model's folder.
    file_names: Vec<String>,
}

impl Checkpoint {
    /// Opens `likewise.safetensors`, which a converted model has, or `model.safetensors`, or the
    /// shards that `model.safetensors.index.json` names. Without all of these it opens
    /// `pytorch_model.bin`, or the shards that `pytorch_model.bin.index.json` names.
    ///
    /// The files of a folder are mapped. They must not be changed in place while the checkpoint or
    /// one of its tensors is in use.
    ///
    /// # Errors
    /// If none of these files exists, or a file is not valid, or index and shards disagree.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        let Some(name) = find_weights(|name| files.contains(name)) else {
            let names = format!("{WEIGHTS}, {WEIGHTS_INDEX} or {PYTORCH_WEIGHTS}");
            return Err(files.missing_file(&names, "the weights; other formats are not read"));
        };
        if shard_ending(name).is_none() {
            return Self::open_file(files, name);
        }
        let index = files.json(name)?.ok_or_else(|| files.missing_file(name, "the names of the shards"))?;
        Self::open_shards(files, name, &index)
    }

    /// Opens one file: `.safetensors`, or the format of `torch.save` under any other name.
    ///
    /// # Errors
    /// If the file does not exist, or is not valid.
    pub(crate) fn open_file(files: &ModelFiles, name: &str) -> Result<Self> {
        let bytes = files.weights(name)?;
        let bytes = bytes.ok_or_else(|| files.missing_file(name, "the weights; other formats are not read"))?;
        let label = files.label(name);
        let format = if name == CONVERTED_WEIGHTS { Some(ConvertedFormat::read(&label, &bytes)?) } else { None };
        let checkpoint = Self::from_shards(label.clone(), FileFormat::of(name), vec![(label, bytes)])?;
        Ok(Self { format, file_names: vec![files.full_name(name)], ..checkpoint })
    }

    /// Rejects a model whose weights are only in formats that are not read.
    ///
    /// Such a model may lack other files also (a GGUF file needs no config.json), but these are not
    /// the reason why it cannot be opened.
    ///
    /// # Errors
    /// If there are weights, and none of the files that [`Self::open`] reads.
    pub(crate) fn reject_other_formats(files: &ModelFiles) -> Result<()> {
        if find_weights(|name| files.contains(name)).is_some() {
            return Ok(());
        }
        let folder = files.full_name("");
        let inner = |name: &str| name.strip_prefix(&folder).is_some_and(|name| name.contains('/'));
        // The weights of a module in a subfolder say nothing about the encoder's.
        let of_module = |name: &str| {
            inner(name) && ["/model.safetensors", "/pytorch_model.bin"].iter().any(|end| name.ends_with(end))
        };
        let mut found = files.matching(|name| is_weights(name) && !of_module(name));
        found.sort_by_key(|name| inner(name));
        if found.is_empty() { Ok(()) } else { Err(Error::UnsupportedWeights { origin: files.origin(), found }) }
    }

    /// Opens the weights of a module: `{path}/model.safetensors`, or otherwise
    /// `{path}/pytorch_model.bin`.
    ///
    /// # Errors
    /// If neither file exists, or the file is not valid.
    pub(crate) fn of_module(files: &ModelFiles, path: &str) -> Result<Self> {
        let name = module_weights(|name| files.contains(name), path);
        if !files.contains(&name) {
            Self::reject_other_formats(&files.subfolder(path))?;
            return Err(files.missing_file(&name, "the weights of a module, which may also be in pytorch_model.bin"));
        }
        Self::open_file(files, &name)
    }

    /// Opens a safetensors file that is already in memory.
    ///
    /// # Errors
    /// If the bytes are not valid safetensors.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        Self::from_memory(WEIGHTS, bytes.into())
    }

    /// Opens a file that is already in memory and that `torch.save` wrote from a dict of tensors,
    /// such as `pytorch_model.bin` or `head.pt`.
    ///
    /// The pickle in the file is read by a machine that knows only the instructions and names that
    /// such a dict needs, so no code in the file is run.
    ///
    /// # Errors
    /// If the bytes are not a zip archive of PyTorch 1.6 or newer, or contain anything else than a
    /// dict of tensors.
    pub fn from_pytorch_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        Self::from_memory(PYTORCH_WEIGHTS, bytes.into())
    }

    /// Opens a file of the model's folder that `torch.save` wrote from a dict of tensors, such as
    /// `head.pt`. The file is mapped, as in [`Self::open`].
    ///
    /// # Errors
    /// The errors of [`Self::from_pytorch_bytes`], and if the file does not exist or leads out of
    /// the folder.
    pub fn open_pytorch(files: &ModelFiles, name: &str) -> Result<Self> {
        let bytes = files.shard(name)?;
        let bytes = bytes.ok_or_else(|| files.missing_file(name, "a file of torch.save"))?;
        let checkpoint = Self::from_shards(files.label(name), FileFormat::Pytorch, vec![(files.label(name), bytes)])?;
        Ok(Self { file_names: vec![files.full_name(name)], ..checkpoint })
    }

    fn from_memory(name: &str, bytes: Cow<'static, [u8]>) -> Result<Self> {
        let bytes = WeightBytes::Memory(Arc::new(bytes));
        Self::from_shards(name.to_owned(), FileFormat::of(name), vec![(name.to_owned(), bytes)])
    }

    fn open_shards(files: &ModelFiles, index_name: &str, index: &JsonObject) -> Result<Self> {
        let map = index.string_map("weight_map")?;
        if map.is_empty() {
            return Err(index.invalid_value("weight_map", "an object that names a shard for each tensor"));
        }
        let mut names: Vec<&str> = map.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let format = FileFormat::of(index_name);
        let mut shards = Vec::new();
        let mut file_names = vec![files.full_name(index_name)];
        file_names.extend(names.iter().map(|name| files.full_name(name)));
        for name in names {
            let bytes = files.shard(name)?.ok_or_else(|| Error::MissingFile {
                origin: files.origin(),
                name: name.to_owned(),
                why: format.missing_shard(),
            })?;
            shards.push((files.label(name), bytes));
        }
        let checkpoint = Self::from_shards(files.label(index_name), format, shards)?;
        for (tensor, shard) in &map {
            let label = files.label(shard);
            let why = match checkpoint.entries.get(tensor) {
                None => "which has no such tensor",
                Some(entry) if checkpoint.shards[entry.shard].label != label => "but is in another shard",
                Some(_) => continue,
            };
            return Err(Error::Shard {
                file: files.label(index_name),
                name: tensor.clone(),
                shard: shard.clone(),
                why,
            });
        }
        Ok(Self { file_names, ..checkpoint })
    }

    fn from_shards(label: String, format: FileFormat, files: Vec<(String, WeightBytes)>) -> Result<Self> {
        let mut shards = Vec::new();
        let mut entries = HashMap::new();
        for (shard, (file, bytes)) in files.into_iter().enumerate() {
            for (name, tensor) in format.read_tensors(&file, bytes.as_slice())? {
                if entries.insert(name.clone(), Entry { shard, tensor }).is_some() {
                    return Err(Error::Shard { file: label, name, shard: file, why: "but another shard has it too" });
                }
            }
            shards.push(Arc::new(Shard { label: file, bytes }));
        }
        Ok(Self { shards, entries, label, format: None, file_names: Vec::new() })
    }

    /// Returns a tensor, which must have the given shape.
    ///
    /// Layer norms of old checkpoints call their weight and bias gamma and beta; both are found.
    ///
    /// # Errors
    /// If no tensor has that name, its shape differs, or it is not F32, F16 or BF16.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (name, entry) = self.entry("", name, shape)?;
        self.float_tensor(name, entry)
    }

    /// Returns the names and shapes of all tensors, sorted by name.
    pub fn tensors(&self) -> BTreeMap<&str, &[usize]> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.tensor.shape.as_slice())).collect()
    }

    /// Returns a tensor's full name and entry.
    ///
    /// # Errors
    /// If no tensor has that name after the prefix, or its shape differs.
    pub(super) fn entry(&self, prefix: &str, name: &str, shape: &[usize]) -> Result<(&str, &Entry)> {
        let found = std::iter::once(name.to_owned())
            .chain(old_name(name))
            .find_map(|name| self.entries.get_key_value(&format!("{prefix}{name}")));
        let Some((full_name, entry)) = found else {
            return Err(Error::MissingTensor {
                file: self.label.clone(),
                name: name.to_owned(),
                similar: self.similar_names(prefix, name),
            });
        };
        if entry.tensor.shape != shape {
            return Err(Error::TensorShape {
                file: self.shards[entry.shard].label.clone(),
                name: full_name.clone(),
                expected: shape.to_vec(),
                found: entry.tensor.shape.clone(),
            });
        }
        Ok((full_name, entry))
    }

    /// Returns the tensor of an entry.
    ///
    /// # Errors
    /// If the elements are not F32, F16 or BF16, or not contiguous.
    pub(super) fn float_tensor(&self, full_name: &str, entry: &Entry) -> Result<Tensor> {
        let shard = self.shards[entry.shard].clone();
        let StoredTensor { dtype, shape, range, is_contiguous } = entry.tensor.clone();
        let name = full_name.to_owned();
        let Some(dtype) = Float::of(dtype) else {
            return Err(Error::TensorDtype { file: shard.label.clone(), name, found: format!("{dtype:?}") });
        };
        if !is_contiguous {
            return Err(pytorch::not_contiguous(&shard.label, &name));
        }
        Ok(Tensor { name, shard, range, dtype, shape })
    }

    /// Returns the tensor of that full name and its file.
    pub(super) fn find(&self, full_name: &str) -> Option<(&Entry, Arc<Shard>)> {
        self.entries.get(full_name).map(|entry| (entry, self.shards[entry.shard].clone()))
    }

    /// Returns the shape of the tensor of that full name, if there is one.
    pub(super) fn shape(&self, full_name: &str) -> Option<&[usize]> {
        self.entries.get(full_name).map(|entry| entry.tensor.shape.as_slice())
    }

    /// Returns whether there is a tensor of that full name.
    pub(super) fn contains(&self, full_name: &str) -> bool {
        self.entries.contains_key(full_name)
    }

    /// Returns the full names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Returns the names of its files in the model's folder.
    pub(crate) fn file_names(&self) -> &[String] {
        &self.file_names
    }

    /// Returns the level and precision of a converted model.
    pub(crate) fn converted_format(&self) -> Option<ConvertedFormat> {
        self.format
    }

    /// Returns the whole file of a converted model.
    pub(crate) fn converted_bytes(&self) -> &WeightBytes {
        &self.shards[0].bytes
    }

    /// Returns the bytes of files that were given in memory, and stay there while the model is
    /// open.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.shards.iter().map(|shard| shard.bytes.bytes_in_memory()).sum()
    }

    /// Lets the operating system take back the memory of whatever has been read so far. An open
    /// model needs none of it, and reading a tensor brings in the pages around it: for small
    /// tensors some megabytes.
    pub(crate) fn evict_pages(&self) {
        self.shards.iter().for_each(|shard| shard.bytes.evict_pages(0..shard.bytes.as_slice().len()));
    }

    /// Returns the file that lists the tensors, for messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Returns up to three names that resemble the missing one.
    fn similar_names(&self, prefix: &str, name: &str) -> Vec<String> {
        let distance = |known: &String| edit_distance(name, known.strip_prefix(prefix).unwrap_or(known));
        let mut names: Vec<(usize, &String)> = self.entries.keys().map(|known| (distance(known), known)).collect();
        names.sort();
        names.into_iter().take(3).map(|(_, name)| name.clone()).collect()
    }
}

/// Returns the name of a layer norm's weight or bias in the first checkpoints.
fn old_name(name: &str) -> Option<String> {
    let (module, leaf) = name.rsplit_once('.')?;
    let leaf = match leaf {
        "weight" => "gamma",
        "bias" => "beta",
        _ => return None,
    };
    module.ends_with("LayerNorm").then(|| format!("{module}.{leaf}"))
}

/// Returns the number of single-character edits that turn one string into the other (Levenshtein).
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
