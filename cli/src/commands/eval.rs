//! `likewise eval`: the correlation of scores with human judgements.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use likewise::{Embedder, Error, pearson, spearman};
use serde_json::json;

use crate::arguments::ModelArgs;
use crate::outcome::Outcome;
use crate::{input, output, progress};

/// Correlate scores with human judgements (Pearson and Spearman).
#[derive(clap::Args)]
#[command(after_help = "Each line of a file is: judgement <TAB> text <TAB> text.\n\
    Correlations are multiplied by 100, as is usual.\n\n\
    Example:\n  likewise eval --model all-MiniLM-L6-v2 STS16.tsv")]
pub(crate) struct Args {
    /// Files of judged pairs, tab-separated
    #[arg(value_name = "PAIRS.tsv", required = true)]
    files: Vec<PathBuf>,

    /// Print a JSON list of objects: file, pairs, pearson, spearman
    #[arg(long)]
    json: bool,

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
    pearson: f64,
    spearman: f64,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let files = args.files.iter().map(|path| Ok((path, read_pairs(path)?))).collect::<Outcome<Vec<_>>>()?;
    let model = args.model.open()?;
    let mut results = Vec::new();
    for (path, pairs) in files {
        results.push(evaluate(&model, path, &pairs)?);
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let list: Vec<_> = results
            .iter()
            .map(|r| json!({"file": r.file, "pairs": r.pairs, "pearson": r.pearson, "spearman": r.spearman}))
            .collect();
        writeln!(out, "{}", serde_json::to_string(&list)?)?;
    } else {
        let width = results.iter().map(|r| r.file.chars().count()).max().unwrap_or(0).max(4);
        writeln!(out, "{:width$}  {:>6}  {:>7}  {:>8}", "file", "pairs", "Pearson", "Spearman")?;
        for r in &results {
            writeln!(out, "{:width$}  {:>6}  {:>7.2}  {:>8.2}", r.file, r.pairs, r.pearson, r.spearman)?;
        }
    }
    Ok(())
}

fn evaluate(model: &Embedder, path: &Path, pairs: &[Pair]) -> Outcome<Agreement> {
    // A text that is in several pairs is embedded once.
    let mut indices: HashMap<&str, usize> = HashMap::new();
    let mut texts: Vec<&str> = Vec::new();
    for text in pairs.iter().flat_map(|pair| &pair.texts) {
        indices.entry(text).or_insert_with(|| {
            texts.push(text);
            texts.len() - 1
        });
    }
    let bar = progress::text_bar(texts.len());
    let vectors = model.embed_with_progress(&texts, |done| bar.inc(done as u64))?;
    bar.finish_and_clear();
    output::note_truncation(vectors.usage());
    let mut scores = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let [a, b] = pair.texts.each_ref().map(|text| vectors.row(indices[text.as_str()]));
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
    let judgements: Vec<f64> = pairs.iter().map(|pair| pair.judgement).collect();
    Ok(Agreement {
        file: input::label(path),
        pairs: pairs.len(),
        pearson: 100.0 * pearson(&judgements, &scores),
        spearman: 100.0 * spearman(&judgements, &scores),
    })
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
