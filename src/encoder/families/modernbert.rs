//! ModernBERT (Warner et al. 2024, <https://arxiv.org/abs/2412.13663>): gte-modernbert,
//! granite-embedding r2, modernbert-embed, Ettin, mmBERT, ruri v3.
//!
//! A pre-norm network with rotary positions, gates and no biases:
//!
//! ```text
//! x = x + Attention(LayerNorm(x))                     without this norm in the first layer
//! x = x + W_o (gelu(W_i,1 n) · W_i,2 n),  n = LayerNorm(x)
//! ```
//!
//! and a norm after the last layer. In two of three layers a query sees only the keys up to 64
//! tokens away, and the rotations have another base. The paper and transformers call the second
//! half of W_i the gate; here the gate is the half that goes through the activation. Follows
//! transformers 5.23.0, `models/modernbert/modeling_modernbert.py`.

use super::rotary::from_parameters;
use super::sizes::{Sizes, activation};
use crate::batch::PositionIds;
use crate::config::{InertKeys, JsonObject};
use crate::encoder::spec::{
    EmbeddingsSpec, EncoderSpec, Family, LayerSpec, LinearSpec, NormSpec, PositionTableSpec, RotarySpec, SublayerSpec,
    TableSpec, Window,
};
use crate::error::Result;

/// How the model was trained, and heads for other tasks.
pub(super) const INERT_KEYS: InertKeys = InertKeys {
    any_value: &[
        "compile_model",
        "decoder_bias",
        "deterministic_flash_attn",
        "initializer_cutoff_factor",
        "mlp_dropout",
        "reference_compile",
        "repad_logits_with_grad",
        "sparse_pred_ignore_index",
        "sparse_prediction",
    ],
    one_value: &[("position_embedding_type", crate::config::InertValue::Text("absolute"))],
};

/// What differs between the layers that see the whole text and those that see a window of it.
struct Attended {
    rotary: RotarySpec,
    window: Window,
}

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    let sizes = sizes(config)?;
    let has_bias = |key| -> Result<bool> { Ok(config.boolean(key)?.unwrap_or(false)) };
    let [norm_bias, attention_bias, mlp_bias] =
        [has_bias("norm_bias")?, has_bias("attention_bias")?, has_bias("mlp_bias")?];
    let norm = |module: &str| -> NormSpec {
        let norm = sizes.norm(module);
        if norm_bias { norm } else { norm.without_bias() }
    };
    let linear = |module: &str, outputs, inputs, has_bias| {
        let linear = LinearSpec::module(module, outputs, inputs);
        if has_bias { linear } else { linear.without_bias() }
    };
    let [full, sliding] = attended(config, &sizes)?;
    let is_full = full_layers(config, sizes.layers)?;
    let layer = |i: usize| {
        let at = |module: &str| format!("layers.{i}.{module}");
        let seen = if is_full[i] { &full } else { &sliding };
        let mut attention = sizes.attention(Default::default(), &at("attn.Wo"));
        attention.qkv = linear(&at("attn.Wqkv"), 3 * sizes.hidden, sizes.hidden, attention_bias);
        attention.output = linear(&at("attn.Wo"), sizes.hidden, sizes.hidden, attention_bias);
        attention.rotary = Some(seen.rotary.clone());
        attention.window = seen.window;
        let mut feed_forward = sizes.feed_forward("", "");
        feed_forward.up = linear(&at("mlp.Wi"), 2 * sizes.intermediate, sizes.hidden, mlp_bias);
        feed_forward.is_gated = true;
        feed_forward.down = linear(&at("mlp.Wo"), sizes.hidden, sizes.intermediate, mlp_bias);
        LayerSpec {
            // The first layer reads the embeddings, which have been normalized.
            attention: SublayerSpec::pre_norm(attention, (i > 0).then(|| norm(&at("attn_norm")))),
            feed_forward: SublayerSpec::pre_norm(feed_forward, Some(norm(&at("mlp_norm")))),
        }
    };
    Ok(EncoderSpec {
        family: Family::ModernBert,
        hidden_size: sizes.hidden,
        max_tokens: sizes.position_rows,
        embeddings: EmbeddingsSpec {
            width: sizes.hidden,
            tokens: TableSpec::new("embeddings.tok_embeddings.weight", sizes.vocabulary),
            token_types: None,
            positions: PositionTableSpec::None,
            position_ids: PositionIds::Sequential,
            norm: Some(norm("embeddings.norm")),
            projection: None,
        },
        relative_bias: None,
        layers: (0..sizes.layers).map(layer).collect(),
        layer_order: (0..sizes.layers).collect(),
        final_norm: Some(norm("final_norm")),
        prefixes: &["model."],
    })
}

fn sizes(config: &JsonObject) -> Result<Sizes> {
    let size = |key, default| -> Result<usize> { Ok(config.positive_integer(key)?.unwrap_or(default)) };
    Sizes {
        hidden: size("hidden_size", 768)?,
        heads: size("num_attention_heads", 12)?,
        intermediate: size("intermediate_size", 1152)?,
        layers: size("num_hidden_layers", 22)?,
        vocabulary: size("vocab_size", 50_368)?,
        position_rows: size("max_position_embeddings", 8192)?,
        epsilon: config.positive_number("norm_eps")?.or(config.positive_number("layer_norm_eps")?).unwrap_or(1e-5),
        activation: activation(config, "hidden_activation", "gelu")?,
    }
    .validated(config, "num_attention_heads", "num_hidden_layers")
}

/// Returns what layers with full attention and layers with a window have.
fn attended(config: &JsonObject, sizes: &Sizes) -> Result<[Attended; 2]> {
    let parameters = config.object("rope_parameters")?;
    let scaling = config.object("rope_scaling")?;
    let rotary = |layer_type: &str, key: &str, default: f32| -> Result<RotarySpec> {
        let of_type = parameters.as_ref().map(|parameters| parameters.object(layer_type)).transpose()?.flatten();
        let base = config.positive_number(key)?.unwrap_or(default);
        from_parameters(config, of_type.as_ref().or(scaling.as_ref()), base, sizes.head_size())
    };
    let full = rotary("full_attention", "global_rope_theta", 160_000.0)?;
    let sliding = rotary("sliding_attention", "local_rope_theta", 10_000.0)?;
    if let Some(parameters) = &parameters {
        parameters.reject_unread(&[])?;
    }
    // Both ends included: a query sees keys up to half of this away.
    let span = config.positive_integer("local_attention")?.unwrap_or(128);
    let window = Window::symmetric(span / 2);
    Ok([Attended { rotary: full, window: Window::FULL }, Attended { rotary: sliding, window }])
}

/// Returns for each layer whether it sees the whole text.
fn full_layers(config: &JsonObject, layers: usize) -> Result<Vec<bool>> {
    let every = config.positive_integer("global_attn_every_n_layers")?.unwrap_or(3);
    const LAYER_TYPES: &str = "layer_types";
    let Some(types) = config.get(LAYER_TYPES) else { return Ok((0..layers).map(|i| i % every == 0).collect()) };
    let is_full = |kind: &serde_json::Value| match kind.as_str() {
        Some("full_attention") => Some(true),
        Some("sliding_attention") => Some(false),
        _ => None,
    };
    let types = types.as_array().and_then(|types| types.iter().map(is_full).collect::<Option<Vec<_>>>());
    let expected = || format!("{layers} of full_attention and sliding_attention, one for each layer");
    types.filter(|types| types.len() == layers).ok_or_else(|| config.invalid_value(LAYER_TYPES, expected()))
}
