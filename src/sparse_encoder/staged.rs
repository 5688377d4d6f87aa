//! Encoding in stages, for a server that mixes the texts of many requests in one batch: tokenize,
//! run a batch.

use super::model::SparseEncoder;
use super::results::Encoded;
use super::route::Route;
use super::router::Task;
use crate::backbone::{Runtime, TokenizedText, TruncationPolicy, prepend_prompt};
use crate::embedder::EncodeOptions;
use crate::error::{Error, Result};
use crate::modules::SparseVector;
use crate::tokenizer::{TokenSpan, TokenUsage, Tokenizer, TruncationSide};

/// A tokenized text, ready for a batch.
pub(crate) struct EncodedSparseText {
    usage: TokenUsage,
    work: Work,
}

/// What remains to be computed for a text.
enum Work {
    /// A pass of the network of a route.
    Pass { route: usize, tokens: TokenizedText },
    /// Nothing: the route has only weights of tokens.
    Done(SparseVector),
}

impl EncodedSparseText {
    /// Returns the number of tokens in the batch.
    pub(crate) fn token_count(&self) -> usize {
        match &self.work {
            Work::Pass { tokens, .. } => tokens.ids.len(),
            Work::Done(_) => 0,
        }
    }

    /// Returns how many tokens of the text are used.
    pub(crate) fn usage(&self) -> TokenUsage {
        self.usage
    }
}

impl SparseEncoder {
    /// Tokenizes a text. `text_index` is its index in the request, for errors.
    ///
    /// The prompt names `query` and `document` also select the modules for such texts, and the
    /// model need not define these prompts, as in sentence-transformers.
    ///
    /// # Errors
    /// - If the text cannot be tokenized, or if it is too long and truncation is off.
    /// - If there is no prompt of this name, or the model has no modules for such texts.
    pub(crate) fn encode_input(
        &self,
        text_index: usize,
        text: &str,
        options: &EncodeOptions,
    ) -> Result<EncodedSparseText> {
        let (task, prompt) = self.task_and_prompt(options.prompt_name.as_deref())?;
        let route = self.require_route_index(task)?;
        let side = options.truncation_side;
        let truncation = options.truncation(self.truncation());
        match &self.routes[route] {
            Route::Splade(splade) => {
                let tokens = splade.backbone.tokenize_text(text_index, text, prompt, truncation, side)?;
                Ok(EncodedSparseText { usage: tokens.usage, work: Work::Pass { route, tokens } })
            }
            Route::Static(weights) => {
                let text = prepend_prompt(prompt, text);
                let Encoded { vector, usage } = weights.encode(text_index, &text, truncation, side)?;
                Ok(EncodedSparseText { usage, work: Work::Done(vector) })
            }
        }
    }

    /// Takes the token ids of a text without a task, with the special tokens that the encoder
    /// needs; weights of tokens alone need none.
    ///
    /// # Errors
    /// - If they are too many and truncation is off, or if one is not in the vocabulary.
    /// - If the model has no modules for texts without a task.
    pub(crate) fn encode_ids(
        &self,
        text_index: usize,
        ids: &[u32],
        options: &EncodeOptions,
    ) -> Result<EncodedSparseText> {
        let route = self.require_route_index(Task::Unspecified)?;
        let max_tokens = self.routes[route].tokenizer().max_tokens();
        let (ids, usage) = TruncationSide::cut(ids, max_tokens, options.truncation_side);
        let truncation = options.truncation(self.truncation());
        let work = match &self.routes[route] {
            Route::Splade(splade) => {
                Work::Pass { route, tokens: splade.backbone.validate_ids(text_index, ids, usage, truncation)? }
            }
            Route::Static(weights) => Work::Done(weights.weigh(text_index, ids, usage, truncation)?.vector),
        };
        Ok(EncodedSparseText { usage, work })
    }

    /// Runs one batch, by a team of all threads or by this thread. Returns the vector of each text.
    ///
    /// # Errors
    /// If a value is not finite.
    pub(crate) fn run_batch(&self, texts: &[&EncodedSparseText], use_team: bool) -> Result<Vec<SparseVector>> {
        let of_text = |text: &&EncodedSparseText| match &text.work {
            Work::Pass { .. } => SparseVector::default(),
            Work::Done(vector) => vector.clone(),
        };
        let mut vectors: Vec<SparseVector> = texts.iter().map(of_text).collect();
        for (index, route) in self.routes.iter().enumerate() {
            let Some(splade) = route.splade() else { continue };
            // The encoder takes no empty texts: their vectors are zeros.
            let of_route = texts.iter().enumerate().filter_map(|(i, text)| match &text.work {
                Work::Pass { route, tokens } if *route == index && !tokens.ids.is_empty() => Some((i, tokens)),
                _ => None,
            });
            let (indices, tokens): (Vec<usize>, Vec<&TokenizedText>) = of_route.unzip();
            if tokens.is_empty() {
                continue;
            }
            let computed = splade.encode_batch(&tokens, |s| indices[s], use_team)?;
            indices.into_iter().zip(computed).for_each(|(i, vector)| vectors[i] = vector);
        }
        if let Some(count) = self.max_active_dims {
            vectors.iter_mut().for_each(|vector| vector.keep_largest(count));
        }
        Ok(vectors)
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
        let (task, prompt) = self.task_and_prompt(prompt)?;
        let tokenizer = self.routes[self.require_route_index(task)?].tokenizer();
        tokenizer.token_spans(&prepend_prompt(prompt, text), special, receive)
    }

    /// Returns the tokenizer of the texts that have this prompt.
    ///
    /// # Errors
    /// If there is no prompt of this name, or the model has no modules for such texts.
    pub(crate) fn tokenizer_of_prompt(&self, name: Option<&str>) -> Result<&Tokenizer> {
        let (task, _) = self.task_and_prompt(name)?;
        Ok(self.routes[self.require_route_index(task)?].tokenizer())
    }

    /// Returns the tokenizer of texts without a task, or else of documents or queries.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        self.routes[self.default_route()].tokenizer()
    }

    /// Returns the tokenizer, threads and settings of the route with an encoder, or else of the
    /// first.
    pub(crate) fn runtime(&self) -> &Runtime {
        self.routes.iter().find(|route| route.splade().is_some()).unwrap_or(&self.routes[0]).runtime()
    }

    /// Returns what happens to texts that are too long.
    pub(crate) fn truncation(&self) -> TruncationPolicy {
        self.runtime().truncation()
    }

    /// Returns the task that a prompt's name stands for, and the prompt's text.
    fn task_and_prompt(&self, name: Option<&str>) -> Result<(Task, &str)> {
        let task = match name {
            None => return Ok((Task::Unspecified, &self.prompt)),
            Some("query") => Task::Query,
            Some("document") => Task::Document,
            Some(_) => Task::Unspecified,
        };
        let name = name.unwrap_or_default();
        match self.prompts.get(name) {
            Some(prompt) => Ok((task, prompt)),
            None if task != Task::Unspecified => Ok((task, "")),
            None => Err(Error::Prompt {
                name: name.to_owned(),
                origin: self.name.clone(),
                known: self.prompts.keys().cloned().collect(),
            }),
        }
    }
}
