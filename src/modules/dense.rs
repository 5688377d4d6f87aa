//! Dense: a linear map of the sentence vector and an activation.
//!
//! y = activation(W x + b). With `use_residual` the input is added: y + x if the widths are equal,
//! otherwise y + R x. Follows sentence-transformers 6.2.0, `base/modules/dense.py`. The weights are
//! multiplied in f32 in every precision: a text takes one product here, whereas the encoder takes
//! one for each token.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, PackedMatrix, gemm};
use likewise_kernels::math::Activation;
use likewise_kernels::view::{MatMut, MatRef};

use super::module_config::{module_config, reject_other_features};
use crate::checkpoint::{Checkpoint, TensorReader};
use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;

/// A linear map from vectors of width `input_width` to vectors of width `output_width`, with an
/// activation.
pub(super) struct Dense {
    level: Level,
    input_width: usize,
    output_width: usize,
    weight: PackedMatrix,
    bias: Option<Vec<f32>>,
    activation: Option<Activation>,
    residual: Residual,
}

/// The term that is added after the activation.
enum Residual {
    None,
    /// The input, whose width equals that of the output.
    Identity,
    /// The input, mapped to the width of the output.
    Projection(PackedMatrix),
}

impl Dense {
    /// Loads `{path}/config.json` and `{path}/model.safetensors`. `width` is the width of the input
    /// vectors.
    ///
    /// # Errors
    /// If a file is missing or damaged, the widths do not match, or the activation is not
    /// supported.
    pub(super) fn load(files: &ModelFiles, level: Level, path: &str, width: usize) -> Result<Self> {
        let keys = module_config(files, path, "the configuration of a Dense module")?;
        reject_other_features(&keys)?;
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
        let matrix = |tensors: &mut TensorReader<'_>, name: &str| -> Result<PackedMatrix> {
            let elements = tensors.tensor(name, &[output_width, width])?.to_f32_vec()?;
            Ok(PackedMatrix::pack(level, MatRef::new(&elements, output_width, width)))
        };
        let weight = matrix(&mut tensors, "linear.weight")?;
        let bias = has_bias.then(|| tensors.tensor("linear.bias", &[output_width])?.to_f32_vec()).transpose()?;
        let residual = if !has_residual {
            Residual::None
        } else if output_width == width {
            Residual::Identity
        } else {
            Residual::Projection(matrix(&mut tensors, "residual.weight")?)
        };
        tensors.reject_unknown_tensors("Dense")?;
        Ok(Self { level, input_width: width, output_width, weight, bias, activation, residual })
    }

    /// Returns the width of the output vectors.
    pub(super) fn width(&self) -> usize {
        self.output_width
    }

    /// Maps vectors `[S, input_width]` to vectors `[S, output_width]`.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.input_width;
        let x = MatRef::new(x, rows, self.input_width);
        let mut y = vec![0.0; rows * self.output_width];
        let epilogue = self.activation.map_or(Epilogue::Store, Epilogue::Activate);
        let out = MatMut::new(&mut y, rows, self.output_width);
        gemm(self.level, x, self.weight.panels(), self.bias.as_deref(), epilogue, out);
        match &self.residual {
            Residual::None => {}
            Residual::Identity => (0..rows).for_each(|i| add(&mut y[i * self.output_width..], x.row(i))),
            Residual::Projection(weight) => {
                let activated = y.clone();
                let epilogue = Epilogue::Add(MatRef::new(&activated, rows, self.output_width));
                let out = MatMut::new(&mut y, rows, self.output_width);
                gemm(self.level, x, weight.panels(), None, epilogue, out);
            }
        }
        y
    }

    /// Returns the bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        let matrices = if matches!(self.residual, Residual::Projection(_)) { 2 } else { 1 };
        let bias = self.bias.as_ref().map_or(0, Vec::len);
        (matrices * self.input_width * self.output_width + bias) * size_of::<f32>()
    }

    /// Describes the module, such as "Dense 768 → 512, Tanh".
    pub(super) fn describe(&self) -> String {
        let activation = self.activation.map_or("no activation".to_owned(), |activation| format!("{activation:?}"));
        let residual = if matches!(self.residual, Residual::None) { "" } else { ", residual" };
        format!("Dense {} → {}, {activation}{residual}", self.input_width, self.output_width)
    }
}

/// Adds x to the first elements of y.
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
    let class = path.rsplit_once('.').filter(|(package, _)| package.split('.').next() == Some("torch"));
    Ok(match class.map(|(_, class)| class) {
        Some("Identity") => None,
        Some("Tanh") => Some(Activation::Tanh),
        Some("ReLU") => Some(Activation::Relu),
        Some("GELU") => Some(Activation::Gelu),
        Some("SiLU") => Some(Activation::Silu),
        Some("Mish") => Some(Activation::Mish),
        _ => return Err(keys.invalid_value(KEY, "Identity, Tanh, ReLU, GELU, SiLU or Mish of the package torch")),
    })
}
