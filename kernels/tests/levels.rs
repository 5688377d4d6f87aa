//! Levels by name, and which of them this CPU has.

mod common;

use std::collections::BTreeSet;

use likewise_kernels::{Level, UnavailableLevel};

/// The environment variable with the comma-separated names of the levels that this machine must
/// have.
const EXPECTED: &str = "LIKEWISE_EXPECT_LEVELS";

#[test]
fn level_names_after_round_trip_are_equal() {
    common::on_each_level(|level, failures| {
        let parsed = level.name().parse::<Level>();
        failures.check(parsed == Ok(level), || format!("its name parses as {parsed:?}"));
        failures.check(level.to_string() == level.name(), || format!("displayed as {level}"));
        failures.check(format!("{level:?}") == level.name(), || format!("debugged as {level:?}"));
        failures.check(format!("{level:>12}").len() == 12, || "its name ignores the width".to_owned());
    });
}

#[test]
fn level_names_of_one_cpu_are_unique() {
    let names: BTreeSet<_> = Level::available().into_iter().map(Level::name).collect();
    assert_eq!(names.len(), Level::available().len(), "two levels with one name");
}

#[test]
fn level_constants_on_any_cpu_are_available() {
    assert_eq!(Level::available()[..2], [Level::REFERENCE, Level::PORTABLE]);
    assert_eq!("reference".parse(), Ok(Level::REFERENCE));
    assert_eq!("portable".parse(), Ok(Level::PORTABLE));
}

#[test]
fn best_level_is_last_available() {
    assert_eq!(Some(Level::best()), Level::available().last().copied());
}

fn error_for(name: &str) -> UnavailableLevel {
    match name.parse::<Level>() {
        Ok(level) => panic!("`{name}` was parsed as {level}"),
        Err(error) => error,
    }
}

#[test]
fn unavailable_level_error_names_requested_and_available_levels() {
    let here: Vec<_> = Level::available().into_iter().map(Level::name).collect();
    // Levels that this CPU may lack, and unknown names: case and blanks are part of a name.
    let lacking = ["avx2", "avx512", "neon"].into_iter().filter(|name| !here.contains(name));
    for name in lacking.chain(["", "sse9", "AVX2", " portable", "best"]) {
        let error = error_for(name);
        assert_eq!(error.requested, name);
        assert_eq!(error.available, here);
        let text = error.to_string();
        assert!(text.contains(&format!("`{name}`")), "{text}");
        assert!(here.iter().all(|level| text.contains(level)), "{text}");
    }
}

#[test]
fn unavailable_level_error_distinguishes_unsupported_from_unknown() {
    assert!(error_for("sse9").to_string().contains("unknown name"));
    // Whatever the CPU, it is not both x86-64 and aarch64.
    let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    assert!(error_for(foreign).to_string().contains("this CPU does not support it"));
}

#[test]
fn tile_of_every_level_has_rows_and_whole_vectors() {
    common::on_each_level(|level, failures| {
        failures.check(level.tile_rows() > 0, || "a tile without rows".to_owned());
        let width = level.panel_width();
        failures.check(width > 0 && width.is_multiple_of(16), || format!("panels of {width}"));
    });
}

/// A machine that was chosen for its levels must have them, because the other tests skip missing
/// levels.
#[test]
fn levels_expected_by_environment_are_available() {
    let Ok(expected) = std::env::var(EXPECTED) else { return };
    let expected: BTreeSet<_> = expected.split(',').map(str::trim).collect();
    let here: BTreeSet<_> = Level::available().into_iter().map(Level::name).collect();
    assert_eq!(here, expected, "levels of this CPU (left) and of {EXPECTED} (right)");
}
