//! Bounds the difference of bf16 and int8 vectors from those of sentence-transformers in f32, on
//! every level.

use crate::common::{Golden, committed, model, synthetic_weights};
use likewise::{Embedder, Embeddings, Level, ModelFiles, Precision};

/// The lowest allowed cosine similarity of a text's vector with its golden, and the lowest allowed
/// mean over all texts. Models with random weights need looser bounds than trained models, because
/// their activations have no structure that survives rounding.
struct CosineBounds {
    min: f64,
    mean: f64,
}

fn bounds(model: &str, precision: Precision) -> CosineBounds {
    match (model, precision) {
        // Its twelve gated layers of random weights amplify every difference: 1 − cosine in bf16 is
        // fifty times that of the other models. These bounds only notice a change.
        ("full-nomic-bert", Precision::Bf16) => return CosineBounds { min: 0.99, mean: 0.996 },
        ("full-nomic-bert", Precision::Int8) => return CosineBounds { min: 0.88, mean: 0.93 },
        // A gate multiplies two rounded numbers.
        ("tiny-gte" | "full-modernbert", Precision::Bf16) => return CosineBounds { min: 0.9998, mean: 0.9999 },
        _ => {}
    }
    match precision {
        Precision::F32 => CosineBounds { min: 1.0 - 1e-10, mean: 1.0 - 1e-10 },
        Precision::Bf16 => CosineBounds { min: 0.9999, mean: 0.99995 },
        Precision::Int8 => CosineBounds { min: 0.997, mean: 0.9985 },
    }
}

/// Computes the cosine similarity of each vector with its golden.
fn cosines(vectors: &Embeddings, golden: &Golden) -> Vec<f64> {
    let expected = golden.tensor("vectors");
    let cosine = |(a, b): (&[f32], &[f64])| {
        let mut ab = 0.0;
        let mut aa = 0.0;
        let mut bb = 0.0;
        for (&a, &b) in a.iter().zip(b) {
            let a = f64::from(a);
            ab += a * b;
            aa += a * a;
            bb += b * b;
        }
        ab / (aa * bb).sqrt()
    };
    vectors.rows().zip(expected.chunks(vectors.width())).map(cosine).collect()
}

fn fused_levels() -> Vec<Level> {
    Level::available().into_iter().filter(|level| level.is_fused()).collect()
}

/// Checks a model in every precision on some levels.
fn check(files: &ModelFiles, golden: &Golden, levels: &[Level], label: &str, failures: &mut Vec<String>) {
    for precision in Precision::ALL {
        for &level in levels {
            let model = Embedder::builder().level(level).precision(precision).open_files(files).expect("a model");
            assert_eq!(model.info().precision, precision);
            let cosines = cosines(&model.embed(&golden.texts).expect("vectors"), golden);
            let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
            let min = cosines.iter().copied().fold(1.0, f64::min);
            let line =
                format!("{label} {} {level}: cosine similarity: mean {mean:.6}, minimum {min:.6}", precision.name());
            println!("{line}");
            let bounds = bounds(label, precision);
            if !(mean >= bounds.mean && min >= bounds.min) {
                failures.push(line);
            }
            // Fails if bf16 or int8 secretly computes in f32.
            let is_exact = cosines.iter().all(|cosine| *cosine > 1.0 - 1e-10);
            assert_eq!(is_exact, precision == Precision::F32, "{label} {} {level}", precision.name());
        }
    }
}

#[test]
fn committed_models_in_each_precision_stay_near_goldens() {
    let mut failures = Vec::new();
    for name in committed() {
        // The slow levels run the same code for all models, so the smaller models cover them.
        let levels = if name == "quickstart" { fused_levels() } else { Level::available() };
        check(&ModelFiles::folder(model(name)), &Golden::load(name), &levels, name, &mut failures);
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
#[ignore = "takes a minute; .ci/run includes it"]
fn full_depth_models_in_each_precision_stay_near_goldens() {
    let mut failures = Vec::new();
    let models = [("full-mpnet", "tiny-mpnet"), ("full-xlm-roberta", "tiny-xlm-roberta")];
    for (name, sibling) in models.into_iter().chain(synthetic_weights::ROTARY) {
        check(
            &crate::common::in_memory(&synthetic_weights::files(name, sibling)),
            &Golden::load(name),
            // All fused levels have the same bits.
            &[Level::best()],
            name,
            &mut failures,
        );
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn packed_weights_in_bf16_and_int8_take_half_and_quarter() {
    let files = crate::common::in_memory(&synthetic_weights::files("full-mpnet", "tiny-mpnet"));
    let packed = |precision| {
        let model = Embedder::builder().precision(precision).open_files(&files).expect("a model");
        model.info().memory.packed as f64
    };
    let f32 = packed(Precision::F32);
    assert!((packed(Precision::Bf16) / f32 - 0.5).abs() < 0.01);
    assert!((packed(Precision::Int8) / f32 - 0.25).abs() < 0.01);
}
