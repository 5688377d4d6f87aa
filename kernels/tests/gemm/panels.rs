//! Every way to make panels gives the same bits.

use likewise_kernels::gemm::{Epilogue, PackedLayout, Panels};
use likewise_kernels::memory::AlignedScratch;

use crate::common::{self, Random};
use crate::matrix::{Guarded, Matrix, pack, product};

/// Packed, copied, transposed and in-place panels give the same bits.
#[test]
fn panels_from_any_constructor_give_same_bits() {
    common::on_each_level(|level, failures| {
        let width = level.panel_width();
        let mut random = Random::new(7);
        // The scratch is reused, so what an earlier matrix left in it must not affect a result.
        let mut scratch = AlignedScratch::default();
        scratch.slice_mut(10_000).fill(f32::NAN);
        for n in [width - 1, width, 2 * width, 1, 2 * width + 1] {
            for k in [0, 1, 15, 16, 17, 50] {
                let m = level.tile_rows() + 1;
                let a = Matrix::new(m, k, random.wilds(m * k));
                let w = Matrix::new(n, k, random.wilds(n * k));
                // B [K, N], once without and once with guards, which a wrong stride would read.
                let b = w.transposed();
                let guarded_b = Guarded::from_matrix(&b);
                let guarded_w = Guarded::from_matrix(&w);
                let packed = pack(level, &w);
                let expected = product(level, a.view(), packed.panels(), None, Epilogue::Store);
                let mut compare = |panels: Panels<'_>, name: &str| {
                    let shape = (panels.k(), panels.n(), panels.width());
                    failures.check(shape == (k, n, width), || format!("{name}: K, N, width {shape:?}"));
                    let got = product(level, a.view(), panels, None, Epilogue::Store);
                    failures.same_bits(&got.data, &expected.data, || format!("{name}, K {k}, N {n}"));
                };
                for b in [b.view(), guarded_b.view()] {
                    compare(Panels::copied(level, b, &mut scratch), "copied");
                    let in_place = Panels::in_place(level, b);
                    assert_eq!(in_place.is_some(), n.is_multiple_of(width), "in place, N {n} by panels of {width}");
                    if let Some(in_place) = in_place {
                        compare(in_place, "in place");
                    }
                }
                for w in [w.view(), guarded_w.view()] {
                    compare(Panels::transposed(level, w, &mut scratch), "transposed");
                }
            }
        }
    });
}

/// Some columns of a wider matrix: the values of one head among those of all heads.
#[test]
fn panels_in_place_of_column_range_give_same_bits() {
    common::on_each_level(|level, failures| {
        let width = level.panel_width();
        let m = 3;
        let k = 21;
        let n = 3 * width;
        let mut random = Random::new(8);
        let a = Matrix::new(m, k, random.wilds(m * k));
        let b = Matrix::new(k, n, random.wilds(k * n));
        let part = b.columns(width..2 * width);
        let expected = product(level, a.view(), pack(level, &part.transposed()).panels(), None, Epilogue::Store);
        match Panels::in_place(level, b.view().cols_in(width..2 * width)) {
            None => failures.check(false, || "a whole panel was rejected".to_owned()),
            Some(panels) => {
                let got = product(level, a.view(), panels, None, Epilogue::Store);
                failures.same_bits(&got.data, &expected.data, || "one panel of three".to_owned());
            }
        }
    });
}

/// Filling the panels one by one is the same as packing, and the layout reports the size before.
#[test]
fn packed_layout_filled_by_panel_equals_packed_matrix() {
    common::on_each_level(|level, failures| {
        for (n, k) in [(1, 1), (level.panel_width() + 1, 19), (2 * level.panel_width(), 16), (7, 0)] {
            let mut random = Random::new(9);
            let w = Matrix::new(n, k, random.wilds(n * k));
            let a = Matrix::new(2, k, random.wilds(2 * k));
            let layout = PackedLayout::new(level, n, k);
            failures.check((layout.n(), layout.k()) == (n, k), || format!("{n} x {k}: wrong size"));
            failures
                .check(layout.elements() >= n * k, || format!("{n} x {k}: {} elements are too few", layout.elements()));
            let mut packed = vec![f32::NAN; layout.elements()];
            for mut panel in layout.panels_mut(&mut packed) {
                panel.fill(w.view().rows_in(panel.rows()));
            }
            let got = product(level, a.view(), layout.panels(&packed), None, Epilogue::Store);
            let expected = product(level, a.view(), pack(level, &w).panels(), None, Epilogue::Store);
            failures.same_bits(&got.data, &expected.data, || format!("{n} x {k}"));
        }
    });
}
