//! Traces as safetensors files.

use std::collections::BTreeMap;
use std::io::{Result, Write};

use super::record::Trace;
use crate::tensor_file::TensorFile;

/// The value of the key `format` in the metadata of a file.
const FORMAT: &str = "likewise-trace";

/// A trace to write to a file.
///
/// The file has the results as F32, and I64 tensors of the tokens: `ids`, `positions`,
/// `token_types` `[T]` and `token_counts` `[S]`; in the padded layout the first three are `[B, L]`,
/// beside `attention_mask` `[B, L]`. The metadata has the letters of each tensor's shape under its
/// name, and `sites`, the names of all results in the order of the computation.
#[derive(Debug)]
pub struct TraceFile<'a> {
    trace: &'a Trace,
    is_padded: bool,
    sites: Vec<&'a str>,
    metadata: BTreeMap<String, String>,
}

impl<'a> TraceFile<'a> {
    /// Describes a file of all results, without padding.
    pub fn new(trace: &'a Trace) -> Self {
        let sites = trace.tensors().iter().map(|tensor| tensor.site()).collect();
        Self { trace, is_padded: false, sites, metadata: BTreeMap::new() }
    }

    /// Pads all texts to the longest one, with zeros, as PyTorch's models do.
    pub fn padded(self, is_padded: bool) -> Self {
        Self { is_padded, ..self }
    }

    /// Keeps the results of some sites.
    pub fn keep(mut self, keeps: impl Fn(&str) -> bool) -> Self {
        self.sites.retain(|site| keeps(site));
        self
    }

    /// Adds an entry to the file's metadata, such as the name of the model.
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Returns the names of the results in the file.
    pub fn sites(&self) -> &[&'a str] {
        &self.sites
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn write(&self, out: impl Write) -> Result<()> {
        let mut file = TensorFile::new();
        for (key, value) in &self.metadata {
            file.set_metadata(key, value);
        }
        file.set_metadata("format", FORMAT);
        file.set_metadata("layout", if self.is_padded { "padded" } else { "packed" });
        file.set_metadata("sites", self.sites.join(" "));
        self.add_tokens(&mut file);
        for tensor in self.trace.tensors().iter().filter(|tensor| self.sites.contains(&tensor.site())) {
            if self.is_padded {
                let padded = tensor.padded(self.trace.token_counts());
                file.set_metadata(tensor.site(), padded.letters);
                file.add_f32(tensor.site(), &padded.shape, padded.data);
            } else {
                file.set_metadata(tensor.site(), tensor.letters());
                file.add_f32(tensor.site(), &tensor.shape(), tensor.as_slice());
            }
        }
        file.write(out)
    }

    /// Adds the tensors of the tokens.
    fn add_tokens(&self, file: &mut TensorFile<'a>) {
        let trace = self.trace;
        let counts = trace.token_counts();
        let [texts, longest] = [counts.len(), counts.iter().copied().max().unwrap_or(0)];
        let mut add = |name: &str, values: Vec<i64>| {
            if self.is_padded {
                file.set_metadata(name, "[B, L]");
                file.add_i64(name, &[texts, longest], pad(&values, counts, longest));
            } else {
                file.set_metadata(name, "[T]");
                file.add_i64(name, &[values.len()], values);
            }
        };
        add("ids", trace.ids().iter().map(|&id| i64::from(id)).collect());
        add("positions", trace.positions().iter().map(|&position| position as i64).collect());
        add("token_types", trace.token_types().iter().map(|&token_type| token_type as i64).collect());
        if self.is_padded {
            add("attention_mask", vec![1; trace.ids().len()]);
        }
        file.set_metadata("token_counts", if self.is_padded { "[B]" } else { "[S]" });
        file.add_i64("token_counts", &[texts], counts.iter().map(|&count| count as i64).collect::<Vec<_>>());
    }
}

/// Pads the integers of each text with zeros.
fn pad(values: &[i64], counts: &[usize], longest: usize) -> Vec<i64> {
    let mut padded = Vec::with_capacity(counts.len() * longest);
    let mut rest = values;
    for &count in counts {
        let (text, after) = rest.split_at(count);
        padded.extend_from_slice(text);
        padded.resize(padded.len() + longest - count, 0);
        rest = after;
    }
    padded
}
