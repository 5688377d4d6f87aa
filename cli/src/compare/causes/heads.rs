//! Causes in pooling and in the modules after it.

use super::norm::{last_output, module_input};
use super::{Evidence, Guess, dot};
use crate::compare::tensors::{Layout, Tensor};

/// A way to make a vector of the rows of a text.
type Pooling = fn(&[&[f64]]) -> Vec<f64>;

/// A function of single elements.
type Function = fn(f64) -> f64;

const POOLINGS: [(&str, Pooling); 8] = [
    ("mean", |rows| weighted(rows, |_| 1.0)),
    ("CLS (the first token)", |rows| rows.first().map_or(Vec::new(), |row| row.to_vec())),
    ("last token", |rows| rows.last().map_or(Vec::new(), |row| row.to_vec())),
    ("max", |rows| (0..rows[0].len()).map(|i| rows.iter().fold(f64::MIN, |most, row| most.max(row[i]))).collect()),
    ("weighted mean", |rows| weighted(rows, |token| token as f64 + 1.0)),
    ("sum divided by the root of the length", |rows| {
        let root = (rows.len() as f64).sqrt();
        weighted(rows, |_| 1.0).iter().map(|x| x * root).collect()
    }),
    ("mean without the special tokens at both ends", |rows| match rows {
        [_, inner @ .., _] if !inner.is_empty() => weighted(inner, |_| 1.0),
        _ => weighted(rows, |_| 1.0),
    }),
    ("sum", |rows| weighted(rows, |_| 1.0).iter().map(|x| x * rows.len() as f64).collect()),
];

fn weighted(rows: &[&[f64]], weight: impl Fn(usize) -> f64) -> Vec<f64> {
    let total: f64 = (0..rows.len()).map(&weight).sum();
    let column = |i: usize| rows.iter().enumerate().map(|(token, row)| weight(token) * row[i]).sum::<f64>() / total;
    (0..rows.first().map_or(0, |row| row.len())).map(column).collect()
}

pub(super) fn guesses(evidence: &Evidence<'_>) -> Vec<Guess> {
    match evidence.name {
        "pooled" => poolings(evidence),
        name if name.starts_with("module.") => modules(evidence, module_input(evidence), name),
        "vectors" => {
            let mut guesses = modules(evidence, evidence.a("pooled"), "the modules after pooling");
            if !evidence.is_equal("pooled") {
                guesses.extend(poolings(evidence));
            }
            guesses
        }
        _ => Vec::new(),
    }
}

/// Returns the rows of each text.
fn texts<'a>(evidence: &Evidence<'_>, rows: &'a Tensor) -> Vec<Vec<&'a [f64]>> {
    let mut all = rows.rows();
    evidence.a.counts.iter().map(|&count| all.by_ref().take(count).collect()).collect()
}

/// Explains other pooled vectors, or normalized vectors of another pooling.
fn poolings(evidence: &Evidence<'_>) -> Vec<Guess> {
    let Some(rows) = evidence.a("final_norm").or_else(|| last_output(evidence)) else { return Vec::new() };
    if rows.width != evidence.x.width || rows.layout != Layout::Tokens || evidence.a.counts.contains(&0) {
        return Vec::new();
    }
    let texts = texts(evidence, rows);
    let is_unit = evidence.name == "vectors" && evidence.x.rows().all(|row| (dot(row, row) - 1.0).abs() < 1e-4);
    let finish = |vectors: Vec<Vec<f64>>| -> Vec<f64> {
        let unit = |vector: Vec<f64>| if is_unit { normalized(&vector) } else { vector };
        vectors.into_iter().flat_map(unit).collect()
    };
    let all = POOLINGS.map(|(name, pool)| (name, finish(texts.iter().map(|rows| pool(rows)).collect())));
    let error = |x: &[f64]| x.iter().zip(&evidence.x.data).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    let own = all.iter().min_by(|x, y| error(&x.1).total_cmp(&error(&y.1))).map_or("", |(name, _)| *name);
    let mut guesses: Vec<Guess> = all
        .iter()
        .filter(|(name, _)| *name != own)
        .map(|(name, vectors)| evidence.guess(vectors, format!("another pooling: B computes {name}, A {own}")))
        .collect();
    guesses.extend(with_padding(evidence, rows, &finish));
    if let Some((_, pool)) = POOLINGS.into_iter().find(|(name, _)| *name == own)
        && let Some(before) = last_output(evidence).filter(|_| evidence.a("final_norm").is_some())
    {
        let vectors = self::texts(evidence, before).iter().map(|rows| pool(rows)).collect();
        guesses.push(evidence.guess(&finish(vectors), "the norm after the last layer is not applied"));
        guesses.extend(of_earlier_layers(evidence, pool, &finish));
    } else if let Some((_, pool)) = POOLINGS.into_iter().find(|(name, _)| *name == own) {
        guesses.extend(of_earlier_layers(evidence, pool, &finish));
    }
    let batch = weighted(&texts.concat(), |_| 1.0);
    let same = finish(vec![batch; texts.len()]);
    if texts.len() > 1 {
        guesses.push(evidence.guess(&same, "B takes the mean over the tokens of all texts together"));
    }
    guesses
}

/// Explains vectors that pool the output of another layer than the last.
fn of_earlier_layers(
    evidence: &Evidence<'_>,
    pool: Pooling,
    finish: &impl Fn(Vec<Vec<f64>>) -> Vec<f64>,
) -> Vec<Guess> {
    let outputs = (0..).map_while(|layer| evidence.a(&format!("layer.{layer}.output"))).enumerate();
    let earlier: Vec<(usize, &Tensor)> = outputs.filter(|(_, rows)| rows.width == evidence.x.width).collect();
    let guess = |(layer, rows): &(usize, &Tensor)| {
        let vectors = self::texts(evidence, rows).iter().map(|rows| pool(rows)).collect();
        evidence.guess(&finish(vectors), format!("B pools the output of layer {layer}, which is not the last"))
    };
    earlier.iter().take(earlier.len().saturating_sub(1)).map(guess).collect()
}

/// Explains a mean that counts padding, by the rows that B has for it.
fn with_padding(evidence: &Evidence<'_>, rows: &Tensor, finish: &impl Fn(Vec<Vec<f64>>) -> Vec<f64>) -> Vec<Guess> {
    let side = evidence.b;
    let site = |layer: &usize| format!("layer.{layer}.output");
    let last = (0..).take_while(|layer| evidence.a(&site(layer)).is_some()).last();
    let output = last.and_then(|layer| side.tensors.get(&site(&layer)));
    let mut guesses = Vec::new();
    if let Some(tensor) = side.tensors.get("final_norm").or(output)
        && let Some(sums) = &tensor.padded_sums
    {
        let mean = |sums: &[f64]| sums.iter().map(|x| x / tensor.padded_length as f64).collect();
        let vectors = sums.chunks_exact(tensor.width).map(mean).collect();
        guesses
            .push(evidence.guess(&finish(vectors), "padding is counted in the mean: multiply by the attention mask"));
    }
    let longest = evidence.a.counts.iter().copied().max().unwrap_or(1) as f64;
    let of_text = |rows: Vec<&[f64]>| {
        let part = rows.len() as f64 / longest;
        weighted(&rows, |_| 1.0).iter().map(|x| x * part).collect()
    };
    let vectors = texts(evidence, rows).into_iter().map(of_text).collect();
    let text = "the mean divides by the padded length: divide by the number of tokens, without padding";
    guesses.push(evidence.guess(&finish(vectors), text));
    guesses
}

fn normalized(vector: &[f64]) -> Vec<f64> {
    let length = dot(vector, vector).sqrt().max(f64::MIN_POSITIVE);
    vector.iter().map(|x| x / length).collect()
}

/// Explains other vectors of a module.
fn modules(evidence: &Evidence<'_>, input: Option<&Tensor>, name: &str) -> Vec<Guess> {
    let mut guesses = Vec::new();
    let is_unit = |tensor: &Tensor| tensor.rows().all(|row| (dot(row, row) - 1.0).abs() < 1e-4);
    let unit: Vec<f64> = evidence.x.rows().flat_map(normalized).collect();
    if is_unit(evidence.x) && !is_unit(evidence.y) {
        let of_b: Vec<f64> = evidence.y.rows().flat_map(normalized).collect();
        let unexplained = super::unexplained(&of_b, &evidence.y.data, &evidence.x.data);
        let text = "Normalize is missing: the vectors of B have other lengths than 1";
        guesses.push(Guess { unexplained, text: text.to_owned() });
    }
    if is_unit(evidence.y) && !is_unit(evidence.x) {
        guesses.push(evidence.guess(&unit, "B normalizes the vectors, A does not"));
    }
    if let Some(input) = input.filter(|input| input.data.len() == evidence.x.data.len()) {
        guesses.push(evidence.guess(&input.data, format!("{name}: not applied, B has its input")));
    }
    let functions: [(&str, Function); 3] =
        [("tanh", f64::tanh), ("ReLU", |x| x.max(0.0)), ("sigmoid", |x| 1.0 / (1.0 + (-x).exp()))];
    for (function, apply) in functions {
        let of = |tensor: &Tensor| tensor.data.iter().map(|&x| apply(x)).collect::<Vec<f64>>();
        let without = super::unexplained(&of(evidence.y), &evidence.y.data, &evidence.x.data);
        let text = format!("the activation {function} of the module is missing in B");
        guesses.push(Guess { unexplained: without, text });
        guesses.push(evidence.guess(&of(evidence.x), format!("B applies {function}, which A does not")));
    }
    guesses
}
