//! Rows of a table that are read at other positions.

use super::Guess;
use crate::compare::tensors::{Layout, Side, Tensor};

/// The largest shift to look for.
const MAX_SHIFT: usize = 4;

/// Finds rows of B that are the rows of A at other positions.
pub(super) fn shifted(side: &Side, x: &Tensor, y: &Tensor) -> Option<Guess> {
    if x.data.len() != y.data.len() || x.width == 0 || x.layout != Layout::Tokens {
        return None;
    }
    let (x, y): (Vec<&[f64]>, Vec<&[f64]>) = (x.rows().collect(), y.rows().collect());
    (1..=MAX_SHIFT)
        .flat_map(|shift| [(shift, true), (shift, false)])
        .filter_map(|(shift, is_behind)| {
            // Rows of the text that lie in both.
            let (unexplained, rows) = mismatch(side, &x, &y, shift, is_behind);
            (rows > 0).then(|| Guess { unexplained, text: text(shift, is_behind) })
        })
        .min_by(|x, y| x.unexplained.total_cmp(&y.unexplained))
}

/// Returns how far B is from A's rows `shift` tokens away, as a part of the difference, and how
/// many rows were compared.
fn mismatch(side: &Side, x: &[&[f64]], y: &[&[f64]], shift: usize, is_behind: bool) -> (f64, usize) {
    let (mut left, mut all, mut rows, mut start) = (0.0, 0.0, 0, 0);
    let squares = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum() };
    for &count in &side.counts {
        for token in 0..count.saturating_sub(shift) {
            let (early, late) = (start + token, start + token + shift);
            let (of_a, of_b) = if is_behind { (early, late) } else { (late, early) };
            left += squares(x[of_a], y[of_b]);
            all += squares(x[of_b], y[of_b]);
            rows += 1;
        }
        start += count;
    }
    ((left / all).sqrt(), rows)
}

/// Finds the rows of A that B has, and says how they are chosen.
pub(super) fn looked_up(side: &Side, x: &Tensor, y: &Tensor) -> Option<Guess> {
    if x.data.len() != y.data.len() || x.width == 0 || x.layout != Layout::Tokens {
        return None;
    }
    let rows: Vec<&[f64]> = x.rows().collect();
    let mut positions = Vec::new();
    for &count in &side.counts {
        positions.extend(0..count);
    }
    let find = |row: &[f64]| rows.iter().position(|known| *known == row).and_then(|at| positions.get(at));
    let found: Vec<usize> = y.rows().map(find).collect::<Option<Vec<_>>>()?.into_iter().copied().collect();
    let guess = |text: &str| Some(Guess { unexplained: 0.0, text: text.to_owned() });
    if found.iter().all(|position| *position == found[0]) {
        return guess("all tokens of B have one position");
    }
    let mut start = 0;
    let is_padded_left = side.counts.iter().all(|&count| {
        let padding = y.padded_length.saturating_sub(count);
        let text = found.get(start..start + count).unwrap_or_default();
        start += count;
        text.iter().enumerate().all(|(token, position)| *position == token + padding)
    });
    if is_padded_left {
        return guess("padding is on the left in B and counts as positions: positions start behind the padding");
    }
    guess("the positions of B are in another order")
}

fn text(shift: usize, is_behind: bool) -> String {
    let way = if is_behind { "below" } else { "above" };
    let offset = if shift == 1 { "positions are off by one" } else { "positions are off" };
    let padding = if is_behind && shift > 1 {
        format!("; RoBERTa, XLM-R and MPNet count from padding_idx + 1 (here {shift}, if B counts from 0), not from 0")
    } else {
        String::new()
    };
    format!("{offset}: the position of each token in B is {shift} {way} that of A{padding}")
}
