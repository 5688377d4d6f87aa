//! The heads for sequence classification of the families.
//!
//! Follows the classes `…ForSequenceClassification` of transformers 5.23.0. None of them is trained
//! with dropout here, so what remains is one or two linear maps.

use likewise_kernels::math::Activation;

use super::sizes::activation;
use crate::config::JsonObject;
use crate::encoder::spec::{ClassifierPooling, ClassifierSpec, Family, HeadLinearSpec, NormSpec};
use crate::error::Result;

/// Returns the head that a family has for sequence classification.
///
/// # Errors
/// If the family has none, or a value of config.json is not supported.
pub(crate) fn classifier_spec(config: &JsonObject, family: Family) -> Result<ClassifierSpec> {
    Ok(match family {
        Family::Bert | Family::NomicBert | Family::Gte | Family::JinaBertV2 => {
            ClassifierSpec::after_pooler("pooler.dense")
        }
        Family::Albert => ClassifierSpec::after_pooler("pooler"),
        Family::Roberta | Family::Camembert | Family::XlmRoberta | Family::MpNet | Family::JinaV3 => {
            ClassifierSpec::of_two_layers(Activation::Tanh)
        }
        Family::Electra => ClassifierSpec::of_two_layers(Activation::Gelu),
        Family::DistilBert => {
            let hidden = HeadLinearSpec::beside_encoder("pre_classifier");
            ClassifierSpec::of_first_token(hidden, Activation::Relu, "classifier")
        }
        Family::ModernBert => modernbert(config)?,
        Family::T5 => {
            let expected = "an encoder with a head for classification (that of T5 also needs its decoder)";
            return Err(config.invalid_value("model_type", expected));
        }
    })
}

/// Returns the head of ModernBERT, which has a norm and may have another activation
/// (`ModernBertPredictionHead`).
fn modernbert(config: &JsonObject) -> Result<ClassifierSpec> {
    const POOLING: &str = "classifier_pooling";
    let pooling = match config.string(POOLING)? {
        None | Some("cls") => ClassifierPooling::FirstToken,
        Some("mean") => ClassifierPooling::Mean,
        Some(_) => return Err(config.invalid_value(POOLING, "cls or mean")),
    };
    let has_bias = config.boolean("classifier_bias")?.unwrap_or(false);
    let norm = NormSpec::module("head.norm", config.positive_number("norm_eps")?.unwrap_or(1e-5));
    let norm = if config.boolean("norm_bias")?.unwrap_or(false) { norm } else { norm.without_bias() };
    Ok(ClassifierSpec {
        pooling,
        hidden: HeadLinearSpec { has_bias, ..HeadLinearSpec::beside_encoder("head.dense") },
        activation: activation(config, "classifier_activation", "gelu")?,
        norm: Some(norm),
        output: HeadLinearSpec::beside_encoder("classifier"),
    })
}
