//! The bits of a row or a column do not depend on what surrounds it.

use likewise_kernels::gemm::Epilogue;
use likewise_kernels::math::Activation;
use likewise_kernels::view::MatRef;

use crate::common::{self, Random};
use crate::matrix::{Matrix, pack, product};

/// A row's bits depend on the row alone: not on the number of rows, nor on its position.
#[test]
fn gemm_row_in_any_batch_keeps_its_bits() {
    common::on_each_level(|level, failures| {
        let rows = 2 * level.tile_rows() + 3;
        let k = 67;
        let n = level.panel_width() + 5;
        let mut random = Random::new(5);
        let a = Matrix::new(rows, k, random.wilds(rows * k));
        let packed = pack(level, &Matrix::new(n, k, random.wilds(n * k)));
        let bias = random.wilds(n);
        let run = |a: MatRef<'_>| product(level, a, packed.panels(), Some(&bias), Epilogue::Activate(Activation::Gelu));
        let whole = run(a.view());
        // Every range of rows, which puts each row at every position of every tile size.
        for first in 0..rows {
            for last in first + 1..=rows {
                let part = run(a.view().rows_in(first..last));
                failures.same_bits(&part.data, &whole.data[first * n..last * n], || format!("rows {first}..{last}"));
            }
        }
        // Equal rows have equal results.
        let copies = Matrix::new(rows, k, a.row(1).repeat(rows));
        failures.same_bits(&run(copies.view()).data, &whole.row(1).repeat(rows), || "copies of a row".to_owned());
    });
}

/// Columns from the start of a panel on can be multiplied alone.
#[test]
fn gemm_column_range_from_panel_start_keeps_its_bits() {
    common::on_each_level(|level, failures| {
        let width = level.panel_width();
        let m = level.tile_rows() + 1;
        let k = 33;
        let n = 3 * width + 7;
        let mut random = Random::new(6);
        let a = Matrix::new(m, k, random.wilds(m * k));
        let w = Matrix::new(n, k, random.wilds(n * k));
        let bias = random.wilds(n);
        let packed = pack(level, &w);
        let whole = product(level, a.view(), packed.panels(), Some(&bias), Epilogue::Store);
        for first in (0..=n).step_by(width) {
            for last in first..=n {
                let range = first..last;
                let panels = packed.panels().columns(range.clone());
                failures
                    .check((panels.n(), panels.k()) == (range.len(), k), || format!("columns {range:?}: wrong size"));
                let part = product(level, a.view(), panels, Some(&bias[range.clone()]), Epilogue::Store);
                failures.same_bits(&part.data, &whole.columns(range.clone()).data, || format!("columns {range:?}"));
            }
        }
        // A range of a range.
        let twice = packed.panels().columns(width..n).columns(width..width + 3);
        let part = product(level, a.view(), twice, Some(&bias[2 * width..2 * width + 3]), Epilogue::Store);
        failures.same_bits(&part.data, &whole.columns(2 * width..2 * width + 3).data, || "columns twice".to_owned());
    });
}
