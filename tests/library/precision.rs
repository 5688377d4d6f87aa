//! How far bf16 and int8 are from the reference's f32, on every level.

use crate::common::{COMMITTED, Golden, model, synthetic_weights};
use likewise::{Embedder, Embeddings, Level, ModelFiles, Precision};

/// The least cosine between a text's vector and the reference's, and the least mean of these.
/// Models with random weights err more than trained ones: their activations have no structure that
/// survives.
struct Bound {
    least: f64,
    mean: f64,
}

fn bound(precision: Precision) -> Bound {
    match precision {
        Precision::F32 => Bound { least: 1.0 - 1e-10, mean: 1.0 - 1e-10 },
        Precision::Bf16 => Bound { least: 0.9999, mean: 0.99995 },
        Precision::Int8 => Bound { least: 0.997, mean: 0.9985 },
    }
}

/// Cosines of our vectors with the reference's.
fn cosines(ours: &Embeddings, golden: &Golden) -> Vec<f64> {
    let expected = golden.tensor("vectors");
    let cosine = |(a, b): (&[f32], &[f64])| {
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (&a, &b) in a.iter().zip(b) {
            let a = f64::from(a);
            ab += a * b;
            aa += a * a;
            bb += b * b;
        }
        ab / (aa * bb).sqrt()
    };
    ours.rows().zip(expected.chunks(ours.width())).map(cosine).collect()
}

fn check(files: &ModelFiles, golden: &Golden, levels: &[Level], label: &str) {
    let mut failures = Vec::new();
    for precision in Precision::ALL {
        for &level in levels {
            let model = Embedder::builder().level(level).precision(precision).open_files(files).expect("a model");
            assert_eq!(model.info().precision, precision);
            let cosines = cosines(&model.embed(&golden.texts).expect("vectors"), golden);
            let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
            let least = cosines.iter().copied().fold(1.0, f64::min);
            let line = format!("{label} {} {level}: cosines mean {mean:.6}, least {least:.6}", precision.name());
            println!("{line}");
            let bound = bound(precision);
            if !(mean >= bound.mean && least >= bound.least) {
                failures.push(line);
            }
            // Neither is f32 by another name.
            let same = cosines.iter().all(|cosine| *cosine > 1.0 - 1e-10);
            assert_eq!(same, precision == Precision::F32, "{label} {} {level}", precision.name());
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn committed_models_in_each_precision_stay_near_reference() {
    for name in COMMITTED {
        check(&ModelFiles::folder(model(name)), &Golden::load(name), &Level::available(), name);
    }
}

#[test]
fn full_depth_models_in_each_precision_stay_near_reference() {
    let levels: Vec<Level> = Level::available().into_iter().filter(|level| level.is_fused()).collect();
    for (name, sibling) in [("full-mpnet", "tiny-mpnet"), ("full-xlm-roberta", "tiny-xlm-roberta")] {
        check(&crate::common::in_memory(&synthetic_weights::files(name, sibling)), &Golden::load(name), &levels, name);
    }
}

/// Weights take half and a quarter of the memory.
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
