//! Causes in a norm. Its weight and bias follow from A's inputs and outputs.

use super::{Evidence, Guess, dot, median, sum};
use crate::compare::tensors::Tensor;

/// The epsilons that models have, largest last.
const EPSILONS: [f64; 8] = [0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3];

/// The rows that determine a weight and a bias, at least.
const MIN_ROWS: usize = 4;

/// A norm of the rows.
pub(super) struct Norm {
    is_centred: bool,
    epsilon: f64,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

/// Returns the mean and the mean square (of what is left without the mean, if it is removed).
fn moments(row: &[f64], is_centred: bool) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = if is_centred { row.iter().sum::<f64>() / n } else { 0.0 };
    (mean, row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
}

/// Returns the rows with mean 0 and mean square 1.
fn normalized(data: &[f64], width: usize, is_centred: bool, epsilon: f64) -> Vec<f64> {
    let rows = data.chunks_exact(width);
    rows.flat_map(|row| {
        let (mean, square) = moments(row, is_centred);
        row.iter().map(move |x| (x - mean) / (square + epsilon).sqrt()).collect::<Vec<_>>()
    })
    .collect()
}

impl Norm {
    /// Finds the norm that computes an output from an input.
    pub(super) fn fit(input: &Tensor, output: &Tensor) -> Option<Self> {
        if input.width != output.width || input.data.len() != output.data.len() || input.width < 2 {
            return None;
        }
        let fits = [true, false].into_iter().flat_map(|is_centred| {
            EPSILONS.map(|epsilon| Self::fit_with(input, output, is_centred, epsilon)).into_iter().flatten()
        });
        let (error, norm) = fits.min_by(|x, y| x.0.total_cmp(&y.0))?;
        (error < 1e-4).then_some(norm)
    }

    /// Fits weight and bias of each column. Returns the relative error too.
    fn fit_with(input: &Tensor, output: &Tensor, is_centred: bool, epsilon: f64) -> Option<(f64, Self)> {
        let width = input.width;
        let x = normalized(&input.data, width, is_centred, epsilon);
        let rows = x.len() / width;
        if rows < MIN_ROWS {
            return None;
        }
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for column in 0..width {
            let of = |data: &[f64]| data.iter().skip(column).step_by(width).copied().collect::<Vec<f64>>();
            let (x, y) = (of(&x), of(&output.data));
            let n = rows as f64;
            let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
            let covariance = dot(&x, &y) - n * mean_x * mean_y;
            let slope = covariance / (dot(&x, &x) - n * mean_x * mean_x).max(f64::MIN_POSITIVE);
            weight.push(slope);
            bias.push(mean_y - slope * mean_x);
        }
        let norm = Self { is_centred, epsilon, weight, bias };
        let left = sum(&norm.apply(&input.data), &output.data, -1.0);
        Some(((dot(&left, &left) / dot(&output.data, &output.data)).sqrt(), norm))
    }

    /// Computes the norm.
    pub(super) fn apply(&self, input: &[f64]) -> Vec<f64> {
        self.scaled(&normalized(input, self.weight.len(), self.is_centred, self.epsilon))
    }

    fn scaled(&self, normalized: &[f64]) -> Vec<f64> {
        let parameters = self.weight.iter().zip(&self.bias).cycle();
        normalized.iter().zip(parameters).map(|(x, (weight, bias))| x * weight + bias).collect()
    }

    fn name(&self) -> &'static str {
        if self.is_centred { "LayerNorm" } else { "RMSNorm" }
    }
}

/// Returns the inputs that norms have before this site.
fn inputs<'a>(evidence: &Evidence<'a>) -> Vec<&'a Tensor> {
    let found = match evidence.name {
        "embeddings" | "embeddings.norm" => [evidence.a("embeddings.sum"), None],
        "attention_input" => [evidence.layer_input(), None],
        "attention" => [evidence.in_layer("attention_sum"), None],
        "feed_forward_input" => [evidence.in_layer("attention"), None],
        "output" => [evidence.in_layer("feed_forward_sum"), None],
        "final_norm" => [last_output(evidence), None],
        name if name.starts_with("module.") => [module_input(evidence), None],
        _ => [None, None],
    };
    found.into_iter().flatten().collect()
}

/// Returns the output of the last layer.
pub(super) fn last_output<'a>(evidence: &Evidence<'a>) -> Option<&'a Tensor> {
    (0..).map_while(|layer| evidence.a(&format!("layer.{layer}.output"))).last().or(evidence.a("embeddings"))
}

/// Returns the vectors that a module after pooling reads.
pub(super) fn module_input<'a>(evidence: &Evidence<'a>) -> Option<&'a Tensor> {
    let module: usize = evidence.name.strip_prefix("module.")?.parse().ok()?;
    evidence.a(&format!("module.{}", module.checked_sub(1)?)).or(evidence.a("pooled"))
}

pub(super) fn guesses(evidence: &Evidence<'_>) -> Vec<Guess> {
    let mut guesses = Vec::new();
    for input in inputs(evidence) {
        let Some(norm) = Norm::fit(input, evidence.x) else { continue };
        guesses.extend(of_norm(evidence, input, &norm));
    }
    guesses
}

fn of_norm(evidence: &Evidence<'_>, input: &Tensor, norm: &Norm) -> Vec<Guess> {
    let width = input.width;
    let own = normalized(&input.data, width, norm.is_centred, norm.epsilon);
    let other = normalized(&input.data, width, !norm.is_centred, norm.epsilon);
    let n = width as f64;
    let unbiased = own.iter().map(|x| x * ((n - 1.0) / n).sqrt()).collect::<Vec<_>>();
    let zero = vec![0.0; width];
    let (no_bias, no_weight) = (
        Norm { bias: zero.clone(), weight: norm.weight.clone(), ..*norm },
        Norm { weight: vec![1.0; width], bias: norm.bias.clone(), ..*norm },
    );
    let one_more = Norm { weight: norm.weight.iter().map(|w| w + 1.0).collect(), bias: norm.bias.clone(), ..*norm };
    let one_less = Norm { weight: norm.weight.iter().map(|w| w - 1.0).collect(), bias: norm.bias.clone(), ..*norm };
    let other_name = if norm.is_centred { "RMSNorm" } else { "LayerNorm" };
    let name = norm.name();
    let has_bias = norm.bias.iter().any(|bias| bias.abs() > 1e-4);
    let mut guesses = vec![
        evidence.guess(&norm.scaled(&other), format!("B computes {other_name} instead of {name}")),
        evidence.guess(&norm.scaled(&unbiased), "the variance of the norm divides by N − 1 instead of N"),
        evidence.guess(&no_weight.scaled(&own), format!("the weight of the {name} is not applied")),
        evidence.guess(&one_more.scaled(&own), format!("the {name} multiplies by 1 + weight instead of weight")),
        evidence.guess(&one_less.scaled(&own), format!("the {name} multiplies by the weight without its 1")),
        evidence.guess(&input.data, format!("the {name} is not applied")),
    ];
    if has_bias {
        guesses.push(evidence.guess(&no_bias.scaled(&own), format!("the bias of the {name} is not added")));
    }
    guesses.extend(epsilon(evidence, input, norm));
    guesses
}

/// Finds the epsilon that explains B: each row of B is a multiple of that of A.
fn epsilon(evidence: &Evidence<'_>, input: &Tensor, norm: &Norm) -> Option<Guess> {
    let rows = input.rows().zip(evidence.x.rows()).zip(evidence.y.rows());
    let found = median(
        rows.map(|((input, x), y)| {
            let (_, square) = moments(input, norm.is_centred);
            let (x, y) = (sum(x, &norm.bias, -1.0), sum(y, &norm.bias, -1.0));
            let ratio = dot(&x, &y) / dot(&x, &x);
            (square + norm.epsilon) / (ratio * ratio) - square
        })
        .collect(),
    )?;
    let nearest = EPSILONS.into_iter().min_by(|x, y| (x - found).abs().total_cmp(&(y - found).abs()))?;
    let of_b = if nearest > 0.0 && (found / nearest - 1.0).abs() < 0.3 { nearest } else { found };
    let changed = Norm { epsilon: of_b.max(0.0), weight: norm.weight.clone(), bias: norm.bias.clone(), ..*norm };
    let shown = if of_b.abs() < 1e-9 { "below 1e-8".to_owned() } else { format!("about {of_b:.0e}") };
    let of_a = if norm.epsilon < 1e-9 { "below 1e-8".to_owned() } else { format!("about {:.0e}", norm.epsilon) };
    let text = format!("wrong epsilon of the {}: {shown} in B, {of_a} in A", norm.name());
    Some(evidence.guess(&changed.apply(&input.data), text))
}
