//! The contributions of pairs of tokens to the score of two sentence vectors.

use crate::modules::TokenShares;

/// The smallest length of a vector, as in the cosine.
const MIN_LENGTH: f64 = 1e-12;

/// A dot product or cosine, divided among pairs of tokens.
pub(crate) struct Contributions {
    /// `[L_a, L_b]`.
    pub(crate) pairs: Vec<f64>,
    /// What the terms that belong to no token carry.
    pub(crate) rest: f64,
}

/// Divides the dot product of two vectors, or their cosine, among the pairs of their terms.
pub(crate) fn contributions(a: &TokenShares, b: &TokenShares, is_cosine: bool) -> Contributions {
    let (sum_a, sum_b) = (a.sum(), b.sum());
    let divisor = if is_cosine { length(&sum_a) * length(&sum_b) } else { 1.0 };
    let mut pairs = Vec::with_capacity(a.tokens().len() * b.tokens().len());
    for term in a.tokens() {
        pairs.extend(b.tokens().map(|other| dot(term, other) / divisor));
    }
    // a · b without the pairs: the constant of a with all of b, and the tokens of a with the
    // constant of b.
    let tokens_a: Vec<f64> = sum_a.iter().zip(a.constant()).map(|(sum, constant)| sum - constant).collect();
    let rest = (dot(a.constant(), &sum_b) + dot(&tokens_a, b.constant())) / divisor;
    Contributions { pairs, rest }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn length(x: &[f64]) -> f64 {
    dot(x, x).sqrt().max(MIN_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributions_are_the_products_of_terms() {
        let a = TokenShares::of_terms(vec![3.0, 0.0, 0.0, 4.0], 2);
        let b = TokenShares::of_terms(vec![1.0, 0.0], 2);
        let Contributions { pairs, rest } = contributions(&a, &b, false);
        assert_eq!((pairs, rest), (vec![3.0, 0.0], 0.0));
        let Contributions { pairs, rest } = contributions(&a, &b, true);
        assert_eq!((pairs, rest), (vec![0.6, 0.0], 0.0));
    }

    #[test]
    fn vectors_of_zeros_have_no_contributions() {
        let zeros = TokenShares::of_terms(vec![0.0; 4], 2);
        assert_eq!(contributions(&zeros, &zeros, true).pairs, [0.0; 4]);
        let empty = TokenShares::of_terms(Vec::new(), 2);
        let Contributions { pairs, rest } = contributions(&empty, &zeros, true);
        assert_eq!((pairs, rest), (Vec::new(), 0.0));
    }
}
