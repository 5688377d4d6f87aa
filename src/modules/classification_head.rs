//! The head of a model for sequence classification: token vectors to one number for each label.
//!
//! y = output(norm(activation(hidden(x)))), from pooled vectors x `[S, D]` to y `[S, labels]`. A
//! reranker has one label (Nogueira and Cho 2019, <https://arxiv.org/abs/1901.04085>).

use likewise_kernels::Level;
use likewise_kernels::view::{MatMut, MatRef};

use super::affine::Affine;
use super::head::PoolingHead;
use super::pooling::PoolingMode;
use crate::checkpoint::{Checkpoint, TensorReader};
use crate::encoder::Norm;
use crate::encoder::spec::{ClassifierPooling, ClassifierSpec, EncoderSpec, HeadLinearSpec};
use crate::error::Result;
use crate::trace::{Layout, Recorder};

/// The modules that the heads of all families are made of. A tensor of another one is an error.
const MODULES: [&str; 3] = ["classifier.", "pre_classifier.", "head."];

/// The linear layers and the norm after pooling.
pub(crate) struct ClassificationHead {
    hidden: Affine,
    norm: Option<Norm>,
    output: Affine,
}

impl ClassificationHead {
    /// Loads the head, with the pooling before it.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape, or is not known.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        encoder: &EncoderSpec,
        spec: &ClassifierSpec,
        labels: usize,
        level: Level,
    ) -> Result<(PoolingHead, Self)> {
        let width = encoder.hidden_size;
        let mut inside = TensorReader::with_prefix_of(checkpoint, encoder.prefixes, &encoder.embeddings.tokens.name);
        let mut beside = inside.beside(encoder.prefixes);
        let mut linear = |spec: &HeadLinearSpec, shape| {
            let tensors = if spec.is_in_encoder { &mut inside } else { &mut beside };
            Affine::load(tensors, level, spec.module, shape, spec.has_bias)
        };
        let hidden = linear(&spec.hidden, [width, width])?.with_activation(Some(spec.activation));
        let output = linear(&spec.output, [labels, width])?;
        let norm = spec.norm.as_ref().map(|norm| Norm::load(&mut beside, level, norm, width)).transpose()?;
        beside.reject_others_of(&MODULES, encoder.family.name())?;
        let mode = match spec.pooling {
            ClassifierPooling::FirstToken => PoolingMode::Cls,
            ClassifierPooling::Mean => PoolingMode::Mean,
        };
        Ok((PoolingHead::of_mode(mode, level, width), Self { hidden, norm, output }))
    }

    /// Maps pooled vectors `[S, D]` to one number for each label `[S, labels]`.
    pub(crate) fn apply(&self, pooled: &[f32]) -> Vec<f32> {
        self.apply_observed(pooled, |_, _| ())
    }

    /// Maps pooled vectors as [`Self::apply`] does, and records each step.
    pub(crate) fn trace(&self, pooled: &[f32], recorder: &mut Recorder) -> Vec<f32> {
        let width = self.hidden.output_width();
        self.apply_observed(pooled, |site, x| recorder.record_rows(site, Layout::Texts("D"), width, x))
    }

    fn apply_observed(&self, pooled: &[f32], mut observe: impl FnMut(&str, &[f32])) -> Vec<f32> {
        let mut x = self.hidden.apply(pooled);
        observe("classifier.hidden", &x);
        if let Some(norm) = &self.norm {
            let width = self.hidden.output_width();
            let rows = x.len() / width;
            let mut y = vec![0.0; x.len()];
            norm.apply(MatRef::new(&x, rows, width), MatMut::new(&mut y, rows, width));
            x = y;
            observe("classifier.norm", &x);
        }
        self.output.apply(&x)
    }

    /// Returns the bytes of the weights.
    pub(crate) fn bytes(&self) -> usize {
        self.hidden.bytes() + self.norm.as_ref().map_or(0, Norm::bytes) + self.output.bytes()
    }

    /// Describes the head, such as "classifier 384 → 384, Tanh → 1".
    pub(crate) fn describe(&self) -> String {
        let activation =
            self.hidden.activation().map_or("no activation".to_owned(), |function| format!("{function:?}"));
        let [width, inner, labels] =
            [self.hidden.input_width(), self.hidden.output_width(), self.output.output_width()];
        let norm = if self.norm.is_some() { ", norm" } else { "" };
        format!("classifier {width} → {inner}, {activation}{norm} → {labels}")
    }
}
