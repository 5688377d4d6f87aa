//! Pooling: many token vectors to one.

use likewise_kernels::Level;
use likewise_kernels::vector::mean_of_rows;
use likewise_kernels::view::MatRef;
use serde_json::Value;

use super::in_module;
use crate::config::Keys;
use crate::error::Result;
use crate::files::ModelFiles;

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The mean of all tokens, special ones included.
    Mean,
}

impl Pooling {
    /// Reads `{path}/config.json`, in the spelling of sentence-transformers before or since 5.4.
    pub(super) fn load(files: &ModelFiles, path: &str, width: usize) -> Result<Self> {
        let name = in_module(path, "config.json");
        let bytes = files.require(&name, "the configuration of a Pooling module")?;
        let keys = Keys::parse(&files.label(&name), &bytes)?;
        for key in ["embedding_dimension", "word_embedding_dimension"] {
            if keys.size(key)?.is_some_and(|stated| stated != width) {
                return Err(keys.wrong(key, format!("{width}, the width of the encoder")));
            }
        }
        if keys.flag("include_prompt")? == Some(false) {
            return Err(keys.wrong("include_prompt", "true: pooling without the prompt is not supported yet"));
        }
        match keys.get("pooling_mode") {
            Some(_) => Self::new_spelling(&keys),
            None => Self::old_spelling(&keys),
        }
    }

    fn new_spelling(keys: &Keys) -> Result<Self> {
        let mode = match keys.get("pooling_mode") {
            Some(Value::String(mode)) => Some(mode.as_str()),
            Some(Value::Array(modes)) if modes.len() == 1 => modes[0].as_str(),
            _ => None,
        };
        match mode {
            Some("mean") => Ok(Self::Mean),
            _ => Err(keys.wrong("pooling_mode", "mean: no other mode and no concatenation is supported yet")),
        }
    }

    fn old_spelling(keys: &Keys) -> Result<Self> {
        // With no mode at all the reference takes the mean, too.
        for key in keys.beginning_with("pooling_mode_") {
            if keys.flag(key)? == Some(true) && key != "pooling_mode_mean_tokens" {
                return Err(keys.wrong(key, "false: of the pooling modes only mean is supported yet"));
            }
        }
        Ok(Self::Mean)
    }

    /// One vector `[D]` from the vectors of a sentence's tokens `[L, D]`.
    pub(super) fn apply(self, level: Level, tokens: MatRef<'_>, out: &mut [f32]) {
        match self {
            Self::Mean => mean_of_rows(level, tokens, out),
        }
    }

    pub(super) fn describe(self) -> String {
        match self {
            Self::Mean => "mean pooling".to_owned(),
        }
    }
}
