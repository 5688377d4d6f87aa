//! Would the goldens notice? Each mistake that people make when they port these models is made here
//! on purpose, by changing a fixture model's files so that it computes what the mistaken code
//! would, and the comparison with the goldens must fail.

use std::collections::HashMap;

use crate::common::{Golden, Report, edit_json, edit_tensor, files, in_memory, max_difference};
use likewise::{Embedder, Level};
use serde_json::json;

type Files = HashMap<String, Vec<u8>>;

/// A model, a mistake, and the change of its files that has the same effect.
struct Mutant {
    model: &'static str,
    mistake: &'static str,
    make: fn(&mut Files),
}

/// Whether a model agrees with the goldens: vectors, pooled vectors and every intermediate tensor.
fn agrees(files: &Files, golden: &Golden, level: Level) -> bool {
    let model = Embedder::builder().level(level).open_files(&in_memory(files)).expect("a model");
    let mut report = Report::default();
    let vectors = model.embed(&golden.texts).expect("vectors");
    report.within("vectors", max_difference(vectors.as_slice(), &golden.tensor("vectors")), 2e-6);
    let trace = model.trace(&golden.traced()).expect("a trace");
    for site in trace.activations.sites() {
        let expected = golden.tensor(site);
        let ours = trace.activations.get(site).expect("the site");
        let difference = if ours.len() == expected.len() { max_difference(ours, &expected) } else { f64::INFINITY };
        report.within(site, difference, 2e-5);
    }
    report.holds()
}

/// Moves each row of a table of positions to where code that is off by one would look for it.
fn shift_rows(table: &mut [f32], width: usize) {
    table.rotate_right(width);
}

const MUTANTS: [Mutant; 11] = [
    Mutant {
        model: "tiny-mpnet",
        mistake: "positions from 1 instead of 2",
        make: |files| edit_tensor(files, "embeddings.position_embeddings.weight", |table| shift_rows(table, 48)),
    },
    Mutant {
        model: "tiny-xlm-roberta",
        mistake: "positions from 1 instead of 2",
        make: |files| edit_json(files, "config.json", |config| config["pad_token_id"] = json!(0)),
    },
    Mutant {
        model: "tiny-mpnet",
        mistake: "tanh GELU",
        make: |files| edit_json(files, "config.json", |config| config["hidden_act"] = json!("gelu_new")),
    },
    Mutant {
        model: "tiny-bert",
        mistake: "tanh GELU",
        make: |files| edit_json(files, "config.json", |config| config["hidden_act"] = json!("gelu_pytorch_tanh")),
    },
    Mutant {
        model: "tiny-mpnet",
        mistake: "no relative bias",
        make: |files| edit_tensor(files, "encoder.relative_attention_bias.weight", |bias| bias.fill(0.0)),
    },
    Mutant {
        model: "tiny-mpnet",
        mistake: "relative bias with query and key exchanged",
        make: |files| edit_tensor(files, "encoder.relative_attention_bias.weight", |bias| bias.rotate_left(16 * 3)),
    },
    Mutant {
        model: "tiny-mpnet",
        mistake: "epsilon 1e-12 instead of 1e-5",
        make: |files| edit_json(files, "config.json", |config| config["layer_norm_eps"] = json!(1e-12)),
    },
    Mutant {
        model: "tiny-bert",
        mistake: "epsilon 1e-5 instead of 1e-12",
        make: |files| edit_json(files, "config.json", |config| config["layer_norm_eps"] = json!(1e-5)),
    },
    Mutant { model: "tiny-mpnet", mistake: "scale forgotten", make: forget_scale },
    Mutant {
        model: "tiny-bert",
        mistake: "no segment embedding",
        make: |files| edit_tensor(files, "bert.embeddings.token_type_embeddings.weight", |table| table.fill(0.0)),
    },
    Mutant {
        model: "tiny-xlm-roberta",
        mistake: "no Normalize",
        make: |files| {
            edit_json(files, "modules.json", |modules| {
                modules.as_array_mut().expect("modules").pop();
            });
        },
    },
];

/// Two padding tokens after every text.
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

/// Queries √d times as large: the scores are then what they are without the factor 1/√d.
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
    for mutant in &MUTANTS {
        let golden = Golden::load(mutant.model);
        for level in Level::available() {
            let mut files = files(mutant.model);
            (mutant.make)(&mut files);
            println!("--- {}: {} ({level})", mutant.model, mutant.mistake);
            if agrees(&files, &golden, level) {
                survivors.push(format!("{}: {} ({level})", mutant.model, mutant.mistake));
            }
        }
    }
    assert!(survivors.is_empty(), "the goldens do not notice: {survivors:#?}");
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

/// Padding that attention masks and pooling does not: the mean over a text's own token vectors and
/// those of padding.
#[test]
fn pooled_padding_is_caught_by_goldens() {
    let golden = Golden::load("tiny-mpnet");
    let mut padded = files("tiny-mpnet");
    add_padding(&mut padded);
    for level in Level::available() {
        let open = |files: &Files| Embedder::builder().level(level).open_files(&in_memory(files)).expect("a model");
        let (model, padded) = (open(&files("tiny-mpnet")), open(&padded));
        let (width, mut mistaken, mut right) = (model.width(), Vec::new(), Vec::new());
        for text in &golden.texts {
            let last = |model: &Embedder| {
                model
                    .trace(&[text])
                    .expect("a trace")
                    .activations
                    .get("layer.1.output")
                    .expect("the last layer")
                    .to_vec()
            };
            let own = last(&model);
            let padding = last(&padded).split_off(own.len().min(126 * width));
            mistaken.extend(normalized_mean(&[own.clone(), padding].concat(), width));
            right.extend(normalized_mean(&own, width));
        }
        let expected = golden.tensor("vectors");
        assert!(max_difference(&right, &expected) <= 2e-6, "{level}: without the mistake they agree");
        assert!(max_difference(&mistaken, &expected) > 2e-6, "{level}: the goldens do not notice pooled padding");
    }
}

fn normalized_mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0.0_f64; width];
    for row in rows.chunks(width) {
        row.iter().zip(&mut mean).for_each(|(&x, sum)| *sum += f64::from(x));
    }
    let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    mean.into_iter().map(|x| (x / length) as f32).collect()
}
