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
    /// The cosine of the angle: a·b / (‖a‖ ‖b‖). From −1 to 1, up to rounding.
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
    /// # Errors
    /// If the vectors differ in length.
    pub fn score(self, level: Level, a: &[f32], b: &[f32]) -> Result<f32> {
        if a.len() != b.len() {
            return Err(Error::WidthMismatch { left: a.len(), right: b.len() });
        }
        Ok(match self {
            Self::Cosine => {
                // As in sentence-transformers: the dot product of the vectors scaled to length 1.
                let mut a = a.to_vec();
                let mut b = b.to_vec();
                normalize(level, &mut a);
                normalize(level, &mut b);
                dot(level, &a, &b)
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

/// Returns Pearson's correlation of two samples, from −1 to 1. It is 0 if a sample is constant.
///
/// # Panics
/// If the samples differ in length.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "samples of equal length");
    let n = a.len() as f64;
    let mean = |x: &[f64]| x.iter().sum::<f64>() / n;
    let mean_a = mean(a);
    let mean_b = mean(b);
    let mut covariance = 0.0;
    let mut variance_a = 0.0;
    let mut variance_b = 0.0;
    for (&x, &y) in a.iter().zip(b) {
        covariance += (x - mean_a) * (y - mean_b);
        variance_a += (x - mean_a).powi(2);
        variance_b += (y - mean_b).powi(2);
    }
    if variance_a == 0.0 || variance_b == 0.0 { 0.0 } else { covariance / (variance_a * variance_b).sqrt() }
}

/// Returns Spearman's correlation of two samples: Pearson's correlation of the ranks. Equal values
/// share their mean rank.
///
/// # Panics
/// If the samples differ in length.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
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
        approx::assert_abs_diff_eq!(spearman(&a, &b), 0.763_157_894_736_842, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(pearson(&a, &b), 0.806_776_383_535_729, epsilon = 1e-12);
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), 0.0);
    }
}
