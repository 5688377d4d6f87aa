//! `likewise eval`: the correlation of scores with human judgements.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use likewise::{CrossEncoder, Embedder, Error, MultiVectorEncoder, SparseEncoder, pearson, spearman};
use serde_json::json;

use crate::arguments::{KindArgs, ModelArgs};
use crate::model::Model;
use crate::outcome::Outcome;
use crate::{input, output, progress, stdout};

/// Correlate scores with human judgements (Pearson and Spearman).
#[derive(clap::Args)]
#[command(after_help = "Each line of a file is: judgement <TAB> text <TAB> text.\n\
    Correlations are multiplied by 100, as is usual. A correlation is undefined if all judgements or all\n\
    scores are equal: null in JSON, with a note on stderr.\n\n\
    Example:\n  likewise eval --model all-MiniLM-L6-v2 STS16.tsv")]
pub(crate) struct Args {
    /// Files of judged pairs, tab-separated; '-' for stdin
    #[arg(value_name = "PAIRS.tsv", required = true)]
    files: Vec<PathBuf>,

    /// Print a JSON list of objects: file, pairs, pearson, spearman
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    kind: KindArgs,

    #[command(flatten)]
    model: ModelArgs,
}

/// Two texts, and their similarity as judged by people.
struct Pair {
    judgement: f64,
    texts: [String; 2],
}

/// The result for a file.
struct Agreement {
    file: String,
    pairs: usize,
    /// None means undefined.
    pearson: Option<f64>,
    spearman: Option<f64>,
}

/// The largest rounding error of a score, as docs/numerics.md states it. A correlation with smaller
/// differences would be one with noise.
const SCORE_ERROR: f64 = 1e-6;

pub(crate) fn run(args: &Args) -> Outcome {
    input::reject_second_stdin(args.files.iter().map(|path| path.as_os_str()))?;
    let files = args.files.iter().map(|path| Ok((path, read_pairs(path)?))).collect::<Outcome<Vec<_>>>()?;
    let model = args.model.open_any(&args.kind)?;
    let mut results = Vec::new();
    for (path, pairs) in files {
        results.push(evaluate(&model, path, &pairs)?);
    }
    let json = args.json.then(|| as_json(&results)).transpose()?;
    stdout::write(|out| match json {
        Some(json) => writeln!(out, "{json}"),
        None => print_table(out, &results),
    })?;
    Ok(())
}

fn as_json(results: &[Agreement]) -> serde_json::Result<String> {
    let list: Vec<_> = results
        .iter()
        .map(|r| json!({"file": r.file, "pairs": r.pairs, "pearson": r.pearson, "spearman": r.spearman}))
        .collect();
    serde_json::to_string(&list)
}

/// Prints a line per file, with a header.
fn print_table(out: &mut dyn Write, results: &[Agreement]) -> std::io::Result<()> {
    let width = results.iter().map(|r| r.file.chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "{:width$}  {:>6}  {:>7}  {:>8}", "file", "pairs", "Pearson", "Spearman")?;
    for r in results {
        let [pearson, spearman] = [r.pearson, r.spearman].map(shown);
        writeln!(out, "{:width$}  {:>6}  {pearson:>7}  {spearman:>8}", r.file, r.pairs)?;
    }
    Ok(())
}

fn evaluate(model: &Model, path: &Path, pairs: &[Pair]) -> Outcome<Agreement> {
    let scores = match model {
        Model::Embedder(model) => similarities(model, path, pairs)?,
        Model::CrossEncoder(model) => predictions(model, pairs)?,
        Model::SparseEncoder(model) => sparse_similarities(model, pairs)?,
        Model::MultiVector(model) => token_scores(model, pairs)?,
    };
    let judgements: Vec<f64> = pairs.iter().map(|pair| pair.judgement).collect();
    Ok(correlate(path, &judgements, &scores))
}

/// Returns the score of each pair by a cross-encoder with one label.
fn predictions(model: &CrossEncoder, pairs: &[Pair]) -> Outcome<Vec<f64>> {
    if model.labels().len() != 1 {
        let labels = model.labels().join(", ");
        return Err(format!("expected a model with one label, found {}: {labels}", model.labels().len()).into());
    }
    let texts: Vec<(&str, &str)> = pairs.iter().map(|Pair { texts: [a, b], .. }| (a.as_str(), b.as_str())).collect();
    let bar = progress::text_bar(texts.len());
    let predictions = model.predict_with_progress(&texts, |done| bar.inc(done as u64))?;
    bar.finish_and_clear();
    output::note_truncated_pairs(predictions.usage());
    Ok(predictions.as_slice().iter().map(|&score| f64::from(score)).collect())
}

/// Returns the score of each pair by the vectors of tokens: the first text is the query.
fn token_scores(model: &MultiVectorEncoder, pairs: &[Pair]) -> Outcome<Vec<f64>> {
    let bar = progress::text_bar(2 * pairs.len());
    let texts = |i: usize| pairs.iter().map(|pair| pair.texts[i].as_str()).collect::<Vec<&str>>();
    let count = |done: usize| bar.inc(done as u64);
    let queries = model.encode_queries_with_progress(&texts(0), count)?;
    let documents = model.encode_documents_with_progress(&texts(1), count)?;
    bar.finish_and_clear();
    output::note_truncation(&[queries.usage(), documents.usage()].concat());
    let score = |(query, document)| Ok(f64::from(model.maxsim(query, document)?));
    queries.iter().zip(documents.iter()).map(score).collect()
}

/// The texts of all pairs. A text that is in several pairs is embedded once.
struct DistinctTexts<'a> {
    texts: Vec<&'a str>,
    indices: HashMap<&'a str, usize>,
}

impl<'a> DistinctTexts<'a> {
    fn of(pairs: &'a [Pair]) -> Self {
        let mut all = Self { texts: Vec::new(), indices: HashMap::new() };
        for text in pairs.iter().flat_map(|pair| &pair.texts) {
            all.indices.entry(text).or_insert_with(|| {
                all.texts.push(text);
                all.texts.len() - 1
            });
        }
        all
    }

    /// Returns the indices of the texts of a pair.
    fn of_pair(&self, pair: &Pair) -> [usize; 2] {
        pair.texts.each_ref().map(|text| self.indices[text.as_str()])
    }
}

/// Returns the similarity of the vectors of each pair.
fn similarities(model: &Embedder, path: &Path, pairs: &[Pair]) -> Outcome<Vec<f64>> {
    let distinct = DistinctTexts::of(pairs);
    let bar = progress::text_bar(distinct.texts.len());
    let vectors = model.embed_with_progress(&distinct.texts, |done| bar.inc(done as u64))?;
    bar.finish_and_clear();
    output::note_truncation(vectors.usage());
    let mut scores = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let [a, b] = distinct.of_pair(pair).map(|i| vectors.row(i));
        let score = model.score(a, b)?;
        if !score.is_finite() {
            return Err(format!(
                "{}: pair {}: expected a finite score, found NaN or infinity",
                input::label(path),
                scores.len() + 1
            )
            .into());
        }
        scores.push(f64::from(score));
    }
    Ok(scores)
}

/// Returns the similarity of the sparse vectors of each pair.
fn sparse_similarities(model: &SparseEncoder, pairs: &[Pair]) -> Outcome<Vec<f64>> {
    let distinct = DistinctTexts::of(pairs);
    let bar = progress::text_bar(distinct.texts.len());
    let vectors = model.embed_with_progress(&distinct.texts, |done| bar.inc(done as u64))?;
    bar.finish_and_clear();
    output::note_truncation(vectors.usage());
    let score = |pair: &Pair| {
        let [a, b] = distinct.of_pair(pair).map(|i| vectors.row(i));
        f64::from(model.score(a, b))
    };
    Ok(pairs.iter().map(score).collect())
}

/// Correlates judgements and scores. A note on stderr says why a correlation is undefined.
fn correlate(path: &Path, judgements: &[f64], scores: &[f64]) -> Agreement {
    let (file, pairs) = (input::label(path), judgements.len());
    let reason = if is_constant(judgements, 0.0) {
        "all judgements are equal"
    } else if is_constant(scores, SCORE_ERROR) {
        "all scores are equal, up to rounding"
    } else {
        let percent = |correlation: Option<f64>| correlation.map(|r| 100.0 * r);
        let [pearson, spearman] = [pearson(judgements, scores), spearman(judgements, scores)].map(percent);
        return Agreement { file, pairs, pearson, spearman };
    };
    output::to_stderr(format_args!("note: {}: the correlations are undefined: {reason}", output::one_line(&file)));
    Agreement { file, pairs, pearson: None, spearman: None }
}

/// Returns whether values differ by no more than `error`, relative to the largest if that is above
/// 1.
fn is_constant(values: &[f64], error: f64) -> bool {
    let (min, max) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), x| (min.min(*x), max.max(*x)));
    max - min <= error * max.abs().max(min.abs()).max(1.0)
}

/// Formats a correlation for the table.
fn shown(correlation: Option<f64>) -> String {
    correlation.map_or_else(|| "–".to_owned(), |r| format!("{r:.2}"))
}

fn read_pairs(path: &Path) -> Outcome<Vec<Pair>> {
    let mut pairs = Vec::new();
    for (i, line) in input::lines(path)?.into_iter().enumerate() {
        let wrong = |expected, found: &str| Error::Line {
            file: input::label(path),
            line: i + 1,
            expected,
            found: format!("`{}`", output::one_line(found)),
        };
        let fields: Vec<&str> = line.split('\t').collect();
        let [judgement, a, b] = fields[..] else {
            return Err(wrong("three fields: judgement <TAB> text <TAB> text", &line).into());
        };
        let judgement = judgement.trim().parse::<f64>().ok().filter(|x| x.is_finite());
        let judgement = judgement.ok_or_else(|| wrong("a number in the first field", fields[0]))?;
        pairs.push(Pair { judgement, texts: [a.to_owned(), b.to_owned()] });
    }
    if pairs.len() < 2 {
        return Err(format!("{}: expected at least two pairs, found {}", input::label(path), pairs.len()).into());
    }
    Ok(pairs)
}
