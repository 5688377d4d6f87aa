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
