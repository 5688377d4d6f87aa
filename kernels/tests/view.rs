//! Views: strides, parts, and what they refuse.

mod common;

use common::assert_panics;
use likewise_kernels::view::{MatMut, MatRef, padded_stride};

fn counted(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

#[test]
fn padded_strides_are_odd_numbers_of_lines() {
    for cols in (0..=5000).chain([1 << 16, (1 << 16) + 1]) {
        let stride = padded_stride(cols);
        assert!(stride >= cols, "{cols}: {stride}");
        assert!(stride.is_multiple_of(16) && (stride / 16) % 2 == 1, "{cols}: {stride}");
        assert!(stride < cols + 48, "{cols}: {stride} wastes more than two lines and a part");
    }
    assert_eq!((padded_stride(384), padded_stride(768), padded_stride(16)), (400, 784, 16));
}

#[test]
fn rows_start_a_stride_apart() {
    // The last row need not be followed by its gap.
    let data = counted(2 * 5 + 3);
    let x = MatRef::with_stride(&data, 3, 3, 5);
    assert_eq!((x.rows(), x.cols(), x.stride()), (3, 3, 5));
    assert_eq!((x.row(0), x.row(1), x.row(2)), (&data[0..3], &data[5..8], &data[10..13]));
    let dense = MatRef::new(&data, 4, 3);
    assert_eq!((dense.stride(), dense.row(3)), (3, &data[9..12]));
}

#[test]
fn parts_of_a_matrix_to_read() {
    let data = counted(6 * 10);
    let x = MatRef::with_stride(&data, 6, 8, 10);
    let part = x.rows_in(2..5).cols_in(3..7);
    assert_eq!((part.rows(), part.cols(), part.stride()), (3, 4, 10));
    for i in 0..3 {
        assert_eq!(part.row(i), &data[(i + 2) * 10 + 3..][..4], "row {i}");
    }
    // In the other order they are the same.
    assert_eq!(x.cols_in(3..7).rows_in(2..5).row(2), part.row(2));
    // Nothing is also a part, at either end.
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
fn refusals_to_read() {
    let data = counted(13);
    let x = MatRef::with_stride(&data, 3, 3, 5);
    assert_panics("3 x 3 by 5 in 12 numbers", || MatRef::with_stride(&data[..12], 3, 3, 5));
    assert_panics("rows of 6 that start 5 apart", || MatRef::with_stride(&data, 2, 6, 5));
    assert_panics("in 13 numbers", || MatRef::new(&data, 2, 7));
    assert_panics("row 3 of 3", || x.row(3));
    assert_panics("rows 2..4 of 3", || x.rows_in(2..4));
    assert_panics("columns 1..4 of 3", || x.cols_in(1..4));
    #[allow(clippy::reversed_empty_ranges, reason = "that such a range is refused is what is tested")]
    {
        assert_panics("rows 2..1 of 3", || x.rows_in(2..1));
        assert_panics("columns 2..1 of 3", || x.cols_in(2..1));
    }
}

#[test]
fn refusals_to_write() {
    let mut data = counted(13);
    assert_panics("3 x 3 by 5 in 12 numbers", || MatMut::with_stride(&mut data[..12], 3, 3, 5).rows());
    assert_panics("rows of 6 that start 5 apart", || MatMut::with_stride(&mut data, 2, 6, 5).rows());
    assert_panics("in 13 numbers", || MatMut::new(&mut data, 2, 7).rows());
    let mut x = MatMut::with_stride(&mut data, 3, 3, 5);
    assert_panics("row 3 of 3", || x.row(3).len());
    assert_panics("row 3 of 3", || x.row_mut(3).len());
    assert_panics("rows 2..4 of 3", || x.rows_in(2..4).rows());
    #[allow(clippy::reversed_empty_ranges, reason = "that such a range is refused is what is tested")]
    {
        assert_panics("rows 2..1 of 3", || x.rows_in(2..1).rows());
    }
    assert_panics("column 4 of 3", || x.split_at_col(4).0.rows());
}

#[test]
fn parts_write_where_they_should() {
    let (rows, cols, stride) = (4, 7, 9);
    for split in 0..=cols {
        let mut data = vec![0.0; rows * stride];
        let whole = MatMut::with_stride(&mut data, rows, cols, stride);
        let (mut left, mut right) = whole.split_at_col(split);
        assert_eq!((left.rows(), left.cols(), right.rows(), right.cols()), (rows, split, rows, cols - split));
        // Row by row in turn, so that both views are alive and written alternately.
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
fn parts_may_be_split_again() {
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
fn columns_may_be_written_by_two_threads() {
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
fn a_view_from_its_parts() {
    let mut data = counted(12);
    // SAFETY: three rows of two numbers that start four apart lie in the twelve, which nothing else reaches meanwhile.
    let mut x = unsafe { MatMut::from_raw(data.as_mut_ptr().add(1), 3, 2, 4) };
    x.row_mut(2)[1] = -1.0;
    assert_eq!(x.row(1), [5.0, 6.0]);
    assert_eq!(data[10], -1.0);
}

#[test]
fn empty_matrices() {
    let x = MatRef::<f32>::new(&[], 0, 7);
    assert_eq!((x.rows(), x.cols(), x.rows_in(0..0).rows()), (0, 7, 0));
    assert_eq!(MatRef::<f32>::new(&[], 5, 0).row(4), []);
    // Rows without numbers take no memory, however far apart they are said to be.
    assert_eq!(MatRef::<f32>::with_stride(&[], 5, 0, 16).row(4), []);
    let mut thin = MatMut::<f32>::with_stride(&mut [], 5, 0, 16);
    assert_eq!((thin.row_mut(4).len(), thin.rows_in(3..5).row(1).len()), (0, 0));
    let mut none = MatMut::<f32>::new(&mut [], 0, 7);
    assert_eq!(none.rows_in(0..0).rows(), 0);
    let (left, right) = none.split_at_col(3);
    assert_eq!((left.cols(), right.cols()), (3, 4));
}

/// Sizes that wrap around would let a view reach beyond its memory.
#[test]
fn sizes_that_wrap_around_are_refused() {
    use std::panic::catch_unwind;
    assert!(
        catch_unwind(|| MatRef::with_stride(&[0.0], 2, 2, usize::MAX).rows()).is_err(),
        "read, a stride that wraps"
    );
    assert!(catch_unwind(|| MatRef::<f32>::new(&[], 1 << 32, 1 << 32).rows()).is_err(), "read, a size that wraps");
    assert!(
        catch_unwind(|| MatMut::with_stride(&mut [0.0], 2, 2, usize::MAX).rows()).is_err(),
        "write, a stride that wraps"
    );
    assert!(catch_unwind(|| MatMut::<f32>::new(&mut [], 1 << 32, 1 << 32).rows()).is_err(), "write, a size that wraps");
}
