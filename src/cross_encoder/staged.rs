//! Scoring in stages, for a server that mixes the pairs of many requests in one batch: encode, run
//! a batch, apply a function to the numbers of the head.

use likewise_kernels::math::Activation;

use super::activation::ScoreActivation;
use super::model::CrossEncoder;
use super::predict::Output;
use crate::backbone::{Runtime, TokenizedText, prepend_prompt};
use crate::embedder::EncodeOptions;
use crate::error::{Error, Result};
use crate::tokenizer::{PairPart, TokenSpan, TokenUsage};

/// The function that turns the numbers of the head into scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ScoreFunction {
    /// The numbers themselves.
    Identity,
    /// σ of each number.
    Sigmoid,
    /// The softmax of all numbers of a pair.
    Softmax,
    /// σ of a single number, and otherwise the softmax.
    Probabilities,
    /// What the pipeline of transformers applies, by `problem_type` of config.json.
    OfProblemType,
}

/// A tokenized pair, or a text alone, ready for a batch.
pub(crate) struct EncodedPair {
    tokens: TokenizedText,
    usage: TokenUsage,
}

impl EncodedPair {
    /// Returns the number of tokens in the batch.
    pub(crate) fn token_count(&self) -> usize {
        self.tokens.ids.len()
    }

    /// Returns how many tokens of both texts are used, with special tokens.
    pub(crate) fn usage(&self) -> TokenUsage {
        self.usage
    }

    /// Rejects a text without tokens: the encoder takes none.
    fn new(tokens: TokenizedText, usage: TokenUsage) -> Result<Self> {
        if tokens.ids.is_empty() { Err(Error::Empty("tokens of a text")) } else { Ok(Self { tokens, usage }) }
    }
}

impl CrossEncoder {
    /// Tokenizes the first text of pairs, with the prompt before it.
    ///
    /// # Errors
    /// If the text cannot be tokenized, or if there is no prompt of this name.
    pub(crate) fn encode_first(&self, text: &str, options: &EncodeOptions) -> Result<PairPart> {
        let prompt = self.resolve_prompt(options.prompt_name.as_deref())?;
        self.backbone.tokenizer().encode_part(&prepend_prompt(prompt, text), options.truncation_side)
    }

    /// Tokenizes a pair whose first text is tokenized already. `pair_index` is its index in the
    /// request, for errors.
    ///
    /// # Errors
    /// If the text cannot be tokenized, or if the pair is too long and truncation is off.
    pub(crate) fn encode_pair(
        &self,
        pair_index: usize,
        first: PairPart,
        second: &str,
        options: &EncodeOptions,
    ) -> Result<EncodedPair> {
        let side = options.truncation_side;
        let second = self.backbone.tokenizer().encode_part(second, side)?;
        let truncation = options.truncation(self.backbone.truncation());
        let (tokens, usage) = self.backbone.join_pair(pair_index, [first, second], truncation, side)?;
        let used = tokens.ids.len();
        let cut: usize = usage.iter().map(|usage| usage.total - usage.used).sum();
        EncodedPair::new(tokens, TokenUsage { total: used + cut, used })
    }

    /// Tokenizes a text alone, for a classifier of single texts.
    ///
    /// # Errors
    /// See [`Self::encode_pair`].
    pub(crate) fn encode_text(&self, text_index: usize, text: &str, options: &EncodeOptions) -> Result<EncodedPair> {
        let prompt = self.resolve_prompt(options.prompt_name.as_deref())?;
        let truncation = options.truncation(self.backbone.truncation());
        let tokens = self.backbone.tokenize_text(text_index, text, prompt, truncation, options.truncation_side)?;
        let usage = tokens.usage;
        EncodedPair::new(tokens, usage)
    }

    /// Runs one batch, by a team of all threads or by this thread. Returns for each pair the
    /// numbers of the head `[labels]`.
    ///
    /// # Errors
    /// If a number is not finite.
    pub(crate) fn run_batch(&self, pairs: &[&EncodedPair], use_team: bool) -> Result<Vec<Vec<f32>>> {
        let tokens: Vec<&TokenizedText> = pairs.iter().map(|pair| &pair.tokens).collect();
        let numbers = self.score_batch(&tokens, |pair| pair, Output::Logits, use_team)?;
        Ok(numbers.chunks_exact(self.labels.len()).map(<[f32]>::to_vec).collect())
    }

    /// Applies a function to the numbers of one pair `[labels]`.
    pub(crate) fn apply(&self, function: ScoreFunction, numbers: &mut [f32]) {
        let labels = self.labels.len();
        let sigmoid = ScoreActivation::Each(Activation::Sigmoid);
        let activation = match function {
            ScoreFunction::Identity => ScoreActivation::Identity,
            ScoreFunction::Sigmoid => sigmoid,
            ScoreFunction::Softmax => ScoreActivation::Softmax,
            ScoreFunction::Probabilities if labels == 1 => sigmoid,
            ScoreFunction::Probabilities => ScoreActivation::Softmax,
            ScoreFunction::OfProblemType => self.problem_type.activation(labels),
        };
        activation.apply(self.level(), numbers, labels);
    }

    /// Passes all tokens of a text and its prompt, untruncated, to `receive`, a list at a time.
    /// `special` adds the special tokens.
    ///
    /// # Errors
    /// If the text cannot be tokenized, or if `receive` fails.
    pub(crate) fn token_spans<E: From<Error>>(
        &self,
        text: &str,
        prompt: Option<&str>,
        special: bool,
        receive: impl FnMut(Vec<TokenSpan>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.backbone.tokenizer().token_spans(&prepend_prompt(self.resolve_prompt(prompt)?, text), special, receive)
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.backbone
    }

    /// Returns the text of the prompt of this name, or without a name the model's own.
    fn resolve_prompt(&self, name: Option<&str>) -> Result<&str> {
        self.backbone.resolve_prompt(name, &self.prompt, &self.prompts)
    }
}
