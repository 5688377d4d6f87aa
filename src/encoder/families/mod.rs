//! The architectures, each as data.
//!
//! BERT, DistilBERT, RoBERTa, CamemBERT, XLM-RoBERTa and MPNet are one network: embeddings, then
//! layers of attention and feed-forward, each with a residual connection and a layer norm after it.
//! They differ in the names of their tensors, in how they encode positions, and in whether they
//! have token types.
//!
//! To add a family, write a file here that reads its config.json into an [`EncoderSpec`], and name
//! it in [`encoder_spec`]. [`inert_keys`] lists the keys that need not be read.

mod bert;
mod distilbert;
mod inert_keys;
mod mpnet;
mod roberta;
mod sizes;

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
        Some("bert") => bert::spec(config)?,
        Some("distilbert") => distilbert::spec(config)?,
        Some("roberta") => roberta::spec(config, Family::Roberta)?,
        Some("camembert") => roberta::spec(config, Family::Camembert)?,
        Some("xlm-roberta") => roberta::spec(config, Family::XlmRoberta)?,
        Some("mpnet") => mpnet::spec(config)?,
        _ => {
            let expected = "one of bert, distilbert, roberta, camembert, xlm-roberta, mpnet";
            return Err(config.invalid_value("model_type", expected));
        }
    };
    reject_unsupported_options(config)?;
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
fn reject_unsupported_options(config: &JsonObject) -> Result<()> {
    for key in ["is_decoder", "add_cross_attention"] {
        if config.boolean(key)? == Some(true) {
            return Err(config.invalid_value(key, "false, because decoder models are not supported"));
        }
    }
    if config.get("embedding_size").is_some()
        && config.positive_integer("embedding_size")? != config.positive_integer("hidden_size")?
    {
        return Err(config.invalid_value("embedding_size", "the same as hidden_size"));
    }
    Ok(())
}
