//! A text's vector has the same bits in any batch, in any order, with any number of threads, with
//! or without a trace, and on every level with fused multiply-add. This holds for every precision,
//! including int8.

use crate::common::{Golden, committed, elements, model, same_bits, synthetic_weights};
use likewise::{Builder, Embedder, Embeddings, Level, ModelFiles, Precision};

/// With at most so many texts, fewer orders and numbers of threads are checked.
const FEW_TEXTS: usize = 10;

/// Returns 64 texts of various lengths.
fn texts(name: &str) -> Vec<String> {
    let golden = Golden::load(name).texts;
    (0..64).map(|i| golden[i * 7 % golden.len()].clone()).collect()
}

fn open(files: &ModelFiles, level: Level, threads: usize) -> Embedder {
    builder(level, threads).open_files(files).expect("a model")
}

fn builder(level: Level, threads: usize) -> Builder {
    Embedder::builder().level(level).threads(threads)
}

fn fused_levels() -> Vec<Level> {
    Level::available().into_iter().filter(|level| level.is_fused()).collect()
}

/// Embeds each text in a batch with no other texts.
fn embed_singly(model: &Embedder, texts: &[String]) -> Vec<Vec<f32>> {
    texts.iter().map(|text| model.embed(&[text]).expect("a vector").row(0).to_vec()).collect()
}

/// Panics with the index of the first text whose vector differs from the expected bits.
fn assert_same(found: &Embeddings, expected: &[Vec<f32>], order: &[usize], what: &str) {
    assert_eq!(found.len(), order.len(), "{what}: vectors");
    for (row, &i) in found.rows().zip(order) {
        assert!(same_bits(row, &expected[i]), "{what}: the bits of text {i} differ");
    }
}

/// Checks batches, orders and numbers of threads on one level, and returns the vectors.
fn check_level(files: &ModelFiles, level: Level, precision: Precision, texts: &[String], label: &str) -> Vec<Vec<f32>> {
    let open = |threads| builder(level, threads).precision(precision).open_files(files).expect("a model");
    let single_threaded = open(1);
    let expected = embed_singly(&single_threaded, texts);
    let order: Vec<usize> = (0..texts.len()).collect();
    let reversed: Vec<usize> = order.iter().rev().copied().collect();
    let shuffled: Vec<usize> = order.iter().map(|i| i * 29 % texts.len()).collect();
    let orders = [shuffled, reversed, order];
    for threads in [1, 2, 7] {
        // Models of full depth have few texts. Seven threads on few cores wait for one another.
        let orders = &orders[..if texts.len() > FEW_TEXTS && threads < 7 { orders.len() } else { 1 }];
        let opened = (threads > 1).then(|| open(threads));
        let model = opened.as_ref().unwrap_or(&single_threaded);
        for order in orders {
            let chosen: Vec<&String> = order.iter().map(|&i| &texts[i]).collect();
            // With many texts, each thread computes whole batches. With few texts, all threads
            // share one forward pass.
            let what = format!("{label} {level}, {threads} threads");
            assert_same(&model.embed(&chosen).expect("vectors"), &expected, order, &what);
            assert_same(&model.embed(&chosen[..3]).expect("vectors"), &expected, &order[..3], &format!("{what}, few"));
        }
        for (i, text) in texts.iter().enumerate().take(5) {
            let vector = model.embed(&[text]).expect("a vector");
            assert!(
                same_bits(vector.row(0), &expected[i]),
                "{label} {level}, {threads} threads, single-text batch: text {i}"
            );
        }
    }
    let traced: Vec<&String> = texts.iter().take(9).collect();
    let trace = single_threaded.trace(&traced).expect("a trace");
    let rows = elements(&trace, "vectors").chunks_exact(single_threaded.width());
    for (i, row) in rows.enumerate() {
        assert!(same_bits(row, &expected[i]), "{label} {level}, traced: the bits of text {i} differ");
    }
    expected
}

/// Checks all precisions on some levels.
fn check(files: &ModelFiles, levels: &[Level], texts: &[String], label: &str) {
    for precision in Precision::ALL {
        check_precision(files, levels, precision, texts, &format!("{label} {}", precision.name()));
    }
}

/// Checks one precision on some levels, and that all levels with fused multiply-add agree.
fn check_precision(files: &ModelFiles, levels: &[Level], precision: Precision, texts: &[String], label: &str) {
    let mut fused: Option<(Level, Vec<Vec<f32>>)> = None;
    for &level in levels {
        // The slow levels use fewer texts, and large models do so in bf16 and int8, to save time.
        let is_slow = !level.is_fused() || (precision != Precision::F32 && texts.len() < 64);
        let texts = if is_slow { &texts[..texts.len().min(FEW_TEXTS)] } else { texts };
        let vectors = check_level(files, level, precision, texts, label);
        if !level.is_fused() {
            continue;
        }
        match &fused {
            None => fused = Some((level, vectors)),
            Some((first, expected)) => {
                for (i, (a, b)) in vectors.iter().zip(expected).enumerate() {
                    assert!(same_bits(a, b), "{label}: the bits of text {i} differ between {level} and {first}");
                }
            }
        }
    }
}

#[test]
fn committed_models_in_any_batch_order_and_threads_keep_bits() {
    for name in committed() {
        let files = ModelFiles::folder(model(name));
        let texts = texts(name);
        // The slow levels run the same code for all models, so some models cover them.
        match name {
            "quickstart" => check(&files, &fused_levels(), &texts[..20], name),
            "tiny-mpnet" | "tiny-modernbert" | "tiny-t5-gated" => check(&files, &Level::available(), &texts, name),
            _ => check(&files, &fused_levels(), &texts, name),
        }
    }
}

#[test]
#[ignore = "takes a minute; .ci/run includes it"]
fn full_depth_model_in_any_batch_order_and_threads_keeps_bits() {
    let files = crate::common::in_memory(&synthetic_weights::files("full-mpnet", "tiny-mpnet"));
    let texts: Vec<String> = texts("tiny-mpnet").into_iter().filter(|text| text.len() < 80).take(FEW_TEXTS).collect();
    check(&files, &fused_levels(), &texts, "full-mpnet");
}

/// The longest text is beyond several windows of the layers that have one.
#[test]
#[ignore = "takes a minute; .ci/run includes it"]
fn text_beyond_several_windows_keeps_bits() {
    let files = synthetic_weights::edited("full-modernbert", "tiny-modernbert", |config| {
        config["num_hidden_layers"] = serde_json::json!(3);
    });
    let golden = Golden::load("full-modernbert").texts;
    let longest = golden.iter().max_by_key(|text| text.len()).expect("texts");
    let texts = [longest.clone(), golden[0].clone(), golden[3].clone()];
    for pooling in ["cls", "mean"] {
        let mut files = files.clone();
        crate::common::edit_json(&mut files, "1_Pooling/config.json", |config| {
            config["pooling_mode_cls_token"] = serde_json::json!(pooling == "cls");
            config["pooling_mode_mean_tokens"] = serde_json::json!(pooling == "mean");
        });
        let precisions: &[Precision] = if pooling == "cls" { &Precision::ALL } else { &[Precision::F32] };
        for &precision in precisions {
            let label = format!("ModernBERT, {pooling}, {}", precision.name());
            check_precision(&crate::common::in_memory(&files), &fused_levels(), precision, &texts, &label);
        }
    }
}

#[test]
fn concurrent_callers_get_same_bits() {
    let files = ModelFiles::folder(model("tiny-mpnet"));
    let model = open(&files, Level::best(), 2);
    let texts = texts("tiny-mpnet");
    let expected = embed_singly(&model, &texts);
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let model = &model;
            let texts = &texts;
            let expected = &expected;
            scope.spawn(move || {
                for round in 0..20 {
                    let first = (caller * 13 + round * 5) % texts.len();
                    let count = if round % 2 == 0 { 1 } else { 30 };
                    let order: Vec<usize> = (first..first + count).map(|i| i % texts.len()).collect();
                    let chosen: Vec<&String> = order.iter().map(|&i| &texts[i]).collect();
                    assert_same(&model.embed(&chosen).expect("vectors"), expected, &order, "concurrent callers");
                }
            });
        }
    });
}

/// A caller may be a thread of another pool. While it waits, that pool may run another task on it,
/// which calls the embedder again. A progress callback may also call the embedder. Neither may
/// deadlock.
#[test]
fn callers_inside_other_pools_do_not_deadlock() {
    let texts = texts("tiny-mpnet");
    let model = open(&ModelFiles::folder(model("tiny-mpnet")), Level::best(), 2);
    let expected = embed_singly(&model, &texts);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use rayon::prelude::*;
        let vectors: Vec<Vec<f32>> =
            texts.par_iter().map(|text| model.embed(&[text]).expect("a vector").row(0).to_vec()).collect();
        let nested =
            model.embed_with_progress(&texts, |_| drop(model.embed(&texts[..1]).expect("a vector"))).expect("vectors");
        let nested: Vec<Vec<f32>> = nested.rows().map(<[f32]>::to_vec).collect();
        // If the receiver is gone, the test has already failed by timeout.
        drop(sender.send((vectors, nested)));
    });
    let (vectors, nested) =
        receiver.recv_timeout(std::time::Duration::from_secs(60)).expect("no deadlock within 60 seconds");
    for (i, expected) in expected.iter().enumerate() {
        assert!(same_bits(&vectors[i], expected) && same_bits(&nested[i], expected), "text {i}");
    }
}
