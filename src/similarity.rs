//! Similarity functions of two vectors, and correlation coefficients.
//!
//! Follows sentence-transformers 6.2.0, `util/similarity.py`: distances are negated, so that a
//! higher score always means more similar.

use likewise_kernels::Level;
use likewise_kernels::distance::{dot, manhattan_distance, squared_distance};

use crate::config::JsonObject;
use crate::error::{Error, Result};
use crate::vector_math::normalize;

/// A similarity function of two vectors a and b. A higher score means more similar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Similarity {
    /// The cosine of the angle: a·b / (‖a‖ ‖b‖). From −1 to 1; 0 if a vector is zero.
    #[default]
    Cosine,
    /// The dot product: a·b.
    Dot,
    /// The negated Euclidean distance: −√Σ(a − b)².
    Euclidean,
    /// The negated Manhattan distance: −Σ|a − b|.
    Manhattan,
}

impl Similarity {
    /// All similarity functions.
    pub const ALL: [Self; 4] = [Self::Cosine, Self::Dot, Self::Euclidean, Self::Manhattan];

    /// Returns the name: "cosine", "dot", "euclidean" or "manhattan".
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
            Self::Manhattan => "manhattan",
        }
    }

    /// Reads `similarity_fn_name` of config_sentence_transformers.json. Without the key it is
    /// cosine.
    pub(crate) fn from_config(config: Option<&JsonObject>) -> Result<Self> {
        let Some(config) = config else { return Ok(Self::Cosine) };
        let Some(name) = config.string("similarity_fn_name")? else { return Ok(Self::Cosine) };
        let find = Self::ALL.into_iter().find(|function| function.name() == name);
        find.ok_or_else(|| config.invalid_value("similarity_fn_name", "one of cosine, dot, euclidean, manhattan"))
    }

    /// Scores two vectors. A higher score means more similar.
    ///
    /// A cosine beyond ±1, which rounding can give, is ±1. A score that is undefined, because an
    /// element is infinite or NaN, is NaN or infinite.
    ///
    /// # Errors
    /// If the vectors differ in length.
    pub fn score(self, level: Level, a: &[f32], b: &[f32]) -> Result<f32> {
        if a.len() != b.len() {
            return Err(Error::WidthMismatch { left: a.len(), right: b.len() });
        }
        Ok(match self {
            Self::Cosine => {
                // As in sentence-transformers: the dot product of the vectors scaled to length 1.
                let cosine = dot(level, &unit_vector(level, a), &unit_vector(level, b));
                // `clamp` leaves NaN as it is.
                cosine.clamp(-1.0, 1.0)
            }
            Self::Dot => dot(level, a, b),
            Self::Euclidean => -squared_distance(level, a, b).sqrt(),
            Self::Manhattan => -manhattan_distance(level, a, b),
        })
    }
}

impl std::fmt::Display for Similarity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Returns a vector scaled to length 1.
fn unit_vector(level: Level, x: &[f32]) -> Vec<f32> {
    let mut unit = x.to_vec();
    let largest = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    // The square of a larger element overflows, and the vector would become zero.
    const MAX_ELEMENT: f32 = 1e15;
    if largest > MAX_ELEMENT && largest.is_finite() {
        unit.iter_mut().for_each(|x| *x /= largest);
    }
    normalize(level, &mut unit);
    unit
}

/// Returns Pearson's correlation of two samples, from −1 to 1.
///
/// It is undefined, None, if a sample is constant or has fewer than two values, or if a value is
/// infinite or NaN.
///
/// # Panics
/// If the samples differ in length.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "samples of equal length");
    let (a, b) = (deviations(a)?, deviations(b)?);
    let (mut covariance, mut variance_a, mut variance_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        covariance += x * y;
        variance_a += x * x;
        variance_b += y * y;
    }
    // Rounding can exceed ±1.
    Some((covariance / (variance_a * variance_b).sqrt()).clamp(-1.0, 1.0))
}

/// Returns the differences of a sample's values from their mean, in units of the largest value.
/// Returns None if the sample is constant or has a value that is not finite.
fn deviations(sample: &[f64]) -> Option<Vec<f64>> {
    let first = *sample.first()?;
    // The rounding error of a mean would make a constant sample vary.
    if sample.iter().any(|x| !x.is_finite()) || sample.iter().all(|x| *x == first) {
        return None;
    }
    // Squares of the smallest and largest floats would underflow and overflow.
    let largest = sample.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let scaled: Vec<f64> = sample.iter().map(|x| x / largest).collect();
    let mean = scaled.iter().sum::<f64>() / scaled.len() as f64;
    Some(scaled.into_iter().map(|x| x - mean).collect())
}

/// Returns Spearman's correlation of two samples: Pearson's correlation of the ranks. Equal values
/// share their mean rank.
///
/// It is undefined, None, if a sample is constant or has fewer than two values, or if a value is
/// NaN.
///
/// # Panics
/// If the samples differ in length.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "samples of equal length");
    if a.iter().chain(b).any(|x| x.is_nan()) { None } else { pearson(&ranks(a), &ranks(b)) }
}

/// Returns the rank of each value, from 1. Equal values share their mean rank.
fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&i, &j| x[i].total_cmp(&x[j]));
    let mut ranks = vec![0.0; x.len()];
    let mut first = 0;
    while first < order.len() {
        let mut end = first + 1;
        while end < order.len() && x[order[end]] == x[order[first]] {
            end += 1;
        }
        for &i in &order[first..end] {
            ranks[i] = (first + end + 1) as f64 / 2.0;
        }
        first = end;
    }
    ranks
}

/// How the scores of a query's tokens become that of the query. A higher score means more similar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MultiVectorSimilarity {
    /// Their sum.
    #[default]
    MaxSim,
    /// Their mean.
    MeanMaxSim,
}

impl MultiVectorSimilarity {
    /// All functions.
    pub const ALL: [Self; 2] = [Self::MaxSim, Self::MeanMaxSim];

    /// Returns the name in sentence-transformers: "maxsim" or "meanmaxsim".
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxSim => "maxsim",
            Self::MeanMaxSim => "meanmaxsim",
        }
    }

    /// Reads `similarity_fn_name` of config_sentence_transformers.json. Without the key it is the
    /// sum, and so it is for the functions of other kinds of models, as in sentence-transformers.
    pub(crate) fn from_config(keys: Option<&JsonObject>) -> Result<Self> {
        let name = keys.map_or(Ok(None), |keys| keys.string("similarity_fn_name"))?;
        Ok(Self::ALL.into_iter().find(|function| Some(function.name()) == name).unwrap_or_default())
    }
}

impl std::fmt::Display for MultiVectorSimilarity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_vectors_score_by_each_function() {
        for level in Level::available() {
            let score = |f: Similarity| f.score(level, &[3.0, 0.0], &[0.0, 4.0]).expect("equal lengths");
            assert_eq!(Similarity::ALL.map(score), [0.0, 0.0, -5.0, -7.0], "{level}");
            let same = Similarity::Cosine.score(level, &[3.0, 4.0], &[6.0, 8.0]).expect("equal lengths");
            approx::assert_abs_diff_eq!(same, 1.0, epsilon = 1e-6);
            // A vector of zeros has no direction. As in sentence-transformers, its norm counts as
            // 10⁻¹².
            assert_eq!(Similarity::Cosine.score(level, &[0.0, 0.0], &[1.0, 0.0]).expect("equal lengths"), 0.0);
        }
        assert!(Similarity::Dot.score(Level::PORTABLE, &[1.0], &[1.0, 2.0]).is_err(), "unequal lengths");
    }

    #[test]
    fn correlations_with_ties_equal_those_of_scipy() {
        // The expected values are those of scipy.stats.spearmanr and pearsonr.
        let a = [1.0, 2.0, 2.0, 4.0, 5.0];
        let b = [2.0, 1.0, 3.0, 3.0, 9.0];
        approx::assert_abs_diff_eq!(spearman(&a, &b).expect("defined"), 0.763_157_894_736_842, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(pearson(&a, &b).expect("defined"), 0.806_776_383_535_729, epsilon = 1e-12);
        let large = b.map(|x| x * 1e307);
        let small = a.map(|x| x * 1e-320);
        approx::assert_abs_diff_eq!(pearson(&small, &large).expect("defined"), 0.806_776_383_535_729, epsilon = 1e-3);
    }

    #[test]
    fn correlation_of_a_constant_or_of_nan_is_undefined() {
        let varied = [1.0, 2.0, 4.0];
        for constant in [[0.0; 3], [0.1; 3], [-1e300; 3], [1e-320; 3]] {
            for (a, b) in [(&constant, &varied), (&varied, &constant), (&constant, &constant)] {
                assert_eq!((pearson(a, b), spearman(a, b)), (None, None), "{constant:?}");
            }
        }
        for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(pearson(&varied, &[1.0, special, 2.0]), None, "{special}");
        }
        assert_eq!(spearman(&varied, &[1.0, f64::NAN, 2.0]), None);
        assert_eq!(spearman(&varied, &[1.0, 2.0, f64::INFINITY]), Some(1.0));
        for empty in [&[][..], &[1.0]] {
            assert_eq!((pearson(empty, empty), spearman(empty, empty)), (None, None), "{empty:?}");
        }
    }

    /// Vectors of many lengths and directions, of which some have a dot product beyond 1.
    #[test]
    fn cosine_stays_within_one_and_minus_one() {
        let mut beyond = 0;
        for level in Level::available() {
            for width in 1..200_u32 {
                let a: Vec<f32> = (0..width).map(|i| ((i * 37 + width * 11) % 101) as f32 / 50.0 - 0.9).collect();
                let opposite: Vec<f32> = a.iter().map(|x| -x).collect();
                let unit = unit_vector(level, &a);
                beyond += usize::from(dot(level, &unit, &unit) > 1.0);
                let cosine = |b: &[f32]| Similarity::Cosine.score(level, &a, b).expect("equal lengths");
                let (same, opposite) = (cosine(&a), cosine(&opposite));
                assert!(same <= 1.0 && same > 0.999_999, "{level} {width}: {same}");
                assert!((-1.0..-0.999_999).contains(&opposite), "{level} {width}: {opposite}");
                assert!(Similarity::Dot.score(level, &[2.0], &[3.0]).expect("equal lengths") > 1.0);
            }
        }
        assert!(beyond > 0, "no case needs the bound");
    }

    #[test]
    fn cosine_of_huge_and_undefined_elements_is_no_invented_number() {
        for level in Level::available() {
            let cosine = |a: &[f32], b: &[f32]| Similarity::Cosine.score(level, a, b).expect("equal lengths");
            approx::assert_abs_diff_eq!(cosine(&[3e30, 4e30], &[3.0, 4.0]), 1.0, epsilon = 1e-6);
            approx::assert_abs_diff_eq!(cosine(&[f32::MAX, 0.0], &[0.0, f32::MAX]), 0.0, epsilon = 1e-6);
            for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(cosine(&[special, 1.0], &[1.0, 1.0]).is_nan(), "{level} {special}");
            }
        }
    }
}
