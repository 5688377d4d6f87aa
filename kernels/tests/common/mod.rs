//! What the tests share: running a check on every level, numbers to compute with, and comparisons.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use likewise_kernels::Level;

/// The rounding error of one f32 operation, relative to its result.
pub(crate) const ROUNDING: f64 = 1.0 / 16_777_216.0;

/// What went wrong on one level.
#[derive(Default)]
pub(crate) struct Failures(Vec<String>);

impl Failures {
    /// Notes a failure unless `right`.
    pub(crate) fn check(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.0.push(what());
        }
    }

    /// Notes the first element that differs in its bits. NaNs are equal to one another: their payload is nobody's business.
    pub(crate) fn same_bits(&mut self, got: &[f32], expected: &[f32], what: impl FnOnce() -> String) {
        if let Some(difference) = first_difference(got, expected) {
            self.0.push(format!("{}: {difference}", what()));
        }
    }
}

/// Runs a check on every level of this CPU, also after one has failed, and then fails with all that was found.
pub(crate) fn on_each_level(check: impl Fn(Level, &mut Failures)) {
    on_levels(&Level::available(), check);
}

/// [`on_each_level`] for some levels.
pub(crate) fn on_levels(levels: &[Level], check: impl Fn(Level, &mut Failures)) {
    const SHOWN: usize = 8;
    let mut report = String::new();
    for &level in levels {
        let mut failures = Failures::default();
        if let Err(message) = panic_message(|| check(level, &mut failures)) {
            failures.0.push(format!("panicked: {message}"));
        }
        if !failures.0.is_empty() {
            report += &format!("\n{level}: {} failures", failures.0.len());
            for line in failures.0.iter().take(SHOWN) {
                report += &format!("\n    {line}");
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// The levels that must agree bit for bit.
pub(crate) fn fused_levels() -> Vec<Level> {
    Level::available().into_iter().filter(|level| level.is_fused()).collect()
}

/// How many roundings a multiply-add has, at most.
pub(crate) fn roundings(level: Level) -> f64 {
    if level.is_fused() { 1.0 } else { 2.0 }
}

/// Runs something; if it panics, what the panic said.
pub(crate) fn panic_message<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast::<&str>().map_or_else(|_| "not a text".to_owned(), |text| (*text).to_owned()),
    })
}

/// Asserts that something panics and that the message contains `part`.
#[track_caller]
pub(crate) fn assert_panics<T>(part: &str, run: impl FnOnce() -> T) {
    match panic_message(run) {
        Ok(_) => panic!("no panic, where one with `{part}` was expected"),
        Err(message) => assert!(message.contains(part), "the panic says `{message}`, not `{part}`"),
    }
}

/// Whether two numbers have the same bits, or are both NaN.
pub(crate) fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Where two slices first differ in their bits.
pub(crate) fn first_difference(got: &[f32], expected: &[f32]) -> Option<String> {
    if got.len() != expected.len() {
        return Some(format!("{} numbers, not {}", got.len(), expected.len()));
    }
    let at = got.iter().zip(expected).position(|(&a, &b)| !same(a, b))?;
    Some(format!("at {at} of {}: {:e}, not {:e}", got.len(), got[at], expected[at]))
}

/// A small generator of random numbers (xorshift64*), the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero is the one state that it never leaves.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// An integer in -most..=most.
    pub(crate) fn integer(&mut self, most: i64) -> f32 {
        ((self.bits() >> 33) as i64 % (2 * most + 1) - most) as f32
    }

    /// Even over -1..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// Of either sign and of magnitudes from 2⁻²⁰ to 2²⁰, so that sums cancel and swallow.
    pub(crate) fn wild(&mut self) -> f32 {
        let exponent = (self.bits() >> 33) as i32 % 41 - 20;
        self.unit() * (exponent as f32).exp2()
    }

    pub(crate) fn integers(&mut self, n: usize, most: i64) -> Vec<f32> {
        (0..n).map(|_| self.integer(most)).collect()
    }

    pub(crate) fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }

    pub(crate) fn wilds(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.wild()).collect()
    }
}
