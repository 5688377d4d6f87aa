//! The sizes that all families read from config.json, and the modules that follow from them.

use likewise_kernels::math::Activation;

use crate::config::JsonObject;
use crate::encoder::spec::{AttentionSpec, FeedForwardSpec, LinearSpec, NormSpec, RelativeKeysSpec, TableSpec, Window};
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
    /// The defaults of `BertConfig`.
    pub(super) const BERT: Self = Self {
        hidden: 768,
        heads: 12,
        intermediate: 3072,
        layers: 12,
        vocabulary: 30_522,
        position_rows: 512,
        epsilon: 1e-12,
        activation: Activation::Gelu,
    };

    /// Reads the keys that most families have in common.
    ///
    /// `defaults` are those of the family's class in transformers 5.23.0, `configuration_*.py`.
    pub(super) fn read(config: &JsonObject, defaults: &Self) -> Result<Self> {
        let size = |key, default| -> Result<usize> { Ok(config.positive_integer(key)?.unwrap_or(default)) };
        Self {
            hidden: size("hidden_size", defaults.hidden)?,
            heads: size("num_attention_heads", defaults.heads)?,
            intermediate: size("intermediate_size", defaults.intermediate)?,
            layers: size("num_hidden_layers", defaults.layers)?,
            vocabulary: size("vocab_size", defaults.vocabulary)?,
            position_rows: size("max_position_embeddings", defaults.position_rows)?,
            epsilon: config.positive_number("layer_norm_eps")?.unwrap_or(defaults.epsilon),
            activation: activation(config, "hidden_act", "gelu")?,
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
        self.with_few_layers(config, layers_key)
    }

    /// Checks the number of layers, of a family whose heads need not divide the hidden size.
    pub(super) fn with_few_layers(self, config: &JsonObject, key: &str) -> Result<Self> {
        self.check_layers(config, key, self.layers)?;
        Ok(self)
    }

    /// Checks a number of layers, which follows from the key.
    pub(super) fn check_layers(&self, config: &JsonObject, key: &str, layers: usize) -> Result<()> {
        if layers > MAX_LAYERS {
            return Err(config.invalid_value(key, format!("at most {MAX_LAYERS} layers in all")));
        }
        Ok(())
    }

    /// Checks a key that repeats the size of a head.
    pub(super) fn require_head_size(&self, config: &JsonObject, key: &str) -> Result<()> {
        let expected = self.head_size();
        if config.positive_integer(key)?.is_some_and(|size| size != expected) {
            return Err(config.invalid_value(key, format!("{expected}, the hidden size divided by the heads")));
        }
        Ok(())
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
            rotary: None,
            relative_keys: None,
            scale: 1.0 / (self.head_size() as f32).sqrt(),
            window: Window::FULL,
        }
    }

    pub(super) fn feed_forward(&self, up: &str, down: &str) -> FeedForwardSpec {
        FeedForwardSpec {
            up: LinearSpec::module(up, self.intermediate, self.hidden),
            activation: self.activation,
            is_gated: false,
            down: LinearSpec::module(down, self.hidden, self.intermediate),
        }
    }

    pub(super) fn norm(&self, module: &str) -> NormSpec {
        NormSpec::module(module, self.epsilon)
    }
}

/// Returns the activation that a key names, or the default if the key is absent.
pub(super) fn activation(config: &JsonObject, key: &str, default: &str) -> Result<Activation> {
    activation_of(config.string(key)?.unwrap_or(default)).ok_or_else(|| {
        let all = "one of gelu, gelu_python, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, relu, silu, swish, \
                   tanh, quick_gelu, mish, sigmoid";
        config.invalid_value(key, all)
    })
}

/// Returns the activation of a name (transformers 5.23.0, `activations.py`).
pub(super) fn activation_of(name: &str) -> Option<Activation> {
    Some(match name {
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        "quick_gelu" => Activation::QuickGelu,
        "mish" => Activation::Mish,
        "sigmoid" => Activation::Sigmoid,
        _ => return None,
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
