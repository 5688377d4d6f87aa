//! Arguments that a product rejects.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, gemm};
use likewise_kernels::view::{MatMut, MatRef};

use crate::common::{self, assert_panics};
use crate::matrix::{Matrix, pack, product};

#[test]
fn gemm_with_mismatched_shapes_panics() {
    common::on_each_level(|level, _| {
        let packed = pack(level, &Matrix::new(5, 4, vec![1.0; 20]));
        let b = packed.panels();
        let data = [1.0; 64];
        let run = |a: (usize, usize), bias: Option<usize>, residual: Option<(usize, usize)>, out: (usize, usize)| {
            let mut written = [0.0; 512];
            let epilogue = residual.map_or(Epilogue::Store, |(m, n)| Epilogue::Add(MatRef::new(&data, m, n)));
            let bias = bias.map(|n| &data[..n]);
            gemm(level, MatRef::new(&data, a.0, a.1), b, bias, epilogue, MatMut::new(&mut written, out.0, out.1));
        };
        run((3, 4), Some(5), Some((3, 5)), (3, 5));
        assert_panics("length of a packed row of a", || run((3, 3), None, None, (3, 5)));
        assert_panics("rows of a (left) and of out", || run((3, 4), None, None, (2, 5)));
        assert_panics("columns of out: expected 5, or up to the end of the last panel, found 4", || {
            run((3, 4), None, None, (3, 4))
        });
        let beyond = level.panel_width() + 1;
        assert_panics("columns of out: expected 5", || run((3, 4), None, None, (3, beyond)));
        assert_panics("length of bias", || run((3, 4), Some(4), None, (3, 5)));
        assert_panics("shape of the residual", || run((3, 4), None, Some((2, 5)), (3, 5)));
        assert_panics("shape of the residual", || run((3, 4), None, Some((3, 4)), (3, 5)));
    });
}

#[test]
fn panels_columns_off_panel_boundary_panics() {
    common::on_each_level(|level, _| {
        let width = level.panel_width();
        let packed = pack(level, &Matrix::new(2 * width, 3, vec![0.0; 6 * width]));
        assert_panics("must be a multiple of the panel width", || packed.panels().columns(1..width).n());
        assert_panics("must be a multiple of the panel width", || packed.panels().columns(0..2 * width + 1).n());
    });
}

#[test]
fn gemm_with_panels_of_other_width_panics() {
    common::on_each_level(|level, _| {
        for other in Level::available() {
            if other.panel_width() == level.panel_width() {
                continue;
            }
            let packed = pack(other, &Matrix::new(5, 4, vec![1.0; 20]));
            let message = format!("panel width of b (left) and of level {level} (right)");
            assert_panics(&message, || {
                product(level, MatRef::new(&[1.0; 4], 1, 4), packed.panels(), None, Epilogue::Store)
            });
        }
    });
}
