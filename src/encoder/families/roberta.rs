//! RoBERTa (Liu et al. 2019, <https://arxiv.org/abs/1907.11692>), CamemBERT (Martin et al. 2019,
//! <https://arxiv.org/abs/1911.03894>) and XLM-RoBERTa (Conneau et al. 2019,
//! <https://arxiv.org/abs/1911.02116>).
//!
//! The network of BERT, trained for longer and, as XLM-RoBERTa, on a hundred languages with a
//! SentencePiece vocabulary of 250,000 pieces. One computation differs: positions are counted from
//! the padding token's id + 1, because the position table came from a library that used the row
//! of that id for padding. With padding id 1 the first token has position 2, and a table of 514
//! rows holds texts of 512 tokens.
//!
//! clips/mfaq is an XLM-RoBERTa. Follows transformers 5.23.0,
//! `models/xlm_roberta/modeling_xlm_roberta.py`, `create_position_ids_from_input_ids`.

use super::bert;
use super::sizes::Sizes;
use crate::batch::PositionIds;
use crate::config::JsonObject;
use crate::encoder::spec::{EncoderSpec, Family};
use crate::error::Result;

/// Describes one of the three, which differ in the prefix of their checkpoints and in the
/// vocabulary size that config.json may omit.
pub(super) fn spec(config: &JsonObject, family: Family) -> Result<EncoderSpec> {
    let prefixes: &[&str] = match family {
        Family::Camembert => &["roberta.", "camembert."],
        Family::XlmRoberta => &["roberta.", "xlm-roberta.", "xlm_roberta."],
        _ => &["roberta."],
    };
    let vocabulary = if family == Family::Roberta { 50_265 } else { Sizes::BERT.vocabulary };
    let sizes = Sizes::read(config, &Sizes { vocabulary, ..Sizes::BERT })?;
    let padding_id = config.token_id("pad_token_id")?.unwrap_or(1);
    bert::network(config, &sizes, family, prefixes, PositionIds::FromPaddingId(padding_id))
}
