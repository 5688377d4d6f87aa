//! A tokenizer from the files that models had before there was tokenizer.json.
//!
//! | files | kind | models |
//! |---|---|---|
//! | `vocab.txt` | WordPiece | BERT, DistilBERT, MPNet |
//! | `vocab.json`, `merges.txt` | byte-level BPE | RoBERTa |
//!
//! What these files leave open stands in tokenizer_config.json and special_tokens_map.json, or is the habit of the class. The
//! result is written as the tokenizer.json that the reference would save, and read like any other. Follows transformers
//! 5.23.0, `tokenization_bert.py`, `tokenization_mpnet.py` and `tokenization_roberta.py`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::config::{Keys, parse};
use crate::error::{Error, Result};
use crate::files::ModelFiles;

const WORDS: &str = "vocab.txt";
const PIECES: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// A tokenizer.json, and the file to name in messages.
pub(super) struct Assembled {
    pub(super) label: String,
    pub(super) bytes: Vec<u8>,
}

/// Makes a tokenizer.json of what there is. `family`: the encoder's.
///
/// # Errors
/// If the files are not there, are not what they should be, or are of a kind that cannot be put together here.
pub(super) fn assemble(files: &ModelFiles, family: &str) -> Result<Assembled> {
    let settings = Settings::read(files)?;
    if let Some(bytes) = files.read(WORDS)? {
        let label = files.label(WORDS);
        let vocabulary = lines(&label, &bytes)?.enumerate().map(|(id, word)| (word.to_owned(), id as u64)).collect();
        let like_roberta = settings.class.as_deref().map_or(family == "MPNet", |class| class.starts_with("MPNet"));
        return Ok(Assembled { label, bytes: word_pieces(&settings, vocabulary, like_roberta)? });
    }
    if let Some(bytes) = files.read(PIECES)? {
        let label = files.label(PIECES);
        let vocabulary: HashMap<String, u64> = parse(&label, &bytes)?;
        let merges = files.require(MERGES, "the merges of the tokenizer, beside vocab.json")?;
        let merges = merges_of(&files.label(MERGES), &merges)?;
        return Ok(Assembled { label, bytes: byte_pairs(&settings, vocabulary, merges)? });
    }
    Err(Error::MissingFile {
        origin: files.origin(),
        name: files.full_name("tokenizer.json"),
        why: "the tokenizer, for which vocab.txt, or vocab.json and merges.txt, would do as well. From a SentencePiece model \
              transformers makes it: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
    })
}

/// What tokenizer_config.json and special_tokens_map.json say.
struct Settings {
    /// The class of the reference's tokenizer.
    class: Option<String>,
    config: Option<Keys>,
    special: Option<Keys>,
    label: String,
}

/// A special token.
struct Special {
    content: String,
    /// Whether it takes the space before it.
    left: bool,
}

impl Settings {
    fn read(files: &ModelFiles) -> Result<Self> {
        const ADDED: &str = "added_tokens.json";
        let (config, special) = (files.json("tokenizer_config.json")?, files.json("special_tokens_map.json")?);
        let class = config.as_ref().map_or(Ok(None), |keys| keys.text("tokenizer_class"))?.map(str::to_owned);
        let settings = Self { class, config, special, label: files.label(ADDED) };
        if let Some(added) = files.json(ADDED)? {
            // Their ids say where they belong, but not how they are matched.
            let names = ["unk_token", "cls_token", "sep_token", "pad_token", "mask_token", "bos_token", "eos_token"];
            let mut known = Vec::new();
            for name in names {
                known.push(settings.special(name, "", false)?.content);
            }
            if let Some(other) = added.beginning_with("").find(|token| !known.iter().any(|known| known == token)) {
                let expected = "only special tokens: others need a tokenizer.json";
                return Err(Error::config(&settings.label, other, expected, "another token"));
            }
        }
        Ok(settings)
    }

    /// A setting that is on or off.
    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.config.as_ref().map_or(Ok(None), |keys| keys.flag(key))?.unwrap_or(default))
    }

    /// A special token: its text, or an object that has it as `content`.
    fn special(&self, name: &str, default: &str, left: bool) -> Result<Special> {
        for keys in [&self.config, &self.special].into_iter().flatten() {
            match keys.get(name) {
                None => {}
                Some(Value::String(content)) => return Ok(Special { content: content.clone(), left }),
                Some(Value::Object(token)) if token.get("content").is_some_and(Value::is_string) => {
                    let content = token["content"].as_str().unwrap_or_default().to_owned();
                    return Ok(Special { content, left: token.get("lstrip").and_then(Value::as_bool).unwrap_or(left) });
                }
                Some(_) => return Err(keys.wrong(name, "a token, or an object with its content")),
            }
        }
        Ok(Special { content: default.to_owned(), left })
    }
}

/// The lines of a text.
fn lines<'a>(label: &str, bytes: &'a [u8]) -> Result<impl Iterator<Item = &'a str>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::config(label, "(the whole file)", "UTF-8 text", error.to_string()))?;
    Ok(text.split_terminator('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)))
}

/// Pairs of pieces, of which the first line may be a comment.
fn merges_of(label: &str, bytes: &[u8]) -> Result<Vec<Value>> {
    let mut merges = Vec::new();
    for (number, line) in lines(label, bytes)?.enumerate() {
        match line.split_once(' ') {
            _ if line.is_empty() || (number == 0 && line.starts_with("#version")) => {}
            Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.contains(' ') => merges.push(json!([a, b])),
            _ => {
                let found = line.chars().take(80).collect::<String>();
                return Err(Error::config(label, &format!("line {}", number + 1), "two pieces and a space", found));
            }
        }
    }
    Ok(merges)
}

/// The special tokens as tokenizer.json lists them, and the ids of cls and sep. One that the vocabulary has not comes after it.
fn special_tokens(vocabulary: &HashMap<String, u64>, tokens: &[&Special]) -> (Vec<Value>, HashMap<String, u64>) {
    let (mut listed, mut ids) = (Vec::new(), HashMap::new());
    let mut next = vocabulary.values().max().map_or(0, |last| last.saturating_add(1));
    for token in tokens {
        if ids.contains_key(&token.content) {
            continue;
        }
        let id = vocabulary.get(&token.content).copied().unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        ids.insert(token.content.clone(), id);
        listed.push(json!({
            "id": id, "content": token.content, "single_word": false, "lstrip": token.left, "rstrip": false,
            "normalized": false, "special": true,
        }));
    }
    listed.sort_by_key(|token| token["id"].as_u64());
    (listed, ids)
}

/// BERT's tokenizer, or MPNet's, which is BERT's with RoBERTa's special tokens.
fn word_pieces(settings: &Settings, vocabulary: HashMap<String, u64>, like_roberta: bool) -> Result<Vec<u8>> {
    let default = |bert, roberta| if like_roberta { roberta } else { bert };
    let cls = settings.special("cls_token", default("[CLS]", "<s>"), false)?;
    let sep = settings.special("sep_token", default("[SEP]", "</s>"), false)?;
    let unk = settings.special("unk_token", "[UNK]", false)?;
    let pad = settings.special("pad_token", default("[PAD]", "<pad>"), false)?;
    let mask = settings.special("mask_token", default("[MASK]", "<mask>"), like_roberta)?;
    let (added, ids) = special_tokens(&vocabulary, &[&unk, &sep, &pad, &cls, &mask]);
    let (cls_id, sep_id) = (ids[&cls.content], ids[&sep.content]);
    let after = match like_roberta {
        true => roberta_processing(&cls, &sep, &ids, false),
        false => json!({
            "type": "TemplateProcessing",
            "single": [special_token(&cls), sequence("A"), special_token(&sep)],
            "pair": [special_token(&cls), sequence("A"), special_token(&sep), sequence("B"), special_token(&sep)],
            "special_tokens": {
                cls.content.as_str(): { "id": cls.content, "ids": [cls_id], "tokens": [cls.content] },
                sep.content.as_str(): { "id": sep.content, "ids": [sep_id], "tokens": [sep.content] },
            },
        }),
    };
    let strip_accents = settings.config.as_ref().map_or(Ok(None), |keys| keys.flag("strip_accents"))?;
    Ok(written(
        added,
        json!({
            "type": "BertNormalizer", "clean_text": true, "strip_accents": strip_accents,
            "handle_chinese_chars": settings.flag("tokenize_chinese_chars", true)?,
            "lowercase": settings.flag("do_lower_case", true)?,
        }),
        json!({ "type": "BertPreTokenizer" }),
        after,
        json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
        json!({
            "type": "WordPiece", "unk_token": unk.content, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        }),
    ))
}

/// RoBERTa's tokenizer.
fn byte_pairs(settings: &Settings, vocabulary: HashMap<String, u64>, merges: Vec<Value>) -> Result<Vec<u8>> {
    let special = |name, default| settings.special(name, default, false);
    let (cls, sep) = (special("cls_token", "<s>")?, special("sep_token", "</s>")?);
    let (bos, eos) = (special("bos_token", "<s>")?, special("eos_token", "</s>")?);
    let (unk, pad) = (special("unk_token", "<unk>")?, special("pad_token", "<pad>")?);
    let mask = special("mask_token", "<mask>")?;
    let (added, ids) = special_tokens(&vocabulary, &[&bos, &eos, &unk, &sep, &pad, &cls, &mask]);
    let space = settings.flag("add_prefix_space", false)?;
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": true });
    Ok(written(
        added,
        Value::Null,
        bytes.clone(),
        roberta_processing(&cls, &sep, &ids, space),
        bytes,
        json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": merges,
        }),
    ))
}

fn roberta_processing(cls: &Special, sep: &Special, ids: &HashMap<String, u64>, space: bool) -> Value {
    json!({
        "type": "RobertaProcessing", "trim_offsets": true, "add_prefix_space": space,
        "sep": [sep.content, ids[&sep.content]], "cls": [cls.content, ids[&cls.content]],
    })
}

fn special_token(token: &Special) -> Value {
    json!({ "SpecialToken": { "id": token.content, "type_id": 0 } })
}

fn sequence(name: &str) -> Value {
    json!({ "Sequence": { "id": name, "type_id": 0 } })
}

/// The parts as a tokenizer.json.
fn written(added: Vec<Value>, normalizer: Value, before: Value, after: Value, decoder: Value, model: Value) -> Vec<u8> {
    let mut all = Map::new();
    all.insert("version".to_owned(), json!("1.0"));
    let parts =
        [("normalizer", normalizer), ("pre_tokenizer", before), ("post_processor", after), ("decoder", decoder)];
    all.extend(parts.map(|(name, part)| (name.to_owned(), part)));
    all.insert("added_tokens".to_owned(), Value::Array(added));
    all.insert("model".to_owned(), model);
    Value::Object(all).to_string().into_bytes()
}
