//! The reference functions against published values.

use likewise_kernels::math::Activation;
use likewise_kernels::reference::{activation, normal_cdf};

/// Φ(x) to 17 digits, from mpmath 1.3.0 at 60: `erfc(-x / sqrt(2)) / 2`.
#[allow(clippy::excessive_precision, reason = "17 digits determine an f64, whatever their last one")]
const NORMAL_DISTRIBUTION: [(f64, f64); 25] = [
    (-37.0, 5.7255712225245768e-300),
    (-30.0, 4.9067139271481871e-198),
    (-20.5, 1.076467325879096e-93),
    (-14.5, 6.0574947644152208e-48),
    (-13.25, 2.2560163396857891e-40),
    (-10.0, 7.6198530241605261e-24),
    (-7.75, 4.5946274357785955e-15),
    (-5.0, 2.8665157187919391e-7),
    (-4.0, 3.1671241833119921e-5),
    (-3.0, 1.3498980316300945e-3),
    (-2.5, 6.2096653257761352e-3),
    (-2.0, 2.2750131948179207e-2),
    (-1.9990234375, 2.2802909016358417e-2),
    (-1.5, 6.6807201268858066e-2),
    (-1.0, 1.5865525393145705e-1),
    (-0.5, 3.085375387259869e-1),
    (-0.125, 4.5026177516988711e-1),
    (0.0, 5.0e-1),
    (0.25, 5.9870632568292372e-1),
    (1.0, 8.4134474606854295e-1),
    (1.75, 9.5994084313618291e-1),
    (2.0009765625, 9.7730254214039566e-1),
    (3.0, 9.9865010196836991e-1),
    (5.5, 9.9999998101043753e-1),
    (8.0, 9.9999999999999938e-1),
];

#[test]
fn normal_cdf_at_tabulated_points_matches_mpmath() {
    for (x, exact) in NORMAL_DISTRIBUTION {
        let got = normal_cdf(x);
        let error = (got / exact - 1.0).abs();
        assert!(error < 1e-13, "at {x}: {got:e}, not {exact:e}: relative error {error:e}");
    }
    assert_eq!((normal_cdf(f64::NEG_INFINITY), normal_cdf(f64::INFINITY)), (0.0, 1.0));
    assert!(normal_cdf(f64::NAN).is_nan());
}

/// Published values, so that the reference is not only compared with itself.
#[test]
fn reference_activations_at_known_points_match_published_values() {
    #[rustfmt::skip]
    let known = [
        (Activation::Gelu, 1.0, 0.841_344_746_068_542_9),
        (Activation::Gelu, -2.0, -0.045_500_263_896_358_4),
        (Activation::GeluTanh, 1.0, 0.8411919906082767),
        (Activation::GeluTanh, -2.0, -0.04540230591222498),
        (Activation::Relu, 3.0, 3.0),
        (Activation::Relu, -3.0, 0.0),
        (Activation::Silu, 1.0, 0.7310585786300049),
        (Activation::Silu, -2.0, -0.23840584404423512),
        (Activation::Tanh, 0.5, 0.46211715726000974),
        (Activation::QuickGelu, 1.0, 0.8457957659328212),
        (Activation::QuickGelu, -2.0, -0.06434137685579185),
        (Activation::Mish, 1.0, 0.8650983882673103),
        (Activation::Mish, -2.0, -0.2525014826957089),
        (Activation::Sigmoid, 1.0, 0.7310585786300049),
        (Activation::Sigmoid, -2.0, 0.11920292202211756),
    ];
    for (f, x, exact) in known {
        let got = activation(f, x);
        assert!((got - exact).abs() <= 1e-15, "{f:?} of {x} is {got}, not {exact}");
    }
}
