//! An affine map with an activation: y = activation(W x + b).

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, PackedMatrix, gemm};
use likewise_kernels::math::Activation;
use likewise_kernels::view::{MatMut, MatRef};

use crate::checkpoint::TensorReader;
use crate::error::Result;

/// A map from vectors of width `input_width` to vectors of width `output_width`, in f32 in every
/// precision: a text takes one product here, or each token one, whereas the encoder takes some for
/// each token and layer.
pub(super) struct Affine {
    level: Level,
    input_width: usize,
    output_width: usize,
    weight: PackedMatrix,
    bias: Option<Vec<f32>>,
    activation: Option<Activation>,
}

impl Affine {
    /// Loads `{module}.weight` `[output, input]` and, if it has one, `{module}.bias` `[output]`; of
    /// the module "" `weight` and `bias`.
    pub(super) fn load(
        tensors: &mut TensorReader<'_>,
        level: Level,
        module: &str,
        [output_width, input_width]: [usize; 2],
        has_bias: bool,
    ) -> Result<Self> {
        let name = |leaf: &str| if module.is_empty() { leaf.to_owned() } else { format!("{module}.{leaf}") };
        let elements = tensors.tensor(&name("weight"), &[output_width, input_width])?.to_f32_vec()?;
        let weight = PackedMatrix::pack(level, MatRef::new(&elements, output_width, input_width));
        let bias = match has_bias {
            true => Some(tensors.tensor(&name("bias"), &[output_width])?.to_f32_vec()?),
            false => None,
        };
        Ok(Self { level, input_width, output_width, weight, bias, activation: None })
    }

    /// Adds an activation.
    pub(super) fn with_activation(self, activation: Option<Activation>) -> Self {
        Self { activation, ..self }
    }

    pub(super) fn input_width(&self) -> usize {
        self.input_width
    }

    pub(super) fn output_width(&self) -> usize {
        self.output_width
    }

    pub(super) fn activation(&self) -> Option<Activation> {
        self.activation
    }

    /// Maps vectors `[S, input]` to vectors `[S, output]`.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let epilogue = self.activation.map_or(Epilogue::Store, Epilogue::Activate);
        self.apply_with(x, epilogue)
    }

    /// Maps vectors `[S, input]` to vectors `[S, output]` by the weight alone.
    pub(super) fn apply_without_bias(&self, x: &[f32]) -> Vec<f32> {
        self.multiply(x, None, Epilogue::Store)
    }

    pub(super) fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// Maps vectors `[S, input]` and adds the results to `y` `[S, output]`, without the activation.
    pub(super) fn add_to(&self, x: &[f32], y: &[f32]) -> Vec<f32> {
        self.apply_with(x, Epilogue::Add(MatRef::new(y, y.len() / self.output_width, self.output_width)))
    }

    fn apply_with(&self, x: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
        self.multiply(x, self.bias.as_deref(), epilogue)
    }

    fn multiply(&self, x: &[f32], bias: Option<&[f32]>, epilogue: Epilogue<'_>) -> Vec<f32> {
        let rows = x.len() / self.input_width;
        let mut y = vec![0.0; rows * self.output_width];
        let x = MatRef::new(x, rows, self.input_width);
        let out = MatMut::new(&mut y, rows, self.output_width);
        gemm(self.level, x, self.weight.panels(), bias, epilogue, out);
        y
    }

    /// Returns the bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        (self.input_width * self.output_width + self.bias.as_ref().map_or(0, Vec::len)) * size_of::<f32>()
    }
}
