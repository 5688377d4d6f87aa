//! `--hybrid` of the subcommands: the dense, sparse and token vectors of bge-m3, from one pass.

use std::io::{self, Write};
use std::str::FromStr;

use likewise::{BgeM3, BgeM3Scores, BgeM3Vectors, OutputFile, TensorFile, TokenUsage, VectorFormat};
use serde::Serialize;
use serde_json::json;

use super::sparse::add_csr;
use super::token_vectors::add_token_vectors;
use crate::outcome::{Outcome, UsageError};
use crate::{output, progress, stdout};

/// The texts that are encoded together for scores. The vectors of their tokens take some 100 MB.
const TEXTS_PER_PART: usize = 64;

/// Whether three kinds of vectors are scored, and how the scores are weighted.
#[derive(clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct HybridArgs {
    /// Score by the dense, sparse and token vectors of bge-m3, and by their mean
    #[arg(long)]
    hybrid: bool,

    /// Weights of the dense, sparse and token scores in their mean [default: 1,1,1]
    #[arg(long, value_name = "D,S,M", requires = "hybrid")]
    hybrid_weights: Option<Weights>,
}

/// The weights of the three scores in their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weights([f32; 3]);

impl FromStr for Weights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected three numbers of at least 0, not all 0, such as 0.4,0.2,0.4";
        let parsed: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        let weights: Option<[f32; 3]> = parsed.ok().and_then(|weights| weights.try_into().ok());
        let is_valid = |weights: &[f32; 3]| {
            weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
                && weights.iter().any(|&weight| weight > 0.0)
        };
        weights.filter(is_valid).map(Self).ok_or_else(|| EXPECTED.to_owned())
    }
}

impl HybridArgs {
    /// Returns the weights if `--hybrid` is set. FlagEmbedding's are 1 each.
    pub(crate) fn weights(&self) -> Option<Weights> {
        self.hybrid.then(|| self.hybrid_weights.unwrap_or(Weights([1.0; 3])))
    }
}

/// The scores of a text, in JSON.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct HybridScore {
    /// The weighted mean.
    pub(crate) score: f32,
    dense: f32,
    sparse: f32,
    multi_vector: f32,
}

impl HybridScore {
    fn new(scores: BgeM3Scores, Weights(weights): Weights) -> Self {
        Self {
            score: scores.weighted_mean(weights),
            dense: scores.dense,
            sparse: scores.sparse,
            multi_vector: scores.tokens,
        }
    }
}

/// A line of the tables: the four scores, and the text.
impl std::fmt::Display for HybridScore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:8.4}  {:8.4}  {:8.4}  {:12.4}", self.score, self.dense, self.sparse, self.multi_vector)
    }
}

/// The heads of the columns of the tables.
const COLUMNS: &str = "   score     dense    sparse  multi-vector  text";

/// Prints a table of texts and their scores.
pub(crate) fn print_table<'a>(
    out: &mut dyn Write,
    rows: impl IntoIterator<Item = (HybridScore, &'a String)>,
) -> io::Result<()> {
    writeln!(out, "{COLUMNS}")?;
    rows.into_iter().try_for_each(|(score, text)| writeln!(out, "{score}  {}", output::one_line(text)))
}

/// Scores texts for a query, and reports progress and texts that are too long.
pub(crate) fn scores(model: &BgeM3, query: &str, texts: &[String], weights: Weights) -> Outcome<Vec<HybridScore>> {
    let bar = progress::text_bar(texts.len());
    let query = model.encode(&[query])?;
    let mut usage: Vec<TokenUsage> = query.usage().to_vec();
    let mut scores = Vec::with_capacity(texts.len());
    for part in texts.chunks(TEXTS_PER_PART) {
        let vectors = model.encode_with_progress(part, |done| bar.inc(done as u64))?;
        usage.extend_from_slice(vectors.usage());
        for j in 0..part.len() {
            scores.push(HybridScore::new(model.scores(&query, 0, &vectors, j)?, weights));
        }
    }
    bar.finish_and_clear();
    output::note_truncation(&usage);
    Ok(scores)
}

/// Embeds texts and writes their three kinds of vectors: to the file, or without one to stdout.
pub(crate) fn embed(model: &BgeM3, texts: &[String], format: VectorFormat, file: Option<OutputFile>) -> Outcome {
    if format == VectorFormat::Npy {
        let what = "--output: expected .safetensors or .jsonl with --hybrid: a .npy file is one array";
        return Err(Box::new(UsageError(what.to_owned())));
    }
    let bar = progress::text_bar(texts.len());
    let count = |done: usize| bar.inc(done as u64);
    if format == VectorFormat::Safetensors || file.is_some() {
        let vectors = model.encode_with_progress(texts, count)?;
        bar.finish_and_clear();
        output::note_truncation(vectors.usage());
        let write = |out: &mut dyn Write| match format {
            VectorFormat::Safetensors => write_safetensors(&vectors, model.sparse_width(), out),
            _ => write_lines(texts, &vectors, out),
        };
        let Some(mut file) = file else { return Ok(stdout::write(write)?) };
        file.write(write)?;
        return Ok(file.commit()?);
    }
    let mut usage = Vec::new();
    for part in texts.chunks(TEXTS_PER_PART) {
        let vectors = model.encode_with_progress(part, count)?;
        usage.extend_from_slice(vectors.usage());
        stdout::write(|out| write_lines(part, &vectors, out))?;
    }
    bar.finish_and_clear();
    output::note_truncation(&usage);
    Ok(())
}

/// Writes a JSON object per text: `text`, `dense`, `indices` and `values` of the sparse vector,
/// `vectors` (a list for each token), `tokens`, `used`, `truncated`.
fn write_lines(texts: &[String], vectors: &BgeM3Vectors, out: &mut dyn Write) -> io::Result<()> {
    for (i, (text, usage)) in texts.iter().zip(vectors.usage()).enumerate() {
        let sparse = vectors.sparse(i);
        let rows: Vec<&[f32]> = vectors.tokens().text(i).rows().collect();
        let line = json!({
            "text": text, "dense": vectors.dense(i), "indices": sparse.indices, "values": sparse.values,
            "vectors": rows, "tokens": usage.total, "used": usage.used, "truncated": usage.truncated(),
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Writes safetensors: `dense` (F32, `[texts, D]`); the sparse vectors as a matrix in the format
/// CSR, `indptr` (I64), `indices` (I32) and `values` (F32), whose `shape` is in the metadata; the
/// vectors of tokens, `vectors` (F32, `[N, width]`), with the index of each text's first one,
/// `offsets` (I64, `[texts + 1]`), and the `ids` (U32, `[N]`); and `tokens` and `used` (U32,
/// `[texts]`).
fn write_safetensors(vectors: &BgeM3Vectors, sparse_width: usize, out: &mut dyn Write) -> io::Result<()> {
    let texts = vectors.len();
    let mut file = TensorFile::new();
    file.set_metadata("shape", format!("[{texts}, {sparse_width}]"));
    let dense: Vec<f32> = (0..texts).flat_map(|i| vectors.dense(i)).copied().collect();
    file.add_f32("dense", &[texts, dense.len() / texts.max(1)], dense);
    let (mut bounds, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
    for row in (0..texts).map(|i| vectors.sparse(i)) {
        indices.extend_from_slice(row.indices);
        values.extend_from_slice(row.values);
        bounds.push(indices.len());
    }
    add_csr(&mut file, &bounds, indices, values);
    add_token_vectors(&mut file, vectors.tokens());
    file.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_three_numbers_that_are_not_all_zero() {
        assert_eq!("0.4, 0.2,0".parse(), Ok(Weights([0.4, 0.2, 0.0])));
        for text in ["", "1", "1,1", "1,1,1,1", "0,0,0", "1,-1,1", "1,nan,1", "inf,1,1", "a,b,c"] {
            assert!(text.parse::<Weights>().is_err(), "{text}");
        }
    }
}
