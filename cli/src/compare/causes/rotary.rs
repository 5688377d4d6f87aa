//! Causes in the rotation of queries and keys by position. Its angles follow from A.

use std::f64::consts::TAU;

use super::{Evidence, Guess, heads_of, median, sum};
use crate::compare::tensors::{Layout, Side, Tensor};

/// The bases of angles that models have, to try if B's rotated queries are not known.
const BASES: [f64; 12] = [100.0, 300.0, 500.0, 1e3, 1e4, 2e4, 4e4, 8e4, 1.6e5, 2.5e5, 5e5, 1e6];

/// Which elements of a head form a pair.
#[derive(Clone, Copy, PartialEq)]
enum Pairs {
    /// Element j and element j + d/2.
    Halves,
    /// Element 2j and element 2j + 1.
    Interleaved,
}

impl Pairs {
    fn of(self, pair: usize, size: usize) -> (usize, usize) {
        match self {
            Self::Halves => (pair, pair + size / 2),
            Self::Interleaved => (2 * pair, 2 * pair + 1),
        }
    }
}

/// The rows of the heads of all texts, `[H, L, d]` of each.
pub(super) struct Heads<'a> {
    side: &'a Side,
    count: usize,
    size: usize,
}

impl<'a> Heads<'a> {
    pub(super) fn new(side: &'a Side, count: usize, size: usize) -> Self {
        Self { side, count, size }
    }

    /// Returns the text's first token, the token in the text and the head of each row.
    fn places(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut start = 0;
        self.side.counts.iter().flat_map(move |&length| {
            let first = start;
            start += length;
            (0..self.count).flat_map(move |head| (0..length).map(move |token| (first, token, head)))
        })
    }

    /// Splits rows of tokens into heads. `is_interleaved` takes every H-th element.
    pub(super) fn split(&self, tokens: &Tensor, is_interleaved: bool) -> Vec<f64> {
        let mut rows = Vec::with_capacity(tokens.data.len());
        for (first, token, head) in self.places() {
            let row = &tokens.data[(first + token) * tokens.width..][..tokens.width];
            let column = |i: usize| if is_interleaved { i * self.count + head } else { head * self.size + i };
            rows.extend((0..self.size).map(|i| row[column(i)]));
        }
        rows
    }

    /// Returns the angle of each pair of each token.
    fn angles(&self, plain: &[f64], rotated: &[f64], pairs: Pairs) -> Vec<Vec<f64>> {
        let tokens: usize = self.side.counts.iter().sum();
        let mut products = vec![vec![(0.0, 0.0); self.size / 2]; tokens];
        let rows = plain.chunks_exact(self.size).zip(rotated.chunks_exact(self.size));
        for ((first, token, _), (plain, rotated)) in self.places().zip(rows) {
            for (pair, (cross, dot)) in products[first + token].iter_mut().enumerate() {
                let (i, j) = pairs.of(pair, self.size);
                *cross += plain[i] * rotated[j] - plain[j] * rotated[i];
                *dot += plain[i] * rotated[i] + plain[j] * rotated[j];
            }
        }
        let angle = |(cross, dot): (f64, f64)| cross.atan2(dot);
        products.into_iter().map(|row| row.into_iter().map(angle).collect()).collect()
    }

    /// Rotates rows.
    fn rotate(&self, plain: &[f64], angles: &[Vec<f64>], pairs: Pairs) -> Vec<f64> {
        let mut rotated = plain.to_vec();
        let rows = rotated.chunks_exact_mut(self.size).zip(plain.chunks_exact(self.size));
        for ((first, token, _), (rotated, plain)) in self.places().zip(rows) {
            for (pair, angle) in angles[first + token].iter().enumerate() {
                let ((i, j), (sin, cos)) = (pairs.of(pair, self.size), angle.sin_cos());
                rotated[i] = plain[i] * cos - plain[j] * sin;
                rotated[j] = plain[i] * sin + plain[j] * cos;
            }
        }
        rotated
    }

    /// Returns the pairs that a rotation has.
    fn pairs_of(&self, plain: &[f64], rotated: &[f64]) -> Pairs {
        let error = |pairs: Pairs| -> f64 {
            let left = sum(&self.rotate(plain, &self.angles(plain, rotated, pairs), pairs), rotated, -1.0);
            left.iter().map(|x| x * x).sum()
        };
        if error(Pairs::Halves) <= error(Pairs::Interleaved) { Pairs::Halves } else { Pairs::Interleaved }
    }

    /// Returns the angles of a base. `position` is that of a token in its text and of all tokens.
    fn angles_of(&self, base: f64, position: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
        let frequency = |pair: usize| base.powf(-2.0 * pair as f64 / self.size as f64);
        let mut angles = Vec::new();
        for &length in &self.side.counts {
            for token in 0..length {
                let position = position(token, angles.len());
                angles.push((0..self.size / 2).map(|pair| position * frequency(pair)).collect());
            }
        }
        angles
    }

    /// Finds the base of angles, from the second token of the texts.
    fn base_of(&self, angles: &[Vec<f64>]) -> Option<f64> {
        let mut bases = Vec::new();
        let mut first = 0;
        for &length in &self.side.counts {
            if length > 1 {
                let both = angles[first].iter().zip(&angles[first + 1]);
                for (pair, (first, second)) in both.enumerate().skip(1) {
                    let turned = (second - first).rem_euclid(TAU);
                    let exponent = -(self.size as f64) / (2.0 * pair as f64);
                    if turned > 1e-4 && turned < 1.0 {
                        bases.push(turned.powf(exponent));
                    }
                }
            }
            first += length;
        }
        median(bases)
    }
}

/// A mistake in the rotation, and what it makes of rows.
pub(super) struct Rotation {
    angles: Vec<Vec<f64>>,
    pairs: Pairs,
    pub(super) text: String,
}

impl Rotation {
    /// Rotates the rows of heads.
    pub(super) fn apply(&self, heads: &Heads<'_>, plain: &[f64]) -> Vec<f64> {
        heads.rotate(plain, &self.angles, self.pairs)
    }
}

/// Returns the mistakes in rotations that make `plain` into `rotated`.
pub(super) fn mistakes(heads: &Heads<'_>, plain: &[f64], rotated: &[f64]) -> Vec<Rotation> {
    let pairs = heads.pairs_of(plain, rotated);
    let is_halves = pairs == Pairs::Halves;
    let other = if is_halves { Pairs::Interleaved } else { Pairs::Halves };
    let angles = heads.angles(plain, rotated, pairs);
    let (own_name, other_name) =
        if is_halves { ("halves", "interleaved pairs") } else { ("interleaved pairs", "halves") };
    let mut found = Vec::new();
    let mut add = |angles: Vec<Vec<f64>>, pairs: Pairs, text: String| found.push(Rotation { angles, pairs, text });
    add(angles.clone(), other, format!("rotary: B rotates {other_name} (RoPE), A {own_name}"));
    let all = |change: fn(f64) -> f64| angles.iter().map(|row| row.iter().map(|&x| change(x)).collect()).collect();
    add(all(|x| -x), pairs, "rotary: B rotates in the other direction (the sign of the sine)".to_owned());
    add(all(|_| 0.0), pairs, "rotary: no rotation is applied in B".to_owned());
    let Some(base) = heads.base_of(&angles) else { return found };
    let shown = nearest(base);
    for base in BASES.into_iter().filter(|other| (other / base - 1.0).abs() > 0.02) {
        let text = format!("rotary: another θ: {base} in B, about {shown} in A");
        add(heads.angles_of(base, |token, _| token as f64), pairs, text);
    }
    let text = "rotary: positions do not restart at each text in B";
    add(heads.angles_of(base, |_, all| all as f64), pairs, text.to_owned());
    for shift in [1.0, 2.0, -1.0] {
        let text = format!("rotary: positions are off by {shift}: the first token of B has another position than 0");
        add(heads.angles_of(base, |token, _| token as f64 + shift), pairs, text);
    }
    found
}

/// Returns a round number near a base.
fn nearest(base: f64) -> String {
    let size = 10_f64.powf(base.log10().floor() - 1.0);
    format!("{}", (base / size).round() * size)
}

pub(super) fn guesses(evidence: &Evidence<'_>) -> Vec<Guess> {
    let plain = match evidence.name {
        "rotated_query" => evidence.in_layer("query"),
        "rotated_key" => evidence.in_layer("key"),
        _ => return Vec::new(),
    };
    let (Some(plain), Layout::Heads, size @ 2..) = (plain, evidence.x.layout, evidence.x.width) else {
        return Vec::new();
    };
    let count = plain.width / size;
    if plain.layout != Layout::Tokens || count * size != plain.width || size % 2 != 0 {
        return Vec::new();
    }
    let heads = Heads::new(evidence.a, count, size);
    let split = heads.split(plain, false);
    if split.len() != evidence.x.data.len() {
        return Vec::new();
    }
    let mut guesses: Vec<Guess> = mistakes(&heads, &split, &evidence.x.data)
        .into_iter()
        .map(|mistake| evidence.guess(&mistake.apply(&heads, &split), mistake.text))
        .collect();
    guesses.extend(other_base(evidence, &heads, &split));
    let interleaved = heads.split(plain, true);
    let of_a = heads.angles(&split, &evidence.x.data, Pairs::Halves);
    let text = "heads are split in another way: B takes every H-th column for a head, A blocks of columns";
    guesses.push(evidence.guess(&heads.rotate(&interleaved, &of_a, Pairs::Halves), text));
    guesses
}

/// Names the base of B's angles and of A's.
fn other_base(evidence: &Evidence<'_>, heads: &Heads<'_>, plain: &[f64]) -> Option<Guess> {
    let pairs = heads.pairs_of(plain, &evidence.x.data);
    let base = |rotated: &[f64]| heads.base_of(&heads.angles(plain, rotated, pairs));
    let (of_a, of_b) = (base(&evidence.x.data)?, base(&evidence.y.data)?);
    if (of_a / of_b - 1.0).abs() < 0.02 {
        return None;
    }
    let prediction = heads.rotate(plain, &heads.angles_of(of_b, |token, _| token as f64), pairs);
    let text = format!("rotary: another θ: about {} in B, about {} in A", nearest(of_b), nearest(of_a));
    // A little better than a base of the list, which is near.
    let guess = evidence.guess(&prediction, text);
    Some(Guess { unexplained: guess.unexplained * 0.5, ..guess })
}

/// Returns the number of heads of the layer and their size.
pub(super) fn shape(evidence: &Evidence<'_>) -> Option<(usize, usize)> {
    let pairs = evidence.in_layer("scores").or_else(|| evidence.in_layer("probabilities"))?;
    let count = heads_of(evidence.a, pairs);
    let width = evidence.in_layer("query")?.width;
    (count > 0 && width % count == 0).then_some((count, width / count))
}
