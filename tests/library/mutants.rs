//! Mutation tests of the golden comparisons. Each test makes a typical porting mistake: it edits a
//! fixture model's files so that the model computes what the mistaken code would compute. The
//! comparison with the goldens must then fail.

use std::collections::HashMap;

use crate::common::{Golden, Report, edit_json, edit_tensor, elements, files, in_memory, max_difference};
use likewise::{Embedder, Level};
use serde_json::json;

mod families;

type Files = HashMap<String, Vec<u8>>;

/// A porting mistake, and an edit of a model's files that has the same effect.
struct Mutant {
    model: &'static str,
    mistake: &'static str,
    edit: fn(&mut Files),
}

/// Maximum absolute error of an element of a vector.
const MAX_VECTOR_ERROR: f64 = 2e-6;
/// Maximum absolute error of an element of an intermediate tensor.
const MAX_TENSOR_ERROR: f64 = 2e-5;

/// Returns whether a model's vectors and all intermediate tensors match the goldens.
fn agrees(files: &Files, golden: &Golden, level: Level) -> bool {
    let model = Embedder::builder().level(level).open_files(&in_memory(files)).expect("a model");
    let mut report = Report::default();
    let vectors = model.embed(&golden.texts).expect("vectors");
    // Elements of vectors that are not scaled to length 1 are as large as those of other tensors.
    let bound = if golden.is_normalized() { MAX_VECTOR_ERROR } else { MAX_TENSOR_ERROR };
    report.within("vectors", max_difference(vectors.as_slice(), &golden.tensor("vectors")), bound);
    let trace = model.trace(&golden.traced()).expect("a trace");
    for tensor in trace.tensors().iter().filter(|tensor| golden.has_site(tensor.site())) {
        let (site, found) = (tensor.site(), tensor.as_slice());
        let expected = golden.site(site, model.info().architecture.heads);
        let difference = if found.len() == expected.len() { max_difference(found, &expected) } else { f64::INFINITY };
        report.within(site, difference, MAX_TENSOR_ERROR);
    }
    report.passes()
}

/// Moves each row of a position table to the index that code with an off-by-one error would read.
fn shift_rows(table: &mut [f32], width: usize) {
    table.rotate_right(width);
}

const MUTANTS: [Mutant; 11] = [
    Mutant {
        model: "tiny-mpnet",
        mistake: "positions from 1 instead of 2",
        edit: |files| edit_tensor(files, "embeddings.position_embeddings.weight", |table| shift_rows(table, 48)),
    },
    Mutant {
        model: "tiny-xlm-roberta",
        mistake: "positions from 1 instead of 2",
        edit: |files| edit_json(files, "config.json", |config| config["pad_token_id"] = json!(0)),
    },
    Mutant {
        model: "tiny-mpnet",
        mistake: "tanh GELU",
        edit: |files| edit_json(files, "config.json", |config| config["hidden_act"] = json!("gelu_new")),
    },
    Mutant {
        model: "tiny-bert",
        mistake: "tanh GELU",
        edit: |files| edit_json(files, "config.json", |config| config["hidden_act"] = json!("gelu_pytorch_tanh")),
    },
    Mutant {
        model: "tiny-mpnet",
        mistake: "no relative bias",
        edit: |files| edit_tensor(files, "encoder.relative_attention_bias.weight", |bias| bias.fill(0.0)),
    },
    Mutant {
        model: "tiny-mpnet",
        mistake: "relative bias with query and key swapped",
        edit: |files| edit_tensor(files, "encoder.relative_attention_bias.weight", |bias| bias.rotate_left(16 * 3)),
    },
    Mutant {
        model: "tiny-mpnet",
        mistake: "epsilon 1e-12 instead of 1e-5",
        edit: |files| edit_json(files, "config.json", |config| config["layer_norm_eps"] = json!(1e-12)),
    },
    Mutant {
        model: "tiny-bert",
        mistake: "epsilon 1e-5 instead of 1e-12",
        edit: |files| edit_json(files, "config.json", |config| config["layer_norm_eps"] = json!(1e-5)),
    },
    Mutant { model: "tiny-mpnet", mistake: "no attention scale", edit: forget_scale },
    Mutant {
        model: "tiny-bert",
        mistake: "no token type embedding",
        edit: |files| edit_tensor(files, "bert.embeddings.token_type_embeddings.weight", |table| table.fill(0.0)),
    },
    Mutant {
        model: "tiny-xlm-roberta",
        mistake: "no Normalize",
        edit: |files| {
            edit_json(files, "modules.json", |modules| {
                modules.as_array_mut().expect("modules").pop();
            });
        },
    },
];

/// Adds two padding tokens after every text.
fn add_padding(files: &mut Files) {
    edit_json(files, "tokenizer.json", |tokenizer| {
        let special = |token: &str, id: u32| (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]}));
        let piece = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
        let single = json!([piece("<s>"), {"Sequence": {"id": "A", "type_id": 0}}, piece("</s>"), piece("<pad>"), piece("<pad>")]);
        let tokens: serde_json::Map<_, _> =
            [special("<s>", 0), special("</s>", 2), special("<pad>", 1)].into_iter().collect();
        tokenizer["post_processor"] =
            json!({"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens});
    });
}

/// Multiplies the queries by √d, which cancels the factor 1/√d of the attention scores.
fn forget_scale(files: &mut Files) {
    for layer in 0..2 {
        for leaf in ["weight", "bias"] {
            edit_tensor(files, &format!("encoder.layer.{layer}.attention.attn.q.{leaf}"), |query| {
                query.iter_mut().for_each(|x| *x *= 4.0);
            });
        }
    }
}

#[test]
fn porting_mistakes_are_caught_by_goldens() {
    let mut survivors = Vec::new();
    for mutant in MUTANTS.iter().chain(&families::MUTANTS) {
        let golden = Golden::load(mutant.model);
        for level in Level::available() {
            let mut files = files(mutant.model);
            (mutant.edit)(&mut files);
            println!("--- {}: {} ({level})", mutant.model, mutant.mistake);
            if agrees(&files, &golden, level) {
                survivors.push(format!("{}: {} ({level})", mutant.model, mutant.mistake));
            }
        }
    }
    assert!(survivors.is_empty(), "mistakes that the goldens do not catch: {survivors:#?}");
}

#[test]
fn unchanged_models_agree_with_goldens() {
    for name in crate::common::TINY {
        let golden = Golden::load(name);
        for level in Level::available() {
            assert!(agrees(&files(name), &golden, level), "{name} ({level})");
        }
    }
}

/// The mistake is to mask padding in attention but not in pooling. The pooled vector is then the
/// mean over the vectors of the text's tokens and of the padding tokens.
#[test]
fn pooled_padding_is_caught_by_goldens() {
    let golden = Golden::load("tiny-mpnet");
    let mut padded = files("tiny-mpnet");
    add_padding(&mut padded);
    for level in Level::available() {
        let open = |files: &Files| Embedder::builder().level(level).open_files(&in_memory(files)).expect("a model");
        let model = open(&files("tiny-mpnet"));
        let padded = open(&padded);
        let width = model.width();
        let mut mistaken = Vec::new();
        let mut correct = Vec::new();
        for text in &golden.texts {
            let last_layer =
                |model: &Embedder| elements(&model.trace(&[text]).expect("a trace"), "layer.1.output").to_vec();
            let tokens = last_layer(&model);
            let padding = last_layer(&padded).split_off(tokens.len().min(126 * width));
            mistaken.extend(normalized_mean(&[tokens.clone(), padding].concat(), width));
            correct.extend(normalized_mean(&tokens, width));
        }
        let expected = golden.tensor("vectors");
        assert!(
            max_difference(&correct, &expected) <= MAX_VECTOR_ERROR,
            "{level}: correct pooling differs from the goldens"
        );
        assert!(max_difference(&mistaken, &expected) > MAX_VECTOR_ERROR, "{level}: pooled padding is not caught");
    }
}

/// Computes the mean of rows and normalizes it to length 1.
fn normalized_mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0.0_f64; width];
    for row in rows.chunks(width) {
        row.iter().zip(&mut mean).for_each(|(&x, sum)| *sum += f64::from(x));
    }
    let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    mean.into_iter().map(|x| (x / length) as f32).collect()
}
