//! ALBERT (Lan et al. 2019, <https://arxiv.org/abs/1909.11942>).
//!
//! BERT's network with fewer weights: embeddings are narrower and then mapped to the hidden size,
//! and layers share their weights. The layers are divided into groups of equal depth; each group
//! applies its one layer (or its few) again and again. Follows transformers 5.23.0,
//! `models/albert/modeling_albert.py`.

use likewise_kernels::math::Activation;

use super::bert::{EMBEDDING_NORM, POSITION_EMBEDDINGS, TOKEN_EMBEDDINGS};
use super::sizes::{PositionEmbeddingType, Sizes, activation};
use crate::batch::PositionIds;
use crate::config::InertValue::Number;
use crate::config::{InertKeys, JsonObject};
use crate::encoder::spec::{
    EmbeddingsSpec, EncoderSpec, Family, LayerSpec, LinearSpec, PositionTableSpec, SublayerSpec, TableSpec,
};
use crate::error::Result;

/// Options of the first checkpoints, which no class reads: with other values it would be another
/// network.
pub(super) const INERT_KEYS: InertKeys = InertKeys {
    any_value: &["down_scale_factor"],
    one_value: &[("gap_size", Number(0.0)), ("net_structure_type", Number(0.0)), ("num_memory_blocks", Number(0.0))],
};

/// The defaults of `AlbertConfig`.
const DEFAULTS: Sizes = Sizes {
    hidden: 4096,
    heads: 64,
    intermediate: 16_384,
    vocabulary: 30_000,
    activation: Activation::GeluTanh,
    ..Sizes::BERT
};

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    PositionEmbeddingType::require_absolute(config)?;
    let mut sizes = Sizes::read(config, &DEFAULTS)?;
    sizes.activation = activation(config, "hidden_act", "gelu_new")?;
    let size = |key, default| -> Result<usize> { Ok(config.positive_integer(key)?.unwrap_or(default)) };
    let width = size("embedding_size", 128)?;
    let groups = size("num_hidden_groups", 1)?;
    let layers_in_group = size("inner_group_num", 1)?;
    sizes.check_layers(config, "inner_group_num", sizes.layers.saturating_mul(layers_in_group))?;
    if groups > sizes.layers {
        return Err(config.invalid_value("num_hidden_groups", format!("at most the {} layers", sizes.layers)));
    }
    let layer = |i: usize| {
        let (group, inner) = (i / layers_in_group, i % layers_in_group);
        let at = |module: &str| format!("encoder.albert_layer_groups.{group}.albert_layers.{inner}.{module}");
        let query_key_value = ["query", "key", "value"].map(|name| at(&format!("attention.{name}")));
        let attention = sizes.attention(query_key_value, &at("attention.dense"));
        let feed_forward = sizes.feed_forward(&at("ffn"), &at("ffn_output"));
        LayerSpec {
            attention: SublayerSpec::post_norm(attention, sizes.norm(&at("attention.LayerNorm"))),
            feed_forward: SublayerSpec::post_norm(feed_forward, sizes.norm(&at("full_layer_layer_norm"))),
        }
    };
    // In f64, as there.
    let group_of = |i: usize| (i as f64 / (sizes.layers as f64 / groups as f64)) as usize;
    let order = (0..sizes.layers).flat_map(|i| (0..layers_in_group).map(move |inner| (i, inner)));
    Ok(EncoderSpec {
        family: Family::Albert,
        hidden_size: sizes.hidden,
        max_tokens: sizes.position_rows,
        embeddings: EmbeddingsSpec {
            width,
            tokens: TableSpec::new(TOKEN_EMBEDDINGS, sizes.vocabulary),
            token_types: TableSpec::token_types(size("type_vocab_size", 2)?),
            positions: PositionTableSpec::Learned(TableSpec::new(POSITION_EMBEDDINGS, sizes.position_rows)),
            position_ids: PositionIds::Sequential,
            norm: Some(sizes.norm(EMBEDDING_NORM)),
            projection: Some(LinearSpec::module("encoder.embedding_hidden_mapping_in", sizes.hidden, width)),
        },
        relative_bias: None,
        layers: (0..groups * layers_in_group).map(layer).collect(),
        layer_order: order.map(|(i, inner)| group_of(i) * layers_in_group + inner).collect(),
        final_norm: None,
        prefixes: &["albert."],
    })
}
