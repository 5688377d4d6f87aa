//! The frequencies of rotary positions, from the keys of config.json.
//!
//! transformers 5.23.0 has them in `rope_parameters`, older folders in `rope_theta` and
//! `rope_scaling` (`modeling_rope_utils.py`).

use crate::config::{InertKeys, JsonObject};
use crate::encoder::spec::RotarySpec;
use crate::error::Result;

/// Reads the frequencies of a model whose layers are all alike.
pub(super) fn rotary(config: &JsonObject, default_base: f32, head_size: usize) -> Result<RotarySpec> {
    let scaling = config.object("rope_scaling")?;
    let parameters = config.object("rope_parameters")?;
    let base = config.positive_number("rope_theta")?.unwrap_or(default_base);
    from_parameters(config, scaling.or(parameters).as_ref(), base, head_size)
}

/// Reads the frequencies from an object as `rope_parameters` or one of its parts, or for an absent
/// one from the base alone. `base` is used if the object has no `rope_theta`.
///
/// # Errors
/// If the type of scaling is not supported, or the rotation does not cover the whole head.
pub(super) fn from_parameters(
    config: &JsonObject,
    parameters: Option<&JsonObject>,
    base: f32,
    head_size: usize,
) -> Result<RotarySpec> {
    if !head_size.is_multiple_of(2) {
        let expected = format!("heads of an even size for rotary positions, not of {head_size} elements");
        return Err(config.invalid_value("num_attention_heads", expected));
    }
    let Some(parameters) = parameters else { return Ok(RotarySpec { frequencies: frequencies(base, head_size) }) };
    let base = parameters.positive_number("rope_theta")?.unwrap_or(base);
    const PARTIAL: &str = "partial_rotary_factor";
    if parameters.positive_number(PARTIAL)?.is_some_and(|part| part != 1.0) {
        return Err(parameters.invalid_value(PARTIAL, "1.0, because partial rotations are not supported"));
    }
    let kind_key = if parameters.get("rope_type").is_some() { "rope_type" } else { "type" };
    let factor = || -> Result<f32> {
        parameters.positive_number("factor")?.ok_or_else(|| parameters.invalid_value("factor", "a positive number"))
    };
    let frequencies = match parameters.string(kind_key)? {
        None | Some("default") => frequencies(base, head_size),
        Some("linear") => {
            let factor = factor()?;
            frequencies(base, head_size).into_iter().map(|frequency| frequency / factor).collect()
        }
        // Not in transformers itself, but in the code that published GTE models brought with them.
        Some("ntk") => {
            let factor = factor()?;
            let divisor = f64::from(factor).powf(2.0 / head_size as f64) as f32;
            frequencies(base * factor, head_size).into_iter().map(|frequency| frequency / divisor).collect()
        }
        Some(_) => {
            let expected = "default, linear or ntk, because other scalings of rotary positions are not supported";
            return Err(parameters.invalid_value(kind_key, expected));
        }
    };
    // `factor` of the default type, and `type` beside `rope_type`, have no effect.
    const INERT: InertKeys =
        InertKeys { any_value: &["factor", "type", "original_max_position_embeddings"], one_value: &[] };
    parameters.reject_unread(&[&INERT])?;
    Ok(RotarySpec { frequencies })
}

/// Returns the frequencies base^(−2j/d) `[d/2]`.
///
/// transformers computes the exponent, the power and the quotient in f32. The power here is the
/// f32 nearest to the exact one; that of torch is one ulp away for about one in a hundred.
fn frequencies(base: f32, head_size: usize) -> Vec<f32> {
    let exponent = |j: usize| (2 * j) as f32 / head_size as f32;
    let power = |j: usize| f64::from(base).powf(f64::from(exponent(j))) as f32;
    (0..head_size / 2).map(|j| 1.0 / power(j)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<RotarySpec> {
        rotary(&JsonObject::parse("config.json", json.as_bytes()).expect("JSON"), 10_000.0, 4)
    }

    fn frequencies_of(json: &str) -> Vec<f32> {
        read(json).expect("frequencies").frequencies
    }

    #[test]
    fn frequencies_of_each_kind_follow_their_formula() {
        assert_eq!(frequencies_of("{}"), [1.0, 0.01]);
        assert_eq!(frequencies_of(r#"{"rope_theta": 400}"#), [1.0, 0.05]);
        assert_eq!(
            frequencies_of(r#"{"rope_parameters": {"rope_theta": 400.0, "rope_type": "default"}}"#),
            [1.0, 0.05]
        );
        assert_eq!(frequencies_of(r#"{"rope_scaling": {"type": "linear", "factor": 2.0}}"#), [0.5, 0.005]);
        // θ' = 4 θ, and all frequencies divided by 4^(2/4) = 2.
        assert_eq!(frequencies_of(r#"{"rope_scaling": {"type": "ntk", "factor": 4.0}}"#), [0.5, 0.0025]);
        assert_eq!(frequencies_of(r#"{"rope_theta": 400, "rope_scaling": null}"#), [1.0, 0.05]);
    }

    #[test]
    fn scalings_that_are_not_supported_are_named() {
        for (json, part) in [
            (r#"{"rope_scaling": {"type": "dynamic", "factor": 2.0}}"#, "`type`: expected default, linear or ntk"),
            (r#"{"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}"#, r#"found "yarn""#),
            (r#"{"rope_scaling": {"type": "ntk"}}"#, "`factor`"),
            (r#"{"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 0.5}}"#, "`mixed_b`"),
            (r#"{"rope_parameters": {"partial_rotary_factor": 0.5}}"#, "`partial_rotary_factor`: expected 1.0"),
            (r#"{"rope_parameters": 3}"#, "`rope_parameters`: expected an object"),
        ] {
            let message = read(json).expect_err(json).to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
