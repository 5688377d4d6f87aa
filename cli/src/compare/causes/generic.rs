//! Causes at any site.

use super::{Evidence, Guess, dot, heads_of};
use crate::compare::difference::{distance, largest};
use crate::compare::tensors::{Layout, Tensor};

/// The largest difference that rounding makes in a step, as a part of the largest magnitude.
const MAX_ROUNDING: f64 = 1e-6;

/// The largest part of a difference that one factor for all elements may leave unexplained.
const MAX_UNEXPLAINED_BY_SCALE: f64 = 1e-3;

/// Explains tensors of other sizes.
pub(super) fn of_shapes(evidence: &Evidence<'_>) -> Option<String> {
    let (x, y) = (evidence.x, evidence.y);
    if let Some(guess) = other_site(evidence) {
        return Some(guess.text);
    }
    if x.layout == Layout::Pairs && y.layout == Layout::Pairs && evidence.a.counts == evidence.b.counts {
        let heads = [heads_of(evidence.a, x), heads_of(evidence.b, y)];
        return Some(format!("A has {} heads and B {}: another number of heads in config.json", heads[0], heads[1]));
    }
    if x.layout != y.layout || x.width == y.width {
        return None;
    }
    Some(format!(
        "rows have {} elements in A and {} in B: another size in config.json (heads, head size or width)",
        x.width, y.width
    ))
}

/// Returns mistakes that can happen anywhere.
pub(super) fn guesses(evidence: &Evidence<'_>) -> Vec<Guess> {
    let (x, y) = (evidence.x, evidence.y);
    let mut guesses = Vec::new();
    if y.data.iter().all(|&y| y == 0.0) {
        return vec![Guess { unexplained: 0.0, text: "B is zero everywhere".to_owned() }];
    }
    if y.data.iter().any(|y| y.is_nan()) {
        let text = "B has NaN: a row without visible keys, a division by zero, or an overflow in 16 bits";
        return vec![Guess { unexplained: 0.0, text: text.to_owned() }];
    }
    let farthest = x.data.iter().zip(&y.data).map(|(x, y)| distance(*x, *y)).fold(0.0, f64::max);
    if farthest <= MAX_ROUNDING * largest(&x.data) {
        let text = "rounding: float32 alone can make such a difference; see --bound";
        return vec![Guess { unexplained: 0.0, text: text.to_owned() }];
    }
    let factor = dot(&x.data, &y.data) / dot(&x.data, &x.data);
    if factor.is_finite() {
        let scaled: Vec<f64> = x.data.iter().map(|x| x * factor).collect();
        let guess = evidence.guess(&scaled, scale_text(factor, x.width));
        // Rows that are scaled each by its own factor are nearly the same, scaled by one.
        guesses.extend(Some(guess).filter(|guess| guess.unexplained < MAX_UNEXPLAINED_BY_SCALE));
    }
    guesses.extend(dropout(evidence));
    if x.width > 1 {
        guesses.extend(permuted(evidence));
    }
    guesses.extend(order_of_texts(evidence));
    guesses.extend(other_site(evidence));
    guesses.extend(rounded(evidence));
    guesses
}

/// Finds another site of A that B has here.
fn other_site(evidence: &Evidence<'_>) -> Option<Guess> {
    let y = evidence.y;
    let is_same = |x: &Tensor| {
        let tolerance = 1e-4 * largest(&x.data);
        x.layout == y.layout
            && x.width == y.width
            && x.data.len() == y.data.len()
            && x.data.iter().zip(&y.data).all(|(x, y)| distance(*x, *y) <= tolerance)
    };
    if is_same(evidence.x) {
        return None;
    }
    let (site, _) = evidence.a.tensors.iter().find(|(site, x)| *site != evidence.site && is_same(x))?;
    Some(Guess { unexplained: 0.0, text: format!("B has here what A has at {site}: a step is left out or repeated") })
}

fn scale_text(factor: f64, width: usize) -> String {
    let root = (width as f64).sqrt();
    let near = |x: f64| (factor / x - 1.0).abs() < 1e-3;
    let meaning = if near(root) {
        format!(", the root of the width {width}")
    } else if near(1.0 / root) {
        format!(", 1 over the root of the width {width}")
    } else {
        String::new()
    };
    format!("another scale: B is A times {factor:.6}{meaning}")
}

/// Finds dropout: elements are zero or larger by one factor.
fn dropout(evidence: &Evidence<'_>) -> Option<Guess> {
    let pairs = || evidence.x.data.iter().zip(&evidence.y.data).filter(|(x, _)| **x != 0.0 && x.is_finite());
    let zeros = pairs().filter(|(_, y)| **y == 0.0).count();
    let factor = super::median(pairs().filter(|(_, y)| **y != 0.0).map(|(x, y)| y / x).collect())?;
    if zeros == 0 || factor <= 1.0 || zeros * 2 > pairs().count() {
        return None;
    }
    let data = evidence.x.data.iter().zip(&evidence.y.data);
    let prediction: Vec<f64> = data.map(|(x, y)| if *y == 0.0 { 0.0 } else { x * factor }).collect();
    Some(evidence.guess(&prediction, "dropout is active in B: call model.eval()"))
}

/// Finds columns in another order.
fn permuted(evidence: &Evidence<'_>) -> Option<Guess> {
    let columns = |tensor: &Tensor| -> Vec<Vec<f64>> {
        (0..tensor.width)
            .map(|column| tensor.data.iter().skip(column).step_by(tensor.width).copied().collect())
            .collect()
    };
    let (x, y) = (columns(evidence.x), columns(evidence.y));
    let tolerance = 1e-4 * largest(&evidence.x.data);
    let is_same = |x: &[f64], y: &[f64]| x.iter().zip(y).all(|(x, y)| distance(*x, *y) <= tolerance);
    let sources: Vec<usize> = y.iter().map_while(|y| x.iter().position(|x| is_same(x, y))).collect();
    let first = sources.iter().enumerate().find(|(column, source)| column != *source)?;
    if sources.len() != x.len() || x[0].len() < 2 {
        return None;
    }
    let text = format!(
        "the columns are in another order: column {} of B is column {} of A; heads are split or joined in another way",
        first.0, first.1
    );
    Some(Guess { unexplained: 0.0, text })
}

/// Finds the texts in another order.
fn order_of_texts(evidence: &Evidence<'_>) -> Option<Guess> {
    if evidence.x.layout != Layout::Texts {
        return None;
    }
    let tolerance = 1e-4 * largest(&evidence.x.data);
    let is_same = |x: &[f64], y: &[f64]| x.iter().zip(y).all(|(x, y)| distance(*x, *y) <= tolerance);
    let is_row = |y: &[f64]| evidence.x.rows().any(|x| is_same(x, y));
    let text = "the vectors of B are those of A for other texts: the order of the texts differs";
    evidence.y.rows().all(is_row).then(|| Guess { unexplained: 0.0, text: text.to_owned() })
}

/// Finds rounding to 16 bits.
fn rounded(evidence: &Evidence<'_>) -> Option<Guess> {
    let is_exact = |bits: u32| {
        let mask = (1_u32 << bits) - 1;
        evidence.y.data.iter().all(|&y| (y as f32).to_bits() & mask == 0)
    };
    let kind = if is_exact(16) { "bfloat16" } else { return half(evidence) };
    Some(Guess { unexplained: 0.0, text: format!("B computes in {kind}: all its numbers are of that type") })
}

fn half(evidence: &Evidence<'_>) -> Option<Guess> {
    let is_half = |&y: &f64| f64::from(half::f16::from_f64(y).to_f32()) == y || y.abs() > 1e30;
    let text = "B computes in float16: all its numbers are of that type";
    evidence.y.data.iter().all(is_half).then(|| Guess { unexplained: 0.0, text: text.to_owned() })
}

/// Says where the elements that differ are, if that is a part of the tensor: texts or columns.
pub(super) fn pattern(evidence: &Evidence<'_>) -> Option<String> {
    let counts = &evidence.a.counts;
    let longest = *counts.iter().max()?;
    let tolerance = 1e-4 * largest(&evidence.x.data);
    let differs = texts_that_differ(evidence, tolerance)?;
    let are_shorter = differs.iter().zip(counts).all(|(differs, count)| *differs == (*count < longest));
    if are_shorter && differs.contains(&true) {
        let part = if evidence.x.layout == Layout::Texts { "pooling counts it" } else { "attention is not masked" };
        return Some(format!("only the texts shorter than the longest differ: padding takes part, probably {part}"));
    }
    if evidence.x.layout == Layout::Pairs {
        return None;
    }
    let width = evidence.x.width.max(1);
    let columns: Vec<usize> = (0..width)
        .filter(|&column| {
            let of = |tensor: &Tensor| tensor.data.iter().skip(column).step_by(width).copied().collect::<Vec<_>>();
            of(evidence.x).iter().zip(of(evidence.y)).any(|(x, y)| distance(*x, y) > tolerance)
        })
        .collect();
    let (first, last) = (columns.first()?, columns.last()?);
    (columns.len() * 2 <= width).then(|| {
        format!(
            "unknown; only {} of {width} columns differ, from {first} to {last}: look at that part of the weight",
            columns.len()
        )
    })
}

/// Returns whether each text differs.
fn texts_that_differ(evidence: &Evidence<'_>, tolerance: f64) -> Option<Vec<bool>> {
    let counts = &evidence.a.counts;
    let (x, y) = (evidence.x, evidence.y);
    let sizes: Vec<usize> = match x.layout {
        Layout::Texts => vec![x.width; counts.len()],
        Layout::Tokens => counts.iter().map(|count| count * x.width).collect(),
        Layout::Heads => {
            let width = x.data.len() / counts.iter().sum::<usize>().max(1);
            counts.iter().map(|count| count * width).collect()
        }
        Layout::Pairs => {
            let heads = heads_of(evidence.a, x);
            counts.iter().map(|count| count * count * heads).collect()
        }
    };
    let mut start = 0;
    let mut differs = Vec::new();
    for size in sizes {
        let (x, y) = (x.data.get(start..start + size)?, y.data.get(start..start + size)?);
        differs.push(x.iter().zip(y).any(|(x, y)| distance(*x, *y) > tolerance));
        start += size;
    }
    Some(differs)
}
