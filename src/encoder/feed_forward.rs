//! The feed-forward network: maps each token through a wider space.

use likewise_kernels::Level;
use likewise_kernels::gated::activate_gated;
use likewise_kernels::math::Activation;

use crate::encoder::activations::Activations;
use crate::encoder::layer::{SublayerBody, SublayerInput};
use crate::encoder::linear::{Linear, LinearEpilogue};
use crate::encoder::loader::WeightLoader;
use crate::encoder::pass::PassContext;
use crate::encoder::spec::FeedForwardSpec;
use crate::error::Result;
use crate::parallel::TeamMatrix;
use crate::trace::{Observer, TracePoint};

/// down(activation(up(x))), or down(activation(gates) · values) of a gated network. D to F and back
/// to D.
pub(crate) struct FeedForward {
    level: Level,
    /// D to F, or to the gates and values, 2·F.
    up: Linear,
    activation: Activation,
    is_gated: bool,
    down: Linear,
}

impl FeedForward {
    pub(crate) fn load(loader: &mut WeightLoader<'_>, spec: &FeedForwardSpec) -> Result<Self> {
        Ok(Self {
            level: loader.compute().level,
            up: loader.linear(&spec.up)?,
            activation: spec.activation,
            is_gated: spec.is_gated,
            down: loader.linear(&spec.down)?,
        })
    }
}

impl FeedForward {
    /// Runs the steps of a network without gates: `intermediate` = activation(up(input)).
    fn activate<O: Observer>(&self, cx: &mut PassContext<'_, '_, O>, input: &Activations) {
        let intermediate = &cx.work.intermediate;
        let activate = LinearEpilogue::Activate(self.activation);
        match intermediate.bf16() {
            // Only `down` reads the intermediate elements, so they are rounded immediately.
            Some(rounded) if !O::ENABLED => self.up.forward_bf16(cx, input, activate, rounded),
            _ => {
                self.up.forward(cx, input, activate, &intermediate.values);
                intermediate.quantize(cx.member, self.level);
            }
        }
    }

    /// Runs the steps of a gated network: `intermediate` = activation(gates) · values.
    fn activate_gated<O: Observer>(&self, cx: &mut PassContext<'_, '_, O>, input: &Activations) {
        let gates_and_values = cx.work.gates_and_values();
        self.up.forward(cx, input, LinearEpilogue::Store, gates_and_values);
        cx.work.intermediate.fill_rows(cx.member, self.level, |rows, view, reader| {
            activate_gated(self.level, self.activation, reader.read(gates_and_values).rows_in(rows), view);
        });
    }
}

impl SublayerBody for FeedForward {
    const OUTPUT: fn(usize) -> TracePoint = TracePoint::Output;

    fn forward<O: Observer>(
        &self,
        cx: &mut PassContext<'_, '_, O>,
        input: SublayerInput<'_>,
        epilogue: LinearEpilogue<'_>,
        out: &TeamMatrix,
    ) {
        let intermediate = &cx.work.intermediate;
        if self.is_gated {
            self.activate_gated(cx, input.tokens);
        } else {
            self.activate(cx, input.tokens);
        }
        cx.observer.record_matrix(cx.member, TracePoint::Intermediate(cx.layer), &intermediate.values);
        self.down.forward(cx, intermediate, epilogue, out);
    }

    fn linears(&self) -> [&Linear; 2] {
        [&self.up, &self.down]
    }
}
