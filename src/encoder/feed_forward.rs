//! The feed-forward network: maps each token through a wider space.

use likewise_kernels::Level;
use likewise_kernels::math::Activation;

use crate::encoder::activations::Activations;
use crate::encoder::layer::SublayerBody;
use crate::encoder::linear::{Linear, LinearEpilogue};
use crate::encoder::loader::WeightLoader;
use crate::encoder::pass::PassContext;
use crate::encoder::spec::FeedForwardSpec;
use crate::error::Result;
use crate::parallel::TeamMatrix;
use crate::trace::{Observer, TracePoint};

/// down(activation(up(x))), D to F and back to D.
pub(crate) struct FeedForward {
    level: Level,
    up: Linear,
    activation: Activation,
    down: Linear,
}

impl FeedForward {
    pub(crate) fn load(loader: &mut WeightLoader<'_>, spec: &FeedForwardSpec) -> Result<Self> {
        Ok(Self {
            level: loader.compute().level,
            up: loader.linear(&spec.up)?,
            activation: spec.activation,
            down: loader.linear(&spec.down)?,
        })
    }
}

impl SublayerBody for FeedForward {
    const OUTPUT: fn(usize) -> TracePoint = TracePoint::Output;

    fn forward<O: Observer>(
        &self,
        cx: &mut PassContext<'_, '_, O>,
        input: &Activations,
        epilogue: LinearEpilogue<'_>,
        out: &TeamMatrix,
    ) {
        let intermediate = &cx.work.intermediate;
        let activate = LinearEpilogue::Activate(self.activation);
        match intermediate.bf16() {
            // Only `down` reads the intermediate elements, so they are rounded immediately.
            Some(rounded) if !O::ENABLED => self.up.forward_bf16(cx, input, activate, rounded),
            _ => {
                self.up.forward(cx, input, activate, &intermediate.values);
                cx.observer.record_matrix(cx.member, TracePoint::Intermediate(cx.layer), &intermediate.values);
                intermediate.quantize(cx.member, self.level);
            }
        }
        self.down.forward(cx, intermediate, epilogue, out);
    }

    fn linears(&self) -> [&Linear; 2] {
        [&self.up, &self.down]
    }
}
