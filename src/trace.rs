//! Intermediate results of the forward pass.
//!
//! Each stage ends by passing its result to an observer. Usually that is a [`NullObserver`], and
//! the compiler removes the call. A [`Recorder`] keeps all results, under the names that the golden
//! files use.

use std::collections::BTreeMap;
use std::ops::Range;

use likewise_kernels::view::MatRef;

use crate::parallel::{TeamMatrix, TeamMember};

/// A point in the forward pass. The field is the index of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TracePoint {
    /// The input of the first layer `[T, D]`.
    Embeddings,
    /// Queries, with their bias and before scaling `[T, H·d]`.
    Query(usize),
    /// Keys `[T, H·d]`.
    Key(usize),
    /// Values `[T, H·d]`.
    Value(usize),
    /// Queries after their rotation by position: for each text `[H, L, d]`, one after another. Only
    /// in models with rotary positions.
    RotatedQuery(usize),
    /// Keys after their rotation, likewise.
    RotatedKey(usize),
    /// The softmax of the scores: for each text `[H, L, L]`, one after another.
    Probabilities(usize),
    /// The heads' weighted means of values, joined `[T, H·d]`.
    Context(usize),
    /// The residual stream after attention `[T, D]`, with the norm after it if there is one.
    Attention(usize),
    /// The input of the last linear layer of the feed-forward network `[T, F]`.
    Intermediate(usize),
    /// The layer's output `[T, D]`.
    Output(usize),
    /// After the norm that follows the last layer in some models `[T, D]`.
    FinalNorm,
}

impl TracePoint {
    /// Returns the name in trace and golden files.
    pub(crate) fn name(self) -> String {
        let (layer, what) = match self {
            Self::Embeddings => return "embeddings".to_owned(),
            Self::FinalNorm => return "final_norm".to_owned(),
            Self::Query(layer) => (layer, "query"),
            Self::Key(layer) => (layer, "key"),
            Self::Value(layer) => (layer, "value"),
            Self::RotatedQuery(layer) => (layer, "rotated_query"),
            Self::RotatedKey(layer) => (layer, "rotated_key"),
            Self::Probabilities(layer) => (layer, "probabilities"),
            Self::Context(layer) => (layer, "context"),
            Self::Attention(layer) => (layer, "attention"),
            Self::Intermediate(layer) => (layer, "intermediate"),
            Self::Output(layer) => (layer, "output"),
        };
        format!("layer.{layer}.{what}")
    }
}

/// Receives every intermediate result.
pub(crate) trait Observer {
    /// Whether it records anything.
    const ENABLED: bool;

    /// Records some rows of a result `[rows, width]`. The rows of a result come in order.
    fn record(&mut self, point: TracePoint, rows: MatRef<'_>);

    /// Records a matrix that the last step has filled.
    fn record_matrix(&mut self, member: &TeamMember<'_>, point: TracePoint, matrix: &TeamMatrix) {
        self.record_columns(member, point, matrix, 0..matrix.cols());
    }

    /// Records some columns of a matrix that the last step has filled.
    fn record_columns(
        &mut self,
        member: &TeamMember<'_>,
        point: TracePoint,
        matrix: &TeamMatrix,
        columns: Range<usize>,
    ) {
        if Self::ENABLED {
            assert_eq!(member.team_size(), 1, "a trace uses one thread");
            member.with_reader(|reader| self.record(point, reader.read(matrix).cols_in(columns)));
        }
    }
}

/// Records nothing.
pub(crate) struct NullObserver;

impl Observer for NullObserver {
    const ENABLED: bool = false;
    fn record(&mut self, _: TracePoint, _: MatRef<'_>) {}
}

/// Every intermediate result of a forward pass, by the name of its site, such as `layer.0.query`.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    sites: BTreeMap<String, Vec<f32>>,
}

impl Observer for Recorder {
    const ENABLED: bool = true;

    fn record(&mut self, point: TracePoint, rows: MatRef<'_>) {
        let record = self.sites.entry(point.name()).or_default();
        for i in 0..rows.rows() {
            record.extend_from_slice(rows.row(i));
        }
    }
}

impl Recorder {
    /// Returns the names of all sites.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        self.sites.keys().map(String::as_str)
    }

    /// Returns the elements of a site's result, row after row.
    pub fn get(&self, site: &str) -> Option<&[f32]> {
        self.sites.get(site).map(Vec::as_slice)
    }
}
