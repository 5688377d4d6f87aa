//! SPLADE's pooling: the numbers of a text's tokens for each vocabulary entry to one vector.
//!
//! ```text
//! y[v] = max_t log(1 + max(x[t][v], 0))     x [L, V], y [V]; some models have the sum over t
//! ```
//!
//! (Formal et al. 2021, <https://arxiv.org/abs/2109.10086>.) Follows sentence-transformers 6.2.0,
//! `sparse_encoder/modules/splade_pooling.py`.

use likewise_kernels::Level;
use likewise_kernels::reduce::max_over_rows;
use likewise_kernels::view::MatRef;

use super::module_config::module_config;
use crate::error::Result;
use crate::files::ModelFiles;

/// How the numbers of a text's tokens become an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpladePooling {
    is_sum: bool,
    /// Whether the logarithm is taken twice.
    is_log_twice: bool,
}

/// The indices and values of the elements of a vector that are not zero, by ascending index.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SparseVector {
    pub(crate) indices: Vec<u32>,
    pub(crate) values: Vec<f32>,
}

/// The pooled numbers of some vocabulary entries `[S, width]` so far.
pub(super) struct Accumulator {
    pooling: SpladePooling,
    width: usize,
    /// The largest number of each entry.
    largest: Vec<f32>,
    /// The sum of each entry. In f64, so that it is rounded once.
    sums: Vec<f64>,
    /// The largest numbers of some tokens.
    of_rows: Vec<f32>,
}

impl SpladePooling {
    /// The pooling of a model without modules.json.
    pub(crate) const DEFAULT: Self = Self { is_sum: false, is_log_twice: false };

    /// Reads the config.json of the module.
    ///
    /// # Errors
    /// If it does not exist, or a value is not supported.
    pub(crate) fn load(files: &ModelFiles, path: &str, vocabulary: usize) -> Result<Self> {
        let keys = module_config(files, path, "the configuration of a SpladePooling module")?;
        let is_second = |key: &str, names: [&str; 2]| match keys.string(key)? {
            None => Ok(false),
            Some(name) if names.contains(&name) => Ok(name == names[1]),
            Some(_) => Err(keys.invalid_value(key, names.join(" or "))),
        };
        let is_sum = is_second("pooling_strategy", ["max", "sum"])?;
        let is_log_twice = is_second("activation_function", ["relu", "log1p_relu"])?;
        for key in ["embedding_dimension", "word_embedding_dimension"] {
            if keys.positive_integer(key)?.is_some_and(|found| found != vocabulary) {
                return Err(keys.invalid_value(key, format!("{vocabulary}, the size of the vocabulary")));
            }
        }
        // How many tokens the reference pools at a time.
        keys.get("chunk_size");
        keys.reject_unread(&[])?;
        Ok(Self { is_sum, is_log_twice })
    }

    /// Describes the pooling.
    pub(crate) fn describe(self) -> String {
        let pooling = if self.is_sum { "sum" } else { "max" };
        let activation = if self.is_log_twice { "log1p_relu" } else { "relu" };
        format!("SPLADE pooling ({pooling}, {activation})")
    }

    /// Returns log(1 + max(x, 0)), or the logarithm of that in turn. NaN stays NaN.
    fn activate(self, x: f32) -> f64 {
        if x <= 0.0 {
            return 0.0;
        }
        let once = f64::from(x).ln_1p();
        if self.is_log_twice { once.ln_1p() } else { once }
    }
}

impl Accumulator {
    pub(super) fn new(pooling: SpladePooling, texts: usize, width: usize) -> Self {
        let of_max = if pooling.is_sum { 0 } else { texts * width };
        let of_sum = if pooling.is_sum { texts * width } else { 0 };
        let largest = vec![f32::NEG_INFINITY; of_max];
        Self { pooling, width, largest, sums: vec![0.0; of_sum], of_rows: vec![0.0; width] }
    }

    /// Returns the bytes for so many texts.
    pub(super) fn bytes(pooling: SpladePooling, texts: usize, width: usize) -> usize {
        let element = if pooling.is_sum { size_of::<f64>() } else { size_of::<f32>() };
        (texts * element + size_of::<f32>()) * width
    }

    /// Adds the numbers of the next tokens of a text `[rows, width]`.
    pub(super) fn add(&mut self, level: Level, text: usize, logits: MatRef<'_>) {
        let columns = text * self.width..(text + 1) * self.width;
        if self.pooling.is_sum {
            let sums = &mut self.sums[columns];
            for row in 0..logits.rows() {
                for (sum, &x) in sums.iter_mut().zip(logits.row(row)) {
                    // Most numbers are negative.
                    if x > 0.0 || x.is_nan() {
                        *sum += self.pooling.activate(x);
                    }
                }
            }
            return;
        }
        max_over_rows(level, logits, &mut self.of_rows);
        for (largest, &x) in self.largest[columns].iter_mut().zip(&self.of_rows) {
            if x > *largest || x.is_nan() {
                *largest = x;
            }
        }
    }

    /// Appends the elements of each text that are not zero. `first` is the index of the first
    /// entry.
    pub(super) fn finish(self, first: usize) -> Vec<SparseVector> {
        // The activations ascend, so that of the maximum is the maximum of the activations.
        let values: Vec<f32> = if self.pooling.is_sum {
            self.sums.iter().map(|&sum| sum as f32).collect()
        } else {
            self.largest.iter().map(|&x| self.pooling.activate(x) as f32).collect()
        };
        let of_text = |row: &[f32]| {
            let mut vector = SparseVector::default();
            for (i, &value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                vector.indices.push((first + i) as u32);
                vector.values.push(value);
            }
            vector
        };
        values.chunks_exact(self.width).map(of_text).collect()
    }
}

impl SparseVector {
    /// Appends elements with larger indices.
    pub(super) fn append(&mut self, other: &Self) {
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
    }

    /// Keeps the elements with the largest absolute values; of equal ones those with smaller
    /// indices.
    pub(crate) fn keep_largest(&mut self, count: usize) {
        if self.values.len() <= count {
            return;
        }
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_by(|&a, &b| self.values[b].abs().total_cmp(&self.values[a].abs()));
        order.truncate(count);
        order.sort_unstable();
        *self = Self {
            indices: order.iter().map(|&i| self.indices[i]).collect(),
            values: order.iter().map(|&i| self.values[i]).collect(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: SpladePooling = SpladePooling { is_sum: true, is_log_twice: false };

    fn pool(pooling: SpladePooling, parts: &[&[f32]]) -> SparseVector {
        let mut accumulator = Accumulator::new(pooling, 1, 3);
        for part in parts {
            accumulator.add(Level::best(), 0, MatRef::new(part, part.len() / 3, 3));
        }
        accumulator.finish(10).swap_remove(0)
    }

    #[test]
    fn maximum_and_sum_of_parts_equal_those_of_all_tokens() {
        let rows = [1.0, -1.0, 0.5, 3.0, -2.0, -0.5, 2.0, 0.0, 0.25];
        let ln = |x: f32| f64::from(x).ln_1p();
        let expected = SparseVector { indices: vec![10, 12], values: [3.0, 0.5].map(|x| ln(x) as f32).into() };
        let sums = [ln(1.0) + ln(3.0) + ln(2.0), ln(0.5) + ln(0.25)].map(|x| x as f32);
        for split in [0, 3, 6] {
            let parts: Vec<&[f32]> =
                [&rows[..split], &rows[split..]].into_iter().filter(|part| !part.is_empty()).collect();
            assert_eq!(pool(SpladePooling::DEFAULT, &parts), expected);
            assert_eq!(pool(SUM, &parts), SparseVector { values: sums.into(), ..expected.clone() });
        }
        let twice = SpladePooling { is_log_twice: true, ..SpladePooling::DEFAULT };
        assert_eq!(pool(twice, &[&rows]).values, [3.0, 0.5].map(|x| ln(x).ln_1p() as f32));
    }

    #[test]
    fn numbers_that_are_not_finite_are_kept_for_the_check() {
        for pooling in [SpladePooling::DEFAULT, SUM] {
            let vector = pool(pooling, &[&[f32::NAN, -1.0, f32::INFINITY], &[1.0, -1.0, 1.0]]);
            assert_eq!(vector.indices, [10, 12], "{pooling:?}");
            assert!(vector.values.iter().all(|x| !x.is_finite()), "{pooling:?}: {vector:?}");
        }
    }

    #[test]
    fn largest_elements_are_kept_in_the_order_of_indices() {
        let mut vector = SparseVector { indices: vec![1, 4, 6, 9], values: vec![0.5, -2.0, 0.5, 3.0] };
        vector.keep_largest(7);
        assert_eq!(vector.indices.len(), 4);
        vector.keep_largest(3);
        assert_eq!(vector, SparseVector { indices: vec![1, 4, 9], values: vec![0.5, -2.0, 3.0] });
    }
}
