//! Views: strides, parts, and rejected arguments.

mod common;

use common::assert_panics;
use likewise_kernels::view::{MatMut, MatRef, padded_stride};

fn counted(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

#[test]
fn padded_stride_of_any_width_is_odd_number_of_lines() {
    for cols in (0..=5000).chain([1 << 16, (1 << 16) + 1]) {
        let stride = padded_stride(cols);
        assert!(stride >= cols, "{cols}: {stride}");
        assert!(stride.is_multiple_of(16) && (stride / 16) % 2 == 1, "{cols}: {stride}");
        assert!(stride < cols + 48, "{cols}: {stride} wastes more than three lines");
    }
    assert_eq!((padded_stride(384), padded_stride(768), padded_stride(16)), (400, 784, 16));
}

#[test]
fn rows_of_strided_view_start_a_stride_apart() {
    // The last row need not be followed by its gap.
    let data = counted(2 * 5 + 3);
    let x = MatRef::with_stride(&data, 3, 3, 5);
    assert_eq!((x.rows(), x.cols(), x.stride()), (3, 3, 5));
    assert_eq!((x.row(0), x.row(1), x.row(2)), (&data[0..3], &data[5..8], &data[10..13]));
    let dense = MatRef::new(&data, 4, 3);
    assert_eq!((dense.stride(), dense.row(3)), (3, &data[9..12]));
}

#[test]
fn row_and_column_ranges_of_mat_ref_select_elements() {
    let data = counted(6 * 10);
    let x = MatRef::with_stride(&data, 6, 8, 10);
    let part = x.rows_in(2..5).cols_in(3..7);
    assert_eq!((part.rows(), part.cols(), part.stride()), (3, 4, 10));
    for i in 0..3 {
        assert_eq!(part.row(i), &data[(i + 2) * 10 + 3..][..4], "row {i}");
    }
    // The order of both ranges does not matter.
    assert_eq!(x.cols_in(3..7).rows_in(2..5).row(2), part.row(2));
    // A range may be empty, at either end.
    for at in [0, 6] {
        assert_eq!(x.rows_in(at..at).rows(), 0);
    }
    for at in [0, 8] {
        let empty = x.cols_in(at..at);
        assert_eq!((empty.rows(), empty.cols()), (6, 0));
        assert!((0..6).all(|i| empty.row(i).is_empty()));
    }
}

#[test]
fn mat_ref_out_of_range_panics() {
    let data = counted(13);
    let x = MatRef::with_stride(&data, 3, 3, 5);
    assert_panics("3 x 3 with stride 5 exceeds 12 elements", || MatRef::with_stride(&data[..12], 3, 3, 5));
    assert_panics("rows of 6 elements overlap with stride 5", || MatRef::with_stride(&data, 2, 6, 5));
    assert_panics("exceeds 13 elements", || MatRef::new(&data, 2, 7));
    assert_panics("row 3 of 3", || x.row(3));
    assert_panics("rows 2..4 of 3", || x.rows_in(2..4));
    assert_panics("columns 1..4 of 3", || x.cols_in(1..4));
    #[allow(clippy::reversed_empty_ranges, reason = "the test is that such a range is rejected")]
    {
        assert_panics("rows 2..1 of 3", || x.rows_in(2..1));
        assert_panics("columns 2..1 of 3", || x.cols_in(2..1));
    }
}

#[test]
fn mat_mut_out_of_range_panics() {
    let mut data = counted(13);
    assert_panics("3 x 3 with stride 5 exceeds 12 elements", || MatMut::with_stride(&mut data[..12], 3, 3, 5).rows());
    assert_panics("rows of 6 elements overlap with stride 5", || MatMut::with_stride(&mut data, 2, 6, 5).rows());
    assert_panics("exceeds 13 elements", || MatMut::new(&mut data, 2, 7).rows());
    let mut x = MatMut::with_stride(&mut data, 3, 3, 5);
    assert_panics("row 3 of 3", || x.row(3).len());
    assert_panics("row 3 of 3", || x.row_mut(3).len());
    assert_panics("rows 2..4 of 3", || x.rows_in(2..4).rows());
    #[allow(clippy::reversed_empty_ranges, reason = "the test is that such a range is rejected")]
    {
        assert_panics("rows 2..1 of 3", || x.rows_in(2..1).rows());
    }
    assert_panics("column 4 of 3", || x.split_at_col(4).0.rows());
}

#[test]
fn split_mat_mut_writes_only_its_columns() {
    let rows = 4;
    let cols = 7;
    let stride = 9;
    for split in 0..=cols {
        let mut data = vec![0.0; rows * stride];
        let whole = MatMut::with_stride(&mut data, rows, cols, stride);
        let (mut left, mut right) = whole.split_at_col(split);
        assert_eq!((left.rows(), left.cols(), right.rows(), right.cols()), (rows, split, rows, cols - split));
        // Alternately row by row, so that both views are alive at the same time.
        for i in 0..rows {
            left.row_mut(i).fill(1.0 + i as f32);
            right.rows_in(i..i + 1).row_mut(0).fill(-1.0 - i as f32);
        }
        assert!((0..rows).all(|i| left.row(i).iter().all(|&x| x == 1.0 + i as f32)));
        for i in 0..rows {
            for j in 0..stride {
                let sign = if j < split { 1.0 } else { -1.0 };
                let expected = if j < cols { sign * (1.0 + i as f32) } else { 0.0 };
                assert_eq!(data[i * stride + j], expected, "split at {split}, row {i}, column {j}");
            }
        }
    }
}

#[test]
fn split_mat_mut_splits_again() {
    let mut data = vec![0.0; 3 * 8];
    let (left, rest) = MatMut::new(&mut data, 3, 8).split_at_col(3);
    let (middle, right) = rest.split_at_col(2);
    for (view, value) in [(left, 1.0), (middle, 2.0), (right, 3.0)] {
        let mut view = view;
        // A reborrow ends before the view is used again.
        view.reborrow().row_mut(0).fill(value);
        for i in 1..3 {
            view.row_mut(i).fill(value);
        }
    }
    let row = [1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0];
    assert_eq!(data, row.repeat(3));
}

#[test]
fn split_mat_mut_on_two_threads_writes_its_columns() {
    let mut data = vec![0.0; 50 * 4];
    let (left, right) = MatMut::new(&mut data, 50, 4).split_at_col(2);
    std::thread::scope(|scope| {
        for (mut view, value) in [(left, 1.0), (right, 2.0)] {
            scope.spawn(move || (0..50).for_each(|i| view.row_mut(i).fill(value)));
        }
    });
    assert_eq!(data, [1.0, 1.0, 2.0, 2.0].repeat(50));
}

#[test]
fn mat_mut_from_raw_parts_writes_its_rows() {
    let mut data = counted(12);
    // SAFETY: three rows of two elements that start four apart, from the second element on, are
    // among the twelve elements, which nothing else accesses meanwhile.
    let mut x = unsafe { MatMut::from_raw(data.as_mut_ptr().add(1), 3, 2, 4) };
    x.row_mut(2)[1] = -1.0;
    assert_eq!(x.row(1), [5.0, 6.0]);
    assert_eq!(data[10], -1.0);
}

#[test]
fn views_of_empty_matrices_have_empty_rows() {
    let x = MatRef::<f32>::new(&[], 0, 7);
    assert_eq!((x.rows(), x.cols(), x.rows_in(0..0).rows()), (0, 7, 0));
    assert_eq!(MatRef::<f32>::new(&[], 5, 0).row(4), []);
    // Rows of width 0 occupy no memory, whatever their stride.
    assert_eq!(MatRef::<f32>::with_stride(&[], 5, 0, 16).row(4), []);
    let mut thin = MatMut::<f32>::with_stride(&mut [], 5, 0, 16);
    assert_eq!((thin.row_mut(4).len(), thin.rows_in(3..5).row(1).len()), (0, 0));
    let mut none = MatMut::<f32>::new(&mut [], 0, 7);
    assert_eq!(none.rows_in(0..0).rows(), 0);
    let (left, right) = none.split_at_col(3);
    assert_eq!((left.cols(), right.cols()), (3, 4));
}

/// An overflowing size would let a view access memory after its end.
#[test]
fn views_of_overflowing_size_panic() {
    use std::panic::catch_unwind;
    assert!(
        catch_unwind(|| MatRef::with_stride(&[0.0], 2, 2, usize::MAX).rows()).is_err(),
        "read, a stride that overflows"
    );
    assert!(catch_unwind(|| MatRef::<f32>::new(&[], 1 << 32, 1 << 32).rows()).is_err(), "read, a size that overflows");
    assert!(
        catch_unwind(|| MatMut::with_stride(&mut [0.0], 2, 2, usize::MAX).rows()).is_err(),
        "write, a stride that overflows"
    );
    assert!(
        catch_unwind(|| MatMut::<f32>::new(&mut [], 1 << 32, 1 << 32).rows()).is_err(),
        "write, a size that overflows"
    );
}
