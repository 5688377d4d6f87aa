//! Rotary positions: queries and keys are rotated by their positions, so that their products depend
//! on the distance of two tokens.
//!
//! The pair (x\[j\], x\[j + d/2\]) of a query or key `[d]` at position p turns by the angle
//! p · base^(−2j/d), for j < d/2. (Su et al. 2021, <https://arxiv.org/abs/2104.09864>, §3.2.)

use std::sync::Arc;

use likewise_kernels::Level;
use likewise_kernels::memory::AlignedScratch;
use likewise_kernels::rotary::rotate;
use likewise_kernels::view::{MatMut, MatRef};

use crate::encoder::grown_table::GrownTable;
use crate::encoder::spec::{EncoderSpec, RotarySpec};

/// The rotations of a layer's queries and keys. Layers with the same frequencies share one.
pub(crate) struct RotaryPositions {
    spec: RotarySpec,
    table: GrownTable<Rotations>,
}

/// Cosines and sines of the angles, each `[P, d/2]`.
pub(crate) struct Rotations {
    cos: Vec<f32>,
    sin: Vec<f32>,
    pairs: usize,
}

impl RotaryPositions {
    pub(crate) fn new(spec: RotarySpec, max_tokens: usize) -> Self {
        Self { spec, table: GrownTable::new(max_tokens) }
    }

    pub(crate) fn spec(&self) -> &RotarySpec {
        &self.spec
    }

    /// Returns the rotations for texts of so many tokens.
    pub(crate) fn for_tokens(&self, tokens: usize) -> Arc<Rotations> {
        self.table.get(tokens, |positions| Rotations::new(&self.spec, positions))
    }

    /// Returns the bytes of all tables of a model, for texts of so many tokens.
    pub(crate) fn bytes(spec: &EncoderSpec, tokens: usize) -> usize {
        let positions = GrownTable::<Rotations>::length(tokens, spec.max_tokens);
        let mut distinct: Vec<&RotarySpec> = Vec::new();
        for rotary in spec.layers.iter().filter_map(|layer| layer.attention.body.rotary.as_ref()) {
            if !distinct.contains(&rotary) {
                distinct.push(rotary);
            }
        }
        distinct.iter().map(|rotary| 2 * rotary.frequencies.len() * positions * size_of::<f32>()).sum()
    }
}

impl Rotations {
    /// Computes the rotations of the first positions.
    ///
    /// transformers multiplies position and frequency in f32, even in a model of f64. An angle that
    /// is rounded less is nearer to the formula, but at position 8191 it differs by 5 · 10⁻⁴. So
    /// the angle is rounded here too, and its cosine and sine are computed in f64.
    fn new(spec: &RotarySpec, positions: usize) -> Self {
        let angles = (0..positions).flat_map(|position| spec.frequencies.iter().map(move |f| position as f32 * f));
        let (cos, sin) = angles.map(|angle| (f64::from(angle).cos() as f32, f64::from(angle).sin() as f32)).unzip();
        Self { cos, sin, pairs: spec.frequencies.len() }
    }

    /// Rotates vectors x `[rows, d]`, of which the first is at position `first`.
    pub(crate) fn rotate<'a>(
        &self,
        level: Level,
        x: MatRef<'_>,
        first: usize,
        memory: &'a mut AlignedScratch,
    ) -> MatRef<'a> {
        let (rows, width) = (x.rows(), x.cols());
        let angles = |table| MatRef::new(&<[f32]>::as_ref(table)[first * self.pairs..], rows, self.pairs);
        let rotated = memory.slice_mut(rows * width);
        rotate(level, x, angles(&self.cos), angles(&self.sin), MatMut::new(rotated, rows, width));
        MatRef::new(rotated, rows, width)
    }
}
