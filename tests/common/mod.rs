//! What the tests share: fixtures, golden files, and comparisons that say how much of a tolerance
//! was used.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

pub(crate) mod synthetic_weights;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use likewise::{Embedder, Level, ModelFiles};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The models with random weights.
pub(crate) const TINY: [&str; 3] = ["tiny-mpnet", "tiny-xlm-roberta", "tiny-bert"];

/// These, and the one whose weights are trained.
pub(crate) const COMMITTED: [&str; 4] = ["tiny-mpnet", "tiny-xlm-roberta", "tiny-bert", "quickstart"];

/// The root of the workspace, whichever of its packages this module is compiled into.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    if package.ends_with("cli") {
        package.parent().expect("the command's package is in the workspace")
    } else {
        package
    }
}

/// The folder of a fixture model.
pub(crate) fn model(name: &str) -> PathBuf {
    root().join("fixtures/models").join(name)
}

/// The files of a fixture model, in memory, to be changed.
pub(crate) fn files(name: &str) -> HashMap<String, Vec<u8>> {
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
        "model.safetensors",
    ] {
        if let Ok(bytes) = std::fs::read(folder.join(entry)) {
            files.insert(entry.to_owned(), bytes);
        }
    }
    files
}

/// Files in memory as a model.
pub(crate) fn in_memory(files: &HashMap<String, Vec<u8>>) -> ModelFiles {
    files.iter().fold(ModelFiles::in_memory(), |model, (name, bytes)| model.with(name, bytes.clone()))
}

/// Changes a JSON file.
pub(crate) fn edit_json(files: &mut HashMap<String, Vec<u8>>, name: &str, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&files[name]).unwrap_or_else(|e| panic!("{name}: {e}"));
    edit(&mut value);
    files.insert(name.to_owned(), value.to_string().into_bytes());
}

/// Changes the numbers of an F32 tensor.
pub(crate) fn edit_tensor(files: &mut HashMap<String, Vec<u8>>, tensor: &str, edit: impl FnOnce(&mut Vec<f32>)) {
    let bytes = files.get_mut("model.safetensors").expect("weights");
    let range = {
        let (header, metadata) = SafeTensors::read_metadata(bytes).expect("safetensors");
        let info = metadata.info(tensor).unwrap_or_else(|| panic!("tensor {tensor}"));
        assert_eq!(info.dtype, Dtype::F32);
        let start = header + 8;
        start + info.data_offsets.0..start + info.data_offsets.1
    };
    let mut numbers: Vec<f32> =
        bytes[range.clone()].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let count = numbers.len();
    edit(&mut numbers);
    assert_eq!(numbers.len(), count);
    for (place, x) in bytes[range].chunks_exact_mut(4).zip(numbers) {
        place.copy_from_slice(&x.to_le_bytes());
    }
}

/// A fixture model on a level.
pub(crate) fn open(name: &str, level: Level) -> Embedder {
    Embedder::builder().level(level).open(model(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A golden file: what the reference computed.
pub(crate) struct Golden {
    pub(crate) texts: Vec<String>,
    pub(crate) json: Value,
    bytes: Vec<u8>,
}

impl Golden {
    pub(crate) fn load(name: &str) -> Self {
        let path = root().join("fixtures/goldens").join(name);
        let read = |path: PathBuf| {
            std::fs::read(&path)
                .unwrap_or_else(|e| panic!("{}: {e}; `python fixtures/make.py` makes it", path.display()))
        };
        let json: Value = serde_json::from_slice(&read(path.with_extension("json"))).expect("JSON");
        let texts =
            json["texts"].as_array().expect("texts").iter().map(|t| t.as_str().expect("a text").to_owned()).collect();
        Self { texts, json, bytes: read(path.with_extension("safetensors")) }
    }

    /// A golden file without tensors.
    pub(crate) fn json_of(name: &str) -> Value {
        let path = root().join("fixtures/goldens").join(name).with_extension("json");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// The file of its tensors.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A tensor, as f64 whatever its type.
    pub(crate) fn tensor(&self, name: &str) -> Vec<f64> {
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

    /// A list of numbers in the JSON part.
    pub(crate) fn numbers(&self, key: &str) -> Vec<usize> {
        let list = self.json[key].as_array().unwrap_or_else(|| panic!("{key}"));
        list.iter().map(|n| n.as_u64().expect("a number") as usize).collect()
    }

    /// The texts whose intermediate results are recorded.
    pub(crate) fn traced(&self) -> Vec<&str> {
        self.numbers("traced").into_iter().map(|i| self.texts[i].as_str()).collect()
    }
}

/// The largest |a − b|.
pub(crate) fn max_difference(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "as many numbers");
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, nan_max)
}

/// The largest |a − b|, of numbers b beyond 1 as a fraction of them: f32 has seven digits, wherever
/// the point stands.
pub(crate) fn max_error(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "as many numbers");
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).abs() / b.abs().max(1.0)).fold(0.0, nan_max)
}

/// The larger, NaN being larger than all.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Comparisons that are all made, printed, and then judged.
#[derive(Default)]
pub(crate) struct Report {
    failures: Vec<String>,
}

impl Report {
    /// Notes that `value` should be at most `bound`, and prints how much of it was used.
    pub(crate) fn within(&mut self, what: &str, value: f64, bound: f64) {
        println!("{what:<48} {value:.2e} of {bound:.1e} ({:.0} %)", 100.0 * value / bound);
        if value.is_nan() || value > bound {
            self.failures.push(format!("{what}: {value:.3e} exceeds {bound:.1e}"));
        }
    }

    /// Whether all comparisons held so far.
    pub(crate) fn holds(&self) -> bool {
        self.failures.is_empty()
    }

    /// Fails if one did not.
    pub(crate) fn finish(self) {
        assert!(self.failures.is_empty(), "\n{}", self.failures.join("\n"));
    }
}

/// Whether two lists have the same bits.
pub(crate) fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
