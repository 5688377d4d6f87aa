//! The file that SentencePiece writes: pieces with their scores, and the table of its normalizer.
//!
//! The format is a protocol buffer message, of which few fields are read:
//! `sentencepiece_model.proto` of SentencePiece. Models from fairseq number the pieces differently:
//! XLM-RoBERTa and CamemBERT have additional tokens before the pieces. T5 has sentinels after them.
//! Follows transformers 5.23.0, `convert_slow_tokenizer.py` (`SentencePieceExtractor`, and
//! `convert_from_spm` of `XLMRobertaConverter`, `CamembertConverter` and `T5Converter`).

use prost::Message;
use tokenizers::normalizers::Precompiled;

use super::around_text::VocabularySource;
use super::build::{Vocabulary, VocabularyParts};
use super::charsmap;
use super::class::TokenizerClass;
use super::error::{CrateError, TokenizerError, catch_tokenizer_panic};
use super::sentinels::{sentinels_after_pieces, with_sentinels};
use super::special_tokens::{ExtraSpecialTokens, ListedToken};
use super::tokenizer_config::TokenizerConfig;
use crate::error::Result;

/// `ModelProto`.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<SentencePiece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerSpec>,
}

/// `ModelProto.SentencePiece`.
#[derive(Clone, PartialEq, Message)]
struct SentencePiece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    /// The logarithm of the piece's probability.
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

/// The model type with piece probabilities, which is the default.
const UNIGRAM: i32 = 1;
/// The kind of pieces that a text cannot contain.
const CONTROL: i32 = 3;
/// The kind of pieces that are never split.
const USER_DEFINED: i32 = 4;

/// Parses a SentencePiece model for a class.
pub(super) fn parse(
    bytes: &[u8],
    class: TokenizerClass,
    config: &TokenizerConfig,
) -> std::result::Result<VocabularyParts, TokenizerError> {
    let model = Model::decode(bytes).map_err(CrateError::from)?;
    if model.pieces.is_empty() {
        return Err("it has no pieces".to_owned().into());
    }
    let kind = model.trainer.and_then(|trainer| trainer.model_type).unwrap_or(UNIGRAM);
    if class == TokenizerClass::Camembert && kind != UNIGRAM {
        return Err(format!("its class needs pieces with probabilities (Unigram, 1), and it has kind {kind}").into());
    }
    let pieces = model.pieces.iter().map(|piece| (piece.text(), f64::from(piece.score.unwrap_or(0.0))));
    let pieces = in_order_of_ids(pieces, class, config)?;
    let table = model.normalizer.and_then(|normalizer| normalizer.precompiled_charsmap);
    let charsmap = table.filter(|table| !table.is_empty()).map(|table| parse_charsmap(&table)).transpose()?;
    let symbols = model.pieces.iter().filter_map(SentencePiece::symbol).collect();
    let extra = if class == TokenizerClass::T5 {
        with_sentinels(Some(symbols), config)?
    } else {
        ExtraSpecialTokens { tokens: symbols, replace_map: true }
    };
    let vocabulary = Vocabulary::Pieces(pieces);
    Ok(VocabularyParts { vocabulary, charsmap, extra, source: VocabularySource::OlderFiles })
}

fn parse_charsmap(table: &[u8]) -> std::result::Result<Precompiled, CrateError> {
    charsmap::validate(table)?;
    catch_tokenizer_panic(|| Ok(Precompiled::from(table)?))
}

/// Returns all pieces in the order of their ids.
fn in_order_of_ids(
    pieces: impl Iterator<Item = (String, f64)>,
    class: TokenizerClass,
    config: &TokenizerConfig,
) -> Result<Vec<(String, f64)>> {
    let token = |role: &str| class.token_text(config, role);
    let mut all = Vec::new();
    if matches!(class, TokenizerClass::T5 | TokenizerClass::Albert) {
        all.extend(pieces);
        if class == TokenizerClass::T5 {
            all.extend(sentinels_after_pieces(config)?.map(|token| (token, 0.0)));
        }
        return Ok(all);
    }
    let skipped_pieces = if class == TokenizerClass::Camembert {
        let first = ["<s>NOTUSED".to_owned(), token("pad_token")?, "</s>NOTUSED".to_owned(), token("unk_token")?];
        all.extend(first.map(|token| (token, 0.0)));
        // A score so low that no text is split into this piece.
        all.push(("<unk>NOTUSED".to_owned(), -100.0));
        // `<s>` and `</s>` are among the remaining pieces.
        1
    } else {
        let first = [token("bos_token")?, token("pad_token")?, token("eos_token")?, token("unk_token")?];
        all.extend(first.map(|token| (token, 0.0)));
        3
    };
    all.extend(pieces.skip(skipped_pieces));
    all.push((token("mask_token")?, 0.0));
    Ok(all)
}

impl SentencePiece {
    fn text(&self) -> String {
        self.piece.clone().unwrap_or_default()
    }

    /// Returns the token to add if the piece is matched before a text is split.
    fn symbol(&self) -> Option<ListedToken> {
        match self.kind? {
            CONTROL => Some(ListedToken::from_sentence_piece(&self.text(), true)),
            USER_DEFINED => Some(ListedToken::from_sentence_piece(&self.text(), false)),
            _ => None,
        }
    }
}
