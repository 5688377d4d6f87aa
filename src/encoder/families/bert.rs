//! BERT (Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>).
//!
//! The original. A token's vector is the sum of three embeddings, of its word piece, its position (0, 1, 2, …) and its
//! segment (which of two sentences it belongs to; sentence encoders read one, so always the first), then a layer norm.
//! Each layer mixes tokens by attention and then maps each token by itself through a wider space:
//!
//! ```text
//! a = LayerNorm(x + Attention(x))
//! x = LayerNorm(a + W₂ gelu(W₁ a))
//! ```
//!
//! all-MiniLM-L6-v2 is a BERT of 6 layers and width 384. Follows transformers 5.23.0, `models/bert/modeling_bert.py`.

use super::{Blueprint, Defaults, Names, standard, with_distances};
use crate::config::JsonObject;
use crate::error::Result;

/// Tensor names; RoBERTa has the same.
pub(super) const NAMES: Names = Names {
    prefixes: &["bert."],
    words: "embeddings.word_embeddings.weight",
    positions: "embeddings.position_embeddings.weight",
    segments: "embeddings.token_type_embeddings.weight",
    embedding_norm: "embeddings.LayerNorm",
    query: "encoder.layer.{}.attention.self.query",
    key: "encoder.layer.{}.attention.self.key",
    value: "encoder.layer.{}.attention.self.value",
    attention_output: "encoder.layer.{}.attention.output.dense",
    attention_norm: "encoder.layer.{}.attention.output.LayerNorm",
    inner: "encoder.layer.{}.intermediate.dense",
    output: "encoder.layer.{}.output.dense",
    output_norm: "encoder.layer.{}.output.LayerNorm",
};

pub(super) fn blueprint(config: &JsonObject) -> Result<Blueprint> {
    let defaults = Defaults { vocabulary: 30522, positions: 512, segments: 2, padding: 0 };
    with_distances(config, standard(config, "BERT", NAMES, &defaults)?)
}
