//! Causes where a sublayer's output joins the residual stream.

use super::norm::Norm;
use super::{Evidence, Guess, sum};
use crate::compare::tensors::Tensor;

/// The tensors that a site is the sum of.
struct Sum<'a> {
    /// The residual stream.
    stream: &'a Tensor,
    /// The output of the sublayer.
    branch: &'a Tensor,
    /// What the sublayer reads, if it is not the stream.
    input: Option<&'a Tensor>,
    /// The sum, if a norm follows it.
    total: Option<&'a Tensor>,
}

impl<'a> Sum<'a> {
    fn of(evidence: &Evidence<'a>) -> Option<Self> {
        let attention = |total| {
            Some(Sum {
                stream: evidence.layer_input()?,
                branch: evidence.in_layer("attention_projection")?,
                input: evidence.in_layer("attention_input"),
                total,
            })
        };
        let feed_forward = |total| {
            Some(Sum {
                stream: evidence.in_layer("attention")?,
                branch: evidence.in_layer("down")?,
                input: evidence.in_layer("feed_forward_input"),
                total,
            })
        };
        match evidence.name {
            "attention_sum" => attention(None),
            "attention" => attention(evidence.in_layer("attention_sum")),
            "feed_forward_sum" => feed_forward(None),
            "output" => feed_forward(evidence.in_layer("feed_forward_sum")),
            _ => None,
        }
    }
}

pub(super) fn guesses(evidence: &Evidence<'_>) -> Vec<Guess> {
    let Some(parts) = Sum::of(evidence) else { return Vec::new() };
    let norm = parts.total.and_then(|total| Norm::fit(total, evidence.x));
    if parts.total.is_some() && norm.is_none() {
        return Vec::new();
    }
    let after = |x: &[f64]| norm.as_ref().map_or_else(|| x.to_vec(), |norm| norm.apply(x));
    let (stream, branch) = (&parts.stream.data, &parts.branch.data);
    let mut guesses = vec![
        evidence.guess(&after(branch), "the residual connection is missing: B does not add the sublayer's input"),
        evidence.guess(&after(stream), "the sublayer's output is not added to the residual stream"),
        evidence.guess(&after(&sum(stream, branch, 2.0)), "the sublayer's output is added twice"),
        evidence.guess(&after(&sum(branch, stream, 2.0)), "the residual stream is added twice"),
    ];
    guesses.extend(norm_before_sum(evidence, &parts));
    if let Some(input) = parts.input {
        let text = "B adds what the sublayer reads, behind the norm, instead of the residual stream before it";
        guesses.push(evidence.guess(&after(&sum(&input.data, branch, 1.0)), text));
    }
    if let Some(norm) = &norm {
        let text = "B adds the residual stream after the norm; the norm comes after the sum";
        guesses.push(evidence.guess(&sum(&norm.apply(branch), stream, 1.0), text));
    }
    if evidence.name == "output"
        && let Some(first) = evidence.layer_input()
    {
        let text = "B adds the input of the layer instead of the stream after attention";
        guesses.push(evidence.guess(&after(&sum(&first.data, branch, 1.0)), text));
    }
    guesses
}

/// Recognizes a norm of the branch alone by what B has after the norm. What the norm reads looks as
/// if the residual connection were missing.
fn norm_before_sum(evidence: &Evidence<'_>, parts: &Sum<'_>) -> Option<Guess> {
    let after = match evidence.name {
        "attention_sum" => "attention",
        "feed_forward_sum" => "output",
        _ => return None,
    };
    let (x, y) = (evidence.in_layer(after)?, evidence.in_layer_of_b(after)?);
    let norm = Norm::fit(evidence.x, x)?;
    let prediction = sum(&norm.apply(&parts.branch.data), &parts.stream.data, 1.0);
    let unexplained = super::unexplained(&prediction, &x.data, &y.data);
    let text = "B adds the residual stream after the norm; the norm comes after the sum";
    // As good as the guess that nothing is added, which explains this site too.
    (unexplained < super::MAX_UNEXPLAINED).then(|| Guess { unexplained: 0.0, text: text.to_owned() })
}
