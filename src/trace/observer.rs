//! What the forward pass calls at each site.

use std::ops::Range;

use likewise_kernels::view::MatRef;

use super::site::{LayerSite, Site};
use crate::parallel::{TeamMatrix, TeamMember};

/// Receives every intermediate result.
pub(crate) trait Observer {
    /// Whether it records anything.
    const ENABLED: bool;

    /// Records some rows of a result `[rows, width]`. The rows of a result come in order.
    fn record(&mut self, site: Site, rows: MatRef<'_>);

    /// Records a matrix that the last step has filled.
    fn record_matrix(&mut self, member: &mut TeamMember<'_>, site: Site, matrix: &TeamMatrix) {
        self.record_columns(member, site, matrix, 0..matrix.cols());
    }

    /// Records a matrix of a layer that the last step has filled.
    fn record_layer(&mut self, member: &mut TeamMember<'_>, site: LayerSite, layer: usize, matrix: &TeamMatrix) {
        self.record_matrix(member, Site::Layer(site, layer), matrix);
    }

    /// Records some columns of a matrix that the last step has filled.
    fn record_columns(&mut self, member: &mut TeamMember<'_>, site: Site, matrix: &TeamMatrix, columns: Range<usize>) {
        if Self::ENABLED {
            assert_eq!(member.team_size(), 1, "a trace uses one thread");
            member.read_step(|reader| self.record(site, reader.read(matrix).cols_in(columns)));
        }
    }
}

/// Records nothing.
pub(crate) struct NullObserver;

impl Observer for NullObserver {
    const ENABLED: bool = false;
    fn record(&mut self, _: Site, _: MatRef<'_>) {}
}
