//! The comparison of two files of intermediate results.
//!
//! `tensors` reads a file and removes its padding, `names` knows which sites PyTorch's modules
//! compute, `difference` measures, and `causes` explains the first site that differs.

mod causes;
mod difference;
#[cfg(test)]
mod mutated_files;
mod names;
mod tensors;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use self::difference::place;
pub(crate) use self::difference::{Difference, Status};
use self::tensors::Side;
use crate::outcome::UsageError;

/// The result of a comparison.
pub(crate) struct Comparison {
    a: Side,
    b: Side,
    /// The sites that both files have, in the order of the computation.
    pub(crate) differences: Vec<Difference>,
    /// What differs before all sites: the tokens.
    pub(crate) inputs: Option<String>,
    /// The explanation of the first difference, if it has a known pattern.
    pub(crate) cause: Option<String>,
}

impl Comparison {
    /// Compares two files. `map` has the sites of names that are not known. `bound` is the largest
    /// difference of equal tensors, as a part of the site's largest magnitude.
    ///
    /// # Errors
    /// If a file cannot be read, or the files have no site in common.
    pub(crate) fn new(a: &Path, b: &Path, map: &HashMap<String, String>, bound: f64) -> Result<Self, UsageError> {
        let a = Side::read(a, map, None)?;
        let b = Side::read(b, map, Some(&a.counts))?;
        check_map(map, &a, &b)?;
        let order = common_sites(&a, &b);
        if order.is_empty() {
            return Err(no_common_site(&a, &b));
        }
        let same_tokens = a.counts == b.counts;
        let compare = |site: &String| {
            let (x, y) = (a.tensors.get(site)?, b.tensors.get(site)?);
            Some(Difference::new(site, x, y, bound))
        };
        let differences: Vec<Difference> = order.iter().filter_map(compare).collect();
        let mut comparison = Self { a, b, differences, inputs: None, cause: None };
        if let Some((what, cause)) = causes::tokens(&comparison.a, &comparison.b) {
            (comparison.inputs, comparison.cause) = (Some(what), cause);
        } else if same_tokens && let Some(first) = comparison.first() {
            let first = (first.site.clone(), first.status);
            comparison.cause = causes::explain(&comparison.a, &comparison.b, &comparison.differences, &first.0);
        }
        Ok(comparison)
    }

    /// Returns the first site that differs.
    pub(crate) fn first(&self) -> Option<&Difference> {
        self.differences.iter().find(|difference| difference.status != Status::Equal)
    }

    /// Returns the last site before a site that is equal.
    pub(crate) fn last_equal_before(&self, site: &str) -> Option<&str> {
        let before = self.differences.iter().take_while(|difference| difference.site != site);
        before.last().map(|difference| difference.site.as_str())
    }

    /// Returns the sites of A between two sites, which B does not have.
    pub(crate) fn missing_between(&self, start: Option<&str>, end: &str) -> Vec<&str> {
        let from = start.and_then(|start| self.a.order.iter().position(|site| site == start)).map_or(0, |at| at + 1);
        let to = self.a.order.iter().position(|site| site == end).unwrap_or(from);
        let between = self.a.order.get(from..to).unwrap_or_default();
        between.iter().filter(|site| !self.b.tensors.contains_key(*site)).map(String::as_str).collect()
    }

    /// Returns the numbers of a site that differs, in words.
    pub(crate) fn describe(&self, difference: &Difference) -> String {
        let (Some(a), Some(b)) = (self.a.tensors.get(&difference.site), self.b.tensors.get(&difference.site)) else {
            return String::new();
        };
        if difference.status == Status::OtherShape {
            return format!("other shapes: {:?} in A and {:?} in B", a.shape, b.shape);
        }
        let (x, y) = (a.data[difference.at], b.data[difference.at]);
        format!(
            "max abs {:.2e} at {} (A {}, B {}), relative {:.2e}, {} ULP, rms {:.2e}",
            difference.max_abs,
            place(&self.a, a, difference.at),
            element(x),
            element(y),
            difference.relative,
            units(difference.ulp),
            difference.rms
        )
    }

    /// Whether the files have the same tokens and no site differs.
    pub(crate) fn is_equal(&self) -> bool {
        self.inputs.is_none() && self.first().is_none()
    }

    /// Returns the number of sites that only A has, and of names that only B has.
    pub(crate) fn unmatched(&self) -> (usize, usize) {
        let only = |x: &Side, y: &Side| x.tensors.keys().filter(|site| !y.tensors.contains_key(*site)).count();
        (only(&self.a, &self.b), only(&self.b, &self.a))
    }
}

/// Returns an element in words.
fn element(x: f64) -> String {
    match x {
        x if difference::is_hidden(x) => "hidden".to_owned(),
        x if x.abs() < 1e-3 && x != 0.0 => format!("{x:.3e}"),
        x => format!("{x:.5}"),
    }
}

/// Returns a number of units in the last place, rounded if it is large.
pub(crate) fn units(count: u64) -> String {
    if count < 10_000 { count.to_string() } else { format!("{:.1e}", count as f64) }
}

/// Returns the sites that both files have, in the order of the computation. Sites that are not
/// known keep the order of A's file.
fn common_sites(a: &Side, b: &Side) -> Vec<String> {
    let listed: BTreeSet<&String> = a.order.iter().collect();
    let others = a.tensors.keys().filter(|site| !listed.contains(site));
    let mut sites: Vec<&String> = a.order.iter().chain(others).filter(|site| b.tensors.contains_key(*site)).collect();
    sites.sort_by_key(|site| names::rank(site));
    sites.into_iter().cloned().collect()
}

/// Rejects names of a map that no file has, and sites that are in no file: a misspelt one would be
/// left out silently.
fn check_map(map: &HashMap<String, String>, a: &Side, b: &Side) -> Result<(), UsageError> {
    for (name, site) in map {
        if ![a, b].iter().any(|side| side.names.contains(name)) {
            return Err(UsageError(format!("--map: {name:?}: no file has a tensor of this name")));
        }
        if !a.tensors.contains_key(site) {
            let path = a.path.display();
            return Err(UsageError(format!("--map: {name:?}: {path} has no site {site:?}; see `likewise trace`")));
        }
    }
    Ok(())
}

/// Returns the error of files without a common site.
fn no_common_site(a: &Side, b: &Side) -> UsageError {
    let some = |side: &Side| {
        let shown: Vec<&str> = side.names.iter().take(12).map(String::as_str).collect();
        let more = side.names.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}: {}{more}", side.path.display(), shown.join(", "))
    };
    UsageError(format!(
        "no common site: expected tensors with the names of `likewise trace` or of PyTorch's modules; --map FILE.json \
         gives the sites of other names\n  {}\n  {}",
        some(a),
        some(b)
    ))
}
