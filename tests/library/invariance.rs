//! Promise 2, the same bits: alone, in any batch, in any order, with any number of threads, traced
//! or not, and on every level that fuses. In every precision: with bytes, too, a text's vector does
//! not depend on the texts around it.

use crate::common::{COMMITTED, Golden, model, same_bits, synthetic_weights};
use likewise::{Builder, Embedder, Embeddings, Level, ModelFiles, Precision};

/// Sixty-four texts of all lengths.
fn texts(name: &str) -> Vec<String> {
    let golden = Golden::load(name).texts;
    (0..64).map(|i| golden[i * 7 % golden.len()].clone()).collect()
}

fn open(files: &ModelFiles, level: Level, threads: usize) -> Embedder {
    with(level, threads).open_files(files).expect("a model")
}

fn with(level: Level, threads: usize) -> Builder {
    Embedder::builder().level(level).threads(threads)
}

fn fused_levels() -> Vec<Level> {
    Level::available().into_iter().filter(|level| level.is_fused()).collect()
}

/// The vectors of texts that are embedded one by one.
fn alone(model: &Embedder, texts: &[String]) -> Vec<Vec<f32>> {
    texts.iter().map(|text| model.embed(&[text]).expect("a vector").row(0).to_vec()).collect()
}

/// Fails, naming the text, if a vector has other bits than expected.
fn assert_same(got: &Embeddings, expected: &[Vec<f32>], order: &[usize], what: &str) {
    assert_eq!(got.len(), order.len(), "{what}: vectors");
    for (row, &i) in got.rows().zip(order) {
        assert!(same_bits(row, &expected[i]), "{what}: text {i} has other bits");
    }
}

/// Batch, order and threads, on one level. Returns the vectors.
fn check_level(files: &ModelFiles, level: Level, precision: Precision, texts: &[String], label: &str) -> Vec<Vec<f32>> {
    let open = |threads| with(level, threads).precision(precision).open_files(files).expect("a model");
    let one = open(1);
    let expected = alone(&one, texts);
    let order: Vec<usize> = (0..texts.len()).collect();
    let reversed: Vec<usize> = order.iter().rev().copied().collect();
    let shuffled: Vec<usize> = order.iter().map(|i| i * 29 % texts.len()).collect();
    for threads in [1, 2, 7] {
        let model = open(threads);
        for order in [&order, &reversed, &shuffled] {
            let chosen: Vec<&String> = order.iter().map(|&i| &texts[i]).collect();
            // All at once, where each thread takes batches, and a few, where all threads share a
            // pass.
            let what = format!("{label} {level}, {threads} threads");
            assert_same(&model.embed(&chosen).expect("vectors"), &expected, order, &what);
            assert_same(&model.embed(&chosen[..3]).expect("vectors"), &expected, &order[..3], &format!("{what}, few"));
        }
        for (i, text) in texts.iter().enumerate().take(5) {
            let vector = model.embed(&[text]).expect("a vector");
            assert!(same_bits(vector.row(0), &expected[i]), "{label} {level}, {threads} threads, alone: text {i}");
        }
    }
    let some: Vec<&String> = texts.iter().take(9).collect();
    let trace = one.trace(&some).expect("a trace");
    assert_same(&trace.embeddings, &expected, &order[..9], &format!("{label} {level}, traced"));
    expected
}

/// All levels, and that those which fuse agree.
fn check(files: &ModelFiles, levels: &[Level], texts: &[String], label: &str) {
    for precision in Precision::ALL {
        check_precision(files, levels, precision, texts, &format!("{label} {}", precision.name()));
    }
}

/// The same for one precision.
fn check_precision(files: &ModelFiles, levels: &[Level], precision: Precision, texts: &[String], label: &str) {
    let mut fused: Option<(Level, Vec<Vec<f32>>)> = None;
    for &level in levels {
        // The slow levels, and the large models but in f32, do with fewer texts.
        let few = !level.is_fused() || texts.len() < 64;
        let texts = if precision != Precision::F32 && few { &texts[..10] } else { texts };
        let vectors = check_level(files, level, precision, texts, label);
        if !level.is_fused() {
            continue;
        }
        match &fused {
            None => fused = Some((level, vectors)),
            Some((first, expected)) => {
                for (i, (a, b)) in vectors.iter().zip(expected).enumerate() {
                    assert!(same_bits(a, b), "{label}: text {i} has other bits on {level} than on {first}");
                }
            }
        }
    }
}

#[test]
fn committed_models_in_any_batch_order_and_threads_keep_bits() {
    for name in COMMITTED {
        // The slow levels are left to the smallest models: what could make a difference there is
        // the same code.
        let (levels, few) = if name == "quickstart" { (fused_levels(), 20) } else { (Level::available(), 64) };
        let texts: Vec<String> = texts(name).into_iter().take(few).collect();
        check(&ModelFiles::folder(model(name)), &levels, &texts, name);
    }
}

#[test]
fn full_depth_model_in_any_batch_order_and_threads_keeps_bits() {
    let files = crate::common::in_memory(&synthetic_weights::files("full-mpnet", "tiny-mpnet"));
    let texts: Vec<String> = texts("tiny-mpnet").into_iter().filter(|text| text.len() < 80).take(16).collect();
    check(&files, &fused_levels(), &texts, "full-mpnet");
}

#[test]
fn concurrent_callers_get_same_bits() {
    let files = ModelFiles::folder(model("tiny-mpnet"));
    let model = open(&files, Level::best(), 2);
    let texts = texts("tiny-mpnet");
    let expected = alone(&model, &texts);
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (model, texts, expected) = (&model, &texts, &expected);
            scope.spawn(move || {
                for round in 0..20 {
                    let first = (caller * 13 + round * 5) % texts.len();
                    let count = if round % 2 == 0 { 1 } else { 30 };
                    let order: Vec<usize> = (first..first + count).map(|i| i % texts.len()).collect();
                    let chosen: Vec<&String> = order.iter().map(|&i| &texts[i]).collect();
                    assert_same(&model.embed(&chosen).expect("vectors"), expected, &order, "several callers");
                }
            });
        }
    });
}

/// Callers that are threads of another pool: while one waits it may be given another task, which
/// calls in its turn. Also a progress callback that embeds. Neither may wait for itself.
#[test]
fn callers_inside_other_pools_do_not_deadlock() {
    let texts = texts("tiny-mpnet");
    let model = open(&ModelFiles::folder(model("tiny-mpnet")), Level::best(), 2);
    let expected = alone(&model, &texts);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use rayon::prelude::*;
        let vectors: Vec<Vec<f32>> =
            texts.par_iter().map(|text| model.embed(&[text]).expect("a vector").row(0).to_vec()).collect();
        let nested =
            model.embed_with_progress(&texts, |_| drop(model.embed(&texts[..1]).expect("a vector"))).expect("vectors");
        let nested: Vec<Vec<f32>> = nested.rows().map(<[f32]>::to_vec).collect();
        // The receiver is gone only if the time is over, and then the test has failed already.
        drop(sender.send((vectors, nested)));
    });
    let (vectors, nested) = receiver.recv_timeout(std::time::Duration::from_secs(60)).expect("an answer in a minute");
    for (i, expected) in expected.iter().enumerate() {
        assert!(same_bits(&vectors[i], expected) && same_bits(&nested[i], expected), "text {i}");
    }
}
