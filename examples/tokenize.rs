//! Prints the token ids and offsets of texts: `tokenize MODEL_FOLDER < texts.jsonl > tokens.jsonl`.
//!
//! Each line of the input is a JSON string. Each line of the output is an object with `ids`,
//! `offsets` (in characters) and `total`, the number of tokens before truncation.
//! `fixtures/tokenizer_parity.py` compares them with those of transformers.

use std::io::{BufRead, BufWriter, Write, stdin, stdout};

use likewise::Embedder;
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: tokenize MODEL_FOLDER < texts.jsonl")?;
    let model = Embedder::builder().open(folder)?;
    let mut output = BufWriter::new(stdout().lock());
    for line in stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        let tokens = model.tokenize(&text)?;
        let line = json!({ "ids": tokens.ids, "offsets": tokens.offsets, "total": tokens.usage.total });
        writeln!(output, "{line}")?;
    }
    output.flush()?;
    Ok(())
}
