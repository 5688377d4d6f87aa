//! The modules that encode the texts of a task.

use super::results::Encoded;
use crate::backbone::{
    Backbone, BackboneSettings, LoadedBackbone, ModelFolder, PreparedBackbone, Runtime, TokenizedText,
    TruncationPolicy, prepend_prompt,
};
use crate::checkpoint::Checkpoint;
use crate::config::JsonObject;
use crate::encoder::families::masked_language_spec;
use crate::encoder::spec::Family;
use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, Manifest, ModuleList, TransformerTask, file_in, require_masked_language};
use crate::modules::{MaskedLanguageHead, SparseVector, SpladePooling};
use crate::parallel::Pool;
use crate::tokenizer::{EncoderLimits, TokenUsage, Tokenizer, TruncationSide};

/// Encodes texts as sparse vectors.
pub(super) enum Route {
    Splade(Box<Splade>),
    Static(Box<TokenWeights>),
}

/// A network with a head for masked language, whose numbers are pooled.
pub(super) struct Splade {
    pub(super) backbone: Backbone,
    pub(super) head: MaskedLanguageHead,
    pub(super) pooling: SpladePooling,
}

/// A weight for each token (`SparseStaticEmbedding`). A vector has the weights of the tokens that
/// occur in the text.
pub(super) struct TokenWeights {
    pub(super) runtime: Runtime,
    pub(super) weights: Vec<f32>,
}

impl Route {
    /// Loads the modules of a route, or without modules.json a class for masked language with
    /// SPLADE's usual pooling.
    ///
    /// # Errors
    /// If a file is missing or not valid, or a module is not supported.
    pub(super) fn load(
        files: &ModelFiles,
        modules: Option<ModuleList>,
        manifest: Manifest,
        settings: &BackboneSettings,
    ) -> Result<Self> {
        if let Some([only]) = modules.as_ref().map(|modules| modules.entries.as_slice())
            && only.class == "SparseStaticEmbedding"
        {
            return Ok(Self::Static(Box::new(TokenWeights::load(files, &only.path, settings)?)));
        }
        Ok(Self::Splade(Box::new(Splade::load(files, modules, manifest, settings)?)))
    }

    /// Returns the length of the vectors.
    pub(super) fn dimension(&self) -> usize {
        match self {
            Self::Splade(splade) => splade.head.vocabulary(),
            Self::Static(weights) => weights.weights.len(),
        }
    }

    /// Describes the modules.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Splade(splade) => {
                let family = splade.backbone.spec().family.name();
                format!("{family}, {}, {}", splade.head.describe(), splade.pooling.describe())
            }
            Self::Static(weights) => format!("weights of {} tokens", weights.weights.len()),
        }
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        self.runtime().tokenizer()
    }

    /// Returns what both have.
    pub(super) fn runtime(&self) -> &Runtime {
        match self {
            Self::Splade(splade) => &splade.backbone,
            Self::Static(weights) => &weights.runtime,
        }
    }

    /// Returns the network, if there is one.
    pub(super) fn splade(&self) -> Option<&Splade> {
        match self {
            Self::Splade(splade) => Some(splade),
            Self::Static(_) => None,
        }
    }

    /// Encodes texts with a prompt before each.
    pub(super) fn encode<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        prompt: &str,
        progress: &(impl Fn(usize) + Sync),
    ) -> Result<Vec<Encoded>> {
        match self {
            Self::Splade(splade) => splade.encode(texts, prompt, progress),
            Self::Static(weights) => {
                let encode = |(i, text): (usize, &T)| {
                    let text = prepend_prompt(prompt, text.as_ref());
                    let encoded = weights.encode(i, &text, weights.runtime.truncation(), None)?;
                    progress(1);
                    Ok(encoded)
                };
                texts.iter().enumerate().map(encode).collect()
            }
        }
    }
}

impl Splade {
    fn load(
        files: &ModelFiles,
        modules: Option<ModuleList>,
        manifest: Manifest,
        settings: &BackboneSettings,
    ) -> Result<Self> {
        let mut folder = ModelFolder::of_modules(files, modules, manifest)?;
        // Without such a class the reference starts with random weights.
        require_masked_language(&folder.config)?;
        let prepared = PreparedBackbone::read(&mut folder, settings, TransformerTask::FillMask)?;
        let spec = masked_language_spec(&folder.config, prepared.spec())?;
        let vocabulary = prepared.spec().embeddings.tokens.rows;
        let pooling = match &folder.modules {
            None => SpladePooling::DEFAULT,
            Some(modules) => {
                let Some(module) = modules.entries.get(1) else { return Err(modules.too_few()) };
                if module.class != "SpladePooling" || module.path.is_empty() {
                    return Err(module
                        .keys
                        .invalid_value("type", "SpladePooling in its own folder as the second module"));
                }
                if let Some(other) = modules.entries.get(2) {
                    return Err(other.keys.invalid_value("type", "no module after SpladePooling"));
                }
                SpladePooling::load(files, &module.path, vocabulary)?
            }
        };
        let head = MaskedLanguageHead::load(&prepared.checkpoint, prepared.spec(), &spec, prepared.compute)?;
        let LoadedBackbone { backbone, .. } = prepared.load()?;
        Ok(Self { backbone, head, pooling })
    }

    fn encode<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        prompt: &str,
        progress: &(impl Fn(usize) + Sync),
    ) -> Result<Vec<Encoded>> {
        let backbone = &self.backbone;
        let tokenized = backbone.tokenize_all(texts.len(), |i| {
            backbone.tokenize_text(i, texts[i].as_ref(), prompt, backbone.truncation(), None)
        })?;
        let batches = backbone.run_batches(&tokenized, |indices, use_team| {
            let texts: Vec<&TokenizedText> = indices.iter().map(|&i| &tokenized[i]).collect();
            let vectors = self.encode_batch(&texts, |s| indices[s], use_team)?;
            progress(indices.len());
            Ok(vectors)
        })?;
        let empty = |text: &TokenizedText| Encoded { vector: SparseVector::default(), usage: text.usage };
        let mut encoded: Vec<Encoded> = tokenized.iter().map(empty).collect();
        for (indices, vectors) in batches {
            indices.into_iter().zip(vectors).for_each(|(i, vector)| encoded[i].vector = vector);
        }
        Ok(encoded)
    }

    /// Encodes the texts of one batch, by all threads or by this one. `index` returns a text's
    /// index in the call, for errors.
    pub(super) fn encode_batch(
        &self,
        texts: &[&TokenizedText],
        index: impl Fn(usize) -> usize,
        use_team: bool,
    ) -> Result<Vec<SparseVector>> {
        let batch = self.backbone.batch(texts.iter().copied());
        let width = self.backbone.spec().hidden_size;
        let mut tokens = Vec::with_capacity(batch.tokens() * width);
        self.backbone.run(&batch, None, use_team, |vectors| {
            (0..vectors.rows()).for_each(|t| tokens.extend_from_slice(vectors.row(t)));
        });
        let pool = use_team.then(|| self.backbone.thread_pool());
        let vectors = self.head.pool(self.pooling, &tokens, batch.text_bounds(), pool);
        match vectors.iter().position(|vector| vector.values.iter().any(|x| !x.is_finite())) {
            None => Ok(vectors),
            Some(text) => Err(self.backbone.not_finite(index(text), &batch)),
        }
    }
}

impl TokenWeights {
    /// Loads the module in a subfolder.
    fn load(files: &ModelFiles, path: &str, settings: &BackboneSettings) -> Result<Self> {
        const WEIGHT: &str = "weight";
        let name = file_in(path, CONFIG);
        if let Some(bytes) = files.read(&name)? {
            let keys = JsonObject::parse(&files.label(&name), &bytes)?;
            // Whether training changes the weights.
            keys.get("frozen");
            if keys.string("path")?.is_some_and(|path| path.ends_with(".json")) {
                let expected = "null: sentence-transformers looks for this file of weights outside the folder; save the \
                                model by version 5 or later, which writes model.safetensors";
                return Err(keys.invalid_value("path", expected));
            }
            keys.get("path");
            keys.reject_unread(&[])?;
        }
        // Such a tokenizer has no network that limits it. The class is in its own settings.
        let limits = EncoderLimits { family: Family::Bert, max_tokens: u32::MAX as usize };
        let (tokenizer, _) = Tokenizer::load(&files.subfolder(path), &limits, settings.max_length, None)?;
        let checkpoint = Checkpoint::of_module(files, path)?;
        let tensors = checkpoint.tensors();
        let others: Vec<String> =
            tensors.keys().filter(|name| **name != WEIGHT).map(|name| (*name).to_owned()).collect();
        if !others.is_empty() {
            return Err(Error::UnknownTensor {
                file: checkpoint.label().to_owned(),
                family: "SparseStaticEmbedding",
                names: others,
            });
        }
        let len =
            tensors.get(WEIGHT).and_then(|shape| shape.first()).copied().unwrap_or(tokenizer.model_and_vocab_size().1);
        let weights = checkpoint.tensor(WEIGHT, &[len])?.to_f32_vec()?;
        // Looking up weights is no work for several threads, and another route may have some.
        let runtime = settings.runtime(Pool::new(1)?, tokenizer, files.name(), weights.len());
        Ok(Self { runtime, weights })
    }

    pub(super) fn encode(
        &self,
        text_index: usize,
        text: &str,
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<Encoded> {
        let (ids, usage) = self.runtime.tokenizer().encode_without_special_tokens(text, side)?;
        self.weigh(text_index, ids, usage, truncation)
    }

    /// Returns the weights of the tokens of a text.
    pub(super) fn weigh(
        &self,
        text_index: usize,
        mut ids: Vec<u32>,
        usage: TokenUsage,
        truncation: TruncationPolicy,
    ) -> Result<Encoded> {
        if truncation == TruncationPolicy::Error && usage.truncated() {
            let limit = self.runtime.tokenizer().max_tokens();
            return Err(Error::TooLong { text: text_index, tokens: usage.total, limit });
        }
        // A token that occurs several times counts once.
        ids.sort_unstable();
        ids.dedup();
        let mut vector = SparseVector::default();
        for id in ids {
            let Some(&weight) = self.weights.get(id as usize) else {
                let vocabulary = self.weights.len();
                return Err(Error::TokenId { file: self.runtime.tokenizer().label().to_owned(), id, vocabulary });
            };
            if weight != 0.0 {
                vector.indices.push(id);
                vector.values.push(weight);
            }
        }
        Ok(Encoded { vector, usage })
    }
}
