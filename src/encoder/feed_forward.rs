//! The feed-forward network: each token by itself, through a wider space.

use likewise_kernels::Level;
use likewise_kernels::math::Activation;

use crate::checkpoint::Checkpoint;
use crate::encoder::arena::ArenaLayout;
use crate::encoder::families::Blueprint;
use crate::encoder::linear::{ComputeConfig, Linear, LinearEpilogue};
use crate::encoder::norm::LayerNorm;
use crate::encoder::{Pass, Workspace};
use crate::error::Result;
use crate::parallel::TeamMember;
use crate::trace::{Observer, TracePoint};

/// LayerNorm(a + output(activation(inner(a)))), D to F and back to D.
pub(crate) struct FeedForward {
    level: Level,
    inner: Linear,
    activation: Activation,
    output: Linear,
    norm: LayerNorm,
}

impl FeedForward {
    pub(crate) fn find(
        checkpoint: &Checkpoint,
        how: ComputeConfig,
        places: &mut ArenaLayout,
        blueprint: &Blueprint,
        layer: usize,
    ) -> Result<Self> {
        let (names, width) = (&blueprint.names, blueprint.width);
        let module = |pattern: &str| pattern.replace("{}", &layer.to_string());
        Ok(Self {
            level: how.level,
            inner: Linear::find(checkpoint, how, places, &[module(names.inner)], blueprint.inner, width)?,
            activation: blueprint.activation,
            output: Linear::find(checkpoint, how, places, &[module(names.output)], width, blueprint.inner)?,
            norm: LayerNorm::load(checkpoint, how.level, &module(names.output_norm), width, blueprint.epsilon)?,
        })
    }

    /// Its steps, from `buffers.attended` `[T, D]` to `buffers.x` `[T, D]`.
    pub(crate) fn forward<O: Observer>(
        &self,
        member: &mut TeamMember<'_>,
        pass: &Pass<'_>,
        observer: &mut O,
        layer: usize,
    ) {
        let (weights, buffers) = (pass.weights, pass.buffers);
        let Workspace { attended, inner, sum, x, .. } = buffers;
        let then = LinearEpilogue::Activate(self.activation);
        match inner.rounded() {
            // Nobody else needs the numbers.
            Some(words) if !O::ENABLED => self.inner.forward_rounded(member, weights, attended, then, words),
            _ => {
                self.inner.forward(member, weights, attended, then, &inner.numbers);
                observer.record_matrix(member, TracePoint::Intermediate(layer), &inner.numbers);
                inner.quantize(member, self.level);
            }
        }
        self.output.forward(member, weights, inner, LinearEpilogue::Add(&attended.numbers), sum);
        self.norm.forward(member, sum, x);
        observer.record_matrix(member, TracePoint::Output(layer), &x.numbers);
    }

    /// Its matrices, in the order of a pass.
    pub(crate) fn linears(&self) -> [&Linear; 2] {
        [&self.inner, &self.output]
    }

    /// The same, to be packed.
    pub(crate) fn linears_mut(&mut self) -> [&mut Linear; 2] {
        [&mut self.inner, &mut self.output]
    }
}
