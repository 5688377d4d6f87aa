//! The measure of what the machine could do: there is little to say about it but that it is a rate.

mod common;

use likewise_kernels::peak::multiply_add_peak;
use likewise_kernels::quant::Precision;

#[test]
fn peak_is_a_rate() {
    common::on_each_level(|level, failures| {
        // No rounds count as one.
        for (rounds, precision) in [0, 1, 3].into_iter().zip(Precision::ALL) {
            let rate = multiply_add_peak(level, precision, rounds);
            println!("{level} {}: {:.1} G/s", precision.name(), rate / 1e9);
            failures.check(rate.is_finite() && rate > 0.0, || format!("{rate} in {rounds} rounds"));
        }
    });
}

/// No level multiplies bytes faster than there are instructions for: four times the rate of f32 where one takes a word, and
/// twice where the products of pairs and their addition are two. Not on Arm, which the project's CI emulates: an emulator takes
/// its own time for each instruction, and twenty times as long for f32 as for SDOT.
#[cfg(target_arch = "x86_64")]
#[test]
fn peaks_are_in_proportion() {
    common::on_each_level(|level, failures| {
        let Some(level) = std::iter::successors(Some(level), |l| l.without_best_dot_extension()).last() else {
            return;
        };
        let [float, bf16, int8] = Precision::ALL.map(|precision| multiply_add_peak(level, precision, 20));
        println!("{level}: bf16 {:.2}, int8 {:.2} times f32", bf16 / float, int8 / float);
        // Without fusion f32 takes two instructions, too. The clock may change from one measure to the next.
        failures.check(int8 < 5.0 * float && bf16 < 1.5 * float, || format!("f32 {float}, bf16 {bf16}, int8 {int8}"));
    });
}
