//! Sparse vectors in `likewise embed`.

use std::io::{self, Write};

use likewise::{OutputFile, SparseEmbeddings, SparseEncoder, TensorFile, VectorFormat};
use serde_json::json;

use crate::outcome::{Outcome, UsageError};
use crate::{output, progress, stdout};

/// The vectors of this many texts are printed together.
const TEXTS_PER_PART: usize = 1024;

/// Embeds texts and writes their sparse vectors: to the file, or without one to stdout.
pub(crate) fn embed(
    model: &SparseEncoder,
    texts: &[String],
    format: VectorFormat,
    file: Option<OutputFile>,
    is_quantized: bool,
) -> Outcome {
    if is_quantized {
        return Err(Box::new(UsageError("--quantize: expected none for a sparse model".to_owned())));
    }
    if format == VectorFormat::Npy {
        let what = "--output: expected .jsonl or .safetensors for a sparse model: a .npy file is one array, and most \
                    of it would be zeros";
        return Err(Box::new(UsageError(what.to_owned())));
    }
    let bar = progress::text_bar(texts.len());
    let count = |done: usize| bar.inc(done as u64);
    if format == VectorFormat::Safetensors || file.is_some() {
        let vectors = model.embed_with_progress(texts, count)?;
        bar.finish_and_clear();
        output::note_truncation(vectors.usage());
        let write = |out: &mut dyn Write| match format {
            VectorFormat::Safetensors => write_safetensors(&vectors, out),
            _ => write_lines(&vectors, out),
        };
        let Some(mut file) = file else { return Ok(stdout::write(write)?) };
        file.write(write)?;
        return Ok(file.commit()?);
    }
    let mut usage = Vec::new();
    for part in texts.chunks(TEXTS_PER_PART) {
        let vectors = model.embed_with_progress(part, count)?;
        usage.extend_from_slice(vectors.usage());
        stdout::write(|out| write_lines(&vectors, out))?;
    }
    bar.finish_and_clear();
    output::note_truncation(&usage);
    Ok(())
}

/// Writes a JSON object per vector: `{"indices": […], "values": […]}`.
fn write_lines(vectors: &SparseEmbeddings, out: &mut dyn Write) -> io::Result<()> {
    for row in vectors.rows() {
        writeln!(out, "{}", json!({ "indices": row.indices, "values": row.values }))?;
    }
    Ok(())
}

/// Writes safetensors with the matrix in the format CSR: `indptr` (I64), `indices` (I32), `values`
/// (F32), and in the metadata the `shape`, such as "[2, 30522]".
fn write_safetensors(vectors: &SparseEmbeddings, out: &mut dyn Write) -> io::Result<()> {
    let mut file = TensorFile::new();
    file.set_metadata("format", "csr");
    file.set_metadata("shape", format!("[{}, {}]", vectors.len(), vectors.dimension()));
    add_csr(&mut file, vectors.bounds(), vectors.indices().to_vec(), vectors.values().to_vec());
    file.write(out)
}

/// Adds the tensors `indptr`, `indices` and `values` of a sparse matrix.
pub(super) fn add_csr(file: &mut TensorFile<'_>, bounds: &[usize], indices: Vec<u32>, values: Vec<f32>) {
    let elements = indices.len();
    file.add_i64("indptr", &[bounds.len()], bounds.iter().map(|&bound| bound as i64).collect::<Vec<_>>());
    // A vocabulary has far fewer than 2³¹ entries.
    file.add_i32("indices", &[elements], indices.into_iter().map(|index| index as i32).collect::<Vec<_>>());
    file.add_f32("values", &[elements], values);
}
