//! BERT (Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>).
//!
//! The architecture that the other families modify. A token's vector is the sum of three
//! embeddings, then a layer norm: of its word piece, of its position (0, 1, 2, …) and of its token
//! type. (The type says which of two sentences a token belongs to. Sentence encoders read one
//! sentence, so it is always the first.) Each layer mixes tokens by attention, then maps each token
//! through a wider space:
//!
//! ```text
//! a = LayerNorm(x + Attention(x))
//! x = LayerNorm(a + W₂ gelu(W₁ a))
//! ```
//!
//! all-MiniLM-L6-v2 is a BERT of 6 layers and hidden size 384. Follows transformers 5.23.0,
//! `models/bert/modeling_bert.py`.

use super::sizes::{PositionEmbeddingType, Sizes};
use crate::batch::PositionIds;
use crate::config::JsonObject;
use crate::encoder::spec::{
    EmbeddingsSpec, EncoderSpec, Family, LayerSpec, NormSpec, PositionTableSpec, SublayerSpec, TableSpec,
};
use crate::error::Result;

pub(super) const TOKEN_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";
pub(super) const POSITION_EMBEDDINGS: &str = "embeddings.position_embeddings.weight";
pub(super) const EMBEDDING_NORM: &str = "embeddings.LayerNorm";

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    let sizes = Sizes::read(config, &Sizes::BERT)?;
    network(config, &sizes, Family::Bert, &["bert."], PositionIds::Sequential)
}

/// Describes the network, with the tensor names that BERT and RoBERTa share.
pub(super) fn network(
    config: &JsonObject,
    sizes: &Sizes,
    family: Family,
    prefixes: &'static [&'static str],
    position_ids: PositionIds,
) -> Result<EncoderSpec> {
    let position_type = PositionEmbeddingType::read(config)?;
    let layer = |i: usize| {
        let at = |module: &str| format!("encoder.layer.{i}.{module}");
        let query_key_value = ["query", "key", "value"].map(|name| at(&format!("attention.self.{name}")));
        let mut attention = sizes.attention(query_key_value, &at("attention.output.dense"));
        attention.relative_keys = position_type.relative_keys(sizes, at("attention.self.distance_embedding.weight"));
        let feed_forward = sizes.feed_forward(&at("intermediate.dense"), &at("output.dense"));
        LayerSpec {
            attention: SublayerSpec::post_norm(attention, sizes.norm(&at("attention.output.LayerNorm"))),
            feed_forward: SublayerSpec::post_norm(feed_forward, sizes.norm(&at("output.LayerNorm"))),
        }
    };
    let position_table = TableSpec::new(POSITION_EMBEDDINGS, sizes.position_rows);
    let token_types = config.positive_integer("type_vocab_size")?.unwrap_or(2);
    Ok(EncoderSpec {
        family,
        hidden_size: sizes.hidden,
        max_tokens: position_ids.max_tokens(sizes.position_rows),
        embeddings: EmbeddingsSpec {
            width: sizes.hidden,
            tokens: TableSpec::new(TOKEN_EMBEDDINGS, sizes.vocabulary),
            token_types: TableSpec::token_types(token_types),
            positions: match position_type {
                PositionEmbeddingType::Absolute => PositionTableSpec::Learned(position_table),
                PositionEmbeddingType::RelativeKey { .. } => PositionTableSpec::Unused(position_table),
            },
            position_ids,
            norm: Some(sizes.norm(EMBEDDING_NORM)),
            projection: None,
        },
        relative_bias: None,
        layers: (0..sizes.layers).map(layer).collect(),
        layer_order: (0..sizes.layers).collect(),
        final_norm: None,
        prefixes,
    })
}

/// Describes BERT's embeddings of tokens and token types, without a position table.
pub(super) fn embeddings_without_positions(sizes: &Sizes, token_types: usize, norm: NormSpec) -> EmbeddingsSpec {
    EmbeddingsSpec {
        width: sizes.hidden,
        tokens: TableSpec::new(TOKEN_EMBEDDINGS, sizes.vocabulary),
        token_types: TableSpec::token_types(token_types),
        positions: PositionTableSpec::None,
        position_ids: PositionIds::Sequential,
        norm: Some(norm),
        projection: None,
    }
}
