//! Files of vectors, and their quantization.
#![no_main]

use libfuzzer_sys::fuzz_target;
use likewise::{Quantization, Ranges, Vectors, quantize};

fuzz_target!(|data: &[u8]| {
    let Ok(vectors) = Vectors::read("input", data) else { return };
    let ranges = Ranges::from_vectors(vectors.rows());
    for form in Quantization::ALL {
        drop(quantize(form, vectors.rows(), ranges.as_ref().ok()));
    }
});
