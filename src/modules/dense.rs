//! Dense: a linear map of the sentence vector, and an activation.
//!
//! y = activation(W x + b), and + x or + R x where `use_residual` is set. Follows sentence-transformers 6.2.0,
//! `base/modules/dense.py`. Its weights are always multiplied as f32: there is one product a sentence, not one a token.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, PackedMatrix, gemm};
use likewise_kernels::math::Activation;
use likewise_kernels::view::{MatMut, MatRef};

use super::{in_module, on_sentences};
use crate::checkpoint::{Checkpoint, TensorReader};
use crate::config::JsonObject;
use crate::error::Result;
use crate::files::ModelFiles;

/// A linear map from `inputs` to `outputs` numbers.
pub(super) struct Dense {
    level: Level,
    inputs: usize,
    outputs: usize,
    weight: PackedMatrix,
    bias: Option<Vec<f32>>,
    activation: Option<Activation>,
    residual: Residual,
}

/// What is added after the activation.
enum Residual {
    None,
    /// The input itself, which has the output's width.
    Input,
    /// The input, mapped to the output's width.
    Mapped(PackedMatrix),
}

impl Dense {
    /// Reads `{path}/config.json` and `{path}/model.safetensors`. `width`: of the vectors that come in.
    pub(super) fn load(files: &ModelFiles, level: Level, path: &str, width: usize) -> Result<Self> {
        let name = in_module(path, "config.json");
        let bytes = files.require(&name, "the configuration of a Dense module")?;
        let keys = JsonObject::parse(&files.label(&name), &bytes)?;
        on_sentences(&keys)?;
        if keys.size("in_features")? != Some(width) {
            return Err(keys.wrong("in_features", format!("{width}, the width of the vectors before it")));
        }
        let outputs = keys.size("out_features")?.ok_or_else(|| keys.wrong("out_features", "a width"))?;
        let activation = activation(&keys)?;
        let has_bias = keys.flag("bias")?.unwrap_or(true);
        let residual = keys.flag("use_residual")?.unwrap_or(false);

        let checkpoint = Checkpoint::of_module(files, path)?;
        let mut tensors = TensorReader::new(&checkpoint);
        let matrix = |tensors: &mut TensorReader<'_>, name: &str| -> Result<PackedMatrix> {
            let numbers = tensors.tensor(name, &[outputs, width])?.to_vec()?;
            Ok(PackedMatrix::pack(level, MatRef::new(&numbers, outputs, width)))
        };
        let dense = Self {
            level,
            inputs: width,
            outputs,
            weight: matrix(&mut tensors, "linear.weight")?,
            bias: has_bias.then(|| tensors.tensor("linear.bias", &[outputs])?.to_vec()).transpose()?,
            activation,
            residual: match residual {
                false => Residual::None,
                true if outputs == width => Residual::Input,
                true => Residual::Mapped(matrix(&mut tensors, "residual.weight")?),
            },
        };
        tensors.reject_unknown_tensors("Dense")?;
        Ok(dense)
    }

    /// Numbers in a vector that comes out.
    pub(super) fn width(&self) -> usize {
        self.outputs
    }

    /// Vectors `[n, inputs]` to vectors `[n, outputs]`.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.inputs;
        let x = MatRef::new(x, rows, self.inputs);
        let mut y = vec![0.0; rows * self.outputs];
        let mut product = |weight: &PackedMatrix, bias: Option<&[f32]>, epilogue: Epilogue<'_>| {
            gemm(self.level, x, weight.panels(), bias, epilogue, MatMut::new(&mut y, rows, self.outputs));
        };
        let bias = self.bias.as_deref();
        let first = self.activation.map_or(Epilogue::Store, Epilogue::Activate);
        product(&self.weight, bias, first);
        match &self.residual {
            Residual::None => {}
            Residual::Input => (0..rows).for_each(|i| add(&mut y[i * self.outputs..], x.row(i))),
            Residual::Mapped(weight) => {
                let mapped = y.clone();
                let residual = MatRef::new(&mapped, rows, self.outputs);
                let out = MatMut::new(&mut y, rows, self.outputs);
                gemm(self.level, x, weight.panels(), None, Epilogue::Add(residual), out);
            }
        }
        y
    }

    /// Bytes of its weights.
    pub(super) fn bytes(&self) -> usize {
        let matrices = if matches!(self.residual, Residual::Mapped(_)) { 2 } else { 1 };
        (matrices * self.inputs * self.outputs + self.bias.as_ref().map_or(0, Vec::len)) * size_of::<f32>()
    }

    /// "Dense 768 → 512, Tanh".
    pub(super) fn describe(&self) -> String {
        let activation = self.activation.map_or("no activation".to_owned(), |activation| format!("{activation:?}"));
        let residual = if matches!(self.residual, Residual::None) { "" } else { ", residual" };
        format!("Dense {} → {}, {activation}{residual}", self.inputs, self.outputs)
    }
}

fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// The activation, by the path of its class. As in the reference Tanh if the key is absent; but where the reference warns of
/// a class that is not torch's and takes Tanh for it, this refuses.
fn activation(keys: &JsonObject) -> Result<Option<Activation>> {
    const KEY: &str = "activation_function";
    let Some(path) = keys.text(KEY)? else {
        return match keys.is_null(KEY) {
            true => Err(keys.wrong(KEY, "the path of a class")),
            false => Ok(Some(Activation::Tanh)),
        };
    };
    let class = path.rsplit_once('.').filter(|(package, _)| package.split('.').next() == Some("torch"));
    Ok(match class.map(|(_, class)| class) {
        Some("Identity") => None,
        Some("Tanh") => Some(Activation::Tanh),
        Some("ReLU") => Some(Activation::Relu),
        Some("GELU") => Some(Activation::Gelu),
        Some("SiLU") => Some(Activation::Silu),
        Some("Mish") => Some(Activation::Mish),
        _ => return Err(keys.wrong(KEY, "Identity, Tanh, ReLU, GELU, SiLU or Mish of the package torch")),
    })
}
