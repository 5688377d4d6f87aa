//! The sentence vector as a sum with a term for each token.
//!
//! Pooling weights the vectors of the tokens, or takes each element from one of them:
//!
//! ```text
//! p = Σ_i w_i ∘ x_i
//! ```
//!
//! A linear map keeps the sum: W p = Σ_i W (w_i ∘ x_i). So do a division by a length and by a
//! standard deviation, if the number that they take from the whole vector is kept fixed. A bias is
//! a term that belongs to no token. An activation keeps no sum.

use std::ops::Range;

use likewise_kernels::view::MatRef;

use super::head::{Module, OutputOptions, PoolingHead};
use super::pooling::PoolingMode;

/// The smallest divisor of a sum, and of a length, as pooling and Normalize have them.
const MIN_DIVISOR: f64 = 1e-9;
const MIN_LENGTH: f64 = 1e-12;

/// A sentence vector as the sum of a term for each of L tokens and a constant one.
pub(crate) struct TokenShares {
    /// `[L + 1, width]`: the terms of the tokens, then the constant.
    terms: Vec<f64>,
    width: usize,
    /// The first module that keeps no sum, such as "Dense 768 → 512, Tanh". The sum is then that of
    /// the vector before the module.
    undivided: Option<String>,
}

impl TokenShares {
    /// Makes the sum of the terms of tokens `[L, width]`, without a constant.
    #[cfg(test)]
    pub(crate) fn of_terms(mut terms: Vec<f64>, width: usize) -> Self {
        terms.resize(terms.len() + width, 0.0);
        Self { terms, width, undivided: None }
    }

    /// Returns the terms of the tokens, one after another.
    pub(crate) fn tokens(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.terms[..self.terms.len() - self.width].chunks_exact(self.width)
    }

    /// Returns the term that belongs to no token.
    pub(crate) fn constant(&self) -> &[f64] {
        &self.terms[self.terms.len() - self.width..]
    }

    /// Returns whether the biases of modules are a part of the vector.
    pub(crate) fn has_constant(&self) -> bool {
        self.constant().iter().any(|x| *x != 0.0)
    }

    /// Returns the sum of all terms.
    pub(crate) fn sum(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.width];
        for term in self.terms.chunks_exact(self.width) {
            sum.iter_mut().zip(term).for_each(|(sum, x)| *sum += x);
        }
        sum
    }

    /// Returns the module before which the sum ends, if there is one.
    pub(crate) fn undivided(&self) -> Option<&str> {
        self.undivided.as_deref()
    }

    /// Applies a module. Returns false if the module keeps no sum.
    fn apply(&mut self, module: &Module) -> bool {
        match module {
            Module::Dense(dense) => {
                let terms: Vec<f32> = self.terms.iter().map(|&x| x as f32).collect();
                let Some(mapped) = dense.apply_to_terms(&terms) else {
                    self.undivided = Some(dense.describe());
                    return false;
                };
                self.terms = mapped.into_iter().map(f64::from).collect();
                self.width = dense.width();
                if let Some(bias) = dense.bias() {
                    self.add_constant(bias);
                }
            }
            Module::LayerNorm(norm) => {
                let (factors, bias) = norm.factors_at(&self.sum());
                for term in self.terms.chunks_exact_mut(self.width) {
                    let mean = term.iter().sum::<f64>() / self.width as f64;
                    term.iter_mut().zip(&factors).for_each(|(x, factor)| *x = (*x - mean) * factor);
                }
                self.add_constant(bias);
            }
            Module::Normalize => self.normalize(),
            Module::Dropout => {}
        }
        true
    }

    fn add_constant(&mut self, bias: &[f32]) {
        let first = self.terms.len() - self.width;
        self.terms[first..].iter_mut().zip(bias).for_each(|(x, &bias)| *x += f64::from(bias));
    }

    fn normalize(&mut self) {
        let length = self.sum().iter().map(|x| x * x).sum::<f64>().sqrt().max(MIN_LENGTH);
        self.terms.iter_mut().for_each(|x| *x /= length);
    }

    fn keep_dimensions(&mut self, dimensions: usize) {
        let kept = self.terms.chunks_exact(self.width).flat_map(|term| &term[..dimensions]);
        self.terms = kept.copied().collect();
        self.width = dimensions;
    }
}

impl PoolingHead {
    /// Divides the sentence vector of a text among its token vectors `[L, D]`. The first
    /// `excluded_tokens` tokens are not pooled.
    pub(crate) fn shares(&self, tokens: MatRef<'_>, excluded_tokens: usize, options: OutputOptions) -> TokenShares {
        let counted = excluded_tokens.min(tokens.rows())..tokens.rows();
        let width = self.pooled_width;
        let mut terms = vec![0.0; (tokens.rows() + 1) * width];
        for (m, mode) in self.pooling.modes().iter().enumerate() {
            let first = m * tokens.cols();
            mode.for_each_weight(tokens, counted.clone(), |token, element, weight| {
                terms[token * width + first + element] = weight * f64::from(tokens.row(token)[element]);
            });
        }
        let mut shares = TokenShares { terms, width, undivided: None };
        if !self.modules_kept(options).iter().all(|module| shares.apply(module)) {
            return shares;
        }
        if let Some(dimensions) = options.dimensions.filter(|&dimensions| dimensions < shares.width) {
            shares.keep_dimensions(dimensions);
        }
        if options.normalize == Some(true) {
            shares.normalize();
        }
        shares
    }
}

impl PoolingMode {
    /// Calls `receive` with the token, the element and the weight of every part of the pooled
    /// vector. Only the tokens in `counted` count.
    fn for_each_weight(self, tokens: MatRef<'_>, counted: Range<usize>, mut receive: impl FnMut(usize, usize, f64)) {
        let elements = 0..tokens.cols();
        let n = (counted.len() as f64).max(MIN_DIVISOR);
        let sum_of_positions: usize = counted.clone().map(|token| token + 1).sum();
        let only = match self {
            Self::Cls if tokens.rows() > 0 => Some(if counted.is_empty() { 0 } else { counted.start }),
            Self::LastToken => counted.clone().last(),
            _ => None,
        };
        let weight = |token: usize| match self {
            Self::Mean => 1.0 / n,
            Self::MeanSqrtLen => 1.0 / n.sqrt(),
            Self::WeightedMean => (token + 1) as f64 / (sum_of_positions as f64).max(MIN_DIVISOR),
            Self::Cls | Self::LastToken => f64::from(u8::from(only == Some(token))),
            Self::Max => 0.0,
        };
        if self == Self::Max {
            for element in elements {
                let value = |token: usize| tokens.row(token)[element];
                let largest =
                    counted.clone().reduce(|best, token| if value(token) > value(best) { token } else { best });
                largest.into_iter().for_each(|token| receive(token, element, 1.0));
            }
            return;
        }
        for token in only.map_or(counted, |only| only..only + 1) {
            elements.clone().for_each(|element| receive(token, element, weight(token)));
        }
    }
}
