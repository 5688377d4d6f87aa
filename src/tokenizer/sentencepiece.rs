//! The file that SentencePiece writes: pieces with their scores, and the table of its normalizer.
//!
//! Its format is a message of protocol buffers: `sentencepiece_model.proto` of SentencePiece, of which few fields are read.
//! Pieces are numbered otherwise there than in models that come from fairseq: XLM-RoBERTa and CamemBERT put tokens of their own
//! before them. Follows transformers 5.23.0, `convert_slow_tokenizer.py` (`SentencePieceExtractor`, and `convert_from_spm` of
//! `XLMRobertaConverter` and `CamembertConverter`).

use prost::Message;
use tokenizers::normalizers::Precompiled;

use super::class::{Class, Parts, Vocabulary};
use super::special_tokens::{Further, Token};
use super::tokenizer_config::Settings;
use super::{charsmap, guard};
use crate::error::Result;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// `ModelProto`.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<TokenSpan>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerSpec>,
}

/// `ModelProto.SentencePiece`.
#[derive(Clone, PartialEq, Message)]
struct TokenSpan {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    /// The logarithm of its probability.
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

/// `TrainerSpec`.
#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
}

/// `NormalizerSpec`.
#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
}

/// Pieces by their probabilities; what a model is that does not say.
const UNIGRAM: i32 = 1;
/// Kinds of pieces: what a text cannot contain, and what is never split.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// What a class makes of a SentencePiece model.
///
/// # Errors
/// The outer ones are of the settings, the inner ones of the file.
pub(super) fn read(bytes: &[u8], class: Class, settings: &Settings) -> Result<std::result::Result<Parts, Failure>> {
    let model = match Model::decode(bytes) {
        Ok(model) => model,
        Err(failure) => return Ok(Err(failure.into())),
    };
    if model.pieces.is_empty() {
        return Ok(Err("it has no pieces".into()));
    }
    let kind = model.trainer.and_then(|trainer| trainer.model_type).unwrap_or(UNIGRAM);
    if class == Class::Camembert && kind != UNIGRAM {
        return Ok(Err(
            format!("its class needs pieces with probabilities (Unigram, 1), and it has kind {kind}").into()
        ));
    }
    let pieces = model.pieces.iter().map(|piece| (piece.text(), f64::from(piece.score.unwrap_or(0.0))));
    let pieces = numbered(pieces, class, settings)?;
    let table = model.normalizer.and_then(|normalizer| normalizer.precompiled_charsmap);
    let charsmap = match table.filter(|table| !table.is_empty()).map(|table| normalizer(&table)).transpose() {
        Ok(charsmap) => charsmap,
        Err(failure) => return Ok(Err(failure)),
    };
    let symbols = model.pieces.iter().filter_map(TokenSpan::symbol).collect();
    let further = Further { tokens: symbols, hides_map: true };
    Ok(Ok(Parts { vocabulary: Vocabulary::Pieces(pieces), charsmap, further }))
}

fn normalizer(table: &[u8]) -> std::result::Result<Precompiled, Failure> {
    charsmap::check(table)?;
    guard(|| Ok(Precompiled::from(table)?))
}

/// All pieces in the order of their ids.
fn numbered(
    pieces: impl Iterator<Item = (String, f64)>,
    class: Class,
    settings: &Settings,
) -> Result<Vec<(String, f64)>> {
    let named = |name: &str| class.named(settings, name);
    let camembert = class == Class::Camembert;
    let (before, replaced) = if camembert {
        // Its own `<s>` and `</s>` follow among the pieces.
        let begin = ["<s>NOTUSED".to_owned(), named("pad_token")?, "</s>NOTUSED".to_owned(), named("unk_token")?];
        (begin.to_vec(), 1)
    } else {
        (vec![named("bos_token")?, named("pad_token")?, named("eos_token")?, named("unk_token")?], 3)
    };
    let mut all: Vec<(String, f64)> = before.into_iter().map(|token| (token, 0.0)).collect();
    // A score so low that no text is split into it.
    all.extend(camembert.then(|| ("<unk>NOTUSED".to_owned(), -100.0)));
    all.extend(pieces.skip(replaced));
    all.push((named("mask_token")?, 0.0));
    Ok(all)
}

impl TokenSpan {
    fn text(&self) -> String {
        self.piece.clone().unwrap_or_default()
    }

    /// The token that is added for it, if it is of a kind that is matched before a text is split.
    fn symbol(&self) -> Option<Token> {
        match self.kind? {
            CONTROL => Some(Token::of_piece(&self.text(), true)),
            USER_DEFINED => Some(Token::of_piece(&self.text(), false)),
            _ => None,
        }
    }
}
