//! Vocabularies in the files that preceded tokenizer.json.
//!
//! | files | kind | models |
//! |---|---|---|
//! | `vocab.txt` | WordPiece | BERT, DistilBERT, MPNet |
//! | `vocab.json`, `merges.txt` | byte-level BPE | RoBERTa |
//! | `sentencepiece.bpe.model` | pieces with scores | XLM-RoBERTa, CamemBERT |
//! | `spiece.model` | pieces with scores | T5, ALBERT |
//!
//! These files contain no other parts of a tokenizer. The [`TokenizerClass`] defines the other
//! parts.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::around_text::VocabularySource;
use super::build::{Vocabulary, VocabularyParts};
use super::class::TokenizerClass;
use super::error::TokenizerError;
use super::sentencepiece;
use super::special_tokens::ExtraSpecialTokens;
use super::tokenizer_config::TokenizerConfig;
use crate::config;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{
    MERGES, Manifest, SENTENCEPIECE, SPIECE, TOKENIZER, VOCAB_JSON, VOCAB_TXT, VOCABULARIES, size_limit,
};

/// A vocabulary's file, for messages, and the parts that were read from it.
pub(super) struct VocabularyFile {
    pub(super) label: String,
    pub(super) parts: std::result::Result<VocabularyParts, TokenizerError>,
}

/// Reads the vocabulary that a class needs.
///
/// # Errors
/// If a file does not exist or is not text. Other errors are in the returned parts, because their
/// messages name the file.
pub(super) fn read_vocabulary(
    files: &ModelFiles,
    class: TokenizerClass,
    config: &TokenizerConfig,
    manifest: &mut Manifest,
) -> Result<VocabularyFile> {
    let name = match class {
        TokenizerClass::Bert | TokenizerClass::Mpnet => VOCAB_TXT,
        TokenizerClass::Roberta => VOCAB_JSON,
        TokenizerClass::XlmRoberta | TokenizerClass::Camembert => SENTENCEPIECE,
        TokenizerClass::T5 | TokenizerClass::Albert => SPIECE,
        TokenizerClass::Generic => return Err(missing_vocabulary(files, config)?),
    };
    let Some(bytes) = manifest.read(files, name)? else { return Err(missing_vocabulary(files, config)?) };
    let label = files.label(name);
    let parts = match name {
        VOCAB_TXT => word_piece(&label, &bytes)?,
        VOCAB_JSON => {
            let merges = manifest.require(files, MERGES, "the merges of the tokenizer, beside vocab.json")?;
            byte_level_bpe(&label, &bytes, &files.label(MERGES), &merges)?
        }
        _ => sentencepiece::parse(&bytes, class, config),
    };
    Ok(VocabularyFile { label, parts })
}

/// Parses a vocab.txt.
fn word_piece(label: &str, bytes: &[u8]) -> Result<std::result::Result<VocabularyParts, TokenizerError>> {
    // As in the `tokenizers` crate, the last of two equal lines counts.
    let ids: HashMap<&str, usize> = lines(label, bytes)?.enumerate().map(|(id, word)| (word.trim_end(), id)).collect();
    Ok(parse_model(json!({
        "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": ids,
    })))
}

/// Parses a vocab.json and its merges.
fn byte_level_bpe(
    label: &str,
    bytes: &[u8],
    merges_label: &str,
    merges: &[u8],
) -> Result<std::result::Result<VocabularyParts, TokenizerError>> {
    let ids: HashMap<String, u32> = config::parse_json(label, bytes)?;
    let merges = parse_merges(merges_label, merges)?;
    Ok(parse_model(json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
        "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": ids, "merges": merges,
    })))
}

/// Parses a model in the form of tokenizer.json.
fn parse_model(json: Value) -> std::result::Result<VocabularyParts, TokenizerError> {
    let model = serde_json::from_value(json)?;
    Ok(VocabularyParts {
        vocabulary: Vocabulary::Model(Box::new(model)),
        charsmap: None,
        extra: ExtraSpecialTokens::default(),
        source: VocabularySource::OlderFiles,
    })
}

/// Makes the error that the files have no vocabulary for the class.
fn missing_vocabulary(files: &ModelFiles, config: &TokenizerConfig) -> Result<Error> {
    for name in VOCABULARIES.into_iter().filter(|name| *name != TOKENIZER) {
        if files.read_up_to(name, size_limit(name))?.is_some() {
            let expected = format!("a class that reads {name}, because there is no tokenizer.json");
            let found = config.class()?.unwrap_or("nothing, which means the encoder's class");
            return Ok(config.invalid_class(&expected, found));
        }
    }
    Ok(Error::MissingFile {
        origin: files.origin(),
        name: files.full_name(TOKENIZER),
        why: "the tokenizer; the class's own vocabulary also works: vocab.txt, vocab.json with merges.txt, \
              sentencepiece.bpe.model, or spiece.model. transformers converts other files: \
              AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
    })
}

/// Splits a text into lines.
fn lines<'a>(label: &str, bytes: &'a [u8]) -> Result<impl Iterator<Item = &'a str>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::config(label, "(the whole file)", "UTF-8 text", error.to_string()))?;
    Ok(text.split_terminator('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)))
}

/// Parses pairs of pieces. Lines with the version of the format are skipped.
fn parse_merges(label: &str, bytes: &[u8]) -> Result<Vec<[String; 2]>> {
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
