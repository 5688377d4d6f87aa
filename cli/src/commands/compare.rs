//! `likewise compare`: the first site at which two implementations differ.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::compare::{Comparison, Difference, Status, units};
use crate::outcome::{Outcome, UsageError};
use crate::stdout;

/// The exit code if the files differ.
const DIFFER: u8 = 1;

/// Find the first difference of two files of intermediate results.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    likewise compare ours.safetensors port.safetensors\n  \
    likewise compare --map names.json ours.safetensors port.safetensors\n\n\
    A is the reference, usually of `likewise trace`. B is what another implementation computes for\n\
    the same texts: a trace, or a file of examples/dump_torch.py, or any safetensors file with\n\
    attention_mask and tensors by the names of PyTorch's modules. --map FILE.json gives the sites\n\
    of other names: {\"my.q\": \"layer.0.query\"}.\n\n\
    Scores of keys that a query does not see are equal if both are below -1e30.\n\
    The exit code is 0 if no site differs, 1 if one differs, and 2 for wrong usage or a file that\n\
    cannot be compared. docs/debugging.md explains how to find a mistake with it.")]
pub(crate) struct Args {
    /// Reference (.safetensors), usually of `likewise trace`
    #[arg(value_name = "A")]
    a: PathBuf,

    /// File to test (.safetensors)
    #[arg(value_name = "B")]
    b: PathBuf,

    /// JSON file of an object: names of tensors, with their sites
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,

    /// Largest difference of equal sites, as a part of a site's largest magnitude
    #[arg(long, value_name = "RATIO", default_value_t = 2e-5)]
    bound: f64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the comparison. The exit code says whether the files differ.
pub(crate) fn run(args: &Args) -> Outcome<ExitCode> {
    if !(args.bound >= 0.0 && args.bound.is_finite()) {
        let what = format!("--bound: expected a number of at least 0, found {}", args.bound);
        return Err(Box::new(UsageError(what)));
    }
    let map = args.map.as_deref().map(read_map).transpose()?.unwrap_or_default();
    let comparison = Comparison::new(&args.a, &args.b, &map, args.bound)?;
    stdout::write(|out| {
        if args.json {
            return writeln!(out, "{}", as_json(&comparison));
        }
        print_table(&comparison, out)?;
        print_result(&comparison, out)
    })?;
    Ok(if comparison.is_equal() { ExitCode::SUCCESS } else { ExitCode::from(DIFFER) })
}

/// Reads the sites of names.
fn read_map(path: &Path) -> Result<HashMap<String, String>, UsageError> {
    let failed = |what: &dyn std::fmt::Display| {
        UsageError(format!(
            "--map {}: expected a JSON object of names and sites, such as {{\"my.q\": \"layer.0.query\"}}: {what}",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

fn status(difference: &Difference) -> &'static str {
    match difference.status {
        Status::Equal => "ok",
        Status::Differs => "differs",
        Status::OtherShape => "other shape",
    }
}

/// Prints a line per site.
fn print_table(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    let sites = comparison.differences.iter().map(|difference| difference.site.len()).max().unwrap_or(0);
    writeln!(out, "{:sites$}  {:>9}  {:>9}  {:>9}  {:>7}", "", "max abs", "relative", "rms", "ULP")?;
    for difference in &comparison.differences {
        let Difference { site, max_abs, relative, rms, ulp, .. } = difference;
        let status = status(difference);
        if difference.status == Status::OtherShape {
            writeln!(out, "{site:sites$}  {:>9}  {:>9}  {:>9}  {:>7}  {status}", "-", "-", "-", "-")?;
        } else {
            writeln!(
                out,
                "{site:sites$}  {max_abs:>9.2e}  {relative:>9.2e}  {rms:>9.2e}  {:>7}  {status}",
                units(*ulp)
            )?;
        }
    }
    let (only_a, only_b) = comparison.unmatched();
    if only_a + only_b > 0 {
        writeln!(out, "not compared: {only_a} sites that only A has, {only_b} names that only B has")?;
    }
    Ok(())
}

/// Prints the first difference and its cause.
fn print_result(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    if comparison.is_equal() {
        return writeln!(out, "no difference: {} sites are equal", comparison.differences.len());
    }
    if let Some(inputs) = &comparison.inputs {
        writeln!(out, "first difference: {inputs}")?;
    } else if let Some(first) = comparison.first() {
        writeln!(out, "first difference: {}: {}", first.site, comparison.describe(first))?;
        let before = comparison.last_equal_before(&first.site);
        writeln!(out, "last equal site before it: {}", before.unwrap_or("none"))?;
        let missing = comparison.missing_between(before, &first.site);
        if !missing.is_empty() {
            writeln!(out, "between them, B does not have: {}", missing.join(", "))?;
        }
    }
    let unknown = "unknown; compare how both implementations compute this site from the sites before it";
    writeln!(out, "likely cause: {}", comparison.cause.as_deref().unwrap_or(unknown))
}

fn as_json(comparison: &Comparison) -> Value {
    let finite = |x: f64| if x.is_finite() { json!(x) } else { Value::Null };
    let site = |difference: &Difference| {
        json!({
            "site": difference.site,
            "status": status(difference),
            "max_abs": finite(difference.max_abs),
            "relative": finite(difference.relative),
            "rms": finite(difference.rms),
            "ulp": difference.ulp,
        })
    };
    let first = comparison.first().filter(|_| comparison.inputs.is_none());
    let before = first.and_then(|first| comparison.last_equal_before(&first.site));
    let missing = first.map_or(Vec::new(), |first| comparison.missing_between(before, &first.site));
    let tokens = comparison.inputs.as_deref().and_then(|what| what.split(':').next());
    json!({
        "equal": comparison.is_equal(),
        "first_difference": first.map(|first| first.site.as_str()).or(tokens),
        "description": comparison.inputs.clone().or_else(|| first.map(|first| comparison.describe(first))),
        "last_equal": before,
        "missing_in_b": missing,
        "likely_cause": comparison.cause,
        "sites": comparison.differences.iter().map(site).collect::<Vec<_>>(),
    })
}
