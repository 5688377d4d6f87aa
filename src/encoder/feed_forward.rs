//! The feed-forward network: maps each token through a wider space.
//!
//! ```text
//! y = down(activation(up(x)))                    x, y [T, D], up(x) [T, F]
//! y = down(activation(gates(x)) · values(x))     gates(x), values(x) [T, F]
//! ```
//!
//! (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>, §3.3. The gated form: Shazeer 2020,
//! <https://arxiv.org/abs/2002.05202>.)

use likewise_kernels::Level;
use likewise_kernels::gated::activate_gated;
use likewise_kernels::math::Activation;

use crate::encoder::activations::Activations;
use crate::encoder::layer::{SublayerBody, SublayerInput, SublayerSites, project};
use crate::encoder::linear::{Linear, LinearEpilogue};
use crate::encoder::loader::WeightLoader;
use crate::encoder::pass::PassContext;
use crate::encoder::spec::FeedForwardSpec;
use crate::error::Result;
use crate::parallel::TeamMatrix;
use crate::trace::{LayerSite, Observer, Site};

/// The two linear layers and the activation between them.
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
                if O::ENABLED {
                    self.up.forward(cx, input, LinearEpilogue::Store, &intermediate.values);
                    cx.observer.record_layer(cx.member, LayerSite::Up, cx.layer, &intermediate.values);
                }
                self.up.forward(cx, input, activate, &intermediate.values);
                intermediate.quantize(cx.member, self.level);
            }
        }
    }

    /// Runs the steps of a gated network: `intermediate` = activation(gates) · values.
    fn activate_gated<O: Observer>(&self, cx: &mut PassContext<'_, '_, O>, input: &Activations) {
        let gates_and_values = cx.work.gates_and_values();
        self.up.forward(cx, input, LinearEpilogue::Store, gates_and_values);
        let width = gates_and_values.cols() / 2;
        for (site, columns) in [(LayerSite::Gate, 0..width), (LayerSite::Up, width..2 * width)] {
            cx.observer.record_columns(cx.member, Site::Layer(site, cx.layer), gates_and_values, columns);
        }
        cx.work.intermediate.fill_rows(cx.member, self.level, |rows, view, reader| {
            activate_gated(self.level, self.activation, reader.read(gates_and_values).rows_in(rows), view);
        });
    }
}

impl SublayerBody for FeedForward {
    const SITES: SublayerSites = SublayerSites {
        input: LayerSite::FeedForwardInput,
        projection: LayerSite::Down,
        sum: LayerSite::FeedForwardSum,
        output: LayerSite::Output,
    };

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
        cx.observer.record_layer(cx.member, LayerSite::Intermediate, cx.layer, &intermediate.values);
        project(cx, &self.down, intermediate, epilogue, out, Self::SITES.projection);
    }

    fn linears(&self) -> [&Linear; 2] {
        [&self.up, &self.down]
    }
}
