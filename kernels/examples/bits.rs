//! Prints, for each level of this CPU, a fingerprint of the bits of all operators on the same
//! input.
//!
//! Levels that fuse multiply-adds have the same fingerprint, also on another machine: the NEON
//! check of the CI compares two architectures. Everything runs on the main thread.

use likewise_kernels::Level;
use likewise_kernels::distance::{dot, manhattan_distance, squared_distance};
use likewise_kernels::gated::activate_gated;
use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedMatrix, PackedQuantizedMatrix, gemm, gemm_quantized};
use likewise_kernels::layer_norm::{layer_norm, rms_norm};
use likewise_kernels::math::{Activation, activate};
use likewise_kernels::quant::{Precision, quantize};
use likewise_kernels::reduce::{RowWeights, max_over_rows, mean_over_rows, sum_over_rows};
use likewise_kernels::rotary::rotate;
use likewise_kernels::softmax::{ScoreTransform, softmax};
use likewise_kernels::view::{MatMut, MatRef};

/// Generates numbers from −4 to 4, the same on every machine (xorshift).
struct Generator(u64);

impl Generator {
    fn take(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            ((self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * 4.0
        };
        (0..count).map(|_| next()).collect()
    }
}

/// A hash of bits (FNV-1a over 32-bit elements).
struct Fingerprint(u64);

impl Fingerprint {
    fn add(&mut self, values: &[f32]) {
        for x in values {
            self.0 = (self.0 ^ u64::from(x.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Returns the fingerprint of every operator at shapes with and without partial vectors.
fn fingerprint(level: Level) -> u64 {
    let mut generator = Generator(88_172_645_463_325_252);
    let mut print = Fingerprint(0xcbf2_9ce4_8422_2325);
    for (m, n, k) in [(1, 16, 7), (5, 33, 129), (13, 48, 300), (7, 64, 768), (31, 100, 64)] {
        let x = generator.take(m * k);
        let w = generator.take(n * k);
        let b = generator.take(n);
        let packed = PackedMatrix::pack(level, MatRef::new(&w, n, k));
        let mut y = vec![0.0; m * n];
        let out = MatMut::new(&mut y, m, n);
        gemm(level, MatRef::new(&x, m, k), packed.panels(), Some(&b), Epilogue::Store, out);
        print.add(&y);
        for activation in Activation::ALL {
            let mut z: Vec<f32> = y.iter().map(|y| y * 0.05).collect();
            activate(level, activation, MatMut::new(&mut z, m, n));
            print.add(&z);
        }
        let mut p = y.clone();
        softmax(level, MatMut::new(&mut p, m, n), |_| 0..n - 1, ScoreTransform { scale: 0.05, bias: &[], start: 0 });
        print.add(&p);
        softmax(
            level,
            MatMut::new(&mut p, m, n),
            |i| i / 4..n - 1 - i / 8,
            ScoreTransform { scale: 2.0, bias: &[], start: 0 },
        );
        print.add(&p);
        add_rotated_and_gated(level, &y, (m, n), &b, &mut print);
        let mut normal = y.clone();
        layer_norm(level, MatRef::new(&y, m, n), &b, &b, 1e-5, MatMut::new(&mut normal, m, n));
        print.add(&normal);
        for precision in [Precision::Bf16, Precision::Int8] {
            let cols = precision.packed_row_len(k);
            let mut quantized = vec![0; m * cols];
            quantize(level, precision, MatRef::new(&x, m, k), MatMut::new(&mut quantized, m, cols));
            quantized.iter().for_each(|&bits| print.add(&[f32::from_bits(bits)]));
            let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(&w, n, k));
            let a = MatRef::new(&quantized, m, cols);
            let out = MatMut::new(&mut y, m, n);
            gemm_quantized(level, a, packed.view(), &b, Epilogue::Store, GemmOutput::F32(out));
            print.add(&y);
        }
        let mut mean = vec![0.0; n];
        mean_over_rows(level, MatRef::new(&y, m, n), &mut mean);
        print.add(&mean);
        sum_over_rows(level, MatRef::new(&y, m, n), RowWeights::Linear(1.0), 3.0, &mut mean);
        print.add(&mean);
        max_over_rows(level, MatRef::new(&y, m, n), &mut mean);
        print.add(&mean);
        print.add(&[dot(level, &x, &x), squared_distance(level, &w[..n], &b), manhattan_distance(level, &w[..n], &b)]);
    }
    print.0
}

/// Adds the operators that rotary positions, gates and RMS norms need, for y `[m, n]` and a weight
/// `[n]`.
fn add_rotated_and_gated(level: Level, y: &[f32], (m, n): (usize, usize), weight: &[f32], print: &mut Fingerprint) {
    let mut p = vec![0.0; m * n];
    let y = MatRef::new(y, m, n);
    if n % 2 == 0 {
        let mut half = vec![0.0; m * n / 2];
        activate_gated(level, Activation::Gelu, y, MatMut::new(&mut half, m, n / 2));
        print.add(&half);
        let angles = MatRef::new(&half, m, n / 2);
        rotate(level, y, angles, angles, MatMut::new(&mut p, m, n));
        print.add(&p);
    }
    rms_norm(level, y, weight, 1e-5, MatMut::new(&mut p, m, n));
    print.add(&p);
}

fn main() {
    for level in Level::available() {
        let kind = if level.is_fused() { "fused" } else { "own" };
        println!("{level} {kind} {:016x}", fingerprint(level));
        for fewer in std::iter::successors(level.without_best_dot_extension(), |l| l.without_best_dot_extension()) {
            let names = fewer.dot_extensions().unwrap_or("no dot-product extensions");
            println!("{level} {kind} {:016x} with {names}", fingerprint(fewer));
        }
    }
}
