//! Rotary positions.

use likewise_kernels::rotary::rotate;

use super::*;

fn rotate_of(level: Level, x: &[f32], cos: &[f32], sin: &[f32], rows: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len()];
    let cols = x.len() / rows;
    let half = |of| MatRef::new(of, rows, cols / 2);
    rotate(level, MatRef::new(x, rows, cols), half(cos), half(sin), MatMut::new(&mut y, rows, cols));
    y
}

/// Returns cosines and sines of random angles.
fn angles(random: &mut Random, count: usize) -> (Vec<f32>, Vec<f32>) {
    random.units(count).into_iter().map(|x| ((4.0 * x).cos(), (4.0 * x).sin())).unzip()
}

/// Each element is two products and a sum.
#[test]
fn rotate_at_every_width_stays_within_bound() {
    common::on_each_level(|level, failures| {
        let mut random = Random::new(24);
        for half in lengths() {
            let rows = 3;
            let x = random.units(rows * 2 * half);
            let (cos, sin) = angles(&mut random, rows * half);
            let got = rotate_of(level, &x, &cos, &sin, rows);
            let expected = rotate_of(Level::REFERENCE, &x, &cos, &sin, rows);
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let error = (f64::from(*got) - f64::from(*expected)).abs();
                failures
                    .check(error <= 5.0 * ROUNDING, || format!("element {i}, half {half}: {got:e}, not {expected:e}"));
            }
        }
    });
}

/// A quarter turn sends (a, b) to (−b, a). Exchanged halves or neighbouring pairs would differ.
#[test]
fn rotate_by_a_quarter_turn_exchanges_halves() {
    common::on_each_level(|level, failures| {
        let got = rotate_of(level, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[0.0; 3], &[1.0; 3], 1);
        failures.same_bits(&got, &[-4.0, -5.0, -6.0, 1.0, 2.0, 3.0], || "quarter turn".to_owned());
    });
}

#[test]
fn rotate_on_fused_levels_gives_same_bits() {
    fused_levels_agree(|level| {
        let mut random = Random::new(25);
        let rows = |half: usize| {
            let x = random.units(2 * half);
            let (cos, sin) = angles(&mut random, half);
            rotate_of(level, &x, &cos, &sin, 1)
        };
        lengths().flat_map(rows).collect()
    });
}

#[test]
fn rotate_with_mismatched_shapes_panics() {
    let run = |cols: usize, cos: usize, sin: usize| {
        let mut y = vec![0.0; cols];
        let (x, c, s) = (vec![0.0; cols], vec![0.0; cos], vec![0.0; sin]);
        let row = |of| MatRef::new(of, 1, <[f32]>::len(of));
        rotate(Level::best(), row(&x), row(&c), row(&s), MatMut::new(&mut y, 1, cols));
    };
    run(6, 3, 3);
    assert_panics("rows of cos", || run(7, 3, 3));
    assert_panics("rows of cos", || run(6, 2, 3));
    assert_panics("rows of sin", || run(6, 3, 4));
}
