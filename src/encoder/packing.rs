//! Packs the weights of linear layers, with all threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use likewise_kernels::gemm::{PackedLayout, PanelMut};
use likewise_kernels::quant::quantize_weights;
use likewise_kernels::view::MatRef;

use crate::checkpoint::Tensor;
use crate::encoder::arena::{Backing, MatrixSlot};
use crate::encoder::linear::ComputeConfig;
use crate::error::Result;
use crate::parallel::Pool;

/// A matrix that is yet to be packed.
pub(crate) struct PackTask {
    pub(crate) layout: PackedLayout,
    pub(crate) slot: MatrixSlot,
    /// The rows: a range of each tensor, one tensor after another.
    pub(crate) sources: Vec<(Tensor, Range<usize>)>,
}

/// The scale of each output's weights, and the sum of its quantized weights.
type OutputScales = Vec<(f32, i32)>;

impl PackTask {
    /// Returns the bytes of the tensors in the file.
    pub(crate) fn source_size(&self) -> usize {
        self.sources.iter().map(|(tensor, _)| tensor.bytes()).sum()
    }

    /// Packs all rows to their slot, and gives the tensors' memory back.
    ///
    /// # Errors
    /// If a weight is not finite.
    pub(crate) fn run(&self, pool: &Pool, compute: ComputeConfig, backing: &mut Backing) -> Result<OutputScales> {
        let packed = backing.slice_mut(self.slot.packed.clone());
        let panels: Vec<_> = self.layout.panels_mut(packed).map(Mutex::new).collect();
        let results = pool.map(panels.len(), |i| {
            self.pack_panel(compute, &mut panels[i].lock().unwrap_or_else(PoisonError::into_inner))
        });
        self.sources.iter().for_each(|(tensor, _)| tensor.evict_pages());
        let mut scales = Vec::with_capacity(self.layout.n());
        for panel in results {
            scales.extend(panel?);
        }
        Ok(scales)
    }

    fn pack_panel(&self, compute: ComputeConfig, panel: &mut PanelMut<'_>) -> Result<OutputScales> {
        let outputs = panel.rows();
        let packed_row_len = self.layout.k();
        let mut rows = vec![0.0; outputs.len() * packed_row_len];
        let mut weights = vec![0.0; self.sources.first().map_or(0, |(tensor, _)| tensor.width())];
        let mut scales = Vec::with_capacity(outputs.len());
        for (output, packed) in outputs.clone().zip(rows.chunks_exact_mut(packed_row_len)) {
            let (tensor, row) = self.source(output);
            tensor.row(row, &mut weights);
            if let Some(&value) = weights.iter().find(|x| !x.is_finite()) {
                return Err(tensor.not_finite(row, value));
            }
            scales.push(quantize_weights(compute.level, compute.precision, &weights, packed));
        }
        panel.fill(MatRef::new(&rows, outputs.len(), packed_row_len));
        Ok(scales)
    }

    /// Returns the tensor and the row of an output's weights.
    fn source(&self, output: usize) -> (&Tensor, usize) {
        let mut skipped = 0;
        for (tensor, rows) in &self.sources {
            if output - skipped < rows.len() {
                return (tensor, rows.start + output - skipped);
            }
            skipped += rows.len();
        }
        unreachable!("a layout has the outputs of all sources")
    }
}
