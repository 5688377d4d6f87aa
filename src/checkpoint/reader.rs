//! Reads the tensors of one model from a checkpoint and remembers which, so that no tensor is
//! ignored silently.

use std::collections::BTreeMap;
use std::ops::Range;

use likewise_kernels::memory::CACHE_LINE_BYTES;
use safetensors::Dtype;

use super::open::{Checkpoint, Entry};
use super::tensor::Tensor;
use crate::error::{Error, Result};

/// Looks tensors up by the names that a model gives them, and records every name.
pub(crate) struct TensorReader<'a> {
    checkpoint: &'a Checkpoint,
    /// What precedes every name: "", "bert.", "0.auto_model.mpnet.", …
    prefix: String,
    /// The tensors that have been requested, by their full names.
    requested: BTreeMap<String, Entry>,
}

impl<'a> TensorReader<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint) -> Self {
        Self { checkpoint, prefix: String::new(), requested: BTreeMap::new() }
    }

    /// Makes a reader with the first prefix for which `probe` exists: one of `prefixes`, or none.
    ///
    /// Checkpoints of a bare encoder have no prefix, those of a model with a head have the
    /// encoder's ("bert."), and tools that save a whole pipeline put the path of its attributes
    /// before that. Training on several devices and compilation wrap modules, which adds
    /// [`WRAPPERS`] to the path.
    pub(crate) fn with_prefix_of(checkpoint: &'a Checkpoint, prefixes: &[&str], probe: &str) -> Self {
        let outer = ["", "0.auto_model.", "0.model.", "auto_model.", "model."];
        let known: Vec<String> = outer
            .iter()
            .flat_map(|outer| {
                std::iter::once("").chain(prefixes.iter().copied()).map(move |inner| format!("{outer}{inner}"))
            })
            .collect();
        let unwrapped = known.iter().find(|prefix| checkpoint.contains(&format!("{prefix}{probe}"))).cloned();
        let prefix = unwrapped.or_else(|| {
            let of_probe =
                checkpoint.names().filter_map(|name| name.strip_suffix(probe)).filter(|prefix| prefix.ends_with('.'));
            of_probe.filter(|prefix| known.contains(&without_wrappers(prefix))).min().map(str::to_owned)
        });
        Self { prefix: prefix.unwrap_or_default(), ..Self::new(checkpoint) }
    }

    /// Returns a reader for the modules beside the encoder, such as a classifier. Their names have
    /// this reader's prefix without the last part, if that is one of `prefixes`.
    pub(crate) fn beside(&self, prefixes: &[&str]) -> Self {
        let inner = prefixes.iter().find(|inner| self.prefix.ends_with(**inner));
        let outer = inner.map_or(self.prefix.as_str(), |inner| &self.prefix[..self.prefix.len() - inner.len()]);
        Self { prefix: outer.to_owned(), ..Self::new(self.checkpoint) }
    }

    /// Rejects tensors whose names begin so, after the prefix, and that have not been requested.
    pub(crate) fn reject_others_of(&self, modules: &[&str], family: &'static str) -> Result<()> {
        let is_other = |name: &&str| {
            let module = name.strip_prefix(&self.prefix);
            let is_listed = |name: &str| modules.iter().any(|module| name.starts_with(module));
            module.is_some_and(is_listed) && !self.requested.contains_key(*name)
        };
        self.reject(self.checkpoint.names().filter(is_other).map(str::to_owned).collect(), family)
    }

    pub(crate) fn checkpoint(&self) -> &'a Checkpoint {
        self.checkpoint
    }

    /// Returns whether there is a tensor of that name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.checkpoint.contains(&format!("{}{name}", self.prefix))
    }

    /// Returns the shape of a tensor, if there is one of that name.
    pub(crate) fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.checkpoint.shape(&format!("{}{name}", self.prefix))
    }

    /// Returns a tensor, which must have the given shape. Layer norms of old checkpoints call their
    /// weight and bias gamma and beta; both are found.
    ///
    /// # Errors
    /// If no tensor has that name, its shape differs, or it is not F32, F16 or BF16.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (full_name, entry) = self.request(name, shape)?;
        self.checkpoint.float_tensor(full_name, entry)
    }

    /// Returns the range of a packed matrix in the file of a converted model, in 32-bit words from
    /// the start of the file.
    ///
    /// # Errors
    /// If no tensor has that name, it has another shape or type, or it does not start at a cache
    /// line.
    pub(crate) fn packed_matrix(&mut self, name: &str, shape: &[usize]) -> Result<Range<usize>> {
        const WORD_BYTES: usize = size_of::<u32>();
        let bytes = self.bytes_of(name, shape, Dtype::U32)?;
        if !bytes.start.is_multiple_of(CACHE_LINE_BYTES) {
            let expected = format!("at a multiple of {CACHE_LINE_BYTES} bytes");
            return Err(self.error(name, expected, format!("at byte {}", bytes.start)));
        }
        Ok(bytes.start / WORD_BYTES..bytes.end / WORD_BYTES)
    }

    /// Returns the sums `[n]` of the int8 weights of each output, which has at most `max_weights`
    /// of them.
    ///
    /// # Errors
    /// If no tensor has that name, it has another shape or type, or an element is too large for
    /// such a sum.
    pub(crate) fn weight_sums(&mut self, name: &str, n: usize, max_weights: usize) -> Result<Vec<i32>> {
        const MAX_WEIGHT: usize = i8::MAX as usize;
        let range = self.bytes_of(name, &[n], Dtype::I32)?;
        let bytes = &self.checkpoint.converted_bytes().as_slice()[range];
        let sums: Vec<i32> = bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
        match sums.iter().find(|sum| sum.unsigned_abs() as usize > MAX_WEIGHT * max_weights) {
            Some(sum) => Err(self.error(name, format!("sums of {max_weights} bytes"), sum.to_string())),
            None => Ok(sums),
        }
    }

    /// Returns the requested tensors whose elements are floats, by their names without the prefix.
    pub(crate) fn requested_tensors(&self) -> BTreeMap<String, Tensor> {
        let tensor = |(full_name, entry): (&String, &Entry)| {
            let name = full_name.strip_prefix(&self.prefix).unwrap_or(full_name).to_owned();
            Some((name, self.checkpoint.float_tensor(full_name, entry).ok()?))
        };
        self.requested.iter().filter_map(tensor).collect()
    }

    /// Rejects tensors that are not understood: they may change what the model computes.
    ///
    /// # Errors
    /// If there are tensors that have not been requested and that are not known to be of no use.
    pub(crate) fn reject_unknown_tensors(&self, family: &'static str) -> Result<()> {
        let is_unknown =
            |name: &&str| !self.requested.contains_key(*name) && !is_known_unused(self.without_prefix(name));
        self.reject(self.checkpoint.names().filter(is_unknown).map(str::to_owned).collect(), family)
    }

    fn reject(&self, mut names: Vec<String>, family: &'static str) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        names.sort();
        Err(Error::UnknownTensor { file: self.checkpoint.label().to_owned(), family, names })
    }

    /// Returns a name without the prefix. A head is beside the encoder, so its name has only the
    /// first components of the prefix, or none.
    fn without_prefix<'n>(&self, name: &'n str) -> &'n str {
        let mut ends = self.prefix.match_indices('.').map(|(dot, _)| dot + 1).rev();
        ends.find_map(|end| name.strip_prefix(&self.prefix[..end])).unwrap_or(name)
    }

    /// Looks a tensor up and records its name.
    fn request(&mut self, name: &str, shape: &[usize]) -> Result<(&'a str, &'a Entry)> {
        let (full_name, entry) = self.checkpoint.entry(&self.prefix, name, shape)?;
        self.requested.insert(full_name.to_owned(), entry.clone());
        Ok((full_name, entry))
    }

    fn bytes_of(&mut self, name: &str, shape: &[usize], dtype: Dtype) -> Result<Range<usize>> {
        let (_, entry) = self.request(name, shape)?;
        if entry.tensor.dtype != dtype {
            return Err(self.error(name, format!("dtype {dtype:?}"), format!("{:?}", entry.tensor.dtype)));
        }
        Ok(entry.tensor.range.clone())
    }

    fn error(&self, name: &str, expected: String, found: String) -> Error {
        Error::Converted { file: self.checkpoint.label().to_owned(), key: name.to_owned(), expected, found }
    }
}

/// The path components that `DataParallel` and `torch.compile` of PyTorch add to a module's path.
const WRAPPERS: [&str; 2] = ["module", "_orig_mod"];

/// Returns a prefix without the components of [`WRAPPERS`].
fn without_wrappers(prefix: &str) -> String {
    prefix.split_inclusive('.').filter(|component| !WRAPPERS.contains(&component.trim_end_matches('.'))).collect()
}

/// Returns whether a sentence encoder does not use a tensor that checkpoints contain: the pooler, a
/// head of pre-training or of another task, or a buffer that holds 0, 1, 2, …
fn is_known_unused(name: &str) -> bool {
    // Heads for other tasks, and T5's decoder.
    const HEADS: [&str; 15] = [
        "pooler.",
        "lm_head.",
        "cls.",
        "qa_outputs.",
        "classifier.",
        "vocab_",
        "pre_classifier.",
        "score.",
        "head.",
        "decoder.",
        "predictions.",
        "sop_classifier.",
        "discriminator_predictions.",
        "generator_",
        // ColBERT's projection.
        "linear.",
    ];
    // T5's encoder repeats the table of tokens that it shares with the decoder.
    const COPIES: [&str; 3] = ["embeddings.position_ids", "embeddings.token_type_ids", "encoder.embed_tokens.weight"];
    HEADS.iter().any(|head| name.starts_with(head)) || COPIES.contains(&name)
}
