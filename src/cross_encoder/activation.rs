//! The function that turns the numbers of a head into scores.

use std::fmt;

use likewise_kernels::Level;
use likewise_kernels::math::{Activation, activate, exp_nonpositive};
use likewise_kernels::view::MatMut;

use crate::config::JsonObject;
use crate::error::Result;
use crate::modules::torch_activation;

/// A function of the numbers of one pair `[labels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScoreActivation {
    Identity,
    Softmax,
    Each(Activation),
}

impl ScoreActivation {
    /// Returns the function that a model's files name.
    ///
    /// The first key that exists counts: `activation_fn` of config_sentence_transformers.json,
    /// `sentence_transformers.activation_fn` of config.json, and
    /// `sbert_ce_default_activation_function` there, which versions before 4.0 wrote. As in
    /// sentence-transformers, a class outside torch is never run: the next key counts, or after the
    /// keys of config.json the default, which is σ for one label and the identity for several.
    ///
    /// # Errors
    /// If a key names a class of torch that is not supported.
    pub(super) fn read(sentence_config: Option<&JsonObject>, config: &JsonObject, labels: usize) -> Result<Self> {
        if let Some(keys) = sentence_config
            && let Some(function) = Self::of_key(keys, "activation_fn")?
        {
            return Ok(function);
        }
        let nested = config.object("sentence_transformers")?;
        let found = match &nested {
            Some(keys) if keys.get("activation_fn").is_some() => Self::of_key(keys, "activation_fn")?,
            _ => Self::of_key(config, "sbert_ce_default_activation_function")?,
        };
        let default = if labels == 1 { Self::Each(Activation::Sigmoid) } else { Self::Identity };
        Ok(found.unwrap_or(default))
    }

    /// Returns the function of a class path. None if there is no such key, or the class is not of
    /// torch.
    fn of_key(keys: &JsonObject, key: &str) -> Result<Option<Self>> {
        let Some(path) = keys.string(key)?.filter(|path| path.starts_with("torch.")) else { return Ok(None) };
        if path.rsplit('.').next() == Some("Softmax") {
            return Ok(Some(Self::Softmax));
        }
        match torch_activation(path) {
            Ok(activation) => Ok(Some(activation.map_or(Self::Identity, Self::Each))),
            Err(()) => {
                let expected = "Identity, Sigmoid, Softmax, Tanh, ReLU, GELU, SiLU or Mish of the package torch";
                Err(keys.invalid_value(key, expected))
            }
        }
    }

    /// Applies the function to the numbers of pairs `[pairs, labels]`.
    pub(super) fn apply(self, level: Level, numbers: &mut [f32], labels: usize) {
        match self {
            Self::Identity => {}
            Self::Softmax => numbers.chunks_exact_mut(labels).for_each(|row| softmax(level, row)),
            Self::Each(activation) => {
                let columns = numbers.len();
                activate(level, activation, MatMut::new(numbers, 1, columns));
            }
        }
    }
}

impl fmt::Display for ScoreActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("Identity"),
            Self::Softmax => f.write_str("Softmax"),
            Self::Each(activation) => write!(f, "{activation:?}"),
        }
    }
}

/// `problem_type` of config.json, which the pipeline of transformers reads.
#[cfg(feature = "serve")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemType {
    /// Numbers are scores.
    Regression,
    /// Each label applies or not, whatever the others do.
    Multilabel,
    /// One label applies. This is the default.
    SingleLabel,
}

#[cfg(feature = "serve")]
impl ProblemType {
    /// Reads the key. Other values than the three of transformers count as none.
    ///
    /// # Errors
    /// If it is not a string.
    pub(super) fn read(config: &JsonObject) -> Result<Self> {
        Ok(match config.string("problem_type")? {
            Some("regression") => Self::Regression,
            Some("multi_label_classification") => Self::Multilabel,
            _ => Self::SingleLabel,
        })
    }

    /// Returns the function of the pipeline of transformers 5.23.0,
    /// `pipelines/text_classification.py`.
    pub(super) fn activation(self, labels: usize) -> ScoreActivation {
        match self {
            Self::Regression => ScoreActivation::Identity,
            Self::Multilabel => ScoreActivation::Each(Activation::Sigmoid),
            Self::SingleLabel if labels == 1 => ScoreActivation::Each(Activation::Sigmoid),
            Self::SingleLabel => ScoreActivation::Softmax,
        }
    }
}

/// Replaces numbers by their softmax: exp(x − max) / Σ exp(x − max).
fn softmax(level: Level, row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x -= max);
    exp_nonpositive(level, row);
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_of_large_numbers_sums_to_one() {
        for level in Level::available() {
            let mut row = [1000.0, 1001.0, -1e30];
            ScoreActivation::Softmax.apply(level, &mut row, 3);
            assert!((row[1] - 0.731_058_6).abs() < 1e-6 && row[2] == 0.0, "{row:?}");
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}
