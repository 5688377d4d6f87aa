//! `likewise similarity`: the similarity of sentences to a source.

use std::io::Write;
use std::path::PathBuf;

use likewise::{Scores, Similarity};

use super::hybrid::{self, HybridArgs};
use crate::arguments::{KindArgs, ModelArgs};
use crate::command_line::TEXT_RULE;
use crate::model::VectorModel;
use crate::outcome::{Outcome, UsageError};
use crate::{input, output, progress, stdout};

/// Score sentences by their similarity to a source.
#[derive(clap::Args)]
#[command(after_help = format!("Examples:\n  \
    likewise similarity \"A happy person\" \"A happy dog\"\n  \
    likewise similarity --model all-MiniLM-L6-v2 --json \"A dog\" --input in.txt\n  \
    cat in.txt | likewise similarity --model all-MiniLM-L6-v2 \"A dog\" --input -\n  \
    likewise similarity --model BAAI/bge-m3 --hybrid \"A dog\" \"A cat\"\n\n\
    --hybrid prints four scores for each sentence: the weighted mean, dense, sparse, multi-vector (of tokens).\n\
    With --json they are an object: score, dense, sparse, multi_vector.\n\n{TEXT_RULE}"))]
pub(crate) struct Args {
    /// Text to compare with
    source: String,

    /// Sentences to score
    #[arg(value_name = "SENTENCE")]
    sentences: Vec<String>,

    /// File of more sentences, one per line; '-' for stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Print a JSON array of scores, in the order of the sentences
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    hybrid: HybridArgs,

    #[command(flatten)]
    kind: KindArgs,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let arguments: Vec<String> = std::iter::once(&args.source).chain(&args.sentences).cloned().collect();
    let texts = input::texts(&arguments, args.input.as_deref())?;
    let Some((source, sentences)) = texts.split_first() else { return Err("no source".into()) };
    if sentences.is_empty() {
        let what = match &args.input {
            Some(path) => format!("no sentences: {} is empty", input::label(path)),
            None => "no sentences: pass at least one after SOURCE, or --input FILE".to_owned(),
        };
        return Err(if args.input.is_some() { what.into() } else { Box::new(UsageError(what)) });
    }
    if let Some(weights) = args.hybrid.weights() {
        args.kind.reject_sparse()?;
        let scores = hybrid::scores(&args.model.open_hybrid()?, source, sentences, weights)?;
        let json = args.json.then(|| serde_json::to_string(&scores)).transpose()?;
        return Ok(stdout::write(|out| match json {
            Some(json) => writeln!(out, "{json}"),
            None => hybrid::print_table(out, scores.iter().copied().zip(sentences)),
        })?);
    }
    let model = args.model.open_vectors(&args.kind)?;
    let bar = progress::text_bar(sentences.len());
    let (scores, is_cosine) = scores(&model, source, sentences, |done| bar.inc(done as u64))?;
    bar.finish_and_clear();
    let mut usage = vec![scores.source];
    usage.extend(&scores.sentences);
    output::note_truncation(&usage);
    let json = args.json.then(|| serde_json::to_string(&scores.values)).transpose()?;
    stdout::write(|out| match json {
        Some(json) => writeln!(out, "{json}"),
        None => print_table(out, is_cosine, &scores, sentences),
    })?;
    Ok(())
}

/// Scores sentences by the vectors of texts, or by those of tokens. Returns also whether the scores
/// are cosines.
fn scores(
    model: &VectorModel,
    source: &str,
    sentences: &[String],
    count: impl Fn(usize) + Sync,
) -> Outcome<(Scores, bool)> {
    let is_cosine = |function| function == Similarity::Cosine;
    Ok(match model {
        VectorModel::Dense(model) => {
            (model.similarity_with_progress(source, sentences, count)?, is_cosine(model.similarity_function()))
        }
        VectorModel::Sparse(model) => {
            (model.similarity_with_progress(source, sentences, count)?, is_cosine(model.similarity_function()))
        }
        VectorModel::MultiVector(model) => (model.similarity_with_progress(source, sentences, count)?, false),
    })
}

/// Prints a line per sentence: its score, a bar, the sentence.
fn print_table(out: &mut dyn Write, is_cosine: bool, scores: &[f32], sentences: &[String]) -> std::io::Result<()> {
    const BAR_WIDTH: usize = 30;
    // A cosine is at most 1. The bars of other scores range from the smallest score to the
    // largest.
    let min = scores.iter().copied().fold(f32::INFINITY, f32::min);
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let share = |score: f32| match is_cosine {
        true => score,
        false if max > min => (score - min) / (max - min),
        false => 1.0,
    };
    for (&score, sentence) in scores.iter().zip(sentences) {
        writeln!(out, "{score:8.4}  {}  {}", output::bar(share(score), BAR_WIDTH), output::one_line(sentence))?;
    }
    Ok(())
}
