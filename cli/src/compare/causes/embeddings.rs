//! Causes in the rows of the tables, and in their sum.

use super::norm::Norm;
use super::positions::{looked_up, shifted};
use super::{Evidence, Guess, sum, unexplained};
use crate::compare::tensors::Tensor;

pub(super) fn guesses(evidence: &Evidence<'_>) -> Vec<Guess> {
    match evidence.name {
        "embeddings.position" => {
            let shifted = shifted(evidence.a, evidence.x, evidence.y);
            // A shift says more, if it explains B.
            match shifted.filter(|guess| guess.unexplained < super::MAX_UNEXPLAINED) {
                Some(guess) => vec![guess],
                None => looked_up(evidence.a, evidence.x, evidence.y).into_iter().collect(),
            }
        }
        "embeddings.token_type" => token_types(evidence),
        "embeddings.sum" => sums(evidence, |x| Some(x.to_vec())),
        // Only the norm of the sum is known of B.
        "embeddings" | "embeddings.norm" if !evidence.is_equal("embeddings.sum") => {
            let Some(input) = evidence.a("embeddings.sum") else { return Vec::new() };
            let Some(norm) = Norm::fit(input, evidence.x) else { return Vec::new() };
            sums(evidence, |x| Some(norm.apply(x)))
        }
        _ => Vec::new(),
    }
}

/// Explains other rows of the table of token types.
fn token_types(evidence: &Evidence<'_>) -> Vec<Guess> {
    let mut rows = evidence.y.rows();
    let Some(first) = rows.next() else { return Vec::new() };
    if !evidence.y.rows().all(|row| row == first) {
        return vec![];
    }
    let text = if evidence.x.rows().any(|row| row == first) {
        "B has one token type everywhere: token types are not passed to the model"
    } else {
        "wrong token type: all tokens of B have another row of the table than in A (single texts have type 0)"
    };
    vec![Guess { unexplained: 0.0, text: text.to_owned() }]
}

/// Explains another sum of the tables' rows. `after` computes the site from a sum.
fn sums(evidence: &Evidence<'_>, after: impl Fn(&[f64]) -> Option<Vec<f64>>) -> Vec<Guess> {
    let Some(total) = evidence.a("embeddings.sum") else { return Vec::new() };
    let mut guesses = Vec::new();
    let mut add = |input: &[f64], text: &str| {
        if let Some(prediction) = after(input) {
            guesses.push(evidence.guess(&prediction, text));
        }
    };
    let table = |name: &str| evidence.a(name).filter(|rows| rows.data.len() == total.data.len());
    if let Some(rows) = table("embeddings.position") {
        add(&sum(&total.data, &rows.data, -1.0), "the position embeddings are not added");
        add(&sum(&total.data, &rows.data, 1.0), "the position embeddings are added twice");
    }
    if let Some(rows) = table("embeddings.token_type") {
        add(&sum(&total.data, &rows.data, -1.0), "the token type embeddings are not added");
        add(&sum(&total.data, &rows.data, 1.0), "the token type embeddings are added twice");
    }
    if let Some(rows) = table("embeddings.token") {
        let scaled = sum(&total.data, &rows.data, (rows.width as f64).sqrt() - 1.0);
        add(&scaled, "the token embeddings are multiplied by the root of the width");
    }
    if let (Some(rows), true) = (table("embeddings.position"), evidence.name == "embeddings.sum") {
        guesses.extend(shifted_in_sum(evidence, total, rows));
    }
    if evidence.name != "embeddings.sum" {
        guesses.extend(shifted_in_norm(evidence, total, &after));
    }
    guesses
}

/// Finds shifted positions in a sum: what remains without the other rows are rows of the table.
fn shifted_in_sum(evidence: &Evidence<'_>, total: &Tensor, rows: &Tensor) -> Option<Guess> {
    let others = sum(&total.data, &rows.data, -1.0);
    let positions = Tensor { data: sum(&evidence.y.data, &others, -1.0), ..rows.clone() };
    shifted(evidence.a, rows, &positions)
}

/// Finds shifted positions behind a norm: the rows that have a neighbour in A are predicted.
fn shifted_in_norm(evidence: &Evidence<'_>, total: &Tensor, after: &impl Fn(&[f64]) -> Option<Vec<f64>>) -> Vec<Guess> {
    let Some(rows) = evidence.a("embeddings.position").filter(|rows| rows.width == total.width) else {
        return Vec::new();
    };
    let width = rows.width;
    let mut guesses = Vec::new();
    for (shift, way) in [(1, "below"), (2, "below"), (1, "above"), (2, "above")] {
        let (mut input, mut x, mut y, mut start) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for &count in &evidence.a.counts {
            for token in 0..count.saturating_sub(shift) {
                let (early, late) = (start + token, start + token + shift);
                let (at, read) = if way == "below" { (late, early) } else { (early, late) };
                let row = |data: &[f64], i: usize| data[i * width..][..width].to_vec();
                let others = sum(&row(&total.data, at), &row(&rows.data, at), -1.0);
                input.extend(sum(&others, &row(&rows.data, read), 1.0));
                x.extend(row(&evidence.x.data, at));
                y.extend(row(&evidence.y.data, at));
            }
            start += count;
        }
        if let Some(prediction) = after(&input).filter(|_| !input.is_empty()) {
            let count = if shift == 1 { "off by one" } else { "off by two" };
            let text = format!(
                "positions are {count}: the position of each token in B is {shift} {way} that of A; RoBERTa, XLM-R and \
                 MPNet count from padding_idx + 1"
            );
            guesses.push(Guess { unexplained: unexplained(&prediction, &x, &y), text });
        }
    }
    guesses
}
