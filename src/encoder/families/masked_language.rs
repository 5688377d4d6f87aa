//! The heads for masked language of the families.
//!
//! Follows the classes `…ForMaskedLM` of transformers 5.23.0.

use likewise_kernels::math::Activation;

use super::sizes::activation;
use crate::config::JsonObject;
use crate::encoder::spec::{DecoderBias, EncoderSpec, Family, MaskedLanguageSpec, NormSpec};
use crate::error::Result;

/// The tensor names of a head.
struct Names {
    hidden: &'static str,
    norm: &'static str,
    decoder: &'static str,
    /// The module that has the bias if the decoder has none.
    shared_bias: Option<&'static str>,
    modules: &'static [&'static str],
}

const BERT: Names = Names {
    hidden: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.LayerNorm",
    decoder: "cls.predictions.decoder",
    shared_bias: Some("cls.predictions"),
    modules: &["cls.predictions."],
};
const NOMIC_BERT: Names = Names { norm: "cls.predictions.transform.layer_norm", ..BERT };
const ROBERTA: Names = Names {
    hidden: "lm_head.dense",
    norm: "lm_head.layer_norm",
    decoder: "lm_head.decoder",
    shared_bias: Some("lm_head"),
    modules: &["lm_head."],
};
const GTE: Names = Names { norm: "lm_head.norm", shared_bias: None, ..ROBERTA };
const DISTILBERT: Names = Names {
    hidden: "vocab_transform",
    norm: "vocab_layer_norm",
    decoder: "vocab_projector",
    shared_bias: None,
    modules: &["vocab_"],
};
const MODERNBERT: Names = Names {
    hidden: "head.dense",
    norm: "head.norm",
    decoder: "decoder",
    shared_bias: None,
    modules: &["head.", "decoder."],
};
const ALBERT: Names = Names {
    hidden: "predictions.dense",
    norm: "predictions.LayerNorm",
    decoder: "predictions.decoder",
    shared_bias: Some("predictions"),
    modules: &["predictions."],
};
const ELECTRA: Names = Names {
    hidden: "generator_predictions.dense",
    norm: "generator_predictions.LayerNorm",
    decoder: "generator_lm_head",
    shared_bias: None,
    modules: &["generator_"],
};

/// The epsilon of DistilBERT's head, which no key changes.
const DISTILBERT_EPSILON: f32 = 1e-12;

/// Returns the head that an encoder's family has for masked language.
///
/// # Errors
/// If the family has none, or a value of config.json is not supported.
pub(crate) fn masked_language_spec(config: &JsonObject, encoder: &EncoderSpec) -> Result<MaskedLanguageSpec> {
    let of_config = |key| activation(config, key, "gelu");
    let (names, activation) = match encoder.family {
        Family::Bert => (BERT, of_config("hidden_act")?),
        Family::NomicBert => (NOMIC_BERT, self::activation(config, "hidden_act", "silu")?),
        Family::Roberta | Family::Camembert | Family::XlmRoberta | Family::MpNet | Family::JinaV3 => {
            (ROBERTA, Activation::Gelu)
        }
        Family::Gte => (GTE, Activation::Gelu),
        Family::DistilBert => (DISTILBERT, of_config("activation")?),
        Family::ModernBert => (MODERNBERT, of_config("classifier_activation")?),
        Family::Albert => (ALBERT, self::activation(config, "hidden_act", "gelu_new")?),
        Family::Electra => (ELECTRA, Activation::Gelu),
        Family::T5 | Family::JinaBertV2 => {
            let expected = "an encoder that transformers has a class for masked language of";
            return Err(config.invalid_value("model_type", expected));
        }
    };
    let flag = |key: &str, default: bool| -> Result<bool> { Ok(config.boolean(key)?.unwrap_or(default)) };
    let is_modernbert = encoder.family == Family::ModernBert;
    // The norms of a model have one epsilon.
    let epsilon = match (encoder.family, &encoder.embeddings.norm) {
        (Family::DistilBert, _) | (_, None) => DISTILBERT_EPSILON,
        (_, Some(norm)) => norm.epsilon,
    };
    let norm = NormSpec::module(names.norm, epsilon);
    let has_norm_bias = !is_modernbert || flag("norm_bias", false)?;
    let has_bias = !is_modernbert || flag("decoder_bias", true)?;
    let bias = DecoderBias {
        own: format!("{}.bias", names.decoder),
        shared: names.shared_bias.map(|module| format!("{module}.bias")),
    };
    Ok(MaskedLanguageSpec {
        hidden: names.hidden,
        hidden_has_bias: !is_modernbert || flag("classifier_bias", false)?,
        activation,
        norm: if has_norm_bias { norm } else { norm.without_bias() },
        decoder: names.decoder,
        bias: has_bias.then_some(bias),
        is_tied: flag("tie_word_embeddings", true)?,
        modules: names.modules,
    })
}
