//! Measures the time from texts to vectors on all threads, for one layer and for whole models, as a
//! fraction of the FMA peak.
//!
//! The weights are synthetic (tests/common/synthetic_weights.rs), so no download is needed. The
//! speed of a dense network does not depend on its weights.
//!
//!     cargo bench --bench models
//!
//! Before a model is timed, its vectors are compared with those of the portable level. The vector
//! of one text of a batch must also be bit-identical to the vector of that text in a single-text
//! batch.

use likewise_tests as common;
mod peak_fraction;

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use likewise::{Embedder, Level, Precision};
use peak_fraction::PeakFraction;
use serde_json::json;

/// Returns the files of an MPNet with these sizes.
fn files(width: usize, heads: usize, intermediate: usize, layers: usize) -> HashMap<String, Vec<u8>> {
    let mut files = common::synthetic_weights::edited("full-mpnet", "tiny-mpnet", |config| {
        config["hidden_size"] = json!(width);
        config["num_attention_heads"] = json!(heads);
        config["intermediate_size"] = json!(intermediate);
        config["num_hidden_layers"] = json!(layers);
    });
    common::edit_json(&mut files, "1_Pooling/config.json", |config| config["word_embedding_dimension"] = json!(width));
    files
}

/// Returns `count` texts of `tokens` tokens each.
fn texts(model: &Embedder, count: usize, tokens: usize) -> Vec<String> {
    let special_tokens = model.tokenize("").expect("tokens").ids.len();
    let words = ["a", "b", "c", "d", "e", "f", "g"];
    let text =
        |i: usize| (special_tokens..tokens).map(|j| words[(i + j * j) % words.len()]).collect::<Vec<_>>().join(" ");
    let texts: Vec<String> = (0..count).map(text).collect();
    assert_eq!(model.tokenize(&texts[0]).expect("tokens").ids.len(), tokens, "{}", texts[0]);
    texts
}

/// Checks vectors against the portable level, and one text of a batch against a single-text batch.
fn check(model: &Embedder, portable: &Embedder, texts: &[String]) {
    let vectors = model.embed(texts).expect("vectors");
    let last = texts.len() - 1;
    let single = model.embed(&texts[last..]).expect("a vector");
    assert!(common::same_bits(single.row(0), vectors.row(last)), "the vector of a text depends on its batch");
    let expected = portable.embed(&texts[..1]).expect("a vector");
    // Levels may round differently, and one rounding step of bf16 or int8 is large.
    let bound = match model.precision() {
        Precision::F32 => 2e-6,
        Precision::Bf16 => 1e-3,
        Precision::Int8 => 1e-2,
    };
    for (i, (a, b)) in vectors.row(0).iter().zip(expected.row(0)).enumerate() {
        assert!((a - b).abs() <= bound, "element {i}: expected {b}, found {a}");
    }
}

/// Times a model in each precision on each level with fused multiply-add. A case is a number of
/// texts and the number of tokens of each text.
fn time(
    criterion: &mut Criterion<PeakFraction>,
    name: &str,
    files: &HashMap<String, Vec<u8>>,
    cases: &[(usize, usize)],
) {
    let open = |level, precision| {
        let builder = Embedder::builder().level(level).precision(precision);
        builder.open_files(&common::in_memory(files)).expect("a model")
    };
    for precision in Precision::ALL {
        let portable = open(Level::PORTABLE, precision);
        for level in Level::available().into_iter().filter(|level| level.is_fused()) {
            let model = open(level, precision);
            peak_fraction::measure_peak(level, precision, model.info().threads);
            let mut group = criterion.benchmark_group(format!("{level}/{name}, {}", precision.name()));
            for &(count, tokens) in cases {
                let texts = texts(&model, count, tokens);
                check(&model, &portable, &texts);
                let operations = count as f64 * model.operations(tokens);
                group.throughput(Throughput::Elements(operations as u64));
                let label = format!("{count} texts of {tokens} tokens");
                group
                    .bench_function(label, |bencher| bencher.iter(|| model.embed(black_box(&texts)).expect("vectors")));
            }
            group.finish();
        }
    }
}

fn main() {
    let mut criterion = peak_fraction::criterion();
    let layer = [(64, 16), (8, 120)];
    time(&mut criterion, "one layer of mpnet-base", &files(768, 12, 3072, 1), &layer);
    time(&mut criterion, "one layer of MiniLM", &files(384, 12, 1536, 1), &layer);
    let whole = [(64, 16), (8, 120), (4, 8), (1, 7)];
    time(&mut criterion, "mpnet-base", &files(768, 12, 3072, 12), &whole);
    time(&mut criterion, "MiniLM", &files(384, 12, 1536, 6), &whole);
    criterion.final_summary();
}
