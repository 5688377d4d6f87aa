//! Causes in the activation of the feed-forward network.

use super::{Evidence, Guess, unexplained};

type Function = fn(f64) -> f64;

const FUNCTIONS: [(&str, Function); 8] = [
    ("erf-GELU", gelu),
    ("tanh-GELU", gelu_tanh),
    ("ReLU", |x| x.max(0.0)),
    ("SiLU", |x| x / (1.0 + (-x).exp())),
    ("quick GELU (x·sigmoid(1.702·x))", |x| x / (1.0 + (-1.702 * x).exp())),
    ("tanh", f64::tanh),
    ("sigmoid", |x| 1.0 / (1.0 + (-x).exp())),
    ("no activation", |x| x),
];

/// Computes x·Φ(x).
fn gelu(x: f64) -> f64 {
    x * 0.5 * erfc(-x / std::f64::consts::SQRT_2)
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

/// Computes the complement of the error function: by its series near 0, else by its continued
/// fraction. Both are exact to more digits than a file of f32 has.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let scale = (-x * x).exp() / std::f64::consts::PI.sqrt();
    if x < 2.5 {
        let (mut term, mut total) = (x, x);
        for n in 1..80 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            total += term;
        }
        return 1.0 - 2.0 * scale * total;
    }
    let mut fraction = x;
    for n in (1..60).rev() {
        fraction = x + f64::from(n) / 2.0 / fraction;
    }
    scale / fraction
}

pub(super) fn guesses(evidence: &Evidence<'_>) -> Vec<Guess> {
    if evidence.name != "intermediate" {
        return Vec::new();
    }
    let Some(up) = evidence.in_layer("up") else { return Vec::new() };
    let (read, factor) = match evidence.in_layer("gate") {
        Some(gate) => (&gate.data, Some(&up.data)),
        None => (&up.data, None),
    };
    let apply = |function: Function, read: &[f64], factor: Option<&Vec<f64>>| -> Vec<f64> {
        let activated = read.iter().map(|&x| function(x));
        match factor {
            Some(factor) => activated.zip(factor).map(|(x, y)| x * y).collect(),
            None => activated.collect(),
        }
    };
    // How far each function is from A, in units of the difference.
    let error = |function: Function| unexplained(&apply(function, read, factor), &evidence.y.data, &evidence.x.data);
    let own = FUNCTIONS.into_iter().min_by(|x, y| error(x.1).total_cmp(&error(y.1)));
    let Some((own_name, own)) = own else { return Vec::new() };
    let mut guesses: Vec<Guess> = FUNCTIONS
        .into_iter()
        .filter(|(name, _)| *name != own_name)
        .map(|(name, function)| {
            let text = format!("another activation: B computes {name}, A {own_name}");
            evidence.guess(&apply(function, read, factor), text)
        })
        .collect();
    if let Some(factor) = factor {
        let exchanged = apply(own, factor, Some(read));
        guesses.push(evidence.guess(&exchanged, "gate and up are exchanged: B activates up instead of the gate"));
        guesses.push(evidence.guess(&apply(own, read, None), "B does not multiply the activated gate by up"));
        guesses.push(evidence.guess(&apply(own, factor, None), "B activates up and does not read the gate"));
    }
    guesses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_has_its_known_values() {
        for (x, expected) in [(0.0, 1.0), (0.5, 0.479_500_122_186_953_5), (3.0, 2.209_049_699_858_544e-5)] {
            assert!((erfc(x) / expected - 1.0).abs() < 1e-12, "{x}: {}", erfc(x));
        }
        assert!((erfc(-1.0) - 1.842_700_792_949_715).abs() < 1e-14);
    }
}
