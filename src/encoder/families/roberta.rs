//! RoBERTa (Liu et al. 2019, <https://arxiv.org/abs/1907.11692>), CamemBERT (Martin et al. 2019,
//! <https://arxiv.org/abs/1911.03894>) and XLM-RoBERTa (Conneau et al. 2019, <https://arxiv.org/abs/1911.02116>).
//!
//! The network of BERT, trained for longer and, as XLM-RoBERTa, on a hundred languages with a SentencePiece vocabulary of
//! 250,000 pieces. One thing differs in the computation: positions are counted from the padding token's id + 1, because
//! the table of positions came from a library that used that row for padding. With padding id 1 the first token has
//! position 2, and a table of 514 rows holds texts of 512 tokens.
//!
//! clips/mfaq is an XLM-RoBERTa. Follows transformers 5.23.0, `models/xlm_roberta/modeling_xlm_roberta.py`,
//! `create_position_ids_from_input_ids`.

use super::{Blueprint, Defaults, Names, Positions, bert, standard, with_distances};
use crate::config::JsonObject;
use crate::error::Result;

/// What each has of its own.
pub(super) struct Variant {
    family: &'static str,
    prefixes: &'static [&'static str],
    defaults: Defaults,
}

pub(super) const ROBERTA: Variant = Variant {
    family: "RoBERTa",
    prefixes: &["roberta."],
    defaults: Defaults { vocabulary: 50265, positions: 512, segments: 2, padding: 1 },
};

pub(super) const CAMEMBERT: Variant = Variant {
    family: "CamemBERT",
    prefixes: &["roberta.", "camembert."],
    defaults: Defaults { vocabulary: 30522, positions: 512, segments: 2, padding: 1 },
};

pub(super) const XLM_ROBERTA: Variant = Variant {
    family: "XLM-RoBERTa",
    prefixes: &["roberta.", "xlm-roberta.", "xlm_roberta."],
    defaults: Defaults { vocabulary: 30522, positions: 512, segments: 2, padding: 1 },
};

pub(super) fn blueprint(config: &JsonObject, variant: &Variant) -> Result<Blueprint> {
    let names = Names { prefixes: variant.prefixes, ..bert::NAMES };
    let padding = config.token_id("pad_token_id")?.unwrap_or(variant.defaults.padding);
    let standard = with_distances(config, standard(config, variant.family, names, &variant.defaults)?)?;
    Ok(Blueprint { positions: Positions::AfterPadding(padding), ..standard })
}
