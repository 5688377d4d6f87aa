//! Recognizes files whose content is not what their name promises: a Git LFS pointer, a web page
//! that was saved instead of the file, an archive, text in UTF-16.
//!
//! Some of them would be read without an error: each line of a Git LFS pointer could be a word of
//! vocab.txt.

use crate::error::{ContentError, Error, Result};

/// Content of another kind, and what to do about it.
struct Foreign {
    found: String,
    advice: &'static str,
}

const DOWNLOAD_AGAIN: &str = "download or copy the file again";
const UNPACK: &str = "unpack it, and use the files inside";
const UNPACK_ZIP: &str = "unpack an archive; name the weights of PyTorch pytorch_model.bin";
const NO_PICKLE: &str =
    "a pickle outside of an archive is not read: save the model again with `save_pretrained` of sentence-transformers";
const NO_OTHER_FRAMEWORK: &str =
    "weights of other frameworks are not read: save the model again with `save_pretrained` of sentence-transformers";
const SAVE_AS_UTF8: &str = "save the file again in UTF-8, without a byte order mark";

/// The first bytes of a zip archive, such as pytorch_model.bin.
const ZIP: &[u8] = b"PK\x03\x04";

/// The first bytes of files that are no part of a model, what they are, and what to do.
const SIGNATURES: [(&[u8], &str, &str); 13] = [
    (ZIP, "a zip archive (or weights of PyTorch)", UNPACK_ZIP),
    (b"\x80\x02", "a Python pickle", NO_PICKLE),
    (b"\x80\x03", "a Python pickle", NO_PICKLE),
    (b"\x80\x04", "a Python pickle", NO_PICKLE),
    (b"\x80\x05", "a Python pickle", NO_PICKLE),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh91AY&SY", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"GGUF", "weights in GGUF", NO_OTHER_FRAMEWORK),
    (b"\x89HDF\r\n\x1a\n", "weights in HDF5 (Keras)", NO_OTHER_FRAMEWORK),
    (b"\x93NUMPY", "a NumPy array", NO_OTHER_FRAMEWORK),
];

/// The starts of web pages and of error responses in XML, in lower case.
const MARKUP: [&[u8]; 9] =
    [b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<meta", b"<?xml", b"<!--", b"<error>"];

/// The first line of a Git LFS pointer is `version` and the address of a specification, of which
/// there were three.
const LFS_SPECIFICATIONS: [&str; 3] = ["//git-lfs.github.com/spec/", "//git-media.io/v/", "//hawser.github.com/spec/"];

/// The bytes before the header of a safetensors file.
const LENGTH_BYTES: usize = size_of::<u64>();

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Rejects a file other than weights whose content is not of the kind that its name promises.
///
/// `name` is the file's name, with or without folders, and `label` its name in messages. READMEs
/// and licences may contain anything.
pub(super) fn check_content(name: &str, label: &str, bytes: &[u8]) -> Result<()> {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let expected = match extension {
        "json" => "JSON",
        "txt" => "a vocabulary in UTF-8",
        "model" => "a SentencePiece model",
        "jinja" => "a chat template",
        _ => return Ok(()),
    };
    // A tokenizer of single characters has no merges.
    let may_be_empty = name.ends_with("merges.txt") || extension == "jinja";
    let foreign = recognize(bytes).or_else(|| not_utf8(bytes)).or_else(|| empty(bytes, may_be_empty));
    match foreign.or_else(|| if extension == "json" { not_json(bytes) } else { None }) {
        Some(foreign) => Err(foreign.error(label, expected)),
        None => Ok(()),
    }
}

/// Explains why a file cannot be read as safetensors, if its content is of another kind.
pub(crate) fn explain_weights(label: &str, bytes: &[u8]) -> Option<Error> {
    let foreign = recognize(bytes).or_else(|| empty(bytes, false)).or_else(|| text(bytes));
    foreign.map(|foreign| foreign.error(label, "weights in safetensors"))
}

/// Explains why a file cannot be read as weights of PyTorch, if its content is of another kind.
pub(crate) fn explain_pytorch(label: &str, bytes: &[u8]) -> Option<Error> {
    if bytes.starts_with(ZIP) {
        return None;
    }
    let foreign = if let [0x80, 2..=5, ..] = bytes {
        Foreign::new("a Python pickle without an archive, as PyTorch before 1.6 wrote it", NO_PICKLE)
    } else if bytes.get(LENGTH_BYTES) == Some(&b'{') {
        Foreign::new("weights in safetensors", "name the file model.safetensors")
    } else {
        recognize(bytes).or_else(|| empty(bytes, false)).or_else(|| text(bytes))?
    };
    Some(foreign.error(label, "weights of PyTorch in a zip archive"))
}

impl Foreign {
    fn new(found: &str, advice: &'static str) -> Self {
        Self { found: found.to_owned(), advice }
    }

    fn error(self, label: &str, expected: &str) -> Error {
        let Self { found, advice } = self;
        let file = label.to_owned();
        let content = ContentError { file, place: None, expected: expected.to_owned(), found, advice };
        Error::Content(Box::new(content))
    }
}

/// Recognizes content that is no file of a model, whatever its name.
fn recognize(bytes: &[u8]) -> Option<Foreign> {
    let start = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes).trim_ascii_start();
    if is_lfs_pointer(start) {
        let advice = "run `git lfs pull` in the folder, or download the file itself";
        return Some(Foreign::new("a Git LFS pointer, which stands for the file", advice));
    }
    let begins_with = |tag: &&[u8]| start.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag));
    if MARKUP.iter().any(begins_with) {
        let advice = "download the file itself, with a token if the model needs one";
        let is_xml = start.starts_with(b"<?xml") || begins_with(&&b"<error>"[..]);
        let found = if is_xml { "an XML document" } else { "an HTML page" };
        return Some(Foreign::new(&format!("{found}, such as a login or error page saved in its place"), advice));
    }
    let known = SIGNATURES.iter().find(|(signature, _, _)| bytes.starts_with(signature));
    known.map(|(_, found, advice)| Foreign::new(found, advice)).or_else(|| tar(bytes))
}

fn is_lfs_pointer(start: &[u8]) -> bool {
    const MAX_LINE_BYTES: usize = 80;
    let Some(rest) = start.strip_prefix(b"version ") else { return false };
    let line = String::from_utf8_lossy(&rest[..rest.len().min(MAX_LINE_BYTES)]);
    let address = line.trim_start_matches("http").trim_start_matches(['s', ':']);
    LFS_SPECIFICATIONS.iter().any(|specification| address.starts_with(specification))
}

/// Recognizes a tar archive, whose signature is in the header of its first file.
fn tar(bytes: &[u8]) -> Option<Foreign> {
    const SIGNATURE: std::ops::Range<usize> = 257..262;
    (bytes.get(SIGNATURE)? == b"ustar").then(|| Foreign::new("a tar archive", UNPACK))
}

/// Recognizes the encodings that Windows programs write.
fn not_utf8(bytes: &[u8]) -> Option<Foreign> {
    if bytes.starts_with(UTF8_MARK) {
        return Some(Foreign::new("text after a UTF-8 byte order mark (EF BB BF)", SAVE_AS_UTF8));
    }
    // Without a mark, every other byte of English text or of JSON is zero.
    let is_wide = |zero: usize| bytes.len() >= 4 && bytes[zero] == 0 && bytes[zero + 2] == 0 && bytes[1 - zero] != 0;
    let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || is_wide(0) || is_wide(1);
    is_utf16.then(|| Foreign::new("text in UTF-16 or UTF-32", SAVE_AS_UTF8))
}

fn empty(bytes: &[u8], may_be_empty: bool) -> Option<Foreign> {
    let is_empty = !may_be_empty && bytes.iter().all(u8::is_ascii_whitespace);
    is_empty.then(|| Foreign::new(if bytes.is_empty() { "an empty file" } else { "only white space" }, DOWNLOAD_AGAIN))
}

/// Recognizes content that no JSON value can start with, such as the text of an error response.
fn not_json(bytes: &[u8]) -> Option<Foreign> {
    let first = bytes.trim_ascii_start().first()?;
    let starts_value = first.is_ascii_digit() || b"{[\"-tfn".contains(first);
    if starts_value { None } else { text(bytes).or_else(|| Some(Foreign::new("binary data", DOWNLOAD_AGAIN))) }
}

/// Recognizes text, and quotes its first line.
fn text(bytes: &[u8]) -> Option<Foreign> {
    const MAX_QUOTED_CHARS: usize = 60;
    /// A multiple of the length of a quoted line, so that binary data is recognized.
    const MAX_EXAMINED_BYTES: usize = 512;
    let head = &bytes[..bytes.len().min(MAX_EXAMINED_BYTES)];
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The cut may be inside of a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let line = text.trim().lines().next()?;
    let quoted: String = line.chars().take(MAX_QUOTED_CHARS).collect();
    Some(Foreign { found: format!("text that begins with `{quoted}`"), advice: DOWNLOAD_AGAIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, bytes: &[u8]) -> Option<String> {
        check_content(name, name, bytes).err().map(|error| error.to_string())
    }

    #[test]
    fn content_of_another_kind_is_named() {
        for (bytes, found) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"[..], "Git LFS pointer"),
            (b"version https://hawser.github.com/spec/v1\n", "Git LFS pointer"),
            (b"<!DOCTYPE html><html></html>", "HTML page"),
            (b"\xef\xbb\xbf\r\n <HTML lang=en>", "HTML page"),
            (b"\n\n<!-- saved -->\n<html>", "HTML page"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "XML document"),
            (b"PK\x03\x04\x14\0", "zip archive"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\x80\x02}q\0.", "pickle"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"", "empty file"),
        ] {
            for name in ["config.json", "0_Transformer/vocab.txt", "sentencepiece.bpe.model"] {
                let message = message(name, bytes).unwrap_or_else(|| panic!("{name}: {found} is accepted"));
                assert!(message.contains(found) && message.starts_with(name) && message.contains(';'), "{message}");
            }
            let weights = explain_weights("model.safetensors", bytes).expect("an explanation").to_string();
            assert!(weights.contains(found) && weights.contains("expected weights in safetensors"), "{weights}");
        }
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(explain_weights("model.safetensors", &tar).expect("an explanation").to_string().contains("tar"));
    }

    #[test]
    fn text_that_is_not_in_utf8_is_named() {
        let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let marked = [&b"\xff\xfe"[..], &wide("{}")].concat();
        let big_endian: Vec<u8> = "{\"a\"".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [&marked, &wide("{\"a\": 1}"), &big_endian] {
            for name in ["config.json", "vocab.txt"] {
                assert!(message(name, bytes).expect("an error").contains("UTF-16"), "{name}: {bytes:?}");
            }
        }
        let message = message("config.json", b"\xef\xbb\xbf{}").expect("an error");
        assert!(message.contains("byte order mark") && message.contains("UTF-8"), "{message}");
    }

    #[test]
    fn error_text_in_place_of_json_is_quoted() {
        for (bytes, part) in [
            (&b"Entry not found"[..], "`Entry not found`"),
            (b"Invalid credentials in Authorization header", "`Invalid credentials"),
            (b"\x00\x01\x02\xff\xfe", "binary data"),
        ] {
            let message = message("config.json", bytes).expect("an error");
            assert!(message.contains(part), "{message}");
        }
        let weights = explain_weights("model.safetensors", b"Entry not found").expect("an explanation").to_string();
        assert!(weights.contains("`Entry not found`"), "{weights}");
    }

    #[test]
    fn content_of_the_right_kind_is_accepted() {
        for (name, bytes) in [
            ("config.json", &b" {\"a\": 1}"[..]),
            ("modules.json", b"[]"),
            ("vocab.txt", b"[PAD]\n<s>\n"),
            ("vocab.txt", b"<s>\n<pad>\n<html\n"),
            ("merges.txt", b""),
            ("sentencepiece.bpe.model", b"\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0"),
            ("README.md", b"<!DOCTYPE html>"),
            ("LICENSE", b""),
        ] {
            assert_eq!(message(name, bytes), None, "{name}");
        }
        assert!(explain_weights("model.safetensors", b"\x08\0\0\0\0\0\0\0{\"a\": 1}").is_none());
    }
}
