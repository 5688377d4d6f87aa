//! Models for other tasks than encoding texts.

use super::*;

/// Returns the files of a BERT whose config.json names this class.
fn with_class(class: &str) -> Files {
    with_json("tiny-bert", "config.json", |json| json["architectures"] = json!([class]))
}

/// sentence-transformers opens a cross-encoder as its encoder and mean pooling, and gives scores
/// without a meaning.
#[test]
fn cross_encoder_without_modules_json_is_rejected_by_name() {
    let mut cases = Cases::default();
    for (class, what) in [
        ("BertForSequenceClassification", "a cross-encoder or classifier"),
        ("BertForTokenClassification", "a classifier of tokens"),
        ("BertForQuestionAnswering", "a model that finds answers"),
        ("BertForMultipleChoice", "a model that chooses"),
        ("BertForNextSentencePrediction", "follows another"),
        ("BertLMHeadModel", "a model that generates text"),
        ("HF_ColBERT", "a late-interaction model"),
    ] {
        let mut files = with_class(class);
        files.remove("modules.json");
        let parts = ["config.json", "architectures", "no modules.json", what, "use an embedding model", class];
        cases.rejects_model(class, &files, "Config", &parts);
    }
    let mut files = with_class("BertModel");
    files.remove("modules.json");
    edit_json(&mut files, "config.json", |json| json["architectures"] = json!(7));
    cases.rejects_model("a number", &files, "Config", &["config.json", "architectures", "class names", "found 7"]);
    cases.finish();
}

#[test]
fn encoder_is_opened_by_any_of_its_class_names() {
    let mean = |class: Option<&str>| {
        let mut files = with_class(class.unwrap_or_default());
        files.remove("modules.json");
        if class.is_none() {
            edit_json(&mut files, "config.json", |json| {
                drop(json.as_object_mut().expect("keys").remove("architectures"))
            });
        }
        embed(&files, &TEXTS).unwrap_or_else(|error| panic!("{class:?}: {}", message(&error)))
    };
    let expected = mean(Some("BertModel"));
    for class in [None, Some("BertForMaskedLM"), Some("BertForPreTraining"), Some("BertForCL")] {
        assert!(same_bits(mean(class).as_slice(), expected.as_slice()), "{class:?}");
    }
}

/// modules.json says that the encoder inside is meant.
#[test]
fn modules_json_makes_any_class_an_encoder() {
    let expected = embed(&files("tiny-bert"), &TEXTS).expect("vectors");
    for class in ["BertForSequenceClassification", "BertLMHeadModel", "BertModel"] {
        let vectors = embed(&with_class(class), &TEXTS).unwrap_or_else(|e| panic!("{class}: {}", message(&e)));
        assert!(same_bits(vectors.as_slice(), expected.as_slice()), "{class}");
    }
}
