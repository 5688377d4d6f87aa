//! GTE (Zhang et al. 2024, <https://arxiv.org/abs/2407.19669>): gte-base-en-v1.5,
//! gte-multilingual-base, stella, arctic-embed-m-v2.0.
//!
//! BERT's network with rotary positions instead of a position table and a gated feed-forward
//! network:
//!
//! ```text
//! a = LayerNorm(x + Attention(x))
//! x = LayerNorm(a + W_down (gelu(W_gate a) · W_up a) + b_down)
//! ```
//!
//! A fused tensor has W_up first and W_gate second. Models that were published with their own code
//! have the model type `new` and may scale their rotations (`rope_scaling` of type `ntk`). Follows
//! transformers 5.23.0, `models/gte/modeling_gte.py`, with the names of `conversion_mapping.py`.

use super::bert::{EMBEDDING_NORM, embeddings_without_positions};
use super::rotary::rotary;
use super::sizes::Sizes;
use crate::config::InertKeys;
use crate::config::JsonObject;
use crate::encoder::spec::{EncoderSpec, Family, LayerSpec, LinearSpec, SublayerSpec};
use crate::error::Result;

pub(super) const INERT_KEYS: InertKeys = InertKeys::NONE;

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    const POSITIONS: &str = "position_embedding_type";
    if config.string(POSITIONS)?.is_some_and(|kind| kind != "rope") {
        return Err(config.invalid_value(POSITIONS, "rope"));
    }
    let sizes = Sizes::read(config, &Sizes { vocabulary: 250_048, position_rows: 8192, ..Sizes::BERT })?;
    let rotary = rotary(config, 160_000.0, sizes.head_size())?;
    let is_fused = config.boolean("pack_qkv")?.unwrap_or(true);
    let layer = |i: usize| {
        let at = |module: &str| format!("encoder.layer.{i}.{module}");
        let names = ["q_proj", "k_proj", "v_proj"].map(|name| at(&format!("attention.{name}")));
        let mut attention = sizes.attention(names, &at("attention.o_proj"));
        if is_fused {
            attention.qkv = LinearSpec::module(&at("attention.qkv_proj"), 3 * sizes.hidden, sizes.hidden);
        }
        attention.rotary = Some(rotary.clone());
        let mut feed_forward = sizes.feed_forward("", &at("mlp.down_proj"));
        let f = sizes.intermediate;
        let gates_and_values = [f..2 * f, 0..f];
        feed_forward.up =
            LinearSpec::fused(&at("mlp.up_gate_proj"), &gates_and_values, 2 * f, sizes.hidden).without_bias();
        feed_forward.is_gated = true;
        LayerSpec {
            attention: SublayerSpec::post_norm(attention, sizes.norm(&at("attn_ln"))),
            feed_forward: SublayerSpec::post_norm(feed_forward, sizes.norm(&at("mlp_ln"))),
        }
    };
    let token_types = config.integer("type_vocab_size")?.unwrap_or(1);
    Ok(EncoderSpec {
        family: Family::Gte,
        hidden_size: sizes.hidden,
        max_tokens: sizes.position_rows,
        embeddings: embeddings_without_positions(&sizes, token_types, sizes.norm(EMBEDDING_NORM)),
        relative_bias: None,
        layers: (0..sizes.layers).map(layer).collect(),
        layer_order: (0..sizes.layers).collect(),
        final_norm: None,
        prefixes: &["new.", "gte."],
    })
}
