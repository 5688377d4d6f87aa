//! `likewise rerank`: the texts that answer a query best, by a cross-encoder or by the vectors of
//! tokens.

use std::io::Write;
use std::path::PathBuf;

use likewise::RankedText;
use serde::Serialize;

use super::hybrid::{self, HybridArgs, HybridScore, Weights};
use crate::arguments::ModelArgs;
use crate::command_line::TEXT_RULE;
use crate::model::Ranker;
use crate::outcome::{Outcome, UsageError};
use crate::{input, output, progress, stdout};

/// Rank texts by their relevance to a query.
#[derive(clap::Args)]
#[command(after_help = format!("Examples:\n  \
    likewise rerank --model ms-marco-MiniLM-L6-v2 \"a query\" --input in.txt\n  \
    likewise rerank --model reranker --top-k 3 --json \"a query\" \"a text\" \"more\"\n  \
    likewise rerank --model BAAI/bge-m3 --hybrid \"a query\" --input in.txt\n\n\
    The model must be a cross-encoder, which reads the query and a text together, or a late-interaction\n\
    model such as ColBERT, which compares their tokens. For other models, use `likewise similarity`.\n\
    --hybrid ranks by the dense, sparse and token vectors of bge-m3 at once.\n\n{TEXT_RULE}"))]
#[command(mut_arg("model", |model| model.help("Model folder or hub id; required [env: LIKEWISE_MODEL]")))]
pub(crate) struct Args {
    /// Query that the texts should answer
    query: String,

    /// Texts to rank
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    /// File of more texts, one per line; '-' for stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Number of texts to print, the best ones [default: all]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,

    /// Print a JSON array of objects, best first: index, score, text
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    hybrid: HybridArgs,

    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let arguments: Vec<String> = std::iter::once(&args.query).chain(&args.texts).cloned().collect();
    let all = input::texts(&arguments, args.input.as_deref())?;
    let Some((query, texts)) = all.split_first() else { return Err("no query".into()) };
    if texts.is_empty() {
        return Err(match &args.input {
            Some(path) => format!("no texts: {} is empty", input::label(path)).into(),
            None => Box::new(UsageError("no texts: pass at least one after QUERY, or --input FILE".to_owned())),
        });
    }
    if let Some(weights) = args.hybrid.weights() {
        return rank_hybrid(args, query, texts, weights);
    }
    let model = args.model.open_ranker()?;
    let bar = progress::text_bar(texts.len());
    let count = |done: usize| bar.inc(done as u64);
    let mut ranking = match &model {
        Ranker::CrossEncoder(model) => model.rank_with_progress(query, texts, count)?,
        Ranker::MultiVector(model) => model.rank_with_progress(query, texts, count)?,
    };
    bar.finish_and_clear();
    output::note_truncated_pairs(&ranking.usage);
    ranking.texts.truncate(args.top_k.map_or(usize::MAX, |k| k as usize));
    let json = args.json.then(|| as_json(&ranking.texts, texts)).transpose()?;
    stdout::write(|out| match json {
        Some(json) => writeln!(out, "{json}"),
        None => print_table(out, &ranking.texts, texts),
    })?;
    Ok(())
}

/// Ranks texts by the weighted mean of the scores of bge-m3. Texts of equal score keep their order.
fn rank_hybrid(args: &Args, query: &str, texts: &[String], weights: Weights) -> Outcome {
    let model = args.model.open_hybrid()?;
    let mut ranked: Vec<(usize, HybridScore)> =
        hybrid::scores(&model, query, texts, weights)?.into_iter().enumerate().collect();
    // The sort is stable. An order of 0.0 and -0.0 would not be one of scores.
    ranked.sort_by(|(_, a), (_, b)| (b.score + 0.0).total_cmp(&(a.score + 0.0)));
    ranked.truncate(args.top_k.map_or(usize::MAX, |k| k as usize));
    let entry = |&(index, scores): &(usize, HybridScore)| HybridEntry { index, scores, text: &texts[index] };
    let entries = || ranked.iter().map(entry).collect::<Vec<_>>();
    let json = args.json.then(|| serde_json::to_string(&entries())).transpose()?;
    stdout::write(|out| match json {
        Some(json) => writeln!(out, "{json}"),
        None => hybrid::print_table(out, ranked.iter().map(|&(index, scores)| (scores, &texts[index]))),
    })?;
    Ok(())
}

/// A text of the result of `--hybrid` in JSON.
#[derive(Serialize)]
struct HybridEntry<'a> {
    index: usize,
    #[serde(flatten)]
    scores: HybridScore,
    text: &'a str,
}

/// A text of the result in JSON.
#[derive(Serialize)]
struct Entry<'a> {
    index: usize,
    score: f32,
    text: &'a str,
}

fn as_json(ranked: &[RankedText], texts: &[String]) -> serde_json::Result<String> {
    let entry = |ranked: &RankedText| Entry { index: ranked.index, score: ranked.score, text: &texts[ranked.index] };
    serde_json::to_string(&ranked.iter().map(entry).collect::<Vec<_>>())
}

/// Prints a line per text: its score, a bar, the text. The bars range from the smallest score to
/// the largest, or from 0 to 1 if all scores are there.
fn print_table(out: &mut dyn Write, ranked: &[RankedText], texts: &[String]) -> std::io::Result<()> {
    const BAR_WIDTH: usize = 30;
    let scores = || ranked.iter().map(|text| text.score);
    let (min, max) = (scores().fold(0.0, f32::min), scores().fold(1.0, f32::max));
    for text in ranked {
        let bar = output::bar((text.score - min) / (max - min), BAR_WIDTH);
        writeln!(out, "{:8.4}  {bar}  {}", text.score, output::one_line(&texts[text.index]))?;
    }
    Ok(())
}
