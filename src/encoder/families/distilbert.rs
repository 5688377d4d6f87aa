//! DistilBERT (Sanh et al. 2019, <https://arxiv.org/abs/1910.01108>).
//!
//! BERT's network without segments, and under names of its own in config.json and checkpoint. The table of positions is
//! learned, as BERT's is, or consists of sines and cosines. Follows transformers 5.23.0,
//! `models/distilbert/modeling_distilbert.py`.

use super::{Blueprint, Names, PositionTable, Positions, activation, bert};
use crate::config::JsonObject;
use crate::error::Result;

const NAMES: Names = Names {
    prefixes: &["distilbert."],
    query: "transformer.layer.{}.attention.q_lin",
    key: "transformer.layer.{}.attention.k_lin",
    value: "transformer.layer.{}.attention.v_lin",
    attention_output: "transformer.layer.{}.attention.out_lin",
    attention_norm: "transformer.layer.{}.sa_layer_norm",
    inner: "transformer.layer.{}.ffn.lin1",
    output: "transformer.layer.{}.ffn.lin2",
    output_norm: "transformer.layer.{}.output_layer_norm",
    ..bert::NAMES
};

const POSITIONS: &str = "max_position_embeddings";
/// Numbers of a table of sines: 256 MiB, a hundred times what any model has.
const MOST_SINES: usize = 1 << 26;

pub(super) fn blueprint(config: &JsonObject) -> Result<Blueprint> {
    // The names of its own first, then those that other models have.
    let size = |keys: [&str; 2], default| -> Result<usize> {
        Ok(config.positive_integer(keys[0])?.or(config.positive_integer(keys[1])?).unwrap_or(default))
    };
    const KEY: &str = "position_embedding_type";
    if config.string(KEY)?.is_some_and(|kind| kind != "absolute") {
        return Err(config.invalid_value(KEY, "absolute"));
    }
    let sinusoidal = config.boolean("sinusoidal_pos_embds")?.unwrap_or(false);
    let (width, position_rows) =
        (size(["dim", "hidden_size"], 768)?, config.positive_integer(POSITIONS)?.unwrap_or(512));
    // No file has this table, so none limits it.
    if sinusoidal && position_rows > MOST_SINES / width {
        return Err(
            config.invalid_value(POSITIONS, format!("at most {} with sines of width {width}", MOST_SINES / width))
        );
    }
    Ok(Blueprint {
        family: "DistilBERT",
        width,
        heads: size(["n_heads", "num_attention_heads"], 12)?,
        inner: config.positive_integer("hidden_dim")?.unwrap_or(3072),
        layers: size(["n_layers", "num_hidden_layers"], 6)?,
        vocabulary: config.positive_integer("vocab_size")?.unwrap_or(30522),
        position_rows,
        positions: Positions::FromZero,
        position_table: if sinusoidal { PositionTable::Sinusoidal } else { PositionTable::Learned },
        segments: None,
        // Fixed in the reference.
        epsilon: 1e-12,
        activation: activation(config, "activation")?,
        relative_bias: None,
        distances: None,
        names: NAMES,
    })
}
