//! A layer: two functions f of the residual stream x `[T, D]`, each with the norms around it.
//!
//! ```text
//! x ← norm(x + f(x))     post-norm
//! x ← x + f(norm(x))     pre-norm
//! ```
//!
//! (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>, §3.1. Xiong et al. 2020,
//! <https://arxiv.org/abs/2002.04745>, compare both.)

use likewise_kernels::Level;

use crate::encoder::activations::Activations;
use crate::encoder::linear::{Linear, LinearEpilogue};
use crate::encoder::loader::WeightLoader;
use crate::encoder::norm::Norm;
use crate::encoder::pass::{PassContext, Stream};
use crate::encoder::spec::{JoinSpec, SublayerSpec};
use crate::error::Result;
use crate::parallel::TeamMatrix;
use crate::trace::{LayerSite, Observer};

/// A function f of the residual stream.
pub(crate) trait SublayerBody {
    /// The names of its results in a trace.
    const SITES: SublayerSites;

    /// Runs the steps of f. The last one is out `[T, D]` = epilogue(f(input `[T, D]`)).
    ///
    /// If the context has selected tokens, out and the epilogue have their rows alone `[S, D]`.
    fn forward<O: Observer>(
        &self,
        cx: &mut PassContext<'_, '_, O>,
        input: SublayerInput<'_>,
        epilogue: LinearEpilogue<'_>,
        out: &TeamMatrix,
    );

    /// Returns the linear layers, in the order of a pass.
    fn linears(&self) -> [&Linear; 2];
}

/// The names of a sublayer's results in a trace.
pub(crate) struct SublayerSites {
    /// The input of f after its norm.
    pub(crate) input: LayerSite,
    /// The output of f alone.
    pub(crate) projection: LayerSite,
    /// The stream with f's output, before the norm after both.
    pub(crate) sum: LayerSite,
    /// The stream after f has joined it.
    pub(crate) output: LayerSite,
}

/// What a function f reads.
#[derive(Clone, Copy)]
pub(crate) struct SublayerInput<'a> {
    /// The vectors of all tokens `[T, D]`.
    pub(crate) tokens: &'a Activations,
    /// Those of the selected tokens `[S, D]`, or of all if none are selected.
    pub(crate) selected: &'a Activations,
}

/// A function f of the residual stream x, and how f's output joins the stream.
pub(crate) struct Sublayer<B> {
    input_norm: Option<Norm>,
    body: B,
    join: Join,
    level: Level,
}

/// Runs the last step of a function f: out = epilogue(linear(x)). A trace also gets linear(x)
/// alone, which takes a second product.
pub(crate) fn project<O: Observer>(
    cx: &mut PassContext<'_, '_, O>,
    linear: &Linear,
    x: &Activations,
    epilogue: LinearEpilogue<'_>,
    out: &TeamMatrix,
    site: LayerSite,
) {
    if O::ENABLED {
        linear.forward(cx, x, LinearEpilogue::Store, out);
        cx.observer.record_layer(cx.member, site, cx.layer, out);
    }
    linear.forward(cx, x, epilogue, out);
}

/// See [`JoinSpec`].
enum Join {
    AddThenNorm(Norm),
    Add,
    NormThenAdd(Norm),
}

impl<B: SublayerBody> Sublayer<B> {
    /// Loads the norms, of width `width`, and f, by `load`.
    pub(crate) fn load<'a, F>(
        loader: &mut WeightLoader<'a>,
        spec: &SublayerSpec<F>,
        width: usize,
        load: impl FnOnce(&mut WeightLoader<'a>, &F) -> Result<B>,
    ) -> Result<Self> {
        Ok(Self {
            input_norm: spec.input_norm.as_ref().map(|norm| loader.norm(norm, width)).transpose()?,
            body: load(loader, &spec.body)?,
            level: loader.compute().level,
            join: match &spec.join {
                JoinSpec::AddThenNorm(norm) => Join::AddThenNorm(loader.norm(norm, width)?),
                JoinSpec::Add => Join::Add,
                JoinSpec::NormThenAdd(norm) => Join::NormThenAdd(loader.norm(norm, width)?),
            },
        })
    }

    /// Runs the steps of this sublayer. Returns the buffer that then holds the residual stream: of
    /// the workspace for the selected tokens, if there are some.
    pub(crate) fn forward<O: Observer>(&self, cx: &mut PassContext<'_, '_, O>, x: Stream) -> Stream {
        let work = cx.work;
        let residual = &work.stream(x).values;
        let input = match &self.input_norm {
            None => work.stream(x),
            Some(norm) => {
                norm.forward(cx, residual, work.normed());
                cx.observer.record_layer(cx.member, B::SITES.input, cx.layer, &work.normed().values);
                work.normed()
            }
        };
        let (selected, work) = match cx.selected {
            None => (input, work),
            Some(selected) => {
                selected.work.stream(x).gather(cx.member, work.stream(x), selected.rows);
                if self.input_norm.is_some() {
                    selected.work.normed().gather(cx.member, input, selected.rows);
                    (selected.work.normed(), selected.work)
                } else {
                    (selected.work.stream(x), selected.work)
                }
            }
        };
        let input = SublayerInput { tokens: input, selected };
        let residual = &work.stream(x).values;
        let next = match &self.join {
            // x ← norm(x + f(x))
            Join::AddThenNorm(norm) => {
                self.body.forward(cx, input, LinearEpilogue::Add(residual), &work.norm_input);
                cx.observer.record_layer(cx.member, B::SITES.sum, cx.layer, &work.norm_input);
                norm.forward(cx, &work.norm_input, work.stream(x));
                x
            }
            // x ← x + f(input_norm(x))
            Join::Add => {
                let sum = work.stream(x.other());
                self.body.forward(cx, input, LinearEpilogue::Add(residual), &sum.values);
                // For a sublayer without an input norm, if there is one.
                sum.quantize(cx.member, self.level);
                x.other()
            }
            // x ← x + norm(f(input_norm(x)))
            Join::NormThenAdd(norm) => {
                self.body.forward(cx, input, LinearEpilogue::Store, &work.norm_input);
                norm.forward_add(cx, &work.norm_input, residual, work.stream(x.other()));
                x.other()
            }
        };
        cx.observer.record_layer(cx.member, B::SITES.output, cx.layer, &work.stream(next).values);
        next
    }

    /// Returns the linear layers, in the order of a pass.
    pub(crate) fn linears(&self) -> [&Linear; 2] {
        self.body.linears()
    }
}
