//! The attention of a layer of A, to predict what a mistake makes of it.

use super::rotary::{Heads, shape};
use super::{Evidence, Guess, dot};
use crate::compare::difference::is_hidden;
use crate::compare::tensors::Tensor;

/// The attention of a layer of A.
pub(super) struct Attention<'a> {
    pub(super) evidence: &'a Evidence<'a>,
    pub(super) heads: usize,
    pub(super) size: usize,
    /// Queries and keys of the heads, rotated if the model rotates, `[H, L, d]` of each text.
    pub(super) queries: Vec<f64>,
    pub(super) keys: Vec<f64>,
    pub(super) scale: f64,
    /// What is added to the scaled products for each head and distance of key and query, from
    /// −(`longest` − 1).
    pub(super) bias: Vec<Vec<f64>>,
    pub(super) longest: usize,
    /// Whether the bias is more than rounding.
    pub(super) has_bias: bool,
}

/// A pair of tokens: the text, the head, the query and the key.
pub(super) type Pair = (usize, usize, usize, usize);

impl<'a> Attention<'a> {
    pub(super) fn of(evidence: &'a Evidence<'a>) -> Option<Self> {
        let (count, size) = shape(evidence)?;
        let scores = evidence.in_layer("scores")?;
        let vectors = |rotated: &str, plain: &str| -> Option<Vec<f64>> {
            if let Some(tensor) = evidence.in_layer(rotated) {
                return Some(tensor.data.clone());
            }
            let tensor = evidence.in_layer(plain)?;
            let heads = tensor.width / size;
            Some(Heads::new(evidence.a, heads, size).split(tensor, false))
        };
        let (queries, keys) = (vectors("rotated_query", "query")?, vectors("rotated_key", "key")?);
        let expected = count * size * evidence.a.counts.iter().sum::<usize>();
        if queries.len() != expected || keys.len() != expected {
            return None;
        }
        let longest = *evidence.a.counts.iter().max()?;
        let mut attention = Self {
            evidence,
            heads: count,
            size,
            queries,
            keys,
            scale: 1.0,
            bias: Vec::new(),
            longest,
            has_bias: false,
        };
        attention.fit(scores);
        Some(attention)
    }

    /// Finds the scale and the bias of A's scores.
    pub(super) fn fit(&mut self, scores: &Tensor) {
        let raw = self.products(&self.queries, &self.keys);
        let candidates = [1.0 / (self.size as f64).sqrt(), 1.0].map(|scale| {
            let (bias, error) = self.table(&scores.data, &raw, scale);
            (error, scale, bias)
        });
        let best = candidates.into_iter().min_by(|x, y| x.0.total_cmp(&y.0));
        let Some((_, scale, bias)) = best else { return };
        let largest = crate::compare::difference::largest(&scores.data);
        self.has_bias = bias.iter().flatten().any(|x| x.abs() > 1e-4 * largest);
        (self.scale, self.bias) = (scale, bias);
    }

    /// Returns the mean of what is left of scores for each head and distance, and how far single
    /// scores are from it.
    pub(super) fn table(&self, scores: &[f64], raw: &[f64], scale: f64) -> (Vec<Vec<f64>>, f64) {
        let distances = 2 * self.longest - 1;
        let mut sums = vec![vec![(0.0, 0.0); distances]; self.heads];
        let left = |i: usize| scores[i] - scale * raw[i];
        let places: Vec<Pair> = self.pairs().collect();
        let seen = || places.iter().enumerate().filter(|(i, _)| !is_hidden(scores[*i]));
        let distance = |query: usize, key: usize| key + self.longest - 1 - query;
        for (i, &(_, head, query, key)) in seen() {
            let (total, count) = &mut sums[head][distance(query, key)];
            (*total, *count) = (*total + left(i), *count + 1.0);
        }
        let mean = |(total, count): &(f64, f64)| if *count > 0.0 { total / count } else { 0.0 };
        let table: Vec<Vec<f64>> = sums.iter().map(|row| row.iter().map(mean).collect()).collect();
        let error = seen().map(|(i, &(_, head, q, k))| (left(i) - table[head][distance(q, k)]).powi(2)).sum();
        (table, error)
    }

    /// Returns all pairs in the order of the scores.
    pub(super) fn pairs(&self) -> impl Iterator<Item = Pair> {
        let heads = self.heads;
        self.evidence.a.counts.iter().enumerate().flat_map(move |(text, &length)| {
            let queries = move |head| (0..length).flat_map(move |q| (0..length).map(move |k| (text, head, q, k)));
            (0..heads).flat_map(queries)
        })
    }

    /// Returns the products of queries and keys `[H, L, d]` of each text.
    pub(super) fn products(&self, queries: &[f64], keys: &[f64]) -> Vec<f64> {
        let mut products = Vec::new();
        let mut start = 0;
        for &length in &self.evidence.a.counts {
            for head in 0..self.heads {
                let rows = |data: &'_ [f64], i: usize| (start + head * length + i) * self.size..data.len();
                for query in 0..length {
                    let query = &queries[rows(queries, query)][..self.size];
                    products.extend((0..length).map(|key| dot(query, &keys[rows(keys, key)][..self.size])));
                }
            }
            start += self.heads * length;
        }
        products
    }

    pub(super) fn bias_of(&self, head: usize, query: usize, key: usize) -> f64 {
        self.bias.get(head).and_then(|row| row.get(key + self.longest - 1 - query)).copied().unwrap_or(0.0)
    }

    /// Returns scores that a function makes of each product. Keys that A hides stay hidden.
    pub(super) fn scores(&self, raw: &[f64], of: impl Fn(f64, Pair) -> f64) -> Vec<f64> {
        let hidden = self.evidence.in_layer("scores").map(|scores| scores.data.as_slice()).unwrap_or_default();
        let score =
            |(i, pair)| if hidden.get(i).is_some_and(|x| is_hidden(*x)) { f64::NEG_INFINITY } else { of(raw[i], pair) };
        self.pairs().enumerate().map(score).collect()
    }

    /// Computes the site from scores, and returns the guess.
    pub(super) fn guess(&self, scores: &[f64], text: impl Into<String>) -> Guess {
        let site = match self.evidence.name {
            "scores" => scores.to_vec(),
            "probabilities" => self.softmax(scores),
            _ => self.context(&self.softmax(scores)).unwrap_or_default(),
        };
        self.evidence.guess(&site, text)
    }

    pub(super) fn softmax(&self, scores: &[f64]) -> Vec<f64> {
        let mut probabilities = Vec::with_capacity(scores.len());
        let mut rest = scores;
        for &length in &self.evidence.a.counts {
            let (matrices, after) = rest.split_at(self.heads * length * length);
            for row in matrices.chunks_exact(length.max(1)) {
                let most = row.iter().copied().fold(f64::MIN, f64::max);
                let total: f64 = row.iter().map(|x| (x - most).exp()).sum();
                probabilities.extend(row.iter().map(|x| (x - most).exp() / total));
            }
            rest = after;
        }
        probabilities
    }

    /// Returns the means of the values, with the heads joined.
    pub(super) fn context(&self, probabilities: &[f64]) -> Option<Vec<f64>> {
        self.means(probabilities, self.evidence.in_layer("value")?)
    }

    pub(super) fn means(&self, probabilities: &[f64], values: &Tensor) -> Option<Vec<f64>> {
        let width = self.heads * self.size;
        if values.width != width {
            return None;
        }
        let starts: Vec<usize> = self.starts();
        let mut context = vec![0.0; values.data.len()];
        for ((text, head, query, key), p) in self.pairs().zip(probabilities) {
            for column in head * self.size..(head + 1) * self.size {
                context[(starts[text] + query) * width + column] +=
                    p * values.data[(starts[text] + key) * width + column];
            }
        }
        Some(context)
    }

    /// Returns the first token of each text.
    pub(super) fn starts(&self) -> Vec<usize> {
        let add = |next: &mut usize, count: &usize| Some(std::mem::replace(next, *next + count));
        self.evidence.a.counts.iter().scan(0, add).collect()
    }
}
