//! DistilBERT (Sanh et al. 2019, <https://arxiv.org/abs/1910.01108>).
//!
//! BERT's network without token types, and with different names in config.json and checkpoint. The
//! position table is learned, as BERT's is, or consists of sines and cosines. Follows transformers
//! 5.23.0, `models/distilbert/modeling_distilbert.py`.

use super::bert::{EMBEDDING_NORM, POSITION_EMBEDDINGS, TOKEN_EMBEDDINGS};
use super::sizes::{PositionEmbeddingType, Sizes, activation};
use crate::batch::PositionIds;
use crate::config::{InertKeys, InertValue, JsonObject};
use crate::encoder::spec::{
    EmbeddingsSpec, EncoderSpec, Family, LayerSpec, PositionTableSpec, SublayerSpec, TableSpec,
};
use crate::error::Result;

/// Elements of a computed position table: 256 MiB, a hundred times what any model has.
const MAX_SINUSOIDAL_ELEMENTS: usize = 1 << 26;

/// Keys of BERT that DistilBERT's class does not read: it has no token types, and its activation
/// and the epsilon of its norms have other names or are constants.
pub(super) const INERT_KEYS: InertKeys = InertKeys {
    any_value: &["type_vocab_size"],
    one_value: &[("hidden_act", InertValue::Text("gelu")), ("layer_norm_eps", InertValue::Number(1e-12))],
};

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    PositionEmbeddingType::require_absolute(config)?;
    let sizes = sizes(config)?;
    let layer = |i: usize| {
        let at = |module: &str| format!("transformer.layer.{i}.{module}");
        let query_key_value = ["q_lin", "k_lin", "v_lin"].map(|name| at(&format!("attention.{name}")));
        let attention = sizes.attention(query_key_value, &at("attention.out_lin"));
        let feed_forward = sizes.feed_forward(&at("ffn.lin1"), &at("ffn.lin2"));
        LayerSpec {
            attention: SublayerSpec::post_norm(attention, sizes.norm(&at("sa_layer_norm"))),
            feed_forward: SublayerSpec::post_norm(feed_forward, sizes.norm(&at("output_layer_norm"))),
        }
    };
    Ok(EncoderSpec {
        family: Family::DistilBert,
        hidden_size: sizes.hidden,
        max_tokens: sizes.position_rows,
        embeddings: EmbeddingsSpec {
            width: sizes.hidden,
            tokens: TableSpec::new(TOKEN_EMBEDDINGS, sizes.vocabulary),
            token_types: None,
            positions: position_table(config, &sizes)?,
            position_ids: PositionIds::Sequential,
            norm: Some(sizes.norm(EMBEDDING_NORM)),
            projection: None,
        },
        relative_bias: None,
        layers: (0..sizes.layers).map(layer).collect(),
        layer_order: (0..sizes.layers).collect(),
        final_norm: None,
        prefixes: &["distilbert."],
    })
}

/// Reads each size under DistilBERT's own key, or under the key of other models.
fn sizes(config: &JsonObject) -> Result<Sizes> {
    let size = |keys: [&str; 2], default| -> Result<usize> {
        Ok(config.positive_integer(keys[0])?.or(config.positive_integer(keys[1])?).unwrap_or(default))
    };
    let heads_key = if config.get("n_heads").is_some() { "n_heads" } else { "num_attention_heads" };
    let layers_key = if config.get("n_layers").is_some() { "n_layers" } else { "num_hidden_layers" };
    Sizes {
        hidden: size(["dim", "hidden_size"], 768)?,
        heads: size(["n_heads", "num_attention_heads"], 12)?,
        intermediate: config.positive_integer("hidden_dim")?.unwrap_or(3072),
        layers: size(["n_layers", "num_hidden_layers"], 6)?,
        vocabulary: config.positive_integer("vocab_size")?.unwrap_or(30522),
        position_rows: config.positive_integer("max_position_embeddings")?.unwrap_or(512),
        // A constant in transformers.
        epsilon: 1e-12,
        activation: activation(config, "activation", "gelu")?,
    }
    .validated(config, heads_key, layers_key)
}

fn position_table(config: &JsonObject, sizes: &Sizes) -> Result<PositionTableSpec> {
    let table = TableSpec::new(POSITION_EMBEDDINGS, sizes.position_rows);
    if !config.boolean("sinusoidal_pos_embds")?.unwrap_or(false) {
        return Ok(PositionTableSpec::Learned(table));
    }
    // A computed table has no file whose size would limit it.
    let max_rows = MAX_SINUSOIDAL_ELEMENTS / sizes.hidden;
    if sizes.position_rows > max_rows {
        let expected = format!("at most {max_rows} with sines of width {}", sizes.hidden);
        return Err(config.invalid_value("max_position_embeddings", expected));
    }
    Ok(PositionTableSpec::Sinusoidal(table))
}
