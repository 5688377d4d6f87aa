//! Throughput as a fraction of the machine's peak, which is measured in the same run.
//!
//! A benchmark reports its operations as `Throughput::Elements`. The output is their rate divided
//! by that of independent multiply-adds on registers, with the same number of threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Criterion, Throughput};
use likewise_kernels::Level;
use likewise_kernels::peak::multiply_add_peak;
use likewise_kernels::quant::Precision;

/// The peak in operations per second, as the bits of an f64.
static PEAK: AtomicU64 = AtomicU64::new(0);

/// Measures and prints the peak of a number of threads, for the benchmarks that follow.
pub(crate) fn measure_peak(level: Level, precision: Precision, threads: usize) {
    const ROUNDS: usize = 20;
    let peak: f64 = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads).map(|_| scope.spawn(move || multiply_add_peak(level, precision, ROUNDS))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the measuring thread does not panic")).sum()
    });
    PEAK.store(peak.to_bits(), Ordering::Relaxed);
    println!("\npeak of {level}, {}, {threads} threads: {:.0} Gop/s", precision.name(), peak / 1e9);
}

/// A wall clock whose throughputs are fractions of the peak.
pub(crate) struct PeakFraction;

impl Measurement for PeakFraction {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Instant {
        Instant::now()
    }

    fn end(&self, start: Instant) -> Duration {
        start.elapsed()
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for PeakFraction {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let (unit, name) = match typical {
            ..1e3 => (1.0, "ns"),
            ..1e6 => (1e3, "µs"),
            ..1e9 => (1e6, "ms"),
            _ => (1e9, "s"),
        };
        values.iter_mut().for_each(|value| *value /= unit);
        name
    }

    fn scale_throughputs(&self, _: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let Throughput::Elements(operations) = *throughput else {
            panic!("peak fraction: expected the throughput as elements, found {throughput:?}")
        };
        let peak = f64::from_bits(PEAK.load(Ordering::Relaxed));
        values
            .iter_mut()
            .for_each(|nanoseconds| *nanoseconds = 100.0 * operations as f64 / (*nanoseconds * 1e-9) / peak);
        "% of peak"
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}

/// Returns Criterion with this clock and short measurements, because there are many benchmarks.
pub(crate) fn criterion() -> Criterion<PeakFraction> {
    Criterion::default()
        .with_measurement(PeakFraction)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}
