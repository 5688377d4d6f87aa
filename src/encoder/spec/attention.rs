//! The parts of attention.

use std::ops::Range;

use super::modules::{LinearSpec, TableSpec};

/// Self-attention with H heads of size d. H·d need not be D.
#[derive(Clone, Debug)]
pub(crate) struct AttentionSpec {
    /// H, the number of heads.
    pub(crate) heads: usize,
    /// d, the size of a head.
    pub(crate) head_size: usize,
    /// D to 3·H·d: queries, keys, values.
    pub(crate) qkv: LinearSpec,
    /// H·d to D.
    pub(crate) output: LinearSpec,
    /// Rotates queries and keys by their positions.
    pub(crate) rotary: Option<RotarySpec>,
    pub(crate) relative_keys: Option<RelativeKeysSpec>,
    /// The factor of the scores, usually 1/√d.
    pub(crate) scale: f32,
    /// Which keys a query sees.
    pub(crate) window: Window,
}

/// The keys that query i sees: those from i − before to i + after, as far as the text has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) before: usize,
    pub(crate) after: usize,
}

/// Rotary positions: pair j of a query or key at position p is rotated by p · frequency\[j\]
/// (Su et al. 2021, <https://arxiv.org/abs/2104.09864>). The pairs are halves of a head apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RotarySpec {
    /// Radians per position `[d/2]`.
    pub(crate) frequencies: Vec<f32>,
}

/// A bias of the attention scores that depends on the head and on j − i alone.
#[derive(Clone, Debug)]
pub(crate) enum RelativeBiasSpec {
    /// A learned value for each head and bucket of distances `[buckets, H]` (Raffel et al. 2019,
    /// <https://arxiv.org/abs/1910.10683>, §2.1).
    Buckets { table: TableSpec, buckets: DistanceBuckets },
    /// −slope · |j − i|, with a slope for each head `[H]` (Press et al. 2021,
    /// <https://arxiv.org/abs/2108.12409>: ALiBi).
    Slopes(Vec<f32>),
}

/// Buckets of distances j − i, finely when small and coarsely when large.
///
/// Half of the buckets are for keys up to the query, half for those after it. Of each, half are for
/// exact distances, and the rest grow by a constant factor up to the largest distance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DistanceBuckets {
    pub(crate) count: usize,
    /// All distances from here on share a bucket.
    pub(crate) max_distance: usize,
}

/// A learned vector R[i − j] for each i − j from −(P − 1) to P − 1. The score of query i and key j
/// gains q_i · R[i − j], before the scaling by 1/√d (Shaw et al. 2018,
/// <https://arxiv.org/abs/1803.02155>).
#[derive(Clone, Debug)]
pub(crate) struct RelativeKeysSpec {
    /// `[2·P − 1, d]`.
    pub(crate) table: TableSpec,
    /// Whether the score also gains k_j · R[i − j] (Huang et al. 2020,
    /// <https://arxiv.org/abs/2009.13658>, method 4).
    pub(crate) multiply_keys: bool,
}

impl AttentionSpec {
    /// Returns H·d, the width of all heads together.
    pub(crate) fn width(&self) -> usize {
        self.heads * self.head_size
    }
}

impl Window {
    /// Every key of the text.
    pub(crate) const FULL: Self = Self { before: usize::MAX, after: usize::MAX };

    /// Keys up to `radius` tokens away.
    pub(crate) fn symmetric(radius: usize) -> Self {
        Self { before: radius, after: radius }
    }

    /// The query's own key and those before it.
    #[cfg_attr(not(test), expect(dead_code, reason = "decoders are not supported yet; tests cover it"))]
    pub(crate) const CAUSAL: Self = Self { before: usize::MAX, after: 0 };

    /// Returns the keys that query i sees, of the keys of so many tokens. Query i may be beyond
    /// them, and then perhaps sees none.
    pub(crate) fn keys(self, i: usize, tokens: usize) -> Range<usize> {
        let end = i.saturating_add(self.after).saturating_add(1).min(tokens);
        i.saturating_sub(self.before).min(end)..end
    }

    /// Returns the number of pairs of a query and a key that it sees.
    pub(super) fn pairs(self, tokens: usize) -> usize {
        (0..tokens).map(|i| self.keys(i, tokens).len()).sum()
    }
}

impl DistanceBuckets {
    /// Returns the bucket of a key that is `distance` = j − i tokens after the query (transformers
    /// 5.23.0, `models/t5/modeling_t5.py`, `_relative_position_bucket`).
    ///
    /// The logarithm is rounded to f32 at each step, as there: at some distances the exact formula
    /// gives a whole number, and the rounding decides.
    pub(crate) fn bucket(self, distance: isize) -> usize {
        let of_direction = self.count / 2;
        let first = if distance > 0 { of_direction } else { 0 };
        let n = distance.unsigned_abs();
        let exact = of_direction / 2;
        if n < exact {
            return first + n;
        }
        let ratio = n as f32 / exact as f32;
        let log = f64::from(ratio).ln() as f32;
        let log_of_max = (self.max_distance as f64 / exact as f64).ln() as f32;
        let steps = log / log_of_max * (of_direction - exact) as f32;
        first + (exact + steps as usize).min(of_direction - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_at_the_ends_of_a_text_is_clipped() {
        let window = Window::symmetric(2);
        let keys: Vec<_> = (0..5).map(|i| window.keys(i, 5)).collect();
        assert_eq!(keys, [0..3, 0..4, 0..5, 1..5, 2..5]);
        assert_eq!(window.pairs(5), 19);
        assert_eq!(Window::FULL.keys(3, 5), 0..5);
        assert_eq!(Window::CAUSAL.keys(3, 5), 0..4);
        assert_eq!(Window::CAUSAL.pairs(5), 15);
    }

    /// The distances at which the bucket changes, by `T5Attention._relative_position_bucket` of
    /// transformers 5.23.0 and torch 2.15.0.
    #[test]
    fn buckets_begin_where_those_of_transformers_do() {
        let starts = |count, max_distance| -> Vec<isize> {
            let bucket = |distance| DistanceBuckets { count, max_distance }.bucket(distance);
            (1..2000).filter(|&n| bucket(-n) != bucket(1 - n)).collect()
        };
        assert_eq!(starts(32, 128), [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]);
        assert_eq!(starts(16, 64), [1, 2, 3, 4, 8, 16, 32]);
        assert_eq!(starts(32, 256), [1, 2, 3, 4, 5, 6, 7, 8, 13, 20, 30, 46, 70, 108, 166]);
        assert_eq!(
            starts(64, 128),
            [
                1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77,
                87, 99, 113
            ]
        );
        assert_eq!(starts(12, 40), [1, 2, 3, 8, 17]);
        assert_eq!(starts(8, 20), [1, 2, 7]);
        assert_eq!(starts(32, 1000), [1, 2, 3, 4, 5, 6, 7, 8, 15, 27, 49, 90, 164, 300, 547]);
    }
}
