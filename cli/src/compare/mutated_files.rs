//! Damaged files are compared or rejected, and never a panic: files with other bytes in the header,
//! other shapes, numbers that are not finite, and missing ends.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Comparison, Status};

/// The correct file of a model, and files of the same model with a mistake.
const FILES: [(&str, &[&str]); 3] = [
    ("correct-bert", &["tanh-gelu", "transposed", "padding-in-mean", "causal", "epsilon"]),
    ("correct-gte", &["rope-interleaved", "gate-up", "rope-base"]),
    ("correct-t5", &["bias-mirrored-t5", "final-norm-missing", "epsilon-rms"]),
];

/// A generator of numbers (Marsaglia 2003, xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/goldens/mistakes").join(name).with_extension("safetensors")
}

/// Damages a file at a few places, more often in its header.
fn damage(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    const DIGITS: &[u8] = b"0123456789,[]{}\":-. ";
    const FLOATS: [f32; 5] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, f32::MAX];
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    for _ in 0..=numbers.below(3) {
        match numbers.below(8) {
            0 => {
                let at = numbers.below(header);
                bytes[at] = numbers.below(256) as u8;
            }
            1..=4 => {
                let digits: Vec<usize> = (8..header).filter(|&at| bytes[at].is_ascii_digit()).collect();
                bytes[digits[numbers.below(digits.len())]] = DIGITS[numbers.below(DIGITS.len())];
            }
            5 | 6 => {
                let at = header + numbers.below((bytes.len() - header) / 4) * 4;
                bytes[at..at + 4].copy_from_slice(&FLOATS[numbers.below(FLOATS.len())].to_le_bytes());
            }
            _ => {
                let end = header + numbers.below(bytes.len() - header);
                return bytes.truncate(end);
            }
        }
    }
}

#[test]
fn damaged_files_are_compared_or_rejected() {
    const DAMAGED_FILES: usize = 120;
    let folder = tempfile::tempdir().expect("a folder");
    let damaged = folder.path().join("damaged.safetensors");
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut compared, mut rejected) = (0, 0);
    for (correct, mistakes) in FILES {
        for name in mistakes.iter().chain([&correct]) {
            let intact = std::fs::read(file(name)).expect("a file");
            for _ in 0..DAMAGED_FILES {
                let mut bytes = intact.clone();
                damage(&mut bytes, &mut numbers);
                std::fs::write(&damaged, bytes).expect("written");
                for (a, b) in [(file(correct), damaged.clone()), (damaged.clone(), file(correct))] {
                    match Comparison::new(&a, &b, &HashMap::new(), 2e-5) {
                        Ok(comparison) => {
                            compared += 1;
                            if let Some(first) = comparison.first() {
                                assert_ne!(first.status, Status::Equal);
                                assert!(!comparison.describe(first).is_empty(), "{name}");
                            }
                        }
                        Err(error) => {
                            rejected += 1;
                            assert!(error.to_string().contains(".safetensors"), "{name}: {error}");
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 500 && rejected > 500, "{compared} compared, {rejected} rejected");
}
