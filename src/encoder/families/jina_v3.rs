//! Jina embeddings v3 (Sturua et al. 2024, <https://arxiv.org/abs/2409.10173>), in the form that
//! transformers has (`jina_embeddings_v3`).
//!
//! XLM-RoBERTa's network with rotary positions instead of a position table. The adapters of the
//! published model are separate files, which transformers does not load with the model; a
//! checkpoint that contains some has unknown tensors. Follows transformers 5.23.0,
//! `models/jina_embeddings_v3/modeling_jina_embeddings_v3.py`, with the names of
//! `conversion_mapping.py`.

use super::bert::embeddings_without_positions;
use super::rotary::rotary;
use super::sizes::Sizes;
use crate::config::{InertKeys, InertValue, JsonObject};
use crate::encoder::spec::{EncoderSpec, Family, LayerSpec, LinearSpec, SublayerSpec};
use crate::error::Result;

/// The class of transformers has no position table, and so does not read the kind of positions. The
/// folder of the published model says what its ancestor had.
pub(super) const INERT_KEYS: InertKeys =
    InertKeys { any_value: &[], one_value: &[("position_embedding_type", InertValue::Text("absolute"))] };

/// The defaults of `JinaEmbeddingsV3Config`.
const DEFAULTS: Sizes = Sizes {
    hidden: 1024,
    heads: 16,
    intermediate: 4096,
    layers: 24,
    vocabulary: 250_002,
    position_rows: 8194,
    epsilon: 1e-5,
    ..Sizes::BERT
};

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    let sizes = Sizes::read(config, &DEFAULTS)?;
    sizes.require_head_size(config, "head_dim")?;
    let rotary = rotary(config, 20_000.0, sizes.head_size())?;
    let layer = |i: usize| {
        let at = |module: &str| format!("encoder.layers.{i}.{module}");
        let mut attention = sizes.attention(Default::default(), &at("mixer.out_proj"));
        attention.qkv = LinearSpec::module(&at("mixer.Wqkv"), 3 * sizes.hidden, sizes.hidden);
        attention.rotary = Some(rotary.clone());
        let feed_forward = sizes.feed_forward(&at("mlp.fc1"), &at("mlp.fc2"));
        LayerSpec {
            attention: SublayerSpec::post_norm(attention, sizes.norm(&at("norm1"))),
            feed_forward: SublayerSpec::post_norm(feed_forward, sizes.norm(&at("norm2"))),
        }
    };
    let token_types = config.positive_integer("type_vocab_size")?.unwrap_or(1);
    Ok(EncoderSpec {
        family: Family::JinaV3,
        hidden_size: sizes.hidden,
        max_tokens: sizes.position_rows,
        embeddings: embeddings_without_positions(&sizes, token_types, sizes.norm("emb_ln")),
        relative_bias: None,
        layers: (0..sizes.layers).map(layer).collect(),
        layer_order: (0..sizes.layers).collect(),
        final_norm: None,
        prefixes: &["roberta."],
    })
}
