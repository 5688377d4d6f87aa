//! Causes in a linear layer, whose weight is not known.

use super::{Evidence, Guess, dot, sum};
use crate::compare::tensors::{Layout, Tensor};

/// The outputs of linear layers, with their siblings and what they read.
const LINEAR: [&str; 7] = ["query", "key", "value", "attention_projection", "gate", "up", "down"];

pub(super) fn guesses(evidence: &Evidence<'_>) -> Vec<Guess> {
    if !LINEAR.contains(&evidence.name) {
        return dense(evidence);
    }
    let mut guesses = siblings(evidence);
    guesses.extend(constant(evidence));
    if let Some(input) = input(evidence) {
        guesses.extend(transposed(evidence, input));
    }
    if evidence.name == "query" {
        guesses.extend(scaled_query(evidence));
    }
    guesses
}

/// Returns what the linear layer reads.
fn input<'a>(evidence: &Evidence<'a>) -> Option<&'a Tensor> {
    match evidence.name {
        "query" | "key" | "value" => evidence.in_layer("attention_input").or_else(|| evidence.layer_input()),
        "attention_projection" => evidence.in_layer("context"),
        "gate" | "up" => evidence.in_layer("feed_forward_input").or_else(|| evidence.in_layer("attention")),
        _ => evidence.in_layer("intermediate"),
    }
}

/// Finds the output of another layer of the same input.
fn siblings(evidence: &Evidence<'_>) -> Vec<Guess> {
    let siblings: &[&str] = match evidence.name {
        "query" | "key" | "value" => &["query", "key", "value"],
        "gate" | "up" => &["gate", "up"],
        _ => &[],
    };
    let others = siblings.iter().filter(|name| **name != evidence.name);
    let found = others.filter_map(|name| Some((name, evidence.in_layer(name)?)));
    let mut guesses: Vec<Guess> = found
        .map(|(name, other)| {
            let text = format!("{} and {name} are exchanged: B's {} is A's {name}", evidence.name, evidence.name);
            evidence.guess(&other.data, text)
        })
        .collect();
    guesses.extend(interleaved(evidence, siblings));
    guesses
}

/// Finds a fused output that is split by element or by head instead of by block.
fn interleaved(evidence: &Evidence<'_>, siblings: &[&str]) -> Option<Guess> {
    let parts: Vec<&Tensor> = siblings.iter().map_while(|name| evidence.in_layer(name)).collect();
    let index = siblings.iter().position(|name| *name == evidence.name)?;
    if parts.len() != siblings.len() || parts.iter().any(|part| part.width != evidence.x.width) {
        return None;
    }
    let (count, width) = (parts.len(), evidence.x.width);
    let fused = |row: usize, column: usize| parts[column / width].data[row * width + column % width];
    let heads = heads(evidence).filter(|heads| width % heads == 0);
    let sizes = [Some((1, "element by element")), heads.map(|heads| (width / heads, "head by head"))];
    sizes
        .into_iter()
        .flatten()
        .map(|(size, way)| {
            let column = |c: usize| (c / size * count + index) * size + c % size;
            let rows = evidence.x.data.len() / width;
            let all = (0..rows).flat_map(|row| (0..width).map(move |c| (row, column(c))));
            let prediction: Vec<f64> = all.map(|(row, column)| fused(row, column)).collect();
            evidence.guess(&prediction, format!("B splits the fused output of {} {way}", siblings.join(", ")))
        })
        .min_by(|x, y| x.unexplained.total_cmp(&y.unexplained))
}

fn heads(evidence: &Evidence<'_>) -> Option<usize> {
    evidence.in_layer("scores").map(|scores| super::heads_of(evidence.a, scores)).filter(|&heads| heads > 0)
}

/// Finds the same difference in every row: a bias.
fn constant(evidence: &Evidence<'_>) -> Option<Guess> {
    let width = evidence.x.width;
    let difference = sum(&evidence.y.data, &evidence.x.data, -1.0);
    let rows = difference.len() / width.max(1);
    if rows < 2 {
        return None;
    }
    let means: Vec<f64> =
        (0..width).map(|column| difference.iter().skip(column).step_by(width).sum::<f64>() / rows as f64).collect();
    let constant: Vec<f64> = (0..rows).flat_map(|_| means.iter().copied()).collect();
    let prediction = sum(&evidence.x.data, &constant, 1.0);
    let what = evidence.name;
    Some(evidence.guess(
        &prediction,
        format!("the bias of the linear layer of {what} is missing, or is another: all rows differ by the same vector"),
    ))
}

/// Tests whether B multiplies by the transposed weight: then x_s·ỹ_B(t) = x_t·ỹ_A(s), where the
/// differences from the first row have no bias.
fn transposed(evidence: &Evidence<'_>, input: &Tensor) -> Option<Guess> {
    let width = evidence.x.width;
    if input.width != width || input.layout != Layout::Tokens {
        return None;
    }
    let centred = |tensor: &Tensor| -> Vec<Vec<f64>> {
        let first = &tensor.data[..width];
        tensor.rows().skip(1).map(|row| sum(row, first, -1.0)).collect()
    };
    let (x, of_a, of_b) = (centred(input), centred(evidence.x), centred(evidence.y));
    let (mut left, mut all) = (0.0, 0.0);
    for s in 0..x.len() {
        for t in 0..x.len() {
            let seen = dot(&x[s], &of_b[t]);
            left += (seen - dot(&x[t], &of_a[s])).powi(2);
            all += (seen - dot(&x[s], &of_a[t])).powi(2);
        }
    }
    let text = format!("the weight of {} is transposed in B", evidence.name);
    Some(Guess { unexplained: (left / all).sqrt(), text })
}

/// Tests whether B scales the queries, and not the scores.
fn scaled_query(evidence: &Evidence<'_>) -> Option<Guess> {
    let scale = 1.0 / ((evidence.x.width / heads(evidence)?) as f64).sqrt();
    let scaled: Vec<f64> = evidence.x.data.iter().map(|x| x * scale).collect();
    let text = "B multiplies the queries by 1/√d, A the scores: this alone is no mistake, so compare the scores";
    Some(evidence.guess(&scaled, text))
}

/// Explains a linear layer after pooling.
fn dense(evidence: &Evidence<'_>) -> Vec<Guess> {
    let is_dense = evidence.name.starts_with("module.") || evidence.name == "embeddings";
    if !is_dense || evidence.x.data.len() / evidence.x.width.max(1) < 3 {
        return Vec::new();
    }
    constant(evidence).into_iter().collect()
}
