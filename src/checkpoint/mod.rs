//! Weights: bytes to named tensors.
//!
//! A checkpoint is one safetensors file, or several with an index. It is mapped into memory, not read: a tensor is a name
//! and a range of bytes, and its numbers are widened to f32 when they are used.

mod converted;
mod debug;
mod tensor;
mod words;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{CONVERTED_WEIGHTS, WEIGHTS, WEIGHTS_INDEX, file_in};

use crate::bytes::WeightBytes;
pub(crate) use converted::{ConvertedFormat, VERSION as CONVERTED_VERSION};
use tensor::Float;
pub use tensor::Tensor;

/// One weight file.
struct Shard {
    /// Its name, for messages.
    label: String,
    bytes: WeightBytes,
}

/// Where a tensor lies.
#[derive(Clone)]
struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

/// All tensors of a model, by name.
pub struct Checkpoint {
    shards: Vec<Arc<Shard>>,
    entries: HashMap<String, Entry>,
    /// What stands before every name: "", "bert.", "0.auto_model.mpnet.", ...
    prefix: String,
    /// The file that lists the tensors, for messages.
    label: String,
    /// The names of tensors that were found when they were asked for.
    asked: Mutex<HashSet<String>>,
    /// What the matrices were packed for, if the model was converted.
    packing: Option<ConvertedFormat>,
    /// The names of its files in the model's folder.
    file_names: Vec<String>,
}

impl Checkpoint {
    /// The files of a folder are mapped: they must not be changed in place while the checkpoint or a tensor of it lives.
    ///
    /// Opens `likewise.safetensors`, which a converted model has, or `model.safetensors`, or else the shards that
    /// `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// If there is none of them, or a file is not valid safetensors, or index and shards disagree.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        if let Some(bytes) = files.weights(CONVERTED_WEIGHTS)? {
            let label = files.label(CONVERTED_WEIGHTS);
            let packing = ConvertedFormat::read(&label, &bytes)?;
            let checkpoint = Self::from_shards(label.clone(), vec![(label, bytes)])?;
            return Ok(Self {
                packing: Some(packing),
                file_names: vec![files.full_name(CONVERTED_WEIGHTS)],
                ..checkpoint
            });
        }
        if let Some(bytes) = files.weights(WEIGHTS)? {
            let checkpoint = Self::from_shards(files.label(WEIGHTS), vec![(files.label(WEIGHTS), bytes)])?;
            return Ok(Self { file_names: vec![files.full_name(WEIGHTS)], ..checkpoint });
        }
        let Some(index) = files.json(WEIGHTS_INDEX)? else {
            return Err(Error::MissingFile {
                origin: files.origin(),
                name: format!("{WEIGHTS} or {WEIGHTS_INDEX}"),
                why: "the weights; other formats, such as pytorch_model.bin, are not read",
            });
        };
        Self::open_shards(files, &index)
    }

    /// The weights of a module in a folder of its own: `{path}/model.safetensors`.
    ///
    /// # Errors
    /// If there are none, or they are not valid safetensors.
    pub(crate) fn of_module(files: &ModelFiles, path: &str) -> Result<Self> {
        let name = file_in(path, WEIGHTS);
        let bytes = files.weights(&name)?.ok_or_else(|| Error::MissingFile {
            origin: files.origin(),
            name: name.clone(),
            why: "the weights of a module; other formats, such as pytorch_model.bin, are not read",
        })?;
        Self::from_shards(files.label(&name), vec![(files.label(&name), bytes)])
    }

    /// A checkpoint of one safetensors file that is already in memory.
    ///
    /// # Errors
    /// If the bytes are not valid safetensors.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        let bytes = WeightBytes::Memory(Arc::new(bytes.into()));
        Self::from_shards(WEIGHTS.to_owned(), vec![(WEIGHTS.to_owned(), bytes)])
    }

    fn open_shards(files: &ModelFiles, index: &crate::config::JsonObject) -> Result<Self> {
        let map = index.string_map("weight_map")?;
        if map.is_empty() {
            return Err(index.invalid_value("weight_map", "an object that names a shard for each tensor"));
        }
        let mut names: Vec<&str> = map.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let mut shards = Vec::new();
        let mut file_names = vec![files.full_name(WEIGHTS_INDEX)];
        file_names.extend(names.iter().map(|name| files.full_name(name)));
        for name in names {
            let bytes = files.shard(name)?.ok_or_else(|| Error::MissingFile {
                origin: files.origin(),
                name: name.to_owned(),
                why: "a shard that model.safetensors.index.json names",
            })?;
            shards.push((files.label(name), bytes));
        }
        let checkpoint = Self::from_shards(files.label(WEIGHTS_INDEX), shards)?;
        for (tensor, shard) in &map {
            let label = files.label(shard);
            let why = match checkpoint.entries.get(tensor) {
                None => "which has no such tensor",
                Some(entry) if checkpoint.shards[entry.shard].label != label => "but is in another shard",
                Some(_) => continue,
            };
            return Err(Error::Shard {
                file: files.label(WEIGHTS_INDEX),
                name: tensor.clone(),
                shard: shard.clone(),
                why,
            });
        }
        Ok(Self { file_names, ..checkpoint })
    }

    fn from_shards(label: String, files: Vec<(String, WeightBytes)>) -> Result<Self> {
        let mut shards = Vec::new();
        let mut entries = HashMap::new();
        for (number, (file, bytes)) in files.into_iter().enumerate() {
            let all = bytes.as_slice();
            let (header, metadata) = read_header(&file, all)?;
            let start = header + size_of::<u64>();
            for (name, info) in metadata.tensors() {
                let range = start + info.data_offsets.0..start + info.data_offsets.1;
                let entry = Entry { shard: number, dtype: info.dtype, shape: info.shape.clone(), range };
                if entries.insert(name.clone(), entry).is_some() {
                    return Err(Error::Shard { file: label, name, shard: file, why: "but another shard has it too" });
                }
            }
            shards.push(Arc::new(Shard { label: file, bytes }));
        }
        Ok(Self {
            shards,
            entries,
            prefix: String::new(),
            label,
            asked: Mutex::default(),
            packing: None,
            file_names: Vec::new(),
        })
    }

    /// Finds what stands before the names: any of `prefixes`, or nothing, such that `name` exists.
    ///
    /// Checkpoints of a bare encoder have no prefix, those of a model with a head have the encoder's ("bert."), and tools
    /// that save a whole pipeline put the path of its attributes before that.
    pub(crate) fn find_prefix(&mut self, prefixes: &[&str], name: &str) {
        let outer = ["", "0.auto_model.", "0.model.", "auto_model.", "model."];
        let candidates = outer.iter().flat_map(|outer| {
            std::iter::once((*outer).to_owned()).chain(prefixes.iter().map(move |prefix| format!("{outer}{prefix}")))
        });
        for prefix in candidates {
            if self.entries.contains_key(&format!("{prefix}{name}")) {
                self.prefix = prefix;
                return;
            }
        }
    }

    /// Whether there is a tensor of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(&format!("{}{name}", self.prefix))
    }

    /// A tensor, which must have the given shape.
    ///
    /// Layer norms of old checkpoints call their weight and bias gamma and beta; both are found.
    ///
    /// # Errors
    /// If there is none of that name, its shape differs, or it is not F32, F16 or BF16.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (full, entry) = self.entry(name, shape)?;
        let shard = self.shards[entry.shard].clone();
        let dtype = Float::of(entry.dtype).ok_or_else(|| Error::TensorDtype {
            file: shard.label.clone(),
            name: full.clone(),
            found: format!("{:?}", entry.dtype),
        })?;
        Ok(Tensor { name: full.clone(), shard, range: entry.range.clone(), dtype, shape: entry.shape.clone() })
    }

    /// A tensor's full name and place. That it was asked for is remembered.
    ///
    /// # Errors
    /// If there is none of that name, or its shape differs.
    fn entry(&self, name: &str, shape: &[usize]) -> Result<(&String, &Entry)> {
        let found = std::iter::once(name.to_owned())
            .chain(old_name(name))
            .map(|name| format!("{}{name}", self.prefix))
            .find_map(|name| self.entries.get_key_value(&name));
        let Some((full, entry)) = found else {
            return Err(Error::MissingTensor {
                file: self.label.clone(),
                name: name.to_owned(),
                similar: self.near(name),
            });
        };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(full.clone());
        if entry.shape != shape {
            return Err(Error::TensorShape {
                file: self.shards[entry.shard].label.clone(),
                name: full.clone(),
                expected: shape.to_vec(),
                found: entry.shape.clone(),
            });
        }
        Ok((full, entry))
    }

    /// The names of its files in the model's folder.
    pub(crate) fn file_names(&self) -> &[String] {
        &self.file_names
    }

    /// What the matrices were packed for, if the model was converted.
    pub(crate) fn packing(&self) -> Option<ConvertedFormat> {
        self.packing
    }

    /// The tensors that were found when they were asked for, in the order of their names, which are without the prefix.
    pub(crate) fn asked(&self) -> Result<Vec<(String, Tensor)>> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let named = |full: String| {
            let name = full.strip_prefix(&self.prefix).unwrap_or(&full).to_owned();
            Ok((name.clone(), self.tensor(&name, &self.entries[&full].shape)?))
        };
        let mut tensors = asked.into_iter().map(named).collect::<Result<Vec<_>>>()?;
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(tensors)
    }

    /// Names and shapes of all tensors, sorted by name.
    pub fn tensors(&self) -> BTreeMap<&str, &[usize]> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice())).collect()
    }

    /// Tensors that nobody has asked for and that are not known to be of no use.
    ///
    /// A tensor that is there and not understood may change what the model computes, so it is reported and not skipped.
    pub(crate) fn unknown(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let strip = |name: &'_ str| name.strip_prefix(&self.prefix).unwrap_or(name).to_owned();
        let unknown = |name: &&String| !asked.contains(*name) && !is_known_unused(&strip(name));
        let mut names: Vec<String> = self.entries.keys().filter(unknown).cloned().collect();
        names.sort();
        names
    }

    /// Fails if there are tensors that nobody has asked for and that are not known to be of no use.
    pub(crate) fn refuse_unknown(&self, family: &'static str) -> Result<()> {
        match self.unknown() {
            names if names.is_empty() => Ok(()),
            names => Err(Error::UnknownTensor { file: self.label.clone(), family, names }),
        }
    }

    /// Bytes of files that were given in memory, and stay there while the model is open.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        let given = |shard: &Arc<Shard>| match &shard.bytes {
            WeightBytes::Mapped(_) => 0,
            WeightBytes::Memory(bytes) => bytes.len(),
        };
        self.shards.iter().map(given).sum()
    }

    /// Lets the operating system take back whatever has been read so far. A model that is open needs none of it, and what
    /// stands around each tensor comes with it: of small ones some megabytes.
    pub(crate) fn release(&self) {
        self.shards.iter().for_each(|shard| shard.bytes.release(0..shard.bytes.as_slice().len()));
    }

    /// The file that lists the tensors, for messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Up to three names that resemble the one that is missing.
    fn near(&self, name: &str) -> Vec<String> {
        let mut names: Vec<(usize, &String)> = self
            .entries
            .keys()
            .map(|known| (distance(name, known.strip_prefix(&self.prefix).unwrap_or(known)), known))
            .collect();
        names.sort();
        names.into_iter().take(3).map(|(_, name)| name.clone()).collect()
    }
}

/// The header of a safetensors file and its length. Offsets are in order, sizes fit shapes, and the tensors fill the file to
/// its last byte.
pub(crate) fn read_header(file: &str, bytes: &[u8]) -> Result<(usize, Metadata)> {
    SafeTensors::read_metadata(bytes).map_err(|source| Error::Safetensors {
        file: file.to_owned(),
        bytes: bytes.len(),
        source,
    })
}

/// What a layer norm's weight and bias were called in the first checkpoints.
fn old_name(name: &str) -> Option<String> {
    let (module, leaf) = name.rsplit_once('.')?;
    let leaf = match leaf {
        "weight" => "gamma",
        "bias" => "beta",
        _ => return None,
    };
    module.ends_with("LayerNorm").then(|| format!("{module}.{leaf}"))
}

/// Tensors that checkpoints carry and a sentence encoder has no use for: the pooler and the heads of pre-training and
/// classification, and buffers that repeat the numbers 0, 1, 2, ...
fn is_known_unused(name: &str) -> bool {
    const HEADS: [&str; 8] =
        ["pooler.", "lm_head.", "cls.", "qa_outputs.", "classifier.", "vocab_", "pre_classifier.", "score."];
    const BUFFERS: [&str; 2] = ["embeddings.position_ids", "embeddings.token_type_ids"];
    HEADS.iter().any(|head| name.starts_with(head)) || BUFFERS.contains(&name)
}

/// The number of single-character edits that turn one string into the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
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
