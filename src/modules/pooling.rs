//! Pooling: the vectors of a text's tokens `[L, D]` to one vector `[W]` (Reimers and Gurevych 2019,
//! <https://arxiv.org/abs/1908.10084>, §3).
//!
//! There are six modes. A model may use several of them; their results are concatenated. All tokens
//! count, special tokens included. With `include_prompt: false` the tokens of the prompt do not
//! count. For n counted tokens:
//!
//! | mode | the pooled vector |
//! |---|---|
//! | `cls` | the vector of the first counted token |
//! | `max` | the maximum in each dimension |
//! | `mean` | Σ x / n |
//! | `mean_sqrt_len_tokens` | Σ x / √n |
//! | `weightedmean` | Σ w x / Σ w, where w is 1 for the first token of the text, 2 for the second |
//! | `lasttoken` | the vector of the last counted token |
//!
//! Follows sentence-transformers 6.2.0, `sentence_transformer/modules/pooling.py`. No token counts
//! if truncation cut the text before the end of its prompt. As in sentence-transformers, the sums
//! are then 0, `cls` is the first token of the text, and `max` is −∞, which the check for finite
//! vectors rejects.

use std::ops::Range;

use likewise_kernels::Level;
use likewise_kernels::reduce::{RowWeights, max_over_rows, sum_over_rows};
use likewise_kernels::view::MatRef;
use serde_json::Value;

use super::module_config::module_config;
use crate::config::{InertKeys, JsonObject};
use crate::error::Result;
use crate::files::ModelFiles;

/// The configuration of a Pooling module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pooling {
    modes: Vec<PoolingMode>,
    /// Whether the tokens of the prompt count.
    include_prompt: bool,
}

/// The keys that sentence-transformers ignores beside `pooling_mode`.
const OLDER_KEYS: [&str; 6] = [
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    "pooling_mode_lasttoken",
];

/// The smallest divisor of a sum, as in sentence-transformers.
const MIN_DIVISOR: f32 = 1e-9;

/// A way to pool the vectors of a sentence's tokens to one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolingMode {
    /// The vector of the first token.
    Cls,
    /// The maximum in each dimension.
    Max,
    /// The mean.
    Mean,
    /// The sum, divided by the square root of the number of tokens.
    MeanSqrtLen,
    /// The mean with rising weights: 1 for the first token, 2 for the second.
    WeightedMean,
    /// The vector of the last token.
    LastToken,
}

impl PoolingMode {
    /// All modes, in the order in which the boolean keys concatenate them.
    const ALL: [Self; 6] = [Self::Cls, Self::Max, Self::Mean, Self::MeanSqrtLen, Self::WeightedMean, Self::LastToken];

    /// Returns the name of the mode in sentence-transformers, such as "mean".
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::MeanSqrtLen => "mean_sqrt_len_tokens",
            Self::WeightedMean => "weightedmean",
            Self::LastToken => "lasttoken",
        }
    }

    /// Returns the boolean key of the mode, before sentence-transformers 5.4.
    fn boolean_key(self) -> &'static str {
        match self {
            Self::Cls => "pooling_mode_cls_token",
            Self::Max => "pooling_mode_max_tokens",
            Self::Mean => "pooling_mode_mean_tokens",
            Self::MeanSqrtLen => "pooling_mode_mean_sqrt_len_tokens",
            Self::WeightedMean => "pooling_mode_weightedmean_tokens",
            Self::LastToken => "pooling_mode_lasttoken",
        }
    }

    /// Pools the token vectors `[L, D]` to `out` `[D]`. Only the tokens in `counted` count.
    fn apply(self, level: Level, tokens: MatRef<'_>, counted: Range<usize>, out: &mut [f32]) {
        let rows = tokens.rows_in(counted.clone());
        let n = rows.rows();
        let count = (n as f32).max(MIN_DIVISOR);
        match self {
            Self::Cls => out.copy_from_slice(tokens.row(if n == 0 { 0 } else { counted.start })),
            Self::Max if n == 0 => out.fill(f32::NEG_INFINITY),
            Self::Max => max_over_rows(level, rows, out),
            Self::Mean => sum_over_rows(level, rows, RowWeights::Uniform, count, out),
            Self::MeanSqrtLen => sum_over_rows(level, rows, RowWeights::Uniform, count.sqrt(), out),
            Self::WeightedMean => {
                let first_weight = counted.start + 1;
                let weights = (first_weight..=counted.end).sum::<usize>() as f32;
                let rising = RowWeights::Linear(counted.start as f32 + 1.0);
                sum_over_rows(level, rows, rising, weights.max(MIN_DIVISOR), out);
            }
            Self::LastToken if n == 0 => out.fill(0.0),
            Self::LastToken => out.copy_from_slice(rows.row(n - 1)),
        }
    }
}

impl Pooling {
    /// Returns the pooling of one mode over all tokens.
    pub(super) fn of_mode(mode: PoolingMode) -> Self {
        Self { modes: vec![mode], include_prompt: true }
    }

    /// Loads `{path}/config.json`. `width` is the width of a token vector, D.
    ///
    /// The file has `pooling_mode` since sentence-transformers 5.4, and a boolean key for each mode
    /// before.
    ///
    /// # Errors
    /// If the file is missing or damaged, a mode is not supported, or the width does not match.
    pub(super) fn load(files: &ModelFiles, path: &str, width: usize) -> Result<Self> {
        let keys = module_config(files, path, "the configuration of a Pooling module")?;
        for key in ["embedding_dimension", "word_embedding_dimension"] {
            if keys.positive_integer(key)?.is_some_and(|stated| stated != width) {
                return Err(keys.invalid_value(key, format!("{width}, the width of the encoder")));
            }
        }
        let modes = match keys.get("pooling_mode") {
            Some(value) => modes_by_name(&keys, value)?,
            None => modes_by_boolean_keys(&keys)?,
        };
        let include_prompt = keys.boolean("include_prompt")?.unwrap_or(true);
        keys.reject_unread(&[&InertKeys { any_value: &OLDER_KEYS, one_value: &[] }])?;
        Ok(Self { modes, include_prompt })
    }

    /// Returns W, the width of the pooled vector, from D, that of a token vector.
    pub(super) fn width(&self, token_width: usize) -> usize {
        self.modes.len() * token_width
    }

    /// Returns the modes, whose results are concatenated.
    pub(super) fn modes(&self) -> &[PoolingMode] {
        &self.modes
    }

    /// Returns whether the tokens of the prompt count.
    pub(super) fn includes_prompt(&self) -> bool {
        self.include_prompt
    }

    /// Pools the token vectors `[L, D]` of a text to `out` `[W]`, where W = modes · D. The first
    /// `excluded_tokens` tokens are not pooled.
    pub(super) fn apply(&self, level: Level, tokens: MatRef<'_>, excluded_tokens: usize, out: &mut [f32]) {
        let first = excluded_tokens.min(tokens.rows());
        for (mode, out) in self.modes.iter().zip(out.chunks_exact_mut(tokens.cols())) {
            mode.apply(level, tokens, first..tokens.rows(), out);
        }
    }

    /// Returns the index of the only token whose vector is read, in a text of so many tokens. None
    /// if several are, or none.
    pub(super) fn single_token(&self, tokens: usize, excluded_tokens: usize) -> Option<usize> {
        let first = excluded_tokens.min(tokens);
        match self.modes.as_slice() {
            [PoolingMode::Cls] => Some(if first == tokens { 0 } else { first }),
            [PoolingMode::LastToken] => tokens.checked_sub(1).filter(|&last| first <= last),
            _ => None,
        }
    }

    /// Describes the module, such as "mean pooling" or "cls + max pooling without the prompt".
    pub(super) fn describe(&self) -> String {
        let modes: Vec<&str> = self.modes.iter().map(|mode| mode.name()).collect();
        let without = if self.include_prompt { "" } else { " without the prompt" };
        format!("{} pooling{without}", modes.join(" + "))
    }
}

/// Reads `pooling_mode`: the name of a mode, or a list of names.
fn modes_by_name(keys: &JsonObject, value: &Value) -> Result<Vec<PoolingMode>> {
    let names = match value {
        Value::Array(names) => names.as_slice(),
        one => std::slice::from_ref(one),
    };
    let find = |name: &Value| PoolingMode::ALL.into_iter().find(|mode| Some(mode.name()) == name.as_str());
    let modes: Option<Vec<PoolingMode>> = names.iter().map(find).collect();
    let known = PoolingMode::ALL.map(PoolingMode::name).join(", ");
    modes
        .filter(|modes| !modes.is_empty() && modes.len() <= PoolingMode::ALL.len())
        .ok_or_else(|| keys.invalid_value("pooling_mode", format!("up to {} of {known}", PoolingMode::ALL.len())))
}

/// Reads the boolean keys, one for each mode. If none is true, the mode is the mean.
fn modes_by_boolean_keys(keys: &JsonObject) -> Result<Vec<PoolingMode>> {
    for key in keys.keys_with_prefix("pooling_mode_") {
        if !PoolingMode::ALL.iter().any(|mode| mode.boolean_key() == key) && keys.boolean(key)? == Some(true) {
            return Err(keys.invalid_value(key, "false: this pooling mode is not supported"));
        }
    }
    let mut modes = Vec::new();
    for mode in PoolingMode::ALL {
        if keys.boolean(mode.boolean_key())? == Some(true) {
            modes.push(mode);
        }
    }
    Ok(if modes.is_empty() { vec![PoolingMode::Mean] } else { modes })
}
