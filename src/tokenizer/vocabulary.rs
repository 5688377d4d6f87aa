//! Vocabularies in the files that models had before there was tokenizer.json.
//!
//! | files | kind | models |
//! |---|---|---|
//! | `vocab.txt` | WordPiece | BERT, DistilBERT, MPNet |
//! | `vocab.json`, `merges.txt` | byte-level BPE | RoBERTa |
//! | `sentencepiece.bpe.model` | pieces with scores | XLM-RoBERTa, CamemBERT |
//!
//! What these files leave open is the habit of the [`Class`].

use std::collections::HashMap;

use serde_json::{Value, json};

use super::class::{Class, Parts, Vocabulary};
use super::sentencepiece;
use super::tokenizer_config::Settings;
use crate::config::parse_json;
use crate::error::{Error, Result};
use crate::files::ModelFiles;

const WORDS: &str = "vocab.txt";
const PIECES: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const SENTENCE_PIECES: &str = "sentencepiece.bpe.model";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads the vocabulary that a class needs. Gives the file's name for messages, too.
///
/// # Errors
/// If the files are not there, or are not what they should be.
pub(super) fn read(
    files: &ModelFiles,
    class: Class,
    settings: &Settings,
) -> Result<(String, std::result::Result<Parts, Failure>)> {
    match class {
        Class::Bert | Class::MpNet => {
            let bytes = files.read(WORDS)?.map_or_else(|| Err(none(files, settings)?), Ok)?;
            let label = files.label(WORDS);
            // As the tokenizers crate reads it for the reference: of two lines that are alike the last counts.
            let words = lines(&label, &bytes)?.enumerate().map(|(id, word)| (word.trim_end(), id));
            let words: HashMap<&str, usize> = words.collect();
            let model = model(json!({
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": words,
            }));
            Ok((label, model))
        }
        Class::Roberta => {
            let bytes = files.read(PIECES)?.map_or_else(|| Err(none(files, settings)?), Ok)?;
            let label = files.label(PIECES);
            let pieces: HashMap<String, u32> = parse_json(&label, &bytes)?;
            let merges = files.require(MERGES, "the merges of the tokenizer, beside vocab.json")?;
            let merges = merges_of(&files.label(MERGES), &merges)?;
            let model = model(json!({
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": pieces, "merges": merges,
            }));
            Ok((label, model))
        }
        Class::XlmRoberta | Class::Camembert => {
            let bytes = files.read(SENTENCE_PIECES)?.map_or_else(|| Err(none(files, settings)?), Ok)?;
            Ok((files.label(SENTENCE_PIECES), sentencepiece::read(&bytes, class, settings)?))
        }
        Class::AsWritten => Err(none(files, settings)?),
    }
}

/// As tokenizer.json has it.
fn model(json: Value) -> std::result::Result<Parts, Failure> {
    Ok(Parts::of(Vocabulary::Model(Box::new(serde_json::from_value(json)?))))
}

/// There is nothing that the class can make a tokenizer of.
fn none(files: &ModelFiles, settings: &Settings) -> Result<Error> {
    for name in [WORDS, PIECES, SENTENCE_PIECES] {
        if files.read(name)?.is_some() {
            let expected = format!("the class for which {name} is, because there is no tokenizer.json");
            return Ok(
                settings.wrong_class(&expected, settings.class()?.unwrap_or("nothing, which means the encoder's own"))
            );
        }
    }
    Ok(Error::MissingFile {
        origin: files.origin(),
        name: files.full_name("tokenizer.json"),
        why: "the tokenizer; vocab.txt, vocab.json with merges.txt, or sentencepiece.bpe.model will do in its place, whichever its \
              class reads. From other files transformers makes it: \
              AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
    })
}

/// The lines of a text.
fn lines<'a>(label: &str, bytes: &'a [u8]) -> Result<impl Iterator<Item = &'a str>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::config(label, "(the whole file)", "UTF-8 text", error.to_string()))?;
    Ok(text.split_terminator('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)))
}

/// Pairs of pieces, without the lines that say which version they are of.
fn merges_of(label: &str, bytes: &[u8]) -> Result<Vec<[String; 2]>> {
    let mut merges = Vec::new();
    for (number, line) in lines(label, bytes)?.enumerate() {
        match line.split_once(' ') {
            _ if line.is_empty() || line.starts_with("#version") => {}
            Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.contains(' ') => {
                merges.push([a.to_owned(), b.to_owned()]);
            }
            _ => {
                let found = line.chars().take(80).collect::<String>();
                return Err(Error::config(label, &format!("line {}", number + 1), "two pieces and a space", found));
            }
        }
    }
    Ok(merges)
}
