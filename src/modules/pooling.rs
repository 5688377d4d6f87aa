//! Pooling: many token vectors to one.
//!
//! Six ways, of which several may be asked for at once; their results then stand one after another. With m the tokens that
//! count, which are all, special ones included, but those of the prompt if `include_prompt` is false:
//!
//! | mode | the vector |
//! |---|---|
//! | `cls` | that of the first token of m |
//! | `max` | in each dimension the largest number |
//! | `mean` | Σ x / n |
//! | `mean_sqrt_len_tokens` | Σ x / √n |
//! | `weightedmean` | Σ w x / Σ w, where w is 1 for the first token of the text, 2 for the second, … |
//! | `lasttoken` | that of the last token of m |
//!
//! Follows sentence-transformers 6.2.0, `sentence_transformer/modules/pooling.py`. Where no token counts, because a text was
//! cut before its prompt ended, the reference's sums are zero, `cls` is the first token of all, and `max` is −∞, which is
//! refused.

use std::ops::Range;

use likewise_kernels::Level;
use likewise_kernels::rows::{Count, max_of_rows, sum_of_rows};
use likewise_kernels::view::MatRef;
use serde_json::Value;

use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, file_in};

/// How token vectors become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pooling {
    modes: Vec<Mode>,
    /// Whether the tokens of the prompt count.
    include_prompt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Cls,
    Max,
    Mean,
    MeanSqrtLen,
    WeightedMean,
    LastToken,
}

impl Mode {
    /// In the order in which the old spelling joins them.
    const ALL: [Self; 6] = [Self::Cls, Self::Max, Self::Mean, Self::MeanSqrtLen, Self::WeightedMean, Self::LastToken];

    /// What it is called since 5.4.
    fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::MeanSqrtLen => "mean_sqrt_len_tokens",
            Self::WeightedMean => "weightedmean",
            Self::LastToken => "lasttoken",
        }
    }

    /// The key that was true for it before.
    fn old_key(self) -> &'static str {
        match self {
            Self::Cls => "pooling_mode_cls_token",
            Self::Max => "pooling_mode_max_tokens",
            Self::Mean => "pooling_mode_mean_tokens",
            Self::MeanSqrtLen => "pooling_mode_mean_sqrt_len_tokens",
            Self::WeightedMean => "pooling_mode_weightedmean_tokens",
            Self::LastToken => "pooling_mode_lasttoken",
        }
    }

    /// `counted`: the tokens that count.
    fn apply(self, level: Level, tokens: MatRef<'_>, counted: Range<usize>, out: &mut [f32]) {
        let rows = tokens.rows_in(counted.clone());
        let n = rows.rows();
        // 1 + 2 + … less those that do not count. What is divided by is at least 10⁻⁹, as in the reference.
        let weights = (counted.start + 1..=counted.end).sum::<usize>() as f32;
        match self {
            Self::Cls => out.copy_from_slice(tokens.row(if n == 0 { 0 } else { counted.start })),
            Self::Max if n == 0 => out.fill(f32::NEG_INFINITY),
            Self::Max => max_of_rows(level, rows, out),
            Self::Mean => sum_of_rows(level, rows, Count::Once, (n as f32).max(1e-9), out),
            Self::MeanSqrtLen => sum_of_rows(level, rows, Count::Once, (n as f32).max(1e-9).sqrt(), out),
            Self::WeightedMean => {
                sum_of_rows(level, rows, Count::RisingFrom(counted.start as f32 + 1.0), weights.max(1e-9), out);
            }
            Self::LastToken if n == 0 => out.fill(0.0),
            Self::LastToken => out.copy_from_slice(rows.row(n - 1)),
        }
    }
}

impl Pooling {
    /// What a model without modules.json gets.
    pub(super) fn mean() -> Self {
        Self { modes: vec![Mode::Mean], include_prompt: true }
    }

    /// Reads `{path}/config.json`, in the spelling of sentence-transformers before or since 5.4.
    pub(super) fn load(files: &ModelFiles, path: &str, width: usize) -> Result<Self> {
        let name = file_in(path, CONFIG);
        let bytes = files.require(&name, "the configuration of a Pooling module")?;
        let keys = JsonObject::parse(&files.label(&name), &bytes)?;
        for key in ["embedding_dimension", "word_embedding_dimension"] {
            if keys.positive_integer(key)?.is_some_and(|stated| stated != width) {
                return Err(keys.invalid_value(key, format!("{width}, the width of the encoder")));
            }
        }
        let modes = match keys.get("pooling_mode") {
            Some(value) => new_spelling(&keys, value)?,
            None => old_spelling(&keys)?,
        };
        Ok(Self { modes, include_prompt: keys.boolean("include_prompt")?.unwrap_or(true) })
    }

    /// Numbers in the pooled vector, from D in those of tokens.
    pub(super) fn width(&self, tokens: usize) -> usize {
        self.modes.len() * tokens
    }

    /// Whether the tokens of the prompt count.
    pub(super) fn includes_prompt(&self) -> bool {
        self.include_prompt
    }

    /// One vector `[modes·D]` from the vectors of a sentence's tokens `[L, D]`, of which the first `prompt` are the prompt's.
    pub(super) fn apply(&self, level: Level, tokens: MatRef<'_>, prompt: usize, out: &mut [f32]) {
        let first = if self.include_prompt { 0 } else { prompt.min(tokens.rows()) };
        for (mode, out) in self.modes.iter().zip(out.chunks_exact_mut(tokens.cols())) {
            mode.apply(level, tokens, first..tokens.rows(), out);
        }
    }

    /// "mean pooling", "cls + max pooling without the prompt".
    pub(super) fn describe(&self) -> String {
        let modes: Vec<&str> = self.modes.iter().map(|mode| mode.name()).collect();
        let without = if self.include_prompt { "" } else { " without the prompt" };
        format!("{} pooling{without}", modes.join(" + "))
    }
}

/// A mode by name, or a list of such.
fn new_spelling(keys: &JsonObject, value: &Value) -> Result<Vec<Mode>> {
    let names = match value {
        Value::Array(names) => names.as_slice(),
        one => std::slice::from_ref(one),
    };
    let find = |name: &Value| Mode::ALL.into_iter().find(|mode| Some(mode.name()) == name.as_str());
    let modes: Option<Vec<Mode>> = names.iter().map(find).collect();
    let known = Mode::ALL.map(Mode::name).join(", ");
    modes
        .filter(|modes| !modes.is_empty() && modes.len() <= Mode::ALL.len())
        .ok_or_else(|| keys.invalid_value("pooling_mode", format!("up to {} of {known}", Mode::ALL.len())))
}

/// A key that is true for each mode. None of them is the mean.
fn old_spelling(keys: &JsonObject) -> Result<Vec<Mode>> {
    for key in keys.keys_with_prefix("pooling_mode_") {
        if !Mode::ALL.iter().any(|mode| mode.old_key() == key) && keys.boolean(key)? == Some(true) {
            return Err(keys.invalid_value(key, "false: such a pooling mode is not known"));
        }
    }
    let mut modes = Vec::new();
    for mode in Mode::ALL {
        if keys.boolean(mode.old_key())? == Some(true) {
            modes.push(mode);
        }
    }
    Ok(if modes.is_empty() { vec![Mode::Mean] } else { modes })
}
