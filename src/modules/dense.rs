//! Dense: a linear map of a sentence vector, or of token vectors, and an activation.
//!
//! y = activation(W x + b), with x `[K]`, W `[N, K]` and y `[N]`. With `use_residual` the input is
//! added: y + x if the widths are equal, otherwise y + R x. Follows sentence-transformers 6.2.0,
//! `base/modules/dense.py`.

use likewise_kernels::Level;
use likewise_kernels::math::Activation;

use super::affine::Affine;
use super::module_config::{ModuleOutput, module_config};
use super::torch_class::torch_activation;
use crate::checkpoint::{Checkpoint, TensorReader};
use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;

/// A linear map of vectors with an activation.
pub(super) struct Dense {
    map: Affine,
    residual: Residual,
}

/// The term that is added after the activation.
enum Residual {
    None,
    /// The input, whose width equals that of the output.
    Identity,
    /// The input, mapped to the width of the output.
    Projection(Affine),
}

impl Dense {
    /// Loads `{path}/config.json` and `{path}/model.safetensors`. `width` is the width of the input
    /// vectors, and `output` what the module must compute.
    ///
    /// # Errors
    /// If a file is missing or damaged, the widths do not match, or the activation is not
    /// supported.
    pub(super) fn load(
        files: &ModelFiles,
        level: Level,
        path: &str,
        width: usize,
        output: ModuleOutput,
    ) -> Result<Self> {
        let keys = module_config(files, path, "the configuration of a Dense module")?;
        output.input().require(&keys, "module_input_name")?;
        output.require(&keys, "module_output_name")?;
        if keys.positive_integer("in_features")? != Some(width) {
            return Err(keys.invalid_value("in_features", format!("{width}, the width of the vectors before it")));
        }
        let output_width =
            keys.positive_integer("out_features")?.ok_or_else(|| keys.invalid_value("out_features", "a width"))?;
        let activation = activation(&keys)?;
        let has_bias = keys.boolean("bias")?.unwrap_or(true);
        let has_residual = keys.boolean("use_residual")?.unwrap_or(false);
        keys.reject_unread(&[])?;

        let checkpoint = Checkpoint::of_module(files, path)?;
        let mut tensors = TensorReader::new(&checkpoint);
        let shape = [output_width, width];
        let map = Affine::load(&mut tensors, level, "linear", shape, has_bias)?.with_activation(activation);
        let residual = if !has_residual {
            Residual::None
        } else if output_width == width {
            Residual::Identity
        } else {
            Residual::Projection(Affine::load(&mut tensors, level, "residual", shape, false)?)
        };
        tensors.reject_unknown_tensors("Dense")?;
        Ok(Self { map, residual })
    }

    /// Loads a map without bias and activation, whose weight is among the tensors of the encoder.
    ///
    /// # Errors
    /// If the tensor is missing, or has another width.
    pub(super) fn inside(tensors: &mut TensorReader<'_>, level: Level, module: &str, width: usize) -> Result<Self> {
        let name = format!("{module}.weight");
        let output_width = tensors.shape(&name).and_then(|shape| shape.first().copied()).unwrap_or(width);
        let map = Affine::load(tensors, level, module, [output_width, width], false)?;
        Ok(Self { map, residual: Residual::None })
    }

    /// Returns the width of the output vectors.
    pub(super) fn width(&self) -> usize {
        self.map.output_width()
    }

    /// Maps vectors `[S, input]` to vectors `[S, output]`.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut y = self.map.apply(x);
        match &self.residual {
            Residual::None => {}
            Residual::Identity => add(&mut y, x),
            Residual::Projection(projection) => y = projection.add_to(x, &y),
        }
        y
    }

    /// Maps the terms of a sum `[terms, input]` without the bias, so that the results are the terms
    /// of another sum. None if there is an activation.
    pub(super) fn apply_to_terms(&self, x: &[f32]) -> Option<Vec<f32>> {
        if self.map.activation().is_some() {
            return None;
        }
        let mut y = self.map.apply_without_bias(x);
        match &self.residual {
            Residual::None => {}
            Residual::Identity => add(&mut y, x),
            Residual::Projection(projection) => y = projection.add_to(x, &y),
        }
        Some(y)
    }

    /// Returns the bias `[output]`, if there is one.
    pub(super) fn bias(&self) -> Option<&[f32]> {
        self.map.bias()
    }

    /// Returns the bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        let residual = match &self.residual {
            Residual::Projection(projection) => projection.bytes(),
            Residual::None | Residual::Identity => 0,
        };
        self.map.bytes() + residual
    }

    /// Describes the module, such as "Dense 768 → 512, Tanh".
    pub(super) fn describe(&self) -> String {
        let activation = self.map.activation().map_or("no activation".to_owned(), |function| format!("{function:?}"));
        let residual = if matches!(self.residual, Residual::None) { "" } else { ", residual" };
        format!("Dense {} → {}, {activation}{residual}", self.map.input_width(), self.width())
    }
}

/// Adds x to y.
fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// Reads the activation from its class path. Without the key it is Tanh, as in
/// sentence-transformers.
///
/// For a class outside torch, sentence-transformers warns and uses Tanh. Here such a class is an
/// error.
fn activation(keys: &JsonObject) -> Result<Option<Activation>> {
    const KEY: &str = "activation_function";
    if keys.is_null(KEY) {
        return Err(keys.invalid_value(KEY, "the path of a class"));
    }
    let Some(path) = keys.string(KEY)? else { return Ok(Some(Activation::Tanh)) };
    torch_activation(path)
        .map_err(|()| keys.invalid_value(KEY, "Identity, Tanh, ReLU, GELU, SiLU, Mish or Sigmoid of the package torch"))
}
