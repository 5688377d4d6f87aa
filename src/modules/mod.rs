//! The sentence head: the chain of modules that modules.json describes.
//!
//! The first is the encoder itself; the rest turn its token vectors into the sentence vector, in the order of the array.
//! Class paths changed over the years (`sentence_transformers.models.Pooling` became
//! `sentence_transformers.sentence_transformer.modules.pooling.Pooling`), the class names did not, so those are matched.
//! Follows sentence-transformers 6.2.0, `base/model.py`.

pub(crate) mod normalize;
mod pooling;

use likewise_kernels::Level;
use likewise_kernels::view::MatRef;
use serde_json::Value;

use crate::config::{self, Keys};
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use pooling::Pooling;

/// Token vectors to a sentence vector.
#[derive(Clone, Debug)]
pub(crate) struct SentenceHead {
    pooling: Pooling,
    after: Vec<Module>,
    /// Width of its result.
    width: usize,
}

/// A step on the sentence vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Module {
    Normalize,
}

const MODULES: &str = "modules.json";

impl SentenceHead {
    /// Reads modules.json and the configurations of its modules. Without it: mean pooling, as in the reference.
    ///
    /// # Errors
    /// If a module or a pooling mode is not supported, or the modules do not fit together.
    pub(crate) fn load(files: &ModelFiles, width: usize) -> Result<Self> {
        let Some(bytes) = files.read(MODULES)? else {
            return Ok(Self { pooling: Pooling::Mean, after: Vec::new(), width });
        };
        let label = files.label(MODULES);
        let entries = match config::parse(&label, &bytes)? {
            Value::Array(entries) => entries,
            other => {
                return Err(Error::config(&label, "(the whole file)", "an array of modules", config::kind(&other)));
            }
        };
        let mut pooling = None;
        let mut after = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            let entry = Keys::of(&format!("{label}: element {i}"), entry)?;
            let path = entry.text("path")?.unwrap_or_default();
            match (i, class_name(&entry)?) {
                (0, "Transformer") if path.is_empty() => {}
                (0, _) => return Err(entry.wrong("type", "Transformer with an empty path as the first module")),
                // Without a folder of its own, the model's config.json would be read as its configuration.
                (1, "Pooling") if path.is_empty() => {
                    return Err(entry.wrong("path", "the folder of the Pooling module"));
                }
                (1, "Pooling") => pooling = Some(Pooling::load(files, path, width)?),
                (1, _) => return Err(entry.wrong("type", "Pooling as the second module")),
                (_, "Normalize") => after.push(Module::Normalize),
                _ => return Err(entry.wrong("type", "Normalize after Pooling: no other module is supported yet")),
            }
        }
        let Some(pooling) = pooling else {
            return Err(Error::config(
                &label,
                "(the whole file)",
                "a Transformer and a Pooling module",
                "fewer modules",
            ));
        };
        Ok(Self { pooling, after, width })
    }

    /// Width of the sentence vector.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The sentence vector, from the vectors of the sentence's tokens `[L, D]`.
    pub(crate) fn apply(&self, level: Level, tokens: MatRef<'_>, out: &mut [f32]) {
        self.pool(level, tokens, out);
        self.finish(level, out);
    }

    /// Takes a pooled vector through the modules after pooling.
    pub(crate) fn finish(&self, level: Level, vector: &mut [f32]) {
        for module in &self.after {
            match module {
                Module::Normalize => normalize::normalize(level, vector),
            }
        }
    }

    /// As [`Self::finish`], with the length and the size that were asked for. The first `dimensions` numbers are a vector of
    /// their own, so it is they that are brought to length 1: if `length_one` says so, else if the model normalizes.
    #[cfg(feature = "serve")]
    pub(crate) fn finish_as(
        &self,
        level: Level,
        vector: &mut Vec<f32>,
        length_one: Option<bool>,
        dimensions: Option<usize>,
    ) {
        if length_one.is_none() && dimensions.is_none() {
            return self.finish(level, vector);
        }
        vector.truncate(dimensions.unwrap_or(vector.len()));
        // It may be kept for long.
        vector.shrink_to_fit();
        if length_one.unwrap_or(self.after.contains(&Module::Normalize)) {
            normalize::normalize(level, vector);
        }
    }

    /// The pooled vector, before the modules after it.
    pub(crate) fn pool(&self, level: Level, tokens: MatRef<'_>, out: &mut [f32]) {
        self.pooling.apply(level, tokens, out);
    }

    /// Its modules in words: "mean pooling", "Normalize".
    pub(crate) fn describe(&self) -> Vec<String> {
        let after = self.after.iter().map(|module| match module {
            Module::Normalize => "Normalize".to_owned(),
        });
        std::iter::once(self.pooling.describe()).chain(after).collect()
    }
}

/// The last part of a class path, which must be one of sentence-transformers' own.
fn class_name(entry: &Keys) -> Result<&str> {
    let path = entry.text("type")?.unwrap_or_default();
    match path.rsplit_once('.') {
        Some((package, class)) if package.split('.').next() == Some("sentence_transformers") => Ok(class),
        _ => Err(entry.wrong("type", "a class of the package sentence_transformers")),
    }
}

/// The path of a file in a module's folder.
fn in_module(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}
