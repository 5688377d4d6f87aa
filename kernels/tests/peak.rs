//! The measured peak: it is a positive rate, in proportion between the precisions.

mod common;

use likewise_kernels::peak::multiply_add_peak;
use likewise_kernels::quant::Precision;

#[test]
fn peak_in_any_precision_is_positive() {
    common::on_each_level(|level, failures| {
        // No rounds count as one.
        for (rounds, precision) in [0, 1, 3].into_iter().zip(Precision::ALL) {
            let rate = multiply_add_peak(level, precision, rounds);
            println!("{level} {}: {:.1} G/s", precision.name(), rate / 1e9);
            failures.check(rate.is_finite() && rate > 0.0, || format!("{rate} in {rounds} rounds"));
        }
    });
}

/// The int8 peak is at most four times that of f32, if one instruction multiplies four bytes, and
/// twice if products of pairs and their addition are two instructions. Not on Arm, which the
/// project's CI emulates: the emulator's time per instruction differs, and is twenty times as long
/// for f32 as for SDOT.
#[cfg(target_arch = "x86_64")]
#[test]
fn int8_and_bf16_peaks_are_in_proportion_to_f32() {
    common::on_each_level(|level, failures| {
        let Some(level) = std::iter::successors(Some(level), |l| l.without_best_dot_extension()).last() else {
            return;
        };
        let [float, bf16, int8] = Precision::ALL.map(|precision| multiply_add_peak(level, precision, 20));
        println!("{level}: bf16 {:.2}, int8 {:.2} times f32", bf16 / float, int8 / float);
        // Without fusion f32 also takes two instructions. The clock may change between two
        // measurements.
        failures.check(int8 < 5.0 * float && bf16 < 1.5 * float, || format!("f32 {float}, bf16 {bf16}, int8 {int8}"));
    });
}
