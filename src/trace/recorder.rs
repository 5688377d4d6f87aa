//! Keeps the results of a pass.

use std::collections::HashMap;

use likewise_kernels::view::MatRef;

use super::observer::Observer;
use super::record::Trace;
use super::site::Site;
use super::tensor::{Layout, TracedTensor};
use super::tokens::TracedTokens;

/// Keeps every intermediate result of a forward pass, in the order in which they are computed.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    tensors: Vec<TracedTensor>,
    /// The index of each site's tensor.
    index: HashMap<String, usize>,
}

impl Observer for Recorder {
    const ENABLED: bool = true;

    fn record(&mut self, site: Site, rows: MatRef<'_>) {
        let data = self.data_of(&site.name(), site.layout(), rows.cols());
        for i in 0..rows.rows() {
            data.extend_from_slice(rows.row(i));
        }
    }
}

impl Recorder {
    /// Records a result of a module after the encoder: rows of `width` elements.
    pub(crate) fn record_rows(&mut self, site: &str, layout: Layout, width: usize, rows: &[f32]) {
        self.data_of(site, layout, width).extend_from_slice(rows);
    }

    /// Returns the trace of these tokens.
    pub(crate) fn finish(self, tokens: TracedTokens) -> Trace {
        Trace { tokens, tensors: self.tensors, index: self.index }
    }

    fn data_of(&mut self, site: &str, layout: Layout, width: usize) -> &mut Vec<f32> {
        let next = self.tensors.len();
        let index = *self.index.entry(site.to_owned()).or_insert(next);
        if index == next {
            self.tensors.push(TracedTensor { site: site.to_owned(), layout, width, data: Vec::new() });
        }
        &mut self.tensors[index].data
    }
}
