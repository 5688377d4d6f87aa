//! Explanations of the first site that differs, from the tensors alone.
//!
//! What comes before the site agrees. So each known mistake predicts what B has, and the prediction
//! that B has is the cause.

mod activation;
mod attention;
mod embeddings;
mod generic;
mod heads;
mod linear;
mod norm;
mod positions;
mod residual;
mod rotary;
mod scores;
mod tokens;

pub(super) use self::tokens::tokens;

use super::difference::{Difference, Status, distance, is_hidden};
use super::tensors::{Side, Tensor};

/// The largest part of the difference that an explanation may leave unexplained.
const MAX_UNEXPLAINED: f64 = 0.05;

/// A known mistake, with the part of the difference that it does not explain.
#[derive(Debug)]
pub(super) struct Guess {
    unexplained: f64,
    text: String,
}

/// What is known at the first site that differs.
pub(super) struct Evidence<'a> {
    a: &'a Side,
    b: &'a Side,
    differences: &'a [Difference],
    layer: Option<usize>,
    site: &'a str,
    /// The site's name without its layer.
    name: &'a str,
    x: &'a Tensor,
    y: &'a Tensor,
}

/// Returns the cause of the first difference, if it has a known pattern.
pub(super) fn explain(a: &Side, b: &Side, differences: &[Difference], site: &str) -> Option<String> {
    let in_layer = site.strip_prefix("layer.").and_then(|rest| rest.split_once('.'));
    let (x, y) = (a.tensors.get(site)?, b.tensors.get(site)?);
    let evidence = Evidence {
        a,
        b,
        differences,
        site,
        layer: in_layer.and_then(|(layer, _)| layer.parse().ok()),
        name: in_layer.map_or(site, |(_, name)| name),
        x,
        y,
    };
    if x.data.len() != y.data.len() {
        return generic::of_shapes(&evidence);
    }
    let specific = [
        embeddings::guesses(&evidence),
        norm::guesses(&evidence),
        linear::guesses(&evidence),
        rotary::guesses(&evidence),
        scores::guesses(&evidence),
        activation::guesses(&evidence),
        residual::guesses(&evidence),
        heads::guesses(&evidence),
    ];
    let best = |guesses: Vec<Guess>| {
        let likely = guesses.into_iter().filter(|guess| guess.unexplained < MAX_UNEXPLAINED);
        likely.min_by(|x, y| x.unexplained.total_cmp(&y.unexplained)).map(|guess| guess.text)
    };
    best(specific.into_iter().flatten().collect())
        .or_else(|| best(generic::guesses(&evidence)))
        .or_else(|| generic::pattern(&evidence))
}

impl<'a> Evidence<'a> {
    /// Returns a tensor of A.
    fn a(&self, site: &str) -> Option<&'a Tensor> {
        self.a.tensors.get(site)
    }

    /// Returns a tensor of A of the same layer.
    fn in_layer(&self, name: &str) -> Option<&'a Tensor> {
        self.a(&format!("layer.{}.{name}", self.layer?))
    }

    /// Returns a tensor of B of the same layer.
    fn in_layer_of_b(&self, name: &str) -> Option<&'a Tensor> {
        self.b.tensors.get(&format!("layer.{}.{name}", self.layer?))
    }

    /// Returns the residual stream that enters the layer.
    fn layer_input(&self) -> Option<&'a Tensor> {
        match self.layer? {
            0 => self.a("embeddings"),
            layer => self.a(&format!("layer.{}.output", layer - 1)),
        }
    }

    /// Whether both files have a site, and it is equal.
    fn is_equal(&self, site: &str) -> bool {
        self.differences.iter().any(|difference| difference.site == site && difference.status == Status::Equal)
    }

    /// Returns the part of the difference that a prediction of B does not explain.
    fn unexplained(&self, prediction: &[f64]) -> f64 {
        unexplained(prediction, &self.x.data, &self.y.data)
    }

    /// Returns a guess for a prediction of B.
    fn guess(&self, prediction: &[f64], text: impl Into<String>) -> Guess {
        Guess { unexplained: self.unexplained(prediction), text: text.into() }
    }
}

/// Returns the part of the difference of A and B that a prediction of B does not explain, or of B
/// if B is smaller: any prediction near zero would explain most of the difference.
fn unexplained(prediction: &[f64], a: &[f64], b: &[f64]) -> f64 {
    if prediction.len() != b.len() {
        return f64::INFINITY;
    }
    let between = |x: &[f64], y: &[f64]| -> f64 {
        // A hidden score is infinitely far from others. It counts as much as a large score, so that
        // the ratio exists.
        let far = |x: &f64, y: &f64| distance(*x, *y).min(1e6);
        x.iter().zip(y).map(|(x, y)| far(x, y).powi(2)).sum()
    };
    let zeros = vec![0.0; b.len()];
    (between(prediction, b) / between(a, b).min(between(&zeros, b))).sqrt()
}

/// Returns the heads of pairs of tokens `[H, L, L]` of each text, and the start of each matrix.
fn heads_of(side: &Side, pairs: &Tensor) -> usize {
    pairs.data.len() / side.counts.iter().map(|length| length * length).sum::<usize>().max(1)
}

/// Returns the scalar product.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Returns the middle of some numbers.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|x| x.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Returns the sum of two tensors, or of a tensor and a multiple of another.
fn sum(x: &[f64], y: &[f64], factor: f64) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| if is_hidden(*x) { *x } else { x + factor * y }).collect()
}
