//! The keys that a route reads, and a report of all others in a body.
//!
//! The hosted APIs ignore unknown keys, and clients rely on it: they send `user` or `input_type` to
//! every server. So an unknown key is no error. But a misspelt option, such as `normalise`, would
//! go unnoticed, so the response names the keys that had no effect.

use serde_json::Value;

use super::fields::JsonObject;
use super::notes::ResponseNotes;

/// How texts are tokenized.
const TOKENIZATION: &[&str] = &["truncate", "truncation_direction", "prompt_name"];

/// The format of the vectors.
const FORMAT: &[&str] = &["normalize", "dimensions"];

/// How the request is handled.
const HANDLING: &[&str] = &["use_cache", "wait_for_model"];

/// The source and the sentences of a similarity request.
const SENTENCES: &[&str] = &["source_sentence", "sourceSentence", "sentences"];

/// The most keys that a response names.
const MAX_REPORTED_KEYS: usize = 10;

/// The most characters of a key in a response.
const MAX_KEY_CHARACTERS: usize = 40;

/// The keys that a route reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KnownKeys {
    /// Keys of the root only.
    root: &'static [&'static str],
    /// Options, each at the root or in `parameters`.
    options: &'static [&'static [&'static str]],
    /// Whether `parameters` and `options` are read.
    has_objects: bool,
    /// Keys of `inputs`, if that is an object.
    inputs: &'static [&'static str],
}

impl KnownKeys {
    /// The Inference API, similarity.
    pub(super) const SIMILARITY: Self =
        Self { root: &[], options: &[TOKENIZATION, SENTENCES], has_objects: true, inputs: SENTENCES };

    /// The Inference API, feature extraction.
    pub(super) const FEATURES: Self =
        Self { root: &["inputs"], options: &[TOKENIZATION, FORMAT], has_objects: true, inputs: &[] };

    /// `/similarity`.
    pub(super) const TEI_SIMILARITY: Self =
        Self { root: &["model"], options: &[TOKENIZATION, SENTENCES], has_objects: true, inputs: SENTENCES };

    /// `/embed`.
    pub(super) const TEI_EMBED: Self =
        Self { root: &["inputs", "model"], options: &[TOKENIZATION, FORMAT], has_objects: true, inputs: &[] };

    /// `/embed_all`.
    pub(super) const TEI_EMBED_ALL: Self =
        Self { root: &["inputs", "model"], options: &[TOKENIZATION], has_objects: true, inputs: &[] };

    /// `/embed_sparse`.
    pub(super) const TEI_EMBED_SPARSE: Self = Self::TEI_EMBED_ALL;

    /// `/tokenize`.
    pub(super) const TEI_TOKENIZE: Self = Self {
        root: &["inputs", "model"],
        options: &[&["prompt_name", "add_special_tokens"]],
        has_objects: true,
        inputs: &[],
    };

    /// `/decode`.
    pub(super) const TEI_DECODE: Self =
        Self { root: &["ids", "model"], options: &[&["skip_special_tokens"]], has_objects: true, inputs: &[] };

    /// `/explain`.
    pub(super) const EXPLAIN: Self =
        Self { root: &["inputs", "model"], options: &[&["layer"]], has_objects: true, inputs: &[] };

    /// `/v1/embeddings`. OpenAI defines `user` as a label without effect on the result.
    pub(super) const OPENAI: Self = Self {
        root: &["input", "model", "encoding_format", "user"],
        options: &[TOKENIZATION, FORMAT],
        has_objects: false,
        inputs: &[],
    };

    /// The Inference API, ranking.
    pub(super) const RANKING: Self = Self {
        root: &["query", "texts"],
        options: &[TOKENIZATION, &["raw_scores", "return_text"]],
        has_objects: true,
        inputs: &["query", "texts"],
    };

    /// The Inference API, classification.
    pub(super) const CLASSIFICATION: Self = Self {
        root: &["inputs"],
        options: &[TOKENIZATION, &["function_to_apply", "top_k"]],
        has_objects: true,
        inputs: &["text", "text_pair"],
    };

    /// `/rerank` with `texts`.
    pub(super) const TEI_RERANK: Self = Self {
        root: &["query", "texts", "model"],
        options: &[TOKENIZATION, &["raw_scores", "return_text"]],
        has_objects: true,
        inputs: &[],
    };

    /// `/rerank` with `documents`.
    pub(super) const RERANK: Self = Self {
        root: &[
            "model",
            "query",
            "documents",
            "texts",
            "top_n",
            "return_documents",
            "rank_fields",
            "raw_scores",
            "user",
        ],
        options: &[TOKENIZATION],
        has_objects: false,
        inputs: &[],
    };

    /// `/predict`.
    pub(super) const TEI_PREDICT: Self =
        Self { root: &["inputs", "model"], options: &[TOKENIZATION, &["raw_scores"]], has_objects: true, inputs: &[] };

    /// `/invocations` with `text_pairs`.
    pub(super) const TEXT_PAIRS: Self =
        Self { root: &["text_pairs", "model"], options: &[TOKENIZATION], has_objects: true, inputs: &[] };

    /// Notes the keys of a body that this route does not read.
    pub(super) fn report_unused(&self, root: &JsonObject, notes: &ResponseNotes) {
        let unused = self.unused(root);
        if unused.is_empty() {
            return;
        }
        let mut text: Vec<String> = unused.iter().take(MAX_REPORTED_KEYS).map(|key| self.describe(key)).collect();
        if unused.len() > MAX_REPORTED_KEYS {
            text.push(format!("and {} more", unused.len() - MAX_REPORTED_KEYS));
        }
        notes.set_unused_keys(text.join(", "));
    }

    /// The keys that this route does not read. A null counts as absent.
    fn unused<'a>(&self, root: &'a JsonObject) -> Vec<UnusedKey<'a>> {
        let mut unused = Vec::new();
        for (key, value) in root.iter().filter(|(_, value)| !value.is_null()) {
            // Vectors are lists of floats on every route, unless the route reads this option.
            let is_default = key == "encoding_format" && value == "float";
            match (key.as_str(), value) {
                ("parameters", Value::Object(object)) if self.has_objects => {
                    push_unused(&mut unused, key, object, |key| self.is_option(key) || HANDLING.contains(&key));
                }
                ("options", Value::Object(object)) if self.has_objects => {
                    push_unused(&mut unused, key, object, |key| HANDLING.contains(&key));
                }
                ("inputs", Value::Object(object)) if !self.inputs.is_empty() => {
                    push_unused(&mut unused, key, object, |key| self.inputs.contains(&key));
                }
                // Another type is an error.
                ("parameters" | "options", _) if self.has_objects => {}
                (key, _) if is_default || self.is_at_root(key) => {}
                (key, _) => unused.push(UnusedKey { object: None, key }),
            }
        }
        unused
    }

    fn is_at_root(&self, key: &str) -> bool {
        self.root.contains(&key) || self.is_option(key) || HANDLING.contains(&key)
    }

    fn is_option(&self, key: &str) -> bool {
        self.options.iter().any(|group| group.contains(&key))
    }

    /// Writes a key, and the known key that resembles it, in visible ASCII.
    fn describe(&self, unused: &UnusedKey<'_>) -> String {
        let key = unused.key;
        let object = unused.object.map_or_else(String::new, |object| format!("{object}."));
        let shown = format!("{object}{}", visible(key));
        let known = self.root.iter().chain(self.options.iter().copied().flatten()).chain(HANDLING);
        let similar = known.copied().filter(|known| *known != key).min_by_key(|known| distance(known, key));
        match similar.filter(|known| distance(known, key) <= allowed_distance(known)) {
            Some(similar) => format!("{shown} (similar: {similar})"),
            None => shown,
        }
    }
}

/// A key that a route does not read, and the object below the root that has it.
struct UnusedKey<'a> {
    object: Option<&'a str>,
    key: &'a str,
}

fn push_unused<'a>(
    paths: &mut Vec<UnusedKey<'a>>,
    name: &'a str,
    object: &'a JsonObject,
    is_known: impl Fn(&str) -> bool,
) {
    let unused = object.iter().filter(|(key, value)| !value.is_null() && !is_known(key));
    paths.extend(unused.map(|(key, _)| UnusedKey { object: Some(name), key }));
}

/// Writes a key in visible ASCII, which a header can contain.
fn visible(key: &str) -> String {
    let safe = |c: char| {
        let is_safe = c.is_ascii_graphic() && !['"', ',', '(', ')', '\\'].contains(&c);
        if is_safe { c.to_string() } else { c.escape_unicode().to_string() }
    };
    let text: String = key.chars().take(MAX_KEY_CHARACTERS).map(safe).collect();
    match key.chars().nth(MAX_KEY_CHARACTERS) {
        None if text.is_empty() => "\"\"".to_owned(),
        None => text,
        Some(_) => format!("{text}..."),
    }
}

/// How many edits may separate a misspelt key from this one.
fn allowed_distance(known: &str) -> usize {
    if known.len() <= 5 { 1 } else { 2 }
}

/// The number of edits between two keys: insertions, deletions, replacements and exchanges of two
/// neighbours. Case, `_` and `-` do not count, so `promptName` is `prompt_name`.
fn distance(known: &str, key: &str) -> usize {
    let letters = |key: &str| -> Vec<char> {
        let kept = key.chars().take(MAX_KEY_CHARACTERS).filter(|c| !['_', '-'].contains(c));
        kept.map(|c| c.to_ascii_lowercase()).collect()
    };
    let (a, b) = (letters(known), letters(key));
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(known: &KnownKeys, body: &Value) -> Option<String> {
        let notes = ResponseNotes::default();
        known.report_unused(body.as_object().expect("an object"), &notes);
        notes.unused_keys().map(str::to_owned)
    }

    #[test]
    fn misspelt_key_is_reported_with_the_key_that_it_resembles() {
        for (key, similar) in [
            ("normalise", "normalize"),
            ("truncat", "truncate"),
            ("promptName", "prompt_name"),
            ("dimension", "dimensions"),
            ("Normalize", "normalize"),
            ("use-cache", "use_cache"),
            ("input", "inputs"),
            ("truncationDirection", "truncation_direction"),
            ("nromalize", "normalize"),
        ] {
            let found = report(&KnownKeys::FEATURES, &json!({ "inputs": "a", key: true }));
            assert_eq!(found, Some(format!("{key} (similar: {similar})")));
        }
        for key in ["user", "input_type", "truncate_prompt_tokens", "extra_body", "x", "temperature"] {
            let found = report(&KnownKeys::FEATURES, &json!({ "inputs": "a", key: 1 }));
            assert_eq!(found.as_deref(), Some(key));
        }
    }

    #[test]
    fn keys_that_a_route_reads_are_not_reported() {
        let texts = json!({"source_sentence": "a", "sentences": ["b"]});
        for (known, body) in [
            (KnownKeys::SIMILARITY, json!({"inputs": texts, "parameters": {"truncate": true}, "options": {}})),
            (KnownKeys::SIMILARITY, json!({"inputs": null, "source_sentence": "a", "sentences": [], "x": null})),
            (KnownKeys::SIMILARITY, json!({"inputs": {"sentences": []}, "parameters": {"sourceSentence": "a"}})),
            (KnownKeys::FEATURES, json!({"inputs": "a", "normalize": true, "options": {"use_cache": false}})),
            (KnownKeys::TEI_EMBED, json!({"inputs": "a", "model": "m", "parameters": {"dimensions": 3}})),
            (KnownKeys::TEI_DECODE, json!({"ids": [1], "skip_special_tokens": true})),
            (KnownKeys::OPENAI, json!({"input": "a", "user": "u", "encoding_format": "base64", "model": "m"})),
            (KnownKeys::FEATURES, json!({"inputs": "a", "encoding_format": "float"})),
        ] {
            assert_eq!(report(&known, &body), None, "{body}");
        }
    }

    #[test]
    fn option_of_another_route_or_place_is_reported() {
        let texts = json!({"source_sentence": "a", "sentences": ["b"], "sentence": 1});
        for (known, body, expected) in [
            (
                KnownKeys::SIMILARITY,
                json!({"inputs": texts, "normalize": true}),
                "inputs.sentence (similar: sentences), normalize",
            ),
            (KnownKeys::SIMILARITY, json!({"inputs": "x", "source_sentence": "a", "sentences": ["b"]}), "inputs"),
            (KnownKeys::FEATURES, json!({"inputs": "a", "options": {"truncate": true}}), "options.truncate"),
            (KnownKeys::FEATURES, json!({"inputs": "a", "encoding_format": "base64"}), "encoding_format"),
            (KnownKeys::TEI_EMBED_ALL, json!({"inputs": "a", "dimensions": 3}), "dimensions"),
            (KnownKeys::OPENAI, json!({"input": "a", "parameters": {"truncate": true}}), "parameters"),
        ] {
            assert_eq!(report(&known, &body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn reported_keys_are_few_short_and_visible_ascii() {
        let mut body = json!({"inputs": "a", "\r\nset-cookie: x": 1, "": 2, "schl\u{fc}ssel, \u{1f642}": 3});
        let object = body.as_object_mut().expect("an object");
        object.extend((0..1000).map(|i| (format!("{}{i}", "k".repeat(1000)), json!(1))));
        let text = report(&KnownKeys::FEATURES, &body).expect("a report");
        assert!(text.len() < 1500 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        assert!(text.ends_with("and 993 more"), "{text}");
    }
}
