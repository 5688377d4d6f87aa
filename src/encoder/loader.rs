//! Loads weights: returns the modules, and at the end the memory with their packed weights.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use likewise_kernels::gemm::PackedLayout;
use likewise_kernels::quant::Precision;

use crate::checkpoint::{Checkpoint, Tensor, TensorReader};
use crate::encoder::arena::{ArenaLayout, Backing, MatrixSlot, WeightArena};
use crate::encoder::linear::{ComputeConfig, Linear};
use crate::encoder::norm::Norm;
use crate::encoder::packing::PackTask;
use crate::encoder::rotary::RotaryPositions;
use crate::encoder::spec::{EncoderSpec, Family, LinearPart, LinearSpec, NormSpec, RotarySpec, TableSpec};
use crate::error::Result;
use crate::parallel::Pool;

/// Checks every tensor's name and shape when a module is requested, and packs when all are known.
/// So a model with a missing tensor fails before its memory is allocated.
pub(crate) struct WeightLoader<'a> {
    tensors: TensorReader<'a>,
    compute: ComputeConfig,
    family: Family,
    /// Matrices to pack, in the order of a pass. A converted model has none.
    tasks: Vec<PackTask>,
    layout: ArenaLayout,
    /// In int8: the outputs of all matrices so far.
    outputs: usize,
    /// In a converted model in int8: the scales and sums of these outputs.
    scales: Vec<f32>,
    sums: Vec<i32>,
    /// In a converted model: the end of the last matrix, in units of 32 bits.
    packed_end: usize,
    table_bytes: usize,
    packed_names: HashSet<String>,
    /// The rotations of all layers so far, each once.
    rotary_positions: Vec<Arc<RotaryPositions>>,
    max_tokens: usize,
}

/// The results of loading, apart from the modules.
pub(crate) struct LoadedWeights {
    pub(crate) arena: WeightArena,
    pub(crate) stats: LoadStats,
    /// All tensors that are used and not packed, by name without the checkpoint's prefix.
    pub(crate) unpacked: BTreeMap<String, Tensor>,
}

/// Where the weights came from. Predictions of memory need it; computing does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadStats {
    /// Whether the matrices had been packed before, in a file.
    pub(crate) is_converted: bool,
    /// Whether the matrices are used in place in a mapped file.
    pub(crate) matrices_are_mapped: bool,
    /// Bytes of the mapped file that were resident while its largest matrix was packed.
    pub(crate) largest_packed_source: usize,
    /// Bytes of weights that were given in memory, without the tables and matrices that are used in
    /// place there.
    pub(crate) given_in_memory: usize,
    /// Bytes of embedding tables, which are used in place.
    pub(crate) table_bytes: usize,
}

impl<'a> WeightLoader<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, spec: &EncoderSpec, compute: ComputeConfig) -> Self {
        Self {
            tensors: TensorReader::with_prefix_of(checkpoint, spec.prefixes, &spec.embeddings.tokens.name),
            compute,
            family: spec.family,
            tasks: Vec::new(),
            layout: ArenaLayout::default(),
            outputs: 0,
            scales: Vec::new(),
            sums: Vec::new(),
            packed_end: 0,
            table_bytes: 0,
            packed_names: HashSet::new(),
            rotary_positions: Vec::new(),
            max_tokens: spec.max_tokens,
        }
    }

    pub(crate) fn compute(&self) -> ComputeConfig {
        self.compute
    }

    /// Returns the checkpoint, for modules that keep whole tensors in f32.
    pub(crate) fn tensors(&mut self) -> &mut TensorReader<'a> {
        &mut self.tensors
    }

    pub(crate) fn norm(&mut self, spec: &NormSpec, width: usize) -> Result<Norm> {
        Norm::load(&mut self.tensors, self.compute.level, spec, width)
    }

    /// Returns the rotations by position, which layers with the same frequencies share.
    pub(crate) fn rotary_positions(&mut self, spec: &RotarySpec) -> Arc<RotaryPositions> {
        if let Some(known) = self.rotary_positions.iter().find(|known| known.spec() == spec) {
            return known.clone();
        }
        let positions = Arc::new(RotaryPositions::new(spec.clone(), self.max_tokens));
        self.rotary_positions.push(positions.clone());
        positions
    }

    /// Returns a table, used in place: a row is widened to f32 when a token needs it.
    pub(crate) fn table(&mut self, spec: &TableSpec, width: usize) -> Result<Tensor> {
        let table = self.tensors.tensor(&spec.name, &[spec.rows, width])?;
        self.table_bytes += table.bytes();
        Ok(table)
    }

    /// Returns a linear layer. Its weights will be in the arena, or are in the file of a converted
    /// model.
    pub(crate) fn linear(&mut self, spec: &LinearSpec) -> Result<Linear> {
        let mut bias = Vec::with_capacity(spec.outputs());
        for part in &spec.parts {
            match &part.bias {
                Some(name) => {
                    let tensor = self.tensors.tensor(name, &[part.tensor_rows])?.to_f32_vec()?;
                    bias.extend_from_slice(&tensor[part.rows.clone()]);
                }
                None => bias.resize(bias.len() + part.rows.len(), 0.0),
            }
        }
        let layout = Linear::layout(spec, self.compute);
        let slot = if self.is_converted() { self.packed_slot(spec, layout)? } else { self.queue(spec, layout)? };
        Ok(Linear::new(self.compute, layout, slot, bias))
    }

    fn is_converted(&self) -> bool {
        self.tensors.checkpoint().converted_format().is_some()
    }

    /// Finds a matrix in the file of a converted model.
    fn packed_slot(&mut self, spec: &LinearSpec, layout: PackedLayout) -> Result<MatrixSlot> {
        let name = spec.name();
        let packed = self.tensors.packed_matrix(&format!("{name}.words"), &layout.shape())?;
        self.packed_end = self.packed_end.max(packed.end);
        if self.compute.precision == Precision::Int8 {
            // Each 32-bit word of a row is four weights.
            let max_weights = 4 * layout.k();
            let scales = self.tensors.tensor(&format!("{name}.scales"), &[layout.n()])?.to_f32_vec()?;
            let sums = self.tensors.weight_sums(&format!("{name}.sums"), layout.n(), max_weights)?;
            self.scales.extend(scales);
            self.sums.extend(sums);
        }
        Ok(MatrixSlot { packed, outputs: self.take_outputs(layout.n()) })
    }

    /// Checks the tensors of a matrix and reserves its slot.
    fn queue(&mut self, spec: &LinearSpec, layout: PackedLayout) -> Result<MatrixSlot> {
        let source = |part: &LinearPart| -> Result<(Tensor, Range<usize>)> {
            let tensor = self.tensors.tensor(&part.weight, &[part.tensor_rows, spec.inputs])?;
            self.packed_names.insert(part.weight.clone());
            Ok((tensor, part.rows.clone()))
        };
        let sources = spec.parts.iter().map(source).collect::<Result<Vec<_>>>()?;
        let slot = MatrixSlot { packed: self.layout.take(layout.elements()), outputs: self.take_outputs(layout.n()) };
        self.tasks.push(PackTask { layout, slot: slot.clone(), sources });
        Ok(slot)
    }

    /// Reserves the next outputs among all scales and sums.
    fn take_outputs(&mut self, outputs: usize) -> Range<usize> {
        let start = self.outputs;
        if self.compute.precision == Precision::Int8 {
            self.outputs += outputs;
        }
        start..self.outputs
    }

    /// Packs all matrices, with all threads.
    ///
    /// # Errors
    /// If the checkpoint has tensors that no module requested, a weight is not finite, or the
    /// operating system refuses the memory.
    pub(crate) fn finish(mut self, pool: &Pool) -> Result<LoadedWeights> {
        self.tensors.reject_unknown_tensors(self.family.name())?;
        let checkpoint = self.tensors.checkpoint();
        let is_converted = self.is_converted();
        let backing = if is_converted {
            Backing::of_file(checkpoint.converted_bytes().clone(), self.packed_end * size_of::<f32>())?
        } else {
            self.pack(pool)?
        };
        checkpoint.evict_pages();
        let in_memory = checkpoint.bytes_in_memory();
        let used_in_place = if backing.is_file_backed() { self.packed_end * size_of::<f32>() } else { 0 };
        let largest_packed_source = self.tasks.iter().map(PackTask::source_size).max().unwrap_or(0);
        let stats = LoadStats {
            is_converted,
            matrices_are_mapped: backing.is_file_backed() && in_memory == 0,
            // Files in memory are resident before, during and after packing.
            largest_packed_source: if in_memory == 0 { largest_packed_source } else { 0 },
            given_in_memory: in_memory.saturating_sub(self.table_bytes + used_in_place),
            table_bytes: self.table_bytes,
        };
        let mut unpacked = self.tensors.requested_tensors();
        unpacked.retain(|name, _| !self.packed_names.contains(name));
        Ok(LoadedWeights { arena: WeightArena::new(backing, self.scales, self.sums), stats, unpacked })
    }

    fn pack(&mut self, pool: &Pool) -> Result<Backing> {
        let mut backing = Backing::allocate(&self.layout)?;
        for task in &self.tasks {
            let scales = task.run(pool, self.compute, &mut backing)?;
            if self.compute.precision == Precision::Int8 {
                self.scales.extend(scales.iter().map(|(scale, _)| scale));
                self.sums.extend(scales.iter().map(|(_, sum)| sum));
            }
        }
        Ok(backing)
    }
}
