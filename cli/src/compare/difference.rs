//! How much two tensors of a site differ.

use super::tensors::{Layout, Side, Tensor};

/// Scores below this are those of keys that a query does not see: −∞ here, and the least number of
/// a type in PyTorch.
const HIDDEN: f64 = -1e30;

/// The result for a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Equal,
    Differs,
    /// The tensors have different sizes.
    OtherShape,
}

/// How much the tensors of a site differ.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) site: String,
    pub(crate) status: Status,
    pub(crate) max_abs: f64,
    /// The largest difference as a part of the site's largest magnitude in A.
    pub(crate) relative: f64,
    pub(crate) rms: f64,
    /// The largest difference in units in the last place of the element in A, as f32.
    pub(crate) ulp: u64,
    /// The element with the largest difference.
    pub(crate) at: usize,
}

/// Whether a score hides a key.
pub(crate) fn is_hidden(x: f64) -> bool {
    x < HIDDEN
}

/// Returns the difference of two elements. Two hidden scores are equal, and two NaNs.
pub(crate) fn distance(a: f64, b: f64) -> f64 {
    if a == b || is_hidden(a) && is_hidden(b) || a.is_nan() && b.is_nan() {
        0.0
    } else if is_hidden(a) || is_hidden(b) || a.is_nan() || b.is_nan() {
        f64::INFINITY
    } else {
        (a - b).abs()
    }
}

impl Difference {
    /// Compares the tensors of a site. `bound` is the largest relative difference of equal ones.
    pub(crate) fn new(site: &str, a: &Tensor, b: &Tensor, bound: f64) -> Self {
        let mut difference = Self {
            site: site.to_owned(),
            status: Status::OtherShape,
            max_abs: f64::INFINITY,
            relative: f64::INFINITY,
            rms: f64::INFINITY,
            ulp: 0,
            at: 0,
        };
        if a.layout != b.layout || a.width != b.width || a.data.len() != b.data.len() {
            return difference;
        }
        let largest = largest(&a.data);
        let (mut max_abs, mut at, mut squares) = (0.0, 0, 0.0);
        for (i, (&x, &y)) in a.data.iter().zip(&b.data).enumerate() {
            let distance = distance(x, y);
            squares += distance * distance;
            if distance > max_abs {
                (max_abs, at) = (distance, i);
            }
        }
        difference.max_abs = max_abs;
        difference.relative = if max_abs == 0.0 { 0.0 } else { max_abs / largest };
        difference.rms = (squares / a.data.len().max(1) as f64).sqrt();
        difference.ulp = if max_abs == 0.0 { 0 } else { units_between(a.data[at], b.data[at]) };
        difference.at = at;
        difference.status = if difference.relative <= bound { Status::Equal } else { Status::Differs };
        difference
    }
}

/// Returns the largest magnitude, without hidden scores.
pub(crate) fn largest(data: &[f64]) -> f64 {
    data.iter().filter(|x| x.is_finite() && !is_hidden(**x)).fold(0.0, |most, x| f64::max(most, x.abs()))
}

/// Returns how many numbers of 32 bits lie between two, both rounded to such.
fn units_between(a: f64, b: f64) -> u64 {
    let order = |x: f64| {
        let bits = i64::from((x as f32).to_bits() & 0x7fff_ffff);
        if x < 0.0 { -bits } else { bits }
    };
    order(a).abs_diff(order(b))
}

/// Returns the place of an element in words, such as `text 2, token 4, column 7`. All count from 1
/// but columns, heads and tokens, which count from 0 as in code.
pub(crate) fn place(side: &Side, tensor: &Tensor, at: usize) -> String {
    let width = tensor.width.max(1);
    match tensor.layout {
        Layout::Texts => format!("text {}, column {}", at / width, at % width),
        Layout::Tokens => {
            let (text, token) = text_of(&side.counts, at / width, 1);
            format!("text {text}, token {token}, column {}", at % width)
        }
        Layout::Heads => {
            let heads = tensor.data.len() / width / side.counts.iter().sum::<usize>().max(1);
            let (text, row) = text_of(&side.counts, at / width, heads);
            let length = side.counts.get(text).copied().unwrap_or(1).max(1);
            format!("text {text}, head {}, token {}, column {}", row / length, row % length, at % width)
        }
        Layout::Pairs => {
            let squares: Vec<usize> = side.counts.iter().map(|length| length * length).collect();
            let heads = tensor.data.len() / squares.iter().sum::<usize>().max(1);
            let (text, element) = text_of(&squares, at, heads);
            let length = side.counts.get(text).copied().unwrap_or(1).max(1);
            let (head, pair) = (element / (length * length), element % (length * length));
            format!("text {text}, head {head}, query {}, key {}", pair / length, pair % length)
        }
    }
}

/// Returns the text of a row, and its row in the text, if each text has `counts · times` rows.
fn text_of(counts: &[usize], mut row: usize, times: usize) -> (usize, usize) {
    for (text, count) in counts.iter().enumerate() {
        if row < count * times {
            return (text, row);
        }
        row -= count * times;
    }
    (counts.len(), row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_counted_across_zero() {
        assert_eq!(units_between(1.0, 1.0 + f64::from(f32::EPSILON)), 1);
        assert_eq!(units_between(f64::from(f32::from_bits(1)), -f64::from(f32::from_bits(1))), 2);
        assert_eq!(units_between(0.0, -0.0), 0);
    }

    #[test]
    fn hidden_scores_are_equal_whatever_their_value() {
        assert_eq!(distance(f64::NEG_INFINITY, -3.4e38), 0.0);
        assert_eq!(distance(f64::NEG_INFINITY, 0.0), f64::INFINITY);
        assert_eq!(distance(f64::NAN, 1.0), f64::INFINITY);
    }
}
