//! How alike two vectors are.
//!
//! Follows sentence-transformers 6.2.0, `util/similarity.py`: distances are negated, so that more is more alike.

use likewise_kernels::Level;
use likewise_kernels::vector::{absolute_distance, dot, squared_distance};

use crate::config::JsonObject;
use crate::error::{Error, Result};
use crate::modules::normalize::normalize;

/// A similarity function, as `similarity_fn_name` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Similarity {
    /// a·b / (‖a‖ ‖b‖), from −1 to 1 but for rounding.
    #[default]
    Cosine,
    /// a·b.
    Dot,
    /// −√Σ(a − b)².
    Euclidean,
    /// −Σ|a − b|.
    Manhattan,
}

impl Similarity {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cosine, Self::Dot, Self::Euclidean, Self::Manhattan];

    /// Its name: "cosine", "dot", "euclidean", "manhattan".
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
            Self::Manhattan => "manhattan",
        }
    }

    /// The function that config_sentence_transformers.json names; cosine if it names none.
    pub(crate) fn from_config(config: Option<&JsonObject>) -> Result<Self> {
        let Some(config) = config else { return Ok(Self::Cosine) };
        let Some(name) = config.string("similarity_fn_name")? else { return Ok(Self::Cosine) };
        let find = Self::ALL.into_iter().find(|function| function.name() == name);
        find.ok_or_else(|| config.invalid_value("similarity_fn_name", "one of cosine, dot, euclidean, manhattan"))
    }

    /// How alike a and b are: more is more alike.
    ///
    /// # Errors
    /// If they have different lengths.
    pub fn score(self, level: Level, a: &[f32], b: &[f32]) -> Result<f32> {
        if a.len() != b.len() {
            return Err(Error::Width(a.len(), b.len()));
        }
        Ok(match self {
            Self::Cosine => {
                // As the reference does it: to length 1 first, then the dot product.
                let (mut a, mut b) = (a.to_vec(), b.to_vec());
                normalize(level, &mut a);
                normalize(level, &mut b);
                dot(level, &a, &b)
            }
            Self::Dot => dot(level, a, b),
            Self::Euclidean => -squared_distance(level, a, b).sqrt(),
            Self::Manhattan => -absolute_distance(level, a, b),
        })
    }
}

impl std::fmt::Display for Similarity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Pearson's correlation of two lists of numbers, from −1 to 1; 0 if one of them is constant.
///
/// # Panics
/// If the lists differ in length.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "lists of one length");
    let n = a.len() as f64;
    let mean = |x: &[f64]| x.iter().sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        both += (x - mean_a) * (y - mean_b);
        square_a += (x - mean_a).powi(2);
        square_b += (y - mean_b).powi(2);
    }
    if square_a == 0.0 || square_b == 0.0 { 0.0 } else { both / (square_a * square_b).sqrt() }
}

/// Spearman's correlation: Pearson's of the ranks, equal numbers sharing the mean of theirs.
///
/// # Panics
/// If the lists differ in length.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
}

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
    fn functions_on_a_right_angle() {
        for level in Level::available() {
            let score = |f: Similarity| f.score(level, &[3.0, 0.0], &[0.0, 4.0]).expect("one length");
            assert_eq!(Similarity::ALL.map(score), [0.0, 0.0, -5.0, -7.0], "{level}");
            let same = Similarity::Cosine.score(level, &[3.0, 4.0], &[6.0, 8.0]).expect("one length");
            approx::assert_abs_diff_eq!(same, 1.0, epsilon = 1e-6);
            // A vector of zeros has no direction; the reference divides by 10⁻¹² and so do we.
            assert_eq!(Similarity::Cosine.score(level, &[0.0, 0.0], &[1.0, 0.0]).expect("one length"), 0.0);
        }
        assert!(Similarity::Dot.score(Level::PORTABLE, &[1.0], &[1.0, 2.0]).is_err());
    }

    #[test]
    fn correlations_with_ties() {
        // scipy.stats.spearmanr([1, 2, 2, 4, 5], [2, 1, 3, 3, 9]) and pearsonr of the same.
        let (a, b) = ([1.0, 2.0, 2.0, 4.0, 5.0], [2.0, 1.0, 3.0, 3.0, 9.0]);
        approx::assert_abs_diff_eq!(spearman(&a, &b), 0.763_157_894_736_842, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(pearson(&a, &b), 0.806_776_383_535_729, epsilon = 1e-12);
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), 0.0);
    }
}
