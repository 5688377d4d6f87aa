//! `likewise trace`: every intermediate result of a pass.

use std::io::{self, Write};
use std::path::PathBuf;

use likewise::{OutputFile, Trace, TraceFile, TracedTensor};

use crate::arguments::{KindArgs, ModelArgs};
use crate::command_line::TEXT_RULE;
use crate::model::Model;
use crate::outcome::{Outcome, UsageError};
use crate::{input, stdout};

/// Record every intermediate result of a pass.
#[derive(clap::Args)]
#[command(after_help = format!("Examples:\n  \
    likewise trace \"That is a happy person\"\n  \
    likewise trace --model tiny --output t.safetensors --padded \"a text\" \"another text\"\n  \
    likewise trace --model tiny --layer 0 --site query --site 'rotated_*' \"a text\"\n\n\
    A cross-encoder reads the first text with each of the others.\n\
    The file has a tensor for each result, with the letters of its shape in the metadata, and the\n\
    token ids, positions and types. `likewise compare` compares two such files.\n\n{TEXT_RULE}"))]
pub(crate) struct Args {
    /// Texts of the pass; '-' for the lines of stdin
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    /// File of more texts, one per line; '-' for stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Output file (.safetensors) [default: none, a table on stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Pad all texts to the longest, as [B, L, D], instead of packing them, as [T, D]
    #[arg(long)]
    padded: bool,

    /// Results to keep, by name; '*' matches any characters [default: all]
    #[arg(long, value_name = "NAME")]
    site: Vec<String>,

    /// Layers to keep, the first being 0 [default: all, and what is outside layers]
    #[arg(long, value_name = "N")]
    layer: Vec<usize>,

    /// Texts are queries, for late-interaction models [default: documents]
    #[arg(long)]
    query: bool,

    #[command(flatten)]
    kind: KindArgs,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(path) = args.output.as_ref().filter(|path| path.extension().is_none_or(|end| end != "safetensors")) {
        let what = format!("--output {}: expected a file name that ends in .safetensors", path.display());
        return Err(Box::new(UsageError(what)));
    }
    let texts = input::texts(&args.texts, args.input.as_deref())?;
    if texts.is_empty() {
        return Err(Box::new(UsageError("no texts: pass at least one, or --input FILE".to_owned())));
    }
    let file = args.output.as_ref().map(OutputFile::create).transpose()?;
    let model = args.model.open_any(&args.kind)?;
    let trace = trace(&model, &texts, args.query)?;
    let info = model.info();
    let written = TraceFile::new(&trace)
        .padded(args.padded)
        .keep(|site| args.keeps(site))
        .with_metadata("model", info.name)
        .with_metadata("simd", info.level.to_string())
        .with_metadata("precision", info.precision.name());
    if written.sites().is_empty() {
        let what = format!("--site, --layer: no result has such a name; there are: {}", names(&trace).join(", "));
        return Err(Box::new(UsageError(what)));
    }
    let Some(mut file) = file else { return Ok(stdout::write(|out| print_table(&trace, written.sites(), out))?) };
    file.write(|out| written.write(out))?;
    Ok(file.commit()?)
}

impl Args {
    /// Returns whether the options keep a site. The name of a site in a layer also matches without
    /// the layer.
    fn keeps(&self, site: &str) -> bool {
        let in_layer = site.strip_prefix("layer.").and_then(|rest| rest.split_once('.'));
        let of_layer = |(layer, _): (&str, &str)| self.layer.iter().any(|kept| layer == kept.to_string());
        let short = in_layer.map_or(site, |(_, name)| name);
        let is_named = |pattern: &String| matches(pattern, site) || matches(pattern, short);
        (self.layer.is_empty() || in_layer.is_some_and(of_layer))
            && (self.site.is_empty() || self.site.iter().any(is_named))
    }
}

/// Runs a pass over the texts.
fn trace(model: &Model, texts: &[String], are_queries: bool) -> Outcome<Trace> {
    if are_queries && !matches!(model, Model::MultiVector(_)) {
        let what = "--query: only for a late-interaction model; --prompt-name chooses a prompt";
        return Err(Box::new(UsageError(what.to_owned())));
    }
    Ok(match model {
        Model::Embedder(model) => model.trace(texts)?,
        Model::SparseEncoder(model) => model.trace(texts)?,
        Model::MultiVector(model) if are_queries => model.trace_queries(texts)?,
        Model::MultiVector(model) => model.trace_documents(texts)?,
        Model::CrossEncoder(model) => match texts.split_first() {
            Some((first, others)) if !others.is_empty() => {
                let pairs: Vec<(&String, &String)> = others.iter().map(|other| (first, other)).collect();
                model.trace(&pairs)?
            }
            _ => {
                let what = "expected two texts or more: a cross-encoder reads the first with each of the others";
                return Err(Box::new(UsageError(what.to_owned())));
            }
        },
    })
}

/// Returns the names of all results, those of layers with `N` for the layer.
fn names(trace: &Trace) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for tensor in trace.tensors() {
        let in_layer = tensor.site().strip_prefix("layer.").and_then(|rest| rest.split_once('.'));
        let name = in_layer.map_or(tensor.site().to_owned(), |(_, name)| format!("layer.N.{name}"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether a name matches a pattern in which '*' stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Prints a line per result: its name, shape, range and root mean square.
fn print_table(trace: &Trace, sites: &[&str], out: &mut dyn Write) -> io::Result<()> {
    let tensors: Vec<&TracedTensor> = sites.iter().filter_map(|site| trace.get(site)).collect();
    let names = tensors.iter().map(|tensor| tensor.site().len()).max().unwrap_or(0);
    let shape = |tensor: &TracedTensor| format!("{:?}", tensor.shape());
    let shapes = tensors.iter().map(|tensor| shape(tensor).len()).max().unwrap_or(0);
    let letters = tensors.iter().map(|tensor| tensor.letters().chars().count()).max().unwrap_or(0);
    writeln!(out, "{:names$}  {:letters$}  {:shapes$}  {:>10}  {:>10}  {:>10}", "", "", "", "least", "largest", "rms")?;
    for tensor in tensors {
        let finite = || tensor.as_slice().iter().copied().filter(|x| x.is_finite());
        let (least, largest) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
        let squares: f64 = finite().map(|x| f64::from(x).powi(2)).sum();
        let rms = (squares / finite().count().max(1) as f64).sqrt();
        writeln!(
            out,
            "{:names$}  {:letters$}  {:shapes$}  {least:>10.4}  {largest:>10.4}  {rms:>10.4}",
            tensor.site(),
            tensor.letters(),
            shape(tensor),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_characters() {
        for (pattern, name) in [("query", "query"), ("*", "a"), ("rot*", "rotated_key"), ("*_key", "rotated_key")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("query", "rotated_query"), ("rot*", "key"), ("a*a", "a"), ("", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(matches("layer.*.k*y", "layer.3.key"));
    }
}
