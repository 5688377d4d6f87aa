//! The feed-forward network: each token by itself, through a wider space.

use likewise_kernels::Level;
use likewise_kernels::math::Activation;

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::layers::encoder::Pass;
use crate::layers::layer_norm::LayerNorm;
use crate::layers::linear::{Linear, Then};
use crate::models::Blueprint;
use crate::parallel::Member;
use crate::trace::{Observer, Site};
use crate::weights::Places;

/// LayerNorm(a + output(activation(inner(a)))), D to F and back to D.
pub(crate) struct FeedForward {
    inner: Linear,
    activation: Activation,
    output: Linear,
    norm: LayerNorm,
}

impl FeedForward {
    pub(crate) fn find(
        checkpoint: &Checkpoint,
        level: Level,
        places: &mut Places,
        blueprint: &Blueprint,
        layer: usize,
    ) -> Result<Self> {
        let (names, width) = (&blueprint.names, blueprint.width);
        let module = |pattern: &str| pattern.replace("{}", &layer.to_string());
        Ok(Self {
            inner: Linear::find(checkpoint, level, places, &[module(names.inner)], blueprint.inner, width)?,
            activation: blueprint.activation,
            output: Linear::find(checkpoint, level, places, &[module(names.output)], width, blueprint.inner)?,
            norm: LayerNorm::load(checkpoint, level, &module(names.output_norm), width, blueprint.epsilon)?,
        })
    }

    /// Three steps, from `buffers.attended` `[T, D]` to `buffers.x` `[T, D]`.
    pub(crate) fn forward<O: Observer>(
        &self,
        member: &mut Member<'_>,
        pass: &Pass<'_>,
        observer: &mut O,
        layer: usize,
    ) {
        let (weights, buffers) = (pass.weights, pass.buffers);
        self.inner.forward(member, weights, &buffers.attended, Then::Activate(self.activation), &buffers.inner);
        observer.look(member, Site::Intermediate(layer), &buffers.inner);
        self.output.forward(member, weights, &buffers.inner, Then::Add(&buffers.attended), &buffers.sum);
        self.norm.forward(member, &buffers.sum, &buffers.x);
        observer.look(member, Site::Output(layer), &buffers.x);
    }

    /// Its matrices, in the order of a pass.
    pub(crate) fn linears(&mut self) -> [&mut Linear; 2] {
        [&mut self.inner, &mut self.output]
    }
}
