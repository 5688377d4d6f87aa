//! JinaBERT v2 (Günther et al. 2023, <https://arxiv.org/abs/2310.19923>): jina-embeddings-v2.
//!
//! BERT's network with a bias of the attention scores instead of a position table, and a gated
//! feed-forward network:
//!
//! ```text
//! a = LayerNorm(x + Attention(x))
//! x = LayerNorm(a + W_o (gelu(W₁ a) · W₂ a) + b_o)      W₁ and W₂ are halves of one tensor
//! ```
//!
//! The bias is ALiBi (Press et al. 2021, <https://arxiv.org/abs/2108.12409>): −m_h · |j − i|, with a
//! slope m_h for each head. config.json has BERT's model type and differs in
//! `position_embedding_type`. transformers has no class for it; this follows the paper and the code
//! that the models bring with them (`jinaai/jina-bert-implementation`). The variant for source code
//! (`jinaai/jina-bert-v2-qk-post-norm`) also normalizes queries and keys, and is rejected.

use super::bert::{EMBEDDING_NORM, embeddings_without_positions};
use super::sizes::Sizes;
use crate::config::{InertKeys, JsonObject};
use crate::encoder::spec::{EncoderSpec, Family, LayerSpec, LinearSpec, RelativeBiasSpec, SublayerSpec};
use crate::error::Result;

/// `emb_pooler` is for the code's own method `encode`.
pub(super) const INERT_KEYS: InertKeys = InertKeys { any_value: &["emb_pooler"], one_value: &[] };

/// Returns whether a config.json of BERT's model type is JinaBERT's.
pub(super) fn is_described_by(config: &JsonObject) -> Result<bool> {
    Ok(config.string("position_embedding_type")? == Some("alibi"))
}

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    reject_other_code(config)?;
    let mut sizes = Sizes::read(config, &Sizes::BERT)?;
    const KIND: &str = "feed_forward_type";
    sizes.activation = match config.string(KIND)? {
        Some("geglu") => likewise_kernels::math::Activation::Gelu,
        Some("reglu") => likewise_kernels::math::Activation::Relu,
        _ => return Err(config.invalid_value(KIND, "geglu or reglu")),
    };
    let layer = |i: usize| {
        let at = |module: &str| format!("encoder.layer.{i}.{module}");
        let names = ["query", "key", "value"].map(|name| at(&format!("attention.self.{name}")));
        let attention = sizes.attention(names, &at("attention.output.dense"));
        let mut feed_forward = sizes.feed_forward("", &at("mlp.wo"));
        let gates_and_values = 2 * sizes.intermediate;
        feed_forward.up = LinearSpec::module(&at("mlp.gated_layers"), gates_and_values, sizes.hidden).without_bias();
        feed_forward.is_gated = true;
        LayerSpec {
            attention: SublayerSpec::post_norm(attention, sizes.norm(&at("attention.output.LayerNorm"))),
            feed_forward: SublayerSpec::post_norm(feed_forward, sizes.norm(&at("mlp.layernorm"))),
        }
    };
    let token_types = config.positive_integer("type_vocab_size")?.unwrap_or(2);
    Ok(EncoderSpec {
        family: Family::JinaBertV2,
        hidden_size: sizes.hidden,
        max_tokens: sizes.position_rows,
        embeddings: embeddings_without_positions(&sizes, token_types, sizes.norm(EMBEDDING_NORM)),
        relative_bias: Some(RelativeBiasSpec::Slopes(slopes(sizes.heads))),
        layers: (0..sizes.layers).map(layer).collect(),
        layer_order: (0..sizes.layers).collect(),
        final_norm: None,
        prefixes: &["bert."],
    })
}

/// Rejects a model whose code also normalizes queries and keys. No other key of its config.json
/// says so.
fn reject_other_code(config: &JsonObject) -> Result<()> {
    const CODE: &str = "auto_map";
    let classes = config.get(CODE).and_then(serde_json::Value::as_object);
    let mut names = classes.into_iter().flat_map(|classes| classes.values()).filter_map(serde_json::Value::as_str);
    if names.any(|name| name.contains("qk-post-norm")) {
        let expected = "classes without qk-post-norm, because normalized queries and keys are not supported";
        return Err(config.invalid_value(CODE, expected));
    }
    Ok(())
}

/// Returns the slope of each head: for a power of two n, 2^(−8h/n) for h from 1 to n. For other
/// numbers of heads, the slopes of the next smaller power of two, and then every second slope of
/// the next larger one.
fn slopes(heads: usize) -> Vec<f32> {
    let geometric = |n: usize| (1..=n).map(move |h| (-8.0 * h as f64 / n as f64).exp2() as f32);
    let smaller = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    geometric(smaller).chain(geometric(2 * smaller).step_by(2)).take(heads).collect()
}

#[cfg(test)]
mod tests {
    use super::slopes;

    #[test]
    fn slopes_between_powers_of_two_interleave() {
        assert_eq!(slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
        assert_eq!(slopes(6), [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
        assert_eq!(slopes(1), [0.00390625]);
    }
}
