//! The task of a model without modules.json, from `architectures` in config.json.
//!
//! A folder with modules.json says that it is a sentence encoder. Without it, sentence-transformers
//! takes the encoder of any model and the mean of its token vectors. For a cross-encoder that gives
//! vectors and scores without a meaning, so here a model for another task is an error.

use crate::config::JsonObject;
use crate::error::Result;

/// What the encoder's module, the first in modules.json, computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransformerTask {
    /// Token vectors.
    FeatureExtraction,
    /// Scores, by the head of a class for sequence classification.
    SequenceClassification,
    /// Numbers of vocabulary entries for each token, by the head of a class for masked language.
    FillMask,
    /// Token vectors of queries or of documents, which may have different maximum lengths.
    LateInteraction,
}

impl TransformerTask {
    /// Returns its name in sentence_bert_config.json (`transformer_task`).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FeatureExtraction | Self::LateInteraction => "feature-extraction",
            Self::SequenceClassification => "sequence-classification",
            Self::FillMask => "fill-mask",
        }
    }

    /// Returns the name of the module's output (`module_output_name`).
    pub(crate) fn module_output(self) -> &'static str {
        match self {
            Self::FeatureExtraction | Self::FillMask | Self::LateInteraction => "token_embeddings",
            Self::SequenceClassification => "scores",
        }
    }

    /// Returns the name of that output in transformers (`method_output_name`).
    pub(crate) fn method_output(self) -> &'static str {
        match self {
            Self::FeatureExtraction | Self::LateInteraction => "last_hidden_state",
            Self::SequenceClassification | Self::FillMask => "logits",
        }
    }
}

const ARCHITECTURES: &str = "architectures";

/// A kind of model that is not an encoder of texts.
struct OtherTask {
    /// Parts of the class names.
    names: &'static [&'static str],
    /// What such a model is.
    description: &'static str,
}

/// The kinds of models, by the names of their classes in transformers and in published folders.
const OTHER_TASKS: [OtherTask; 8] = [
    OtherTask {
        names: &["ForSequenceClassification", "ForRanking", "ForReranking"],
        description: "a cross-encoder or classifier, which scores pairs of texts or gives labels",
    },
    OtherTask { names: &["ForTokenClassification"], description: "a classifier of tokens" },
    OtherTask { names: &["ForQuestionAnswering"], description: "a model that finds answers in a text" },
    OtherTask { names: &["ForMultipleChoice"], description: "a model that chooses one of several answers" },
    OtherTask {
        names: &["ForNextSentencePrediction"],
        description: "a model that predicts whether a sentence follows another",
    },
    OtherTask {
        names: &["ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "EncoderDecoderModel"],
        description: "a model that generates text",
    },
    OtherTask {
        names: &["ColBERT"],
        description: "a late-interaction model, which compares the vectors of tokens and opens as MultiVectorEncoder",
    },
    OtherTask {
        names: &["CLIP", "Vision", "Image", "Audio", "Speech", "ForCTC"],
        description: "a model of images or sound",
    },
];

/// Rejects a model whose class, the first in `architectures`, is for another task than encoding
/// texts. `config` is the config.json of a folder without modules.json.
///
/// # Errors
/// If the class is for another task, or the key is neither a name nor a list of names.
pub(crate) fn reject_other_tasks(config: &JsonObject) -> Result<()> {
    let Some(name) = model_class(config)? else { return Ok(()) };
    match OTHER_TASKS.iter().find(|task| task.names.iter().any(|part| name.contains(part))) {
        None => Ok(()),
        Some(task) => Err(config.invalid_value(
            ARCHITECTURES,
            format!(
                "an encoder of texts, such as BertModel, because the folder has no modules.json (this is {}; for \
                 vectors use an embedding model such as sentence-transformers/all-MiniLM-L6-v2, or add a modules.json with \
                 Transformer and Pooling if the vectors of the encoder inside are meant)",
                task.description
            ),
        )),
    }
}

/// Returns whether a model's class is one for sequence classification.
///
/// # Errors
/// If the key is neither a name nor a list of names.
pub(super) fn is_sequence_classifier(config: &JsonObject) -> Result<bool> {
    Ok(model_class(config)?.is_some_and(|name| name.ends_with("ForSequenceClassification")))
}

/// Returns whether a model's class is that of Stanford's ColBERT.
///
/// # Errors
/// If the key is neither a name nor a list of names.
pub(crate) fn is_stanford_colbert(config: &JsonObject) -> Result<bool> {
    Ok(model_class(config)? == Some("HF_ColBERT"))
}

/// Rejects a model whose class is not one for sequence classification.
///
/// # Errors
/// If it is another one, or not known.
pub(crate) fn require_sequence_classifier(config: &JsonObject) -> Result<()> {
    if is_sequence_classifier(config)? {
        return Ok(());
    }
    let hint = if is_stanford_colbert(config)? { " (open this one as MultiVectorEncoder)" } else { "" };
    let expected = format!(
        "a model for sequence classification, such as BertForSequenceClassification, because the folder has no \
         modules.json that says it is a cross-encoder{hint}"
    );
    Err(config.invalid_value(ARCHITECTURES, expected))
}

/// Rejects a model whose class is not that of Stanford's ColBERT.
///
/// # Errors
/// If it is another one: the reference would project its token vectors by random weights.
pub(crate) fn require_stanford_colbert(config: &JsonObject) -> Result<()> {
    if is_stanford_colbert(config)? {
        return Ok(());
    }
    let hint = if is_sequence_classifier(config)? { " (open this one as CrossEncoder)" } else { "" };
    let expected = format!(
        "HF_ColBERT, because the folder has no modules.json that says it is a late-interaction model; an encoder alone \
         has no projection of its token vectors{hint}"
    );
    Err(config.invalid_value(ARCHITECTURES, expected))
}

/// Rejects a model whose class is not one for masked language.
///
/// # Errors
/// If it is another one, or not known.
pub(crate) fn require_masked_language(config: &JsonObject) -> Result<()> {
    if model_class(config)?.is_some_and(|name| name.ends_with("ForMaskedLM")) {
        return Ok(());
    }
    let expected = "a model for masked language, such as BertForMaskedLM, because the folder has no modules.json that \
                    says it is a sparse encoder";
    Err(config.invalid_value(ARCHITECTURES, expected))
}

/// Returns the model's class: the first in `architectures`.
fn model_class(config: &JsonObject) -> Result<Option<&str>> {
    let Some(value) = config.get(ARCHITECTURES) else { return Ok(None) };
    let name = match value.as_array() {
        Some(names) if names.is_empty() => return Ok(None),
        Some(names) => names[0].as_str(),
        None => value.as_str(),
    };
    name.map(Some).ok_or_else(|| config.invalid_value(ARCHITECTURES, "a list of class names"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(architectures: &serde_json::Value) -> std::result::Result<(), String> {
        let config =
            JsonObject::from_value("config.json", &json!({ "architectures": architectures })).expect("an object");
        reject_other_tasks(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn classes_of_encoders_are_accepted() {
        for name in [
            "BertModel",
            "XLMRobertaModel",
            "DistilBertForMaskedLM",
            "BertForPreTraining",
            "RobertaForCL",
            "T5EncoderModel",
            "NomicBertModel",
            "NewModel",
            "SomethingOfTheirOwn",
        ] {
            assert_eq!(check(&json!([name])), Ok(()), "{name}");
        }
        for none in [json!(null), json!([]), json!("BertModel"), json!(["BertModel", "BertForSequenceClassification"])]
        {
            assert_eq!(check(&none), Ok(()), "{none}");
        }
    }

    #[test]
    fn classes_for_other_tasks_are_rejected_by_name() {
        for (name, description) in [
            ("BertForSequenceClassification", "cross-encoder"),
            ("JinaForRanking", "cross-encoder"),
            ("RobertaForTokenClassification", "tokens"),
            ("DistilBertForQuestionAnswering", "answers"),
            ("BertForMultipleChoice", "chooses"),
            ("BertForNextSentencePrediction", "follows"),
            ("BertLMHeadModel", "generates"),
            ("XLMRobertaForCausalLM", "generates"),
            ("T5ForConditionalGeneration", "generates"),
            ("HF_ColBERT", "late-interaction"),
            ("CLIPModel", "images"),
        ] {
            let message = check(&json!([name])).expect_err(name);
            let parts = ["config.json: `architectures`", description, "no modules.json", "all-MiniLM-L6-v2", name];
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        for invalid in [json!(3), json!([3]), json!({"a": "BertModel"})] {
            assert!(check(&invalid).expect_err("no name").contains("a list of class names"), "{invalid}");
        }
    }
}
