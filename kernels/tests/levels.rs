//! Levels by name, and which of them this CPU has.

mod common;

use std::collections::BTreeSet;

use likewise_kernels::{Level, UnavailableLevel};

/// Comma-separated names of the levels that this machine is known to have, where somebody knows.
const EXPECTED: &str = "LIKEWISE_EXPECT_LEVELS";

#[test]
fn names_round_trip() {
    common::on_each_level(|level, failures| {
        let parsed = level.name().parse::<Level>();
        failures.check(parsed == Ok(level), || format!("its name parses as {parsed:?}"));
        failures.check(level.to_string() == level.name(), || format!("displayed as {level}"));
        failures.check(format!("{level:?}") == level.name(), || format!("debugged as {level:?}"));
        failures.check(format!("{level:>12}").len() == 12, || "its name ignores the width".to_owned());
    });
}

#[test]
fn names_differ() {
    let names: BTreeSet<_> = Level::available().into_iter().map(Level::name).collect();
    assert_eq!(names.len(), Level::available().len(), "two levels with one name");
}

#[test]
fn constants_are_available_everywhere() {
    assert_eq!(Level::available()[..2], [Level::REFERENCE, Level::PORTABLE]);
    assert_eq!("reference".parse(), Ok(Level::REFERENCE));
    assert_eq!("portable".parse(), Ok(Level::PORTABLE));
}

#[test]
fn best_is_the_last() {
    assert_eq!(Some(Level::best()), Level::available().last().copied());
}

fn refusal(name: &str) -> UnavailableLevel {
    match name.parse::<Level>() {
        Ok(level) => panic!("`{name}` was read as {level}"),
        Err(refusal) => refusal,
    }
}

#[test]
fn refusal_names_what_was_asked_and_what_there_is() {
    let here: Vec<_> = Level::available().into_iter().map(Level::name).collect();
    // Names that CPUs have but this one may lack, and names that nothing has: case and blanks are part of a name.
    let lacking = ["avx2", "avx512", "neon"].into_iter().filter(|name| !here.contains(name));
    for name in lacking.chain(["", "sse9", "AVX2", " portable", "best"]) {
        let refusal = refusal(name);
        assert_eq!(refusal.requested, name);
        assert_eq!(refusal.available, here);
        let text = refusal.to_string();
        assert!(text.contains(&format!("`{name}`")), "{text}");
        assert!(here.iter().all(|level| text.contains(level)), "{text}");
    }
}

#[test]
fn refusal_tells_a_lack_from_a_mistake() {
    assert!(refusal("sse9").to_string().contains("no level has that name"));
    // Whatever the CPU, it is not both x86-64 and aarch64.
    let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    assert!(refusal(foreign).to_string().contains("this CPU does not have it"));
}

#[test]
fn tiles_have_rows_and_whole_vectors() {
    common::on_each_level(|level, failures| {
        failures.check(level.tile_rows() > 0, || "a tile without rows".to_owned());
        let width = level.panel_width();
        failures.check(width > 0 && width.is_multiple_of(16), || format!("panels of {width}"));
    });
}

/// A machine that was chosen for its levels must have them; otherwise the other tests would pass by testing less.
#[test]
fn expected_levels_are_available() {
    let Ok(expected) = std::env::var(EXPECTED) else { return };
    let expected: BTreeSet<_> = expected.split(',').map(str::trim).collect();
    let here: BTreeSet<_> = Level::available().into_iter().map(Level::name).collect();
    assert_eq!(here, expected, "levels of this CPU (left) and of {EXPECTED} (right)");
}
