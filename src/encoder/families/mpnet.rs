//! MPNet (Song et al. 2020, <https://arxiv.org/abs/2004.09297>).
//!
//! BERT's network with two differences. There are no segments. And attention is told how far apart two tokens are: a
//! learned bias b[bucket(j − i), h] is added to the score of query i and key j in head h, after the scaling by 1/√d and in
//! every layer the same (the idea is T5's, Raffel et al. 2019, <https://arxiv.org/abs/1910.10683>, §2.1).
//!
//! Distances share buckets, finely when small and coarsely when large. For a key before the query, n = i − j:
//!
//! ```text
//! n        0 … 7   8-11  12-15  16-22  23-31  32-45  46-63  64-90  91 and more
//! bucket   0 … 7    8      9     10     11     12     13     14        15
//! ```
//!
//! and the same plus 16 for a key after it. Because the bias depends on j − i alone, a head needs one vector of 2·max − 1
//! numbers, of which row i of the scores reads a slice; the reference builds a tensor `[H, L, L]` for each batch.
//!
//! Positions are counted from 2: the reference has the padding id 1 hard-coded there, whatever `pad_token_id` says.
//! Follows transformers 5.23.0, `models/mpnet/modeling_mpnet.py`: `MPNetEmbeddings`, `MPNetEncoder.compute_position_bias`
//! and `relative_position_bucket`.

use super::{Blueprint, Defaults, Names, Positions, RelativeBias, bert, standard};
use crate::config::JsonObject;
use crate::error::Result;

/// `MPNetEmbeddings.padding_idx`.
const PADDING: u32 = 1;

/// `relative_position_bucket`'s default. The reference computes with it even if the table has another number of rows.
const BUCKETS: usize = 32;

const NAMES: Names = Names {
    prefixes: &["mpnet."],
    query: "encoder.layer.{}.attention.attn.q",
    key: "encoder.layer.{}.attention.attn.k",
    value: "encoder.layer.{}.attention.attn.v",
    attention_output: "encoder.layer.{}.attention.attn.o",
    attention_norm: "encoder.layer.{}.attention.LayerNorm",
    ..bert::NAMES
};

pub(super) fn blueprint(config: &JsonObject) -> Result<Blueprint> {
    let defaults = Defaults { vocabulary: 30527, positions: 512, segments: 0, padding: PADDING };
    let buckets = config.positive_integer("relative_attention_num_buckets")?.unwrap_or(BUCKETS);
    if buckets < BUCKETS {
        return Err(config.invalid_value("relative_attention_num_buckets", format!("at least {BUCKETS}")));
    }
    const KEY: &str = "position_embedding_type";
    if config.string(KEY)?.is_some_and(|kind| kind != "absolute") {
        return Err(config.invalid_value(KEY, "absolute"));
    }
    Ok(Blueprint {
        positions: Positions::AfterPadding(defaults.padding),
        segments: None,
        relative_bias: Some(RelativeBias { tensor: "encoder.relative_attention_bias.weight", buckets, bucket }),
        ..standard(config, "MPNet", NAMES, &defaults)?
    })
}

/// The bucket of a key that is `j − i` tokens after the query.
///
/// Half of the buckets are for each direction, half of those for exact distances; the rest grow by the factor 2^(1/2)
/// up to distance 128. The reference evaluates 8 + ⌊8 ln(n/8) / ln 16⌋ in f32; the integers below are where that steps,
/// computed with it and in f64 (they agree).
fn bucket(distance: isize) -> usize {
    const STEPS: [usize; 7] = [12, 16, 23, 32, 46, 64, 91];
    let n = distance.unsigned_abs();
    let later = if distance > 0 { BUCKETS / 2 } else { 0 };
    later + if n < 8 { n } else { 8 + STEPS.iter().filter(|&&step| n >= step).count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula as the reference writes it, in f64.
    fn by_formula(distance: isize) -> usize {
        let n = distance.unsigned_abs();
        let later = if distance > 0 { 16 } else { 0 };
        if n < 8 {
            return later + n;
        }
        let log = ((n as f64 / 8.0).ln() / 16.0_f64.ln() * 8.0) as usize;
        later + (8 + log).min(15)
    }

    #[test]
    fn buckets_follow_the_formula() {
        for distance in -600_isize..=600 {
            // At n = 16, 32, 64 the logarithm is a whole number, and f64 may fall just below it; f32 does not.
            let exact = [16, 32, 64].contains(&distance.unsigned_abs());
            let formula = by_formula(distance);
            let got = bucket(distance);
            assert!(got == formula || (exact && got == formula + 1), "distance {distance}: {got}, formula {formula}");
        }
    }
}
