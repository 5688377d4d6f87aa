//! Causes between queries and keys and the context: scale, bias, mask, softmax, heads.

use super::attention::{Attention, Pair};
use super::rotary::{Heads, mistakes};
use super::{Evidence, Guess};
use crate::compare::difference::is_hidden;
use crate::compare::tensors::Layout;

pub(super) fn guesses(evidence: &Evidence<'_>) -> Vec<Guess> {
    if !["scores", "probabilities", "context"].contains(&evidence.name) {
        return Vec::new();
    }
    let Some(attention) = Attention::of(evidence) else { return Vec::new() };
    let mut guesses: Vec<Guess> = attention.of_padding().into_iter().collect();
    if !evidence.is_equal_in_layer("scores") && !evidence.is_equal_in_layer("probabilities") {
        guesses.extend(attention.of_scores());
        guesses.extend(attention.of_masks());
        guesses.extend(attention.of_vectors());
        guesses.extend(attention.of_other_bias());
    }
    guesses.extend(attention.of_softmax());
    if evidence.name == "context" {
        guesses.extend(attention.of_context());
    }
    guesses
}

impl Evidence<'_> {
    fn is_equal_in_layer(&self, name: &str) -> bool {
        self.layer.is_some_and(|layer| self.is_equal(&format!("layer.{layer}.{name}")))
    }
}

impl Attention<'_> {
    /// Explains scores by their scale and bias.
    fn of_scores(&self) -> Vec<Guess> {
        let raw = self.products(&self.queries, &self.keys);
        let (scale, size) = (self.scale, self.size as f64);
        let bias = |(_, head, query, key): Pair| self.bias_of(head, query, key);
        let mut guesses = Vec::new();
        let mut add = |text: &str, of: &dyn Fn(f64, Pair) -> f64| {
            guesses.push(self.guess(&self.scores(&raw, of), text));
        };
        if self.has_bias {
            add("the relative bias is missing", &|x, _| scale * x);
            add(
                "the relative bias is mirrored: B has that of query − key, A of key − query",
                &|x, (_, h, q, k)| scale * x + self.bias_of(h, k, q),
            );
            add("the sign of the relative bias is wrong", &|x, pair| scale * x - bias(pair));
            let mirrored = |h: usize| self.heads - 1 - h;
            add("the heads of the relative bias are in another order", &|x, (_, h, q, k)| {
                scale * x + self.bias_of(mirrored(h), q, k)
            });
            if (scale - 1.0).abs() > 1e-9 {
                add("the relative bias is added before the scale, and so scaled too", &|x, pair| {
                    scale * (x + bias(pair))
                });
            }
        }
        let root = 1.0 / size.sqrt();
        let width = 1.0 / (size * self.heads as f64).sqrt();
        let scales = [
            (1.0, "the scale 1/√d of the scores is missing"),
            (root, "B scales the scores by 1/√d"),
            (1.0 / size, "the scale of the scores is 1/d: it is applied twice, or lacks its root"),
            (width, "the scale of the scores is 1/√(H·d) (the width) instead of 1/√d (the head size)"),
        ];
        for (other, text) in scales.into_iter().filter(|(other, _)| (other / scale - 1.0).abs() > 1e-6) {
            add(text, &|x, pair| other * x + bias(pair));
        }
        guesses
    }

    /// Explains scores by the keys that are hidden.
    fn of_masks(&self) -> Vec<Guess> {
        let Some(own) = self.evidence.in_layer("scores") else { return Vec::new() };
        let raw = self.products(&self.queries, &self.keys);
        let is_seen = |(i, _): &(usize, Pair)| !is_hidden(own.data[*i]);
        let seen = self.pairs().enumerate().filter(is_seen);
        let reach = seen.map(|(_, (_, _, query, key))| query.abs_diff(key)).max().unwrap_or(0);
        let has_window = reach + 1 < self.longest;
        let is_causal = self.pairs().enumerate().filter(is_seen).all(|(_, (_, _, query, key))| key <= query);
        let masked = |sees: &dyn Fn(usize, usize) -> bool| -> Vec<f64> {
            let score = |(x, (_, head, query, key)): (&f64, Pair)| {
                if sees(query, key) { self.scale * x + self.bias_of(head, query, key) } else { f64::NEG_INFINITY }
            };
            raw.iter().zip(self.pairs()).map(score).collect()
        };
        let mut guesses = Vec::new();
        let mut add = |sees: &dyn Fn(usize, usize) -> bool, text: String| guesses.push(self.guess(&masked(sees), text));
        if is_causal && self.longest > 1 {
            add(&|_, _| true, "the causal mask is missing in B: queries see later keys".to_owned());
        } else {
            add(&|query, key| key <= query, "B has a causal mask, A has none".to_owned());
        }
        if has_window {
            add(&|_, _| true, format!("the window is missing in B: A sees keys within {reach} tokens"));
        }
        let others = (1..self.longest).filter(|other| *other != reach && *other + 1 < self.longest);
        for other in others.chain((reach == 1).then_some(0)) {
            let kind =
                if other.abs_diff(reach) == 1 && has_window { "the window is off by one" } else { "another window" };
            let of_a = if has_window { format!("{reach} in A") } else { "A has no window here".to_owned() };
            let text = format!("{kind}: a query sees keys within {other} tokens in B, {of_a}");
            add(&|query, key| query.abs_diff(key) <= other, text);
        }
        guesses
    }

    /// Explains scores by other rotations and by heads that are split in another way.
    fn of_vectors(&self) -> Vec<Guess> {
        let heads = Heads::new(self.evidence.a, self.heads, self.size);
        let (Some(query), Some(key)) = (self.evidence.in_layer("query"), self.evidence.in_layer("key")) else {
            return Vec::new();
        };
        if key.width != query.width {
            return Vec::new();
        }
        let guess = |queries: &[f64], keys: &[f64], text: String| {
            let raw = self.products(queries, keys);
            let bias = |(_, head, q, k): Pair| self.bias_of(head, q, k);
            self.guess(&self.scores(&raw, |x, pair| self.scale * x + bias(pair)), text)
        };
        let mut guesses = Vec::new();
        let (plain_query, plain_key) = (heads.split(query, false), heads.split(key, false));
        if self.evidence.in_layer("rotated_query").is_none() {
            let text = "heads are split in another way: B takes every H-th column for a head, A blocks of columns";
            guesses.push(guess(&heads.split(query, true), &heads.split(key, true), text.to_owned()));
        } else {
            for mistake in mistakes(&heads, &plain_query, &self.queries) {
                let rotated = [&plain_query, &plain_key].map(|plain| mistake.apply(&heads, plain));
                guesses.push(guess(&rotated[0], &rotated[1], mistake.text));
            }
            let text = "rotary: B rotates the queries and not the keys";
            guesses.push(guess(&self.queries, &plain_key, text.to_owned()));
            let text = "rotary: B rotates the keys and not the queries";
            guesses.push(guess(&plain_query, &self.keys, text.to_owned()));
        }
        guesses
    }

    /// Recognizes a bias that depends on the distance as that of A does, with other values.
    fn of_other_bias(&self) -> Option<Guess> {
        if self.evidence.name != "scores" || !self.has_bias {
            return None;
        }
        let raw = self.products(&self.queries, &self.keys);
        let (_, left) = self.table(&self.evidence.y.data, &raw, self.scale);
        let all: f64 = self.evidence.x.data.iter().zip(&self.evidence.y.data).map(|(x, y)| (x - y).powi(2)).sum();
        let text = "another relative bias: B's depends on the distance too, with other values (buckets, largest \
                    distance, direction or slopes)";
        // Worse than an explanation that names the values.
        (all > 0.0 && (left / all).sqrt() < 0.02).then(|| Guess { unexplained: 0.04, text: text.to_owned() })
    }

    /// Explains probabilities that padding has a part of: those of A, times what is left.
    fn of_padding(&self) -> Option<Guess> {
        let (x, y) = (self.evidence.in_layer("probabilities")?, self.evidence.in_layer_of_b("probabilities")?);
        if y.at_padding.is_none_or(|most| most < 1e-4) || x.data.len() != y.data.len() {
            return None;
        }
        let mut prediction = Vec::with_capacity(x.data.len());
        for &length in &self.evidence.a.counts {
            for _ in 0..self.heads * length {
                let row = prediction.len()..prediction.len() + length;
                let left: f64 = y.data[row.clone()].iter().sum();
                prediction.extend(x.data[row].iter().map(|x| x * left));
            }
        }
        let unexplained = super::unexplained(&prediction, &x.data, &y.data);
        let text = "padding is attended to: the attention mask is missing in B, or has no effect";
        Some(Guess { unexplained, text: text.to_owned() })
    }

    /// Explains probabilities by another softmax.
    fn of_softmax(&self) -> Vec<Guess> {
        let Some(scores) = self.evidence.in_layer("scores") else { return Vec::new() };
        let after = |probabilities: Vec<f64>| match self.evidence.name {
            "context" => self.context(&probabilities).unwrap_or_default(),
            _ => probabilities,
        };
        if self.evidence.name == "scores" {
            return Vec::new();
        }
        let mut transposed = self.transposed(&self.softmax(&self.transposed(&scores.data)));
        // Queries of padding change the sums of texts that have any.
        if let Some(y) = self.evidence.in_layer_of_b("probabilities").filter(|y| y.data.len() == transposed.len()) {
            for (i, (text, ..)) in self.pairs().enumerate() {
                if self.evidence.a.counts[text] < y.padded_length {
                    transposed[i] = y.data[i];
                }
            }
        }
        vec![
            self.evidence.guess(&after(transposed), "the softmax of B runs over the queries instead of the keys"),
            self.evidence.guess(&after(scores.data.clone()), "the softmax is missing"),
        ]
    }

    /// Exchanges queries and keys of each matrix.
    fn transposed(&self, pairs: &[f64]) -> Vec<f64> {
        let mut result = Vec::with_capacity(pairs.len());
        let mut rest = pairs;
        for &length in &self.evidence.a.counts {
            for _ in 0..self.heads {
                let (matrix, after) = rest.split_at(length * length);
                result.extend((0..length * length).map(|i| matrix[i % length * length + i / length]));
                rest = after;
            }
        }
        result
    }

    /// Explains the context.
    fn of_context(&self) -> Vec<Guess> {
        let Some(probabilities) = self.evidence.in_layer("probabilities") else { return Vec::new() };
        let mut guesses = Vec::new();
        if let Some(context) = self.context(&self.transposed(&probabilities.data)) {
            guesses.push(self.evidence.guess(&context, "B multiplies the values by the transposed probabilities"));
        }
        if let Some(key) = self.evidence.in_layer("key")
            && let Some(context) = self.means(&probabilities.data, key)
        {
            guesses.push(self.evidence.guess(&context, "B takes means of keys instead of values"));
        }
        if self.evidence.x.layout == Layout::Tokens {
            let text = "heads are joined without the transposition to [tokens, heads, size]";
            guesses.push(self.evidence.guess(&self.joined(), text));
        }
        guesses
    }

    /// Joins the heads as rows `[H, L, d]` that are read as `[L, H·d]`. Elements that come from
    /// rows of padding are those of B.
    fn joined(&self) -> Vec<f64> {
        let (x, y) = (self.evidence.x, self.evidence.y);
        let mut joined = y.data.clone();
        for (start, &length) in self.starts().into_iter().zip(&self.evidence.a.counts) {
            let rows = y.padded_length.max(length);
            for (i, element) in joined[start * x.width..(start + length) * x.width].iter_mut().enumerate() {
                let (head, row, column) = (i / (rows * self.size), i / self.size % rows, i % self.size);
                if row < length {
                    *element = x.data[(start + row) * x.width + head * self.size + column];
                }
            }
        }
        joined
    }
}
