//! The architectures, each as data.
//!
//! All are one kind of network: embeddings, then layers of attention and feed-forward, each joined
//! to the residual stream. What differs most:
//!
//! | families | norms | positions | feed-forward |
//! |---|---|---|---|
//! | BERT, RoBERTa, CamemBERT, XLM-RoBERTa, DistilBERT, ELECTRA | after | table | plain |
//! | MPNet | after | table, and a bias by distance | plain |
//! | ALBERT, whose layers share their weights | after | table | plain |
//! | Jina embeddings v3 | after | rotations | plain |
//! | NomicBERT, GTE | after | rotations | gated |
//! | JinaBERT v2 | after | bias by distance: ALiBi | gated |
//! | ModernBERT, which has windows | before | rotations | gated |
//! | T5 | before, by the root mean square | bias by distance | plain or gated |
//!
//! To add a family, write a file here that reads its config.json into an [`EncoderSpec`], and name
//! it in [`encoder_spec`]. [`inert_keys`] lists the keys that need not be read.

mod albert;
mod bert;
mod classifiers;
mod distilbert;
mod electra;
mod gte;
mod inert_keys;
mod jina_bert_v2;
mod jina_v3;
mod masked_language;
mod modernbert;
mod mpnet;
mod nomic_bert;
mod roberta;
mod rotary;
mod sizes;
mod t5;

pub(crate) use classifiers::classifier_spec;
pub(crate) use masked_language::masked_language_spec;

use crate::config::{InertKeys, JsonObject};
use crate::encoder::spec::{EncoderSpec, Family};
use crate::error::Result;

/// Returns the architecture that a config.json describes.
///
/// # Errors
/// If `model_type` or a value that changes the computation is not supported, or the effect of a key
/// is not known.
pub(crate) fn encoder_spec(config: &JsonObject) -> Result<EncoderSpec> {
    let spec = match config.string("model_type")? {
        Some("bert") if jina_bert_v2::is_described_by(config)? => jina_bert_v2::spec(config)?,
        Some("bert") => bert::spec(config)?,
        Some("distilbert") => distilbert::spec(config)?,
        Some("roberta") => roberta::spec(config, Family::Roberta)?,
        Some("camembert") => roberta::spec(config, Family::Camembert)?,
        Some("xlm-roberta") => roberta::spec(config, Family::XlmRoberta)?,
        Some("mpnet") => mpnet::spec(config)?,
        Some("nomic_bert") => nomic_bert::spec(config)?,
        Some("gte" | "new") => gte::spec(config)?,
        Some("jina_embeddings_v3") => jina_v3::spec(config)?,
        Some("modernbert") => modernbert::spec(config)?,
        Some("t5") => t5::spec(config)?,
        Some("albert") => albert::spec(config)?,
        Some("electra") => electra::spec(config)?,
        _ => {
            let expected = "one of bert, distilbert, roberta, camembert, xlm-roberta, mpnet, nomic_bert, gte, new, \
                            jina_embeddings_v3, modernbert, t5, albert, electra";
            return Err(config.invalid_value("model_type", expected));
        }
    };
    reject_unsupported_options(config, spec.family)?;
    if spec.max_tokens == 0 {
        return Err(config.invalid_value(
            "max_position_embeddings",
            "more rows than the encoder reserves before the first position",
        ));
    }
    let family_keys = inert_keys::of_family(spec.family);
    let inert: Vec<&InertKeys> = inert_keys::COMMON.iter().chain([&family_keys]).collect();
    config.reject_unread(&inert)?;
    Ok(spec)
}

/// Rejects options that would change the computation in ways that are not implemented.
fn reject_unsupported_options(config: &JsonObject, family: Family) -> Result<()> {
    for key in ["is_decoder", "add_cross_attention"] {
        if config.boolean(key)? == Some(true) {
            return Err(config.invalid_value(key, "false, because decoder models are not supported"));
        }
    }
    // ALBERT and ELECTRA map narrower embeddings to the hidden size.
    if !matches!(family, Family::Albert | Family::Electra)
        && config.get("embedding_size").is_some()
        && config.positive_integer("embedding_size")? != config.positive_integer("hidden_size")?
    {
        return Err(config.invalid_value("embedding_size", "the same as hidden_size"));
    }
    Ok(())
}
