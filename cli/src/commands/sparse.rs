//! Sparse vectors in `likewise embed`.

use std::io::{self, Write};

use likewise::{OutputFile, SparseEmbeddings, SparseEncoder, VectorFormat};
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
    let (rows, elements) = (vectors.bounds().len(), vectors.indices().len());
    let ends = [rows * 8, rows * 8 + elements * 4, rows * 8 + elements * 8];
    let header = json!({
        "__metadata__": { "format": "csr", "shape": format!("[{}, {}]", vectors.len(), vectors.dimension()) },
        "indptr": { "dtype": "I64", "shape": [rows], "data_offsets": [0, ends[0]] },
        "indices": { "dtype": "I32", "shape": [elements], "data_offsets": [ends[0], ends[1]] },
        "values": { "dtype": "F32", "shape": [elements], "data_offsets": [ends[1], ends[2]] },
    });
    let mut header = header.to_string();
    // The tensors start at a multiple of eight bytes.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    vectors.bounds().iter().try_for_each(|&bound| out.write_all(&(bound as i64).to_le_bytes()))?;
    // A vocabulary has far fewer than 2³¹ entries, so the bytes of u32 are those of i32.
    vectors.indices().iter().try_for_each(|index| out.write_all(&index.to_le_bytes()))?;
    vectors.values().iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}
