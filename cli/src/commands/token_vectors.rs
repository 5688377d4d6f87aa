//! The vectors of tokens in `likewise embed`.

use std::io::{self, Write};

use likewise::{MultiVectorEncoder, OutputFile, TensorFile, TokenUsage, TokenVectors, VectorFormat};
use serde_json::json;

use crate::outcome::{Outcome, UsageError};
use crate::{output, progress, stdout};

/// The vectors of this many texts are printed together.
const TEXTS_PER_PART: usize = 256;

/// Embeds texts and writes the vectors of their tokens: to the file, or without one to stdout.
pub(crate) fn embed(
    model: &MultiVectorEncoder,
    texts: &[String],
    are_queries: bool,
    format: VectorFormat,
    file: Option<OutputFile>,
) -> Outcome {
    if format == VectorFormat::Npy {
        let what = "--output: expected .safetensors or .jsonl for a late-interaction model: a .npy file is one array, and \
                    texts have different numbers of vectors";
        return Err(Box::new(UsageError(what.to_owned())));
    }
    let bar = progress::text_bar(texts.len());
    let count = |done: usize| bar.inc(done as u64);
    let encode = |texts: &[String]| match are_queries {
        true => model.encode_queries_with_progress(texts, count),
        false => model.encode_documents_with_progress(texts, count),
    };
    if format == VectorFormat::Safetensors || file.is_some() {
        let vectors = encode(texts)?;
        bar.finish_and_clear();
        output::note_truncation(vectors.usage());
        let write = |out: &mut dyn Write| match format {
            VectorFormat::Safetensors => write_safetensors(&vectors, out),
            _ => write_lines(texts, &vectors, out),
        };
        let Some(mut file) = file else { return Ok(stdout::write(write)?) };
        file.write(write)?;
        return Ok(file.commit()?);
    }
    let mut usage = Vec::new();
    for part in texts.chunks(TEXTS_PER_PART) {
        let vectors = encode(part)?;
        usage.extend_from_slice(vectors.usage());
        stdout::write(|out| write_lines(part, &vectors, out))?;
    }
    bar.finish_and_clear();
    output::note_truncation(&usage);
    Ok(())
}

/// Writes a JSON object per text: `text`, `vectors` (a list for each token), `tokens`, `used`,
/// `truncated`.
fn write_lines(texts: &[String], vectors: &TokenVectors, out: &mut dyn Write) -> io::Result<()> {
    for ((text, rows), usage) in texts.iter().zip(vectors.iter()).zip(vectors.usage()) {
        let rows: Vec<&[f32]> = rows.rows().collect();
        let (tokens, used, truncated) = (usage.total, usage.used, usage.truncated());
        let line = json!({ "text": text, "vectors": rows, "tokens": tokens, "used": used, "truncated": truncated });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Writes safetensors: `vectors` (F32, `[N, width]`) of all tokens, `offsets` (I64, `[texts + 1]`)
/// of each text's first vector, `ids` (U32, `[N]`) of the tokens, and `tokens` and `used` (U32,
/// `[texts]`).
fn write_safetensors(vectors: &TokenVectors, out: &mut dyn Write) -> io::Result<()> {
    let mut file = TensorFile::new();
    add_token_vectors(&mut file, vectors);
    file.write(out)
}

/// Adds the tensors of the vectors of tokens, and how many tokens of each text are used.
pub(super) fn add_token_vectors<'a>(file: &mut TensorFile<'a>, vectors: &'a TokenVectors) {
    let (texts, count) = (vectors.len(), vectors.ids().len());
    let counts = |count: fn(&TokenUsage) -> usize| -> Vec<u32> {
        vectors.usage().iter().map(|usage| count(usage) as u32).collect()
    };
    file.add_i64("offsets", &[texts + 1], vectors.offsets().iter().map(|&offset| offset as i64).collect::<Vec<_>>());
    file.add_f32("vectors", &[count, vectors.width()], vectors.as_slice());
    file.add_u32("ids", &[count], vectors.ids());
    file.add_u32("tokens", &[texts], counts(|usage| usage.total));
    file.add_u32("used", &[texts], counts(|usage| usage.used));
}
