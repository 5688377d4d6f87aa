//! Code that the tests share: fixtures, golden files, and comparisons that print the used fraction
//! of each tolerance.
#![allow(missing_docs, reason = "names of tests and fixtures say what their fields are")]

pub mod matrix;
pub mod static_models;
pub mod synthetic_weights;
pub mod torch_archive;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use likewise::{Embedder, Level, ModelFiles};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Fixture models with random weights.
pub const TINY: [&str; 12] = [
    "tiny-mpnet",
    "tiny-xlm-roberta",
    "tiny-bert",
    "tiny-nomic-bert",
    "tiny-gte",
    "tiny-jina-v3",
    "tiny-modernbert",
    "tiny-jina-v2",
    "tiny-t5",
    "tiny-t5-gated",
    "tiny-albert",
    "tiny-electra",
];

/// All fixture models: those with random weights and a trained one.
pub fn committed() -> impl Iterator<Item = &'static str> {
    TINY.into_iter().chain(["quickstart"])
}

/// Returns the root of the workspace.
///
/// # Panics
/// If this package is in no folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace")
}

/// Returns the folder of a fixture model.
pub fn model(name: &str) -> PathBuf {
    root().join("fixtures/models").join(name)
}

/// Reads the files of a fixture model, so that a test can edit them in memory.
pub fn files(name: &str) -> HashMap<String, Vec<u8>> {
    let folder = model(name);
    let mut files = HashMap::new();
    for entry in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "model.safetensors",
    ] {
        if let Ok(bytes) = std::fs::read(folder.join(entry)) {
            files.insert(entry.to_owned(), bytes);
        }
    }
    files
}

/// Makes model files from files in memory.
pub fn in_memory(files: &HashMap<String, Vec<u8>>) -> ModelFiles {
    files.iter().fold(ModelFiles::in_memory(), |model, (name, bytes)| model.with(name, bytes.clone()))
}

/// Edits a JSON file.
pub fn edit_json(files: &mut HashMap<String, Vec<u8>>, name: &str, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&files[name]).unwrap_or_else(|e| panic!("{name}: {e}"));
    edit(&mut value);
    files.insert(name.to_owned(), value.to_string().into_bytes());
}

/// Edits the elements of an F32 tensor. The length must stay the same.
pub fn edit_tensor(files: &mut HashMap<String, Vec<u8>>, tensor: &str, edit: impl FnOnce(&mut Vec<f32>)) {
    let bytes = files.get_mut("model.safetensors").expect("weights");
    let range = {
        let (header, metadata) = SafeTensors::read_metadata(bytes).expect("safetensors");
        let info = metadata.info(tensor).unwrap_or_else(|| panic!("tensor {tensor}"));
        assert_eq!(info.dtype, Dtype::F32);
        let start = header + 8;
        start + info.data_offsets.0..start + info.data_offsets.1
    };
    let mut elements: Vec<f32> =
        bytes[range.clone()].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let length = elements.len();
    edit(&mut elements);
    assert_eq!(elements.len(), length, "the edit changes the length of {tensor}");
    for (target, x) in bytes[range].chunks_exact_mut(4).zip(elements) {
        target.copy_from_slice(&x.to_le_bytes());
    }
}

/// Opens a fixture model with a SIMD level.
pub fn open(name: &str, level: Level) -> Embedder {
    Embedder::builder().level(level).open(model(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A golden file: results of sentence-transformers or transformers.
pub struct Golden {
    pub texts: Vec<String>,
    pub json: Value,
    bytes: Vec<u8>,
}

impl Golden {
    pub fn load(name: &str) -> Self {
        let path = root().join("fixtures/goldens").join(name);
        let read = |path: PathBuf| {
            std::fs::read(&path)
                .unwrap_or_else(|e| panic!("{}: {e}; run `python fixtures/make.py` to create it", path.display()))
        };
        let json: Value = serde_json::from_slice(&read(path.with_extension("json"))).expect("JSON");
        // Goldens of pairs of texts have these under other keys.
        let texts = json["texts"].as_array().map_or(&[][..], Vec::as_slice);
        let texts = texts.iter().map(|text| text.as_str().expect("a text").to_owned()).collect();
        Self { texts, json, bytes: read(path.with_extension("safetensors")) }
    }

    /// Replaces the JSON.
    pub fn with_json(self, json: Value) -> Self {
        Self { json, ..self }
    }

    /// Reads a golden file without tensors.
    pub fn json_of(name: &str) -> Value {
        let path = root().join("fixtures/goldens").join(name).with_extension("json");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Returns the safetensors file of the golden tensors.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns a tensor of any data type, converted to f64.
    pub fn tensor(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let tensor = tensors.tensor(name).unwrap_or_else(|_| panic!("no golden tensor {name}"));
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I32 => data.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
            other => panic!("golden tensor {name} is {other:?}"),
        }
    }

    /// Returns whether the vectors have length 1.
    pub fn is_normalized(&self) -> bool {
        let vectors = self.tensor("vectors");
        let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
        vectors.chunks(vectors.len() / self.texts.len()).all(|v| (length(v) - 1.0).abs() < 1e-4)
    }

    /// Returns the number of sites.
    pub fn sites(&self) -> usize {
        let tensors = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let is_site = |name: &&str| {
            !name.ends_with(".f64") && (name.starts_with("layer.") || ["embeddings", "final_norm"].contains(name))
        };
        tensors.names().into_iter().filter(|name| is_site(name)).count()
    }

    /// Returns whether the file has the tensor of a site of the encoder.
    pub fn has_site(&self, name: &str) -> bool {
        let tensors = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        (name.starts_with("layer.") || ["embeddings", "final_norm"].contains(&name)) && tensors.tensor(name).is_ok()
    }

    /// Returns the tensor of a site, in the order of a trace.
    ///
    /// Rotated queries and keys are one head after another in a trace, as they are computed. The
    /// golden file has them token by token.
    pub fn site(&self, name: &str, heads: usize) -> Vec<f64> {
        let tensor = self.tensor(name);
        if !name.contains(".rotated_") {
            return tensor;
        }
        let used = self.integers("used");
        let lengths = self.integers("traced").into_iter().map(|text| used[text]);
        let width = tensor.len() / lengths.clone().sum::<usize>();
        let head_size = width / heads;
        let mut by_head = Vec::with_capacity(tensor.len());
        let mut rest = tensor.as_slice();
        for length in lengths {
            let (text, after) = rest.split_at(length * width);
            for head in 0..heads {
                let part = |row: &[f64]| row[head * head_size..][..head_size].to_vec();
                by_head.extend(text.chunks(width).flat_map(part));
            }
            rest = after;
        }
        by_head
    }

    /// Returns an array of integers from the JSON file.
    pub fn integers(&self, key: &str) -> Vec<usize> {
        let list = self.json[key].as_array().unwrap_or_else(|| panic!("{key}"));
        list.iter().map(|n| n.as_u64().expect("a number") as usize).collect()
    }

    /// Returns the texts whose intermediate tensors are in the golden file.
    pub fn traced(&self) -> Vec<&str> {
        self.integers("traced").into_iter().map(|i| self.texts[i].as_str()).collect()
    }
}

/// Returns the elements of a site of a trace.
pub fn elements<'a>(trace: &'a likewise::Trace, site: &str) -> &'a [f32] {
    trace.get(site).unwrap_or_else(|| panic!("no site {site}")).as_slice()
}

/// Returns the largest |a − b|, or NaN if any difference is NaN.
pub fn max_difference(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "the lengths differ");
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, nan_max)
}

/// Returns the largest |a − b| / max(1, |b|): the absolute error of small elements and the relative
/// error of large ones, because f32 has about seven significant digits at any magnitude.
pub fn max_error(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "the lengths differ");
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).abs() / b.abs().max(1.0)).fold(0.0, nan_max)
}

/// Returns the larger value, or NaN if one is NaN.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// A list of failed comparisons, so that a test runs all comparisons before it fails.
#[derive(Default)]
pub struct Report {
    failures: Vec<String>,
}

impl Report {
    /// Checks that `value` is at most `bound`, and prints the used fraction of the bound.
    pub fn within(&mut self, what: &str, value: f64, bound: f64) {
        println!("{what:<48} {value:.2e} of {bound:.1e} ({:.0} %)", 100.0 * value / bound);
        if value.is_nan() || value > bound {
            self.failures.push(format!("{what}: {value:.3e} exceeds {bound:.1e}"));
        }
    }

    /// Returns whether all comparisons so far have passed.
    pub fn passes(&self) -> bool {
        self.failures.is_empty()
    }

    /// Panics if a comparison has failed.
    pub fn finish(self) {
        assert!(self.failures.is_empty(), "\n{}", self.failures.join("\n"));
    }
}

/// Returns whether two slices are bit-identical.
pub fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
