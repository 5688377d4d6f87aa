//! The encoder of T5 (Raffel et al. 2019, <https://arxiv.org/abs/1910.10683>): sentence-t5, gtr-t5.
//!
//! A pre-norm network without any bias, whose norms divide by the root mean square:
//!
//! ```text
//! x = x + Attention(RMSNorm(x))
//! x = x + W_o relu(W_i RMSNorm(x))            version 1.0
//! x = x + W_o (gelu(W_0 n) · W_1 n)           version 1.1, n = RMSNorm(x)
//! ```
//!
//! and a norm after the last layer. Positions enter as a learned bias of the attention scores by
//! buckets of distances, which the first layer has and all add. The scores are not divided by √d:
//! the initial weights of the queries were. Follows transformers 5.23.0,
//! `models/t5/modeling_t5.py`.

use likewise_kernels::math::Activation;

use super::sizes::{Sizes, activation, activation_of};
use crate::batch::PositionIds;
use crate::config::{InertKeys, JsonObject};
use crate::encoder::spec::{
    AttentionSpec, DistanceBuckets, EmbeddingsSpec, EncoderSpec, Family, FeedForwardSpec, LayerSpec, LinearSpec,
    NormSpec, PositionTableSpec, RelativeBiasSpec, SublayerSpec, TableSpec, Window,
};
use crate::error::Result;

/// The decoder. `n_positions` is a note of the first
/// checkpoints: the bias has no largest distance. `is_encoder_decoder` describes the whole model.
pub(super) const INERT_KEYS: InertKeys = InertKeys {
    any_value: &["is_encoder_decoder", "n_positions", "num_decoder_layers", "scale_decoder_outputs"],
    one_value: &[],
};

/// The longest text. The model itself has no limit; this one bounds the memory that a damaged
/// tokenizer_config.json can request.
const MAX_TOKENS: usize = 1 << 15;

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    let size = |key, default| -> Result<usize> { Ok(config.positive_integer(key)?.unwrap_or(default)) };
    let (of_feed_forward, is_gated) = feed_forward_kind(config)?;
    let sizes = Sizes {
        hidden: size("d_model", 512)?,
        heads: size("num_heads", 8)?,
        intermediate: size("d_ff", 2048)?,
        layers: size("num_layers", 6)?,
        vocabulary: size("vocab_size", 32_128)?,
        position_rows: MAX_TOKENS,
        epsilon: config.positive_number("layer_norm_epsilon")?.unwrap_or(1e-6),
        activation: of_feed_forward,
    }
    .with_few_layers(config, "num_layers")?;
    let head_size = size("d_kv", 64)?;
    let buckets = DistanceBuckets {
        count: size("relative_attention_num_buckets", 32)?,
        max_distance: size("relative_attention_max_distance", 128)?,
    };
    check_buckets(config, buckets)?;
    let layer = |i: usize| layer(&sizes, head_size, is_gated, i);
    let bias_table = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    Ok(EncoderSpec {
        family: Family::T5,
        hidden_size: sizes.hidden,
        max_tokens: MAX_TOKENS,
        embeddings: EmbeddingsSpec {
            width: sizes.hidden,
            tokens: TableSpec::new("shared.weight", sizes.vocabulary),
            token_types: None,
            positions: PositionTableSpec::None,
            position_ids: PositionIds::Sequential,
            norm: None,
            projection: None,
        },
        relative_bias: Some(RelativeBiasSpec::Buckets { table: TableSpec::new(bias_table, buckets.count), buckets }),
        layers: (0..sizes.layers).map(layer).collect(),
        layer_order: (0..sizes.layers).collect(),
        final_norm: Some(norm(&sizes, "encoder.final_layer_norm")),
        prefixes: &["transformer."],
    })
}

fn norm(sizes: &Sizes, module: &str) -> NormSpec {
    NormSpec::root_mean_square(module, sizes.epsilon)
}

/// Describes layer i.
fn layer(sizes: &Sizes, head_size: usize, is_gated: bool, i: usize) -> LayerSpec {
    let width = sizes.heads * head_size;
    let at = |module: &str| format!("encoder.block.{i}.layer.{module}");
    let query_key_value = ["q", "k", "v"].map(|name| at(&format!("0.SelfAttention.{name}")));
    let names = query_key_value.each_ref().map(String::as_str);
    let attention = AttentionSpec {
        heads: sizes.heads,
        head_size,
        qkv: LinearSpec::joined(&names, width, sizes.hidden).without_bias(),
        output: LinearSpec::module(&at("0.SelfAttention.o"), sizes.hidden, width).without_bias(),
        rotary: None,
        relative_keys: None,
        scale: 1.0,
        window: Window::FULL,
    };
    let gates_and_values = ["wi_0", "wi_1"].map(|name| at(&format!("1.DenseReluDense.{name}")));
    let up = if is_gated { gates_and_values.to_vec() } else { vec![at("1.DenseReluDense.wi")] };
    let up: Vec<&str> = up.iter().map(String::as_str).collect();
    let down = LinearSpec::module(&at("1.DenseReluDense.wo"), sizes.hidden, sizes.intermediate);
    let feed_forward = FeedForwardSpec {
        up: LinearSpec::joined(&up, sizes.intermediate, sizes.hidden).without_bias(),
        activation: sizes.activation,
        is_gated,
        down: down.without_bias(),
    };
    LayerSpec {
        attention: SublayerSpec::pre_norm(attention, Some(norm(sizes, &at("0.layer_norm")))),
        feed_forward: SublayerSpec::pre_norm(feed_forward, Some(norm(sizes, &at("1.layer_norm")))),
    }
}

/// Reads `feed_forward_proj`: an activation, or `gated-` and an activation. `gated-gelu` means the
/// GELU with tanh. `dense_act_fn` and `is_gated_act`, which transformers writes beside it, win.
fn feed_forward_kind(config: &JsonObject) -> Result<(Activation, bool)> {
    const KEY: &str = "feed_forward_proj";
    let (name, is_gated) = match config.string(KEY)? {
        None => ("relu", false),
        Some("gated-gelu") => ("gelu_new", true),
        Some(kind) => kind.strip_prefix("gated-").map_or((kind, false), |name| (name, true)),
    };
    let is_gated = config.boolean("is_gated_act")?.unwrap_or(is_gated);
    match activation_of(name) {
        Some(_) if config.get("dense_act_fn").is_some() => Ok((activation(config, "dense_act_fn", name)?, is_gated)),
        Some(activation) => Ok((activation, is_gated)),
        None => Err(config.invalid_value(KEY, "relu, gated-gelu, or another known activation with or without gated-")),
    }
}

/// Checks that some distances have their own bucket, and that the others can grow.
fn check_buckets(config: &JsonObject, buckets: DistanceBuckets) -> Result<()> {
    const MIN_BUCKETS: usize = 4;
    if buckets.count < MIN_BUCKETS || !buckets.count.is_multiple_of(2) {
        let expected = format!("an even number of at least {MIN_BUCKETS}");
        return Err(config.invalid_value("relative_attention_num_buckets", expected));
    }
    let exact = buckets.count / 4;
    if buckets.max_distance <= exact {
        let expected = format!("more than a quarter of the buckets, {exact}");
        return Err(config.invalid_value("relative_attention_max_distance", expected));
    }
    Ok(())
}
