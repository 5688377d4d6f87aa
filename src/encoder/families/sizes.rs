//! The sizes that all families read from config.json, and the modules that follow from them.

use likewise_kernels::math::Activation;

use crate::config::JsonObject;
use crate::encoder::spec::{AttentionSpec, FeedForwardSpec, LinearSpec, NormSpec, RelativeKeysSpec, TableSpec};
use crate::error::Result;

/// The deepest published encoders have 48 layers. The limit keeps a damaged config.json from
/// filling the memory with specs.
const MAX_LAYERS: usize = 1024;

/// Sizes and settings that every family has.
pub(super) struct Sizes {
    /// D, the width of the residual stream.
    pub(super) hidden: usize,
    /// H, the number of heads.
    pub(super) heads: usize,
    /// F, the width inside the feed-forward network.
    pub(super) intermediate: usize,
    pub(super) layers: usize,
    /// V, the number of token embeddings.
    pub(super) vocabulary: usize,
    /// P, the rows of the position table.
    pub(super) position_rows: usize,
    pub(super) epsilon: f32,
    pub(super) activation: Activation,
}

impl Sizes {
    /// Reads the keys that BERT, RoBERTa and MPNet have in common.
    ///
    /// Defaults are those of the classes in transformers 5.23.0, `configuration_*.py`.
    pub(super) fn read(config: &JsonObject, default_vocabulary: usize) -> Result<Self> {
        let size = |key, default| -> Result<usize> { Ok(config.positive_integer(key)?.unwrap_or(default)) };
        Self {
            hidden: size("hidden_size", 768)?,
            heads: size("num_attention_heads", 12)?,
            intermediate: size("intermediate_size", 3072)?,
            layers: size("num_hidden_layers", 12)?,
            vocabulary: size("vocab_size", default_vocabulary)?,
            position_rows: size("max_position_embeddings", 512)?,
            epsilon: config.positive_number("layer_norm_eps")?.unwrap_or(1e-12),
            activation: activation(config, "hidden_act")?,
        }
        .validated(config, "num_attention_heads", "num_hidden_layers")
    }

    /// Checks that the sizes are consistent. The keys are those that the family reads.
    ///
    /// # Errors
    /// If the heads do not divide the hidden size, or there are too many layers.
    pub(super) fn validated(self, config: &JsonObject, heads_key: &str, layers_key: &str) -> Result<Self> {
        if !self.hidden.is_multiple_of(self.heads) {
            let expected = format!("a divisor of the hidden size {}", self.hidden);
            return Err(config.invalid_value(heads_key, expected));
        }
        if self.layers > MAX_LAYERS {
            return Err(config.invalid_value(layers_key, format!("at most {MAX_LAYERS}")));
        }
        Ok(self)
    }

    /// Returns d, the size of a head.
    pub(super) fn head_size(&self) -> usize {
        self.hidden / self.heads
    }

    /// Describes multi-head attention whose queries, keys and values are three modules.
    pub(super) fn attention(&self, query_key_value: [String; 3], output: &str) -> AttentionSpec {
        AttentionSpec {
            heads: self.heads,
            head_size: self.head_size(),
            qkv: LinearSpec::joined(&query_key_value.each_ref().map(String::as_str), self.hidden, self.hidden),
            output: LinearSpec::module(output, self.hidden, self.hidden),
            relative_keys: None,
        }
    }

    pub(super) fn feed_forward(&self, up: &str, down: &str) -> FeedForwardSpec {
        FeedForwardSpec {
            up: LinearSpec::module(up, self.intermediate, self.hidden),
            activation: self.activation,
            down: LinearSpec::module(down, self.hidden, self.intermediate),
        }
    }

    pub(super) fn norm(&self, module: &str) -> NormSpec {
        NormSpec::module(module, self.epsilon)
    }
}

/// Returns the activation that a key names (transformers 5.23.0, `activations.py`); GELU if it is
/// absent.
pub(super) fn activation(config: &JsonObject, key: &str) -> Result<Activation> {
    Ok(match config.string(key)? {
        None | Some("gelu" | "gelu_python") => Activation::Gelu,
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate") => Activation::GeluTanh,
        Some("relu") => Activation::Relu,
        Some("silu" | "swish") => Activation::Silu,
        Some("tanh") => Activation::Tanh,
        Some("quick_gelu") => Activation::QuickGelu,
        Some("mish") => Activation::Mish,
        Some(_) => {
            let all = "one of gelu, gelu_python, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, relu, silu, swish, \
                       tanh, quick_gelu, mish";
            return Err(config.invalid_value(key, all));
        }
    })
}

/// The kind of position embedding (`position_embedding_type`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PositionEmbeddingType {
    /// A position table and nothing else.
    Absolute,
    /// Relative key embeddings instead of a position table.
    RelativeKey { multiply_keys: bool },
}

impl PositionEmbeddingType {
    /// Reads the kind. Follows transformers 4.57.1, `models/bert/modeling_bert.py`,
    /// `BertSelfAttention`. Version 5 ignores the key, and so computes something else than these
    /// models were trained for.
    pub(super) fn read(config: &JsonObject) -> Result<Self> {
        const KEY: &str = "position_embedding_type";
        match config.string(KEY)? {
            None | Some("absolute") => Ok(Self::Absolute),
            Some("relative_key") => Ok(Self::RelativeKey { multiply_keys: false }),
            Some("relative_key_query") => Ok(Self::RelativeKey { multiply_keys: true }),
            Some(_) => Err(config.invalid_value(KEY, "absolute, relative_key or relative_key_query")),
        }
    }

    /// Rejects every kind but a position table.
    ///
    /// # Errors
    /// If the key specifies anything else.
    pub(super) fn require_absolute(config: &JsonObject) -> Result<()> {
        const KEY: &str = "position_embedding_type";
        if config.string(KEY)?.is_some_and(|kind| kind != "absolute") {
            return Err(config.invalid_value(KEY, "absolute"));
        }
        Ok(())
    }

    /// Describes the relative key embeddings of one layer, if the model has them.
    pub(super) fn relative_keys(self, sizes: &Sizes, table: String) -> Option<RelativeKeysSpec> {
        match self {
            Self::Absolute => None,
            Self::RelativeKey { multiply_keys } => {
                Some(RelativeKeysSpec { table: TableSpec::new(table, 2 * sizes.position_rows - 1), multiply_keys })
            }
        }
    }
}
