//! The norms of an encoder: each token's vector, scaled to a fixed size.
//!
//! ```text
//! layer norm: y = (x − mean) / √(variance + epsilon) · weight + bias
//! RMS norm:   y = x / √(mean of x² + epsilon) · weight
//! ```
//!
//! x and y are `[T, D]`, weight and bias `[D]`; mean and variance are over the D elements of a
//! token. (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>; Zhang and Sennrich 2019,
//! <https://arxiv.org/abs/1910.07467>.)

use likewise_kernels::Level;
use likewise_kernels::elementwise::add;
use likewise_kernels::layer_norm::{layer_norm, rms_norm};
use likewise_kernels::view::{MatMut, MatRef};

use crate::checkpoint::TensorReader;
use crate::encoder::activations::Activations;
use crate::encoder::pass::PassContext;
use crate::encoder::spec::{NormKind, NormSpec};
use crate::error::Result;
use crate::parallel::TeamMatrix;

/// A normalization over the D elements of a token.
pub(crate) struct Norm {
    level: Level,
    kind: NormKind,
    /// `[D]`.
    weight: Vec<f32>,
    /// `[D]`, zeros if the model has none.
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    pub(crate) fn load(tensors: &mut TensorReader<'_>, level: Level, spec: &NormSpec, width: usize) -> Result<Self> {
        let weight = tensors.tensor(&spec.weight, &[width])?.to_f32_vec()?;
        let bias = match &spec.bias {
            Some(bias) => tensors.tensor(bias, &[width])?.to_f32_vec()?,
            None => vec![0.0; width],
        };
        Ok(Self { level, kind: spec.kind, weight, bias, epsilon: spec.epsilon })
    }

    /// Runs a step: y = norm(x), both `[T, D]`.
    pub(crate) fn forward<O>(&self, cx: &mut PassContext<'_, '_, O>, x: &TeamMatrix, y: &Activations) {
        y.fill_rows(cx.member, self.level, |rows, view, reader| self.apply(reader.read(x).rows_in(rows), view));
    }

    /// Runs a step: y = residual + norm(x), all `[T, D]`.
    pub(crate) fn forward_add<O>(
        &self,
        cx: &mut PassContext<'_, '_, O>,
        x: &TeamMatrix,
        residual: &TeamMatrix,
        y: &Activations,
    ) {
        let width = self.weight.len();
        let mut normed = vec![0.0; width];
        y.fill_rows(cx.member, self.level, |rows, mut view, reader| {
            let residual = reader.read(residual);
            for (i, token) in rows.enumerate() {
                self.apply(reader.read(x).rows_in(token..token + 1), MatMut::new(&mut normed, 1, width));
                add(self.level, residual.row(token), &normed, None, view.row_mut(i));
            }
        });
    }

    /// Returns what LayerNorm multiplies each element's deviation from the mean of `x` by, and what
    /// it adds: both `[D]`.
    pub(crate) fn factors_at(&self, x: &[f64]) -> (Vec<f64>, &[f32]) {
        let width = x.len() as f64;
        let mean = x.iter().sum::<f64>() / width;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width;
        let deviation = (variance + f64::from(self.epsilon)).sqrt();
        (self.weight.iter().map(|&weight| f64::from(weight) / deviation).collect(), &self.bias)
    }

    /// Returns the bytes of the weight and the bias.
    pub(crate) fn bytes(&self) -> usize {
        (self.weight.len() + self.bias.len()) * size_of::<f32>()
    }

    /// Computes y = norm(x), both `[rows, D]`, as part of a step.
    pub(crate) fn apply(&self, x: MatRef<'_>, y: MatMut<'_>) {
        match self.kind {
            NormKind::LayerNorm => layer_norm(self.level, x, &self.weight, &self.bias, self.epsilon, y),
            NormKind::RmsNorm => rms_norm(self.level, x, &self.weight, self.epsilon, y),
        }
    }
}
