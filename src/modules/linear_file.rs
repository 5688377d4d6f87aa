//! A linear layer in a separate file: a state dict with `weight` and `bias`.

use likewise_kernels::Level;

use super::affine::Affine;
use crate::checkpoint::{Checkpoint, TensorReader};
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::layer_file;

/// y = W x + b, of token vectors.
pub(crate) struct LinearFile {
    map: Affine,
}

impl LinearFile {
    /// Loads `{name}.safetensors`, or otherwise `{name}.pt`, which torch.save wrote. `outputs` is
    /// the number of rows of W, or None for any, and `inputs` that of its columns. `why` says what
    /// the layer is needed for.
    ///
    /// # Errors
    /// If neither file exists, or the tensors have other names or shapes.
    pub(crate) fn load(
        files: &ModelFiles,
        level: Level,
        name: &str,
        outputs: Option<usize>,
        inputs: usize,
        why: &'static str,
    ) -> Result<Self> {
        let checkpoint = match layer_file(|name| files.contains(name), name) {
            Some(file) if file.ends_with(".pt") => Checkpoint::open_pytorch(files, &file)?,
            Some(file) => Checkpoint::open_file(files, &file)?,
            None => return Err(files.missing_file(&format!("{name}.pt or {name}.safetensors"), why)),
        };
        let mut tensors = TensorReader::new(&checkpoint);
        let rows = tensors.shape("weight").and_then(|shape| shape.first().copied()).unwrap_or(inputs);
        let map = Affine::load(&mut tensors, level, "", [outputs.unwrap_or(rows), inputs], true)?;
        tensors.reject_unknown_tensors("a linear layer")?;
        Ok(Self { map })
    }

    /// Returns the number of outputs.
    pub(crate) fn width(&self) -> usize {
        self.map.output_width()
    }

    /// Maps vectors `[T, input]` to vectors `[T, width]`.
    pub(crate) fn apply(&self, x: &[f32]) -> Vec<f32> {
        self.map.apply(x)
    }
}
