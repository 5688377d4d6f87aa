//! Shared by the tests: running a check on every level, random numbers, and comparisons.
#![allow(dead_code, reason = "each test file is a separate crate and uses a part of this module")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use likewise_kernels::Level;

/// The rounding error of one f32 operation, relative to its result.
pub(crate) const ROUNDING: f64 = 1.0 / 16_777_216.0;

/// The failures of one level.
#[derive(Default)]
pub(crate) struct Failures(Vec<String>);

impl Failures {
    /// Records a failure unless `is_right`.
    pub(crate) fn check(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.0.push(what());
        }
    }

    /// Records the first element that differs in its bits. All NaNs count as equal, whatever their
    /// payload.
    pub(crate) fn same_bits(&mut self, got: &[f32], expected: &[f32], what: impl FnOnce() -> String) {
        if let Some(difference) = first_difference(got, expected) {
            self.0.push(format!("{}: {difference}", what()));
        }
    }
}

/// Runs a check on every level of this CPU and then panics with the failures of all levels.
pub(crate) fn on_each_level(check: impl Fn(Level, &mut Failures)) {
    on_levels(&Level::available(), check);
}

/// Does the same as [`on_each_level`] for some levels.
pub(crate) fn on_levels(levels: &[Level], check: impl Fn(Level, &mut Failures)) {
    const MAX_SHOWN: usize = 8;
    let mut report = String::new();
    for &level in levels {
        let mut failures = Failures::default();
        if let Err(message) = panic_message(|| check(level, &mut failures)) {
            failures.0.push(format!("panicked: {message}"));
        }
        if !failures.0.is_empty() {
            report += &format!("\n{level}: {} failures", failures.0.len());
            for line in failures.0.iter().take(MAX_SHOWN) {
                report += &format!("\n    {line}");
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// Returns the levels that must agree bit for bit.
pub(crate) fn fused_levels() -> Vec<Level> {
    Level::available().into_iter().filter(|level| level.is_fused()).collect()
}

/// Returns the most roundings of a multiply-add.
pub(crate) fn roundings(level: Level) -> f64 {
    if level.is_fused() { 1.0 } else { 2.0 }
}

/// Runs a function and returns the message of its panic, if it panics.
pub(crate) fn panic_message<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => {
            payload.downcast::<&str>().map_or_else(|_| "not a string".to_owned(), |text| (*text).to_owned())
        }
    })
}

/// Asserts that a function panics and that the message contains `part`.
#[track_caller]
pub(crate) fn assert_panics<T>(part: &str, run: impl FnOnce() -> T) {
    match panic_message(run) {
        Ok(_) => panic!("expected a panic with `{part}`, found none"),
        Err(message) => assert!(message.contains(part), "expected a panic with `{part}`, found `{message}`"),
    }
}

/// Returns whether two numbers have the same bits, or are both NaN.
pub(crate) fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Describes where two slices first differ in their bits.
pub(crate) fn first_difference(got: &[f32], expected: &[f32]) -> Option<String> {
    if got.len() != expected.len() {
        return Some(format!("{} elements, not {}", got.len(), expected.len()));
    }
    let at = got.iter().zip(expected).position(|(&a, &b)| !same(a, b))?;
    Some(format!("at {at} of {}: {:e}, not {:e}", got.len(), got[at], expected[at]))
}

/// A small generator of random numbers (xorshift64*), the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero is the only state that the generator never leaves.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Returns an integer in -max..=max.
    pub(crate) fn integer(&mut self, max: i64) -> f32 {
        ((self.bits() >> 33) as i64 % (2 * max + 1) - max) as f32
    }

    /// Returns a number of the uniform distribution over -1..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// Returns a number of either sign and of a magnitude from 2⁻²⁰ to 2²⁰, so that sums cancel and
    /// absorb terms.
    pub(crate) fn wild(&mut self) -> f32 {
        let exponent = (self.bits() >> 33) as i32 % 41 - 20;
        self.unit() * (exponent as f32).exp2()
    }

    pub(crate) fn integers(&mut self, n: usize, max: i64) -> Vec<f32> {
        (0..n).map(|_| self.integer(max)).collect()
    }

    pub(crate) fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }

    pub(crate) fn wilds(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.wild()).collect()
    }
}
