//! MPNet (Song et al. 2020, <https://arxiv.org/abs/2004.09297>).
//!
//! BERT's network with two differences. There are no token types. And attention depends on how far
//! apart two tokens are: a learned bias b[bucket(j − i), h] is added to the score of query i and
//! key j in head h, after the scaling by 1/√d. Every layer adds the same bias. (The idea is T5's,
//! Raffel et al. 2019, <https://arxiv.org/abs/1910.10683>, §2.1.)
//!
//! Distances share buckets, finely when small and coarsely when large. For a key before the query,
//! n = i − j:
//!
//! ```text
//! n        0 … 7   8-11  12-15  16-22  23-31  32-45  46-63  64-90  91 and more
//! bucket   0 … 7    8      9     10     11     12     13     14        15
//! ```
//!
//! and the same plus 16 for a key after it. Because the bias depends on j − i alone, a head needs
//! one vector of 2·M − 1 elements, where M is the most tokens of a text. Row i of the scores reads
//! a slice of it. (transformers builds a tensor `[H, L, L]` for each batch.)
//!
//! Positions are counted from 2: transformers hard-codes the padding id 1 there and ignores
//! `pad_token_id`. Follows transformers 5.23.0, `models/mpnet/modeling_mpnet.py`:
//! `MPNetEmbeddings`, `MPNetEncoder.compute_position_bias` and `relative_position_bucket`.

use super::bert::{EMBEDDING_NORM, POSITION_EMBEDDINGS, TOKEN_EMBEDDINGS};
use super::sizes::{PositionEmbeddingType, Sizes};
use crate::batch::PositionIds;
use crate::config::{InertKeys, JsonObject};
use crate::encoder::spec::{
    DistanceBuckets, EmbeddingsSpec, EncoderSpec, Family, LayerSpec, PositionTableSpec, RelativeBiasSpec, SublayerSpec,
    TableSpec,
};
use crate::error::Result;

/// `MPNetEmbeddings.padding_idx`.
const PADDING_ID: u32 = 1;

/// The default of `relative_position_bucket`, which transformers uses even if the table has another
/// number of rows.
const BUCKETS: usize = 32;

/// The default of the same function for the distance from which all keys share a bucket.
const MAX_DISTANCE: usize = 128;

/// A key of BERT: MPNet has no token types.
pub(super) const INERT_KEYS: InertKeys = InertKeys { any_value: &["type_vocab_size"], one_value: &[] };

pub(super) fn spec(config: &JsonObject) -> Result<EncoderSpec> {
    let table_rows = config.positive_integer("relative_attention_num_buckets")?.unwrap_or(BUCKETS);
    if table_rows < BUCKETS {
        return Err(config.invalid_value("relative_attention_num_buckets", format!("at least {BUCKETS}")));
    }
    PositionEmbeddingType::require_absolute(config)?;
    let sizes = Sizes::read(config, &Sizes { vocabulary: 30_527, ..Sizes::BERT })?;
    let layer = |i: usize| {
        let at = |module: &str| format!("encoder.layer.{i}.{module}");
        let query_key_value = ["q", "k", "v"].map(|name| at(&format!("attention.attn.{name}")));
        let attention = sizes.attention(query_key_value, &at("attention.attn.o"));
        let feed_forward = sizes.feed_forward(&at("intermediate.dense"), &at("output.dense"));
        LayerSpec {
            attention: SublayerSpec::post_norm(attention, sizes.norm(&at("attention.LayerNorm"))),
            feed_forward: SublayerSpec::post_norm(feed_forward, sizes.norm(&at("output.LayerNorm"))),
        }
    };
    let position_ids = PositionIds::FromPaddingId(PADDING_ID);
    Ok(EncoderSpec {
        family: Family::MpNet,
        hidden_size: sizes.hidden,
        max_tokens: position_ids.max_tokens(sizes.position_rows),
        embeddings: EmbeddingsSpec {
            width: sizes.hidden,
            tokens: TableSpec::new(TOKEN_EMBEDDINGS, sizes.vocabulary),
            token_types: None,
            positions: PositionTableSpec::Learned(TableSpec::new(POSITION_EMBEDDINGS, sizes.position_rows)),
            position_ids,
            norm: Some(sizes.norm(EMBEDDING_NORM)),
            projection: None,
        },
        relative_bias: Some(RelativeBiasSpec::Buckets {
            table: TableSpec::new("encoder.relative_attention_bias.weight", table_rows),
            buckets: DistanceBuckets { count: BUCKETS, max_distance: MAX_DISTANCE },
        }),
        layers: (0..sizes.layers).map(layer).collect(),
        layer_order: (0..sizes.layers).collect(),
        final_norm: None,
        prefixes: &["mpnet."],
    })
}
