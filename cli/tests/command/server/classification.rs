//! `/predict` of text-embeddings-inference, text-classification on the paths of models, and pairs
//! as SageMaker's clients send them.

use serde_json::{Value, json};

use super::cross_encoders::{CLASSIFIER, CrossEncoderFolder, RERANKER, server_of_all_kinds, sigmoid};
use super::harness::Server;

/// Maximum error of a score.
const MAX_ERROR: f64 = 2e-6;

const LABELS: [&str; 3] = ["contradiction", "entailment", "neutral"];

fn start(folder: &CrossEncoderFolder) -> Server {
    let server = Server::start(&[folder.argument("m")], &[]);
    server.wait_until_ready();
    server
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let exponentials: Vec<f64> = logits.iter().map(|x| x.exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|x| x / sum).collect()
}

/// Checks the labels of one input, which are best first, against the scores of all labels.
fn check(found: &Value, expected: &[f64], labels: &[&str]) {
    let found = found.as_array().unwrap_or_else(|| panic!("{found}"));
    let scores: Vec<f64> = found.iter().map(|one| one["score"].as_f64().expect("a score")).collect();
    assert_eq!(found.len(), expected.len());
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    for (one, score) in found.iter().zip(scores) {
        let i = labels.iter().position(|label| one["label"] == *label).expect("a label");
        approx::assert_abs_diff_eq!(score, expected[i], epsilon = MAX_ERROR);
    }
}

#[test]
fn predict_returns_the_labels_of_sentence_transformers() {
    let folder = CrossEncoderFolder::write(CLASSIFIER);
    let server = start(&folder);
    let predict = |body: Value| server.post("/predict", &body).json();
    let batch = predict(json!({"inputs": folder.pairs}));
    let raw = predict(json!({"inputs": folder.pairs, "raw_scores": true}));
    for (i, logits) in folder.logits.chunks_exact(3).enumerate() {
        check(&batch[i], &softmax(logits), &LABELS);
        check(&raw[i], logits, &LABELS);
    }
    // Two strings are one pair, and one input has no list around its labels.
    assert_eq!(predict(json!({"inputs": folder.pairs[0]})), batch[0]);
    // One string is a text alone, in any form.
    let one = predict(json!({"inputs": "That is a happy person"}));
    assert_eq!(one.as_array().map(Vec::len), Some(3));
    assert_eq!(predict(json!({"inputs": ["That is a happy person"]})), one);
    let mixed = predict(json!({"inputs": [["That is a happy person"], folder.pairs[0]]}));
    assert_eq!(mixed, json!([one, batch[0]]));
}

#[test]
fn predict_of_a_reranker_has_one_label() {
    let folder = CrossEncoderFolder::write(RERANKER);
    let server = start(&folder);
    let one = server.post("/predict", &json!({"inputs": folder.pairs[0]})).json();
    check(&one, &[sigmoid(folder.logits[0])], &["LABEL_0"]);
}

/// The shape that huggingface_hub and huggingface.js read: a list of labels for each input.
#[test]
fn text_classification_returns_a_list_of_labels_for_each_input() {
    let folder = CrossEncoderFolder::write(CLASSIFIER);
    let server = start(&folder);
    let [text, pair] = &folder.pairs[0];
    let object = json!({"text": text, "text_pair": pair});
    let expected = softmax(&folder.logits[..3]);
    for path in ["/", "/models/m", "/models/m/pipeline/text-classification", "/pipeline/text-classification/m"] {
        let one = server.post(path, &json!({"inputs": object, "parameters": {}})).json();
        assert_eq!(one.as_array().map(Vec::len), Some(1), "{path}");
        check(&one[0], &expected, &LABELS);
        assert_eq!(server.post(path, &json!({"inputs": [object]})).json(), one);
        assert_eq!(server.post(path, &json!({"inputs": [[text, pair]]})).json(), one);
        // A flat list has two texts, other than in `/predict`.
        let two = server.post(path, &json!({"inputs": [text, pair]})).json();
        assert_eq!(two.as_array().map(Vec::len), Some(2), "{path}");
        assert_eq!(server.post(path, &json!({"inputs": text})).json(), json!([two[0]]));
    }
    let ask = |parameters: Value| server.post("/models/m", &json!({"inputs": object, "parameters": parameters}));
    let best = ask(json!({"top_k": 1})).json();
    assert_eq!(best[0].as_array().map(Vec::len), Some(1));
    check(&ask(json!({"function_to_apply": "none"})).json()[0], &folder.logits[..3], &LABELS);
    let sigmoids: Vec<f64> = folder.logits[..3].iter().map(|&x| sigmoid(x)).collect();
    check(&ask(json!({"function_to_apply": "sigmoid"})).json()[0], &sigmoids, &LABELS);
    check(&ask(json!({"function_to_apply": "softmax"})).json()[0], &expected, &LABELS);
    let wrong = ask(json!({"function_to_apply": "tanh"}));
    assert_eq!((wrong.status, wrong.body.contains("`function_to_apply`: expected")), (400, true), "{wrong:?}");
}

/// As in the pipeline of transformers, `problem_type` chooses the function.
#[test]
fn text_classification_applies_the_function_of_the_problem_type() {
    let ask = |case: &str| {
        let folder = CrossEncoderFolder::write(case);
        let response = start(&folder).post("/", &json!({"inputs": [folder.pairs[0]]})).json();
        (response[0].clone(), folder.logits)
    };
    let (found, logits) = ask("bert/1 labels/F32/plain/regression");
    check(&found, &logits[..1], &["LABEL_0"]);
    let labels = ["LABEL_0", "LABEL_1", "LABEL_2"];
    let (found, logits) = ask("bert/3 labels/F32/plain/multi_label_classification");
    check(&found, &logits[..3].iter().map(|&x| sigmoid(x)).collect::<Vec<_>>(), &labels);
    let (found, logits) = ask("bert/3 labels/F32/plain/single_label_classification");
    check(&found, &softmax(&logits[..3]), &labels);
}

#[test]
fn invocations_answers_like_text_embeddings_inference_and_scores_pairs() {
    let folder = CrossEncoderFolder::write(RERANKER);
    let server = start(&folder);
    let one = server.post("/invocations", &json!({"inputs": folder.pairs[0]})).json();
    assert_eq!(one, server.post("/predict", &json!({"inputs": folder.pairs[0]})).json());
    let scores = server.post("/invocations", &json!({"text_pairs": folder.pairs})).json();
    let scores = scores["scores"].as_array().expect("scores");
    assert_eq!(scores.len(), folder.pairs.len());
    for (score, &logit) in scores.iter().zip(&folder.logits) {
        approx::assert_abs_diff_eq!(score.as_f64().expect("a score"), sigmoid(logit), epsilon = MAX_ERROR);
    }
    let wrong = server.post("/invocations", &json!({"text_pairs": [["a"]]}));
    assert_eq!((wrong.status, wrong.body.contains("`text_pairs[0]`: expected an array of two")), (400, true));
}

#[test]
fn malformed_inputs_are_rejected_with_what_was_expected() {
    let server = server_of_all_kinds("classifier", &["--max-client-batch-size", "2"]);
    for (path, body, status, part) in [
        ("/predict", json!({}), 400, "`inputs`: expected a string, an array of one or two strings"),
        ("/predict", json!({"inputs": []}), 400, "`inputs`: expected at least one element, found none"),
        ("/predict", json!({"inputs": ["a", "b", "c"]}), 400, "`inputs`: expected a string, an array of one or two"),
        ("/predict", json!({"inputs": [[]]}), 400, "`inputs[0]`: expected an array of one or two strings"),
        ("/predict", json!({"inputs": [["a", "b", "c"]]}), 400, "`inputs[0]`: expected an array of one or two"),
        ("/predict", json!({"inputs": [["a"], ["b"], ["c"]]}), 422, "--max-client-batch-size"),
        ("/models/classifier", json!({"inputs": {"text": 5}}), 400, "`inputs.text`: expected a string, found 5"),
        ("/models/classifier", json!({"inputs": {"text_pair": "a"}}), 400, "`inputs.text`: expected a string"),
        ("/models/classifier", json!({"inputs": null}), 400, "`inputs`: expected a string, an object"),
        ("/models/classifier", json!({"inputs": [["a"]]}), 400, "`inputs[0]`: expected an array of two strings"),
    ] {
        let response = server.post(path, &body);
        assert_eq!((response.status, response.body.contains(part)), (status, true), "{path} {body}: {response:?}");
    }
}
