//! The face of the library: texts to vectors and scores.

mod builder;
mod convert;
mod forward;
mod memory;
mod plan;
mod results;
#[cfg(feature = "serve")]
mod staged;
mod tokenization;

pub use builder::Builder;
pub use convert::Converted;
pub use memory::MemoryEstimate;
pub use results::{Embeddings, ModelInfo, Scores, Trace};
#[cfg(feature = "serve")]
pub(crate) use staged::{EncodeOptions, EncodedText, TextInput};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;
use likewise_kernels::view::MatRef;

use self::tokenization::{Encoded, with_prompt};
use crate::encoder::{Encoder, LoadStats, Workspace};
use crate::error::{Error, Result};
use crate::modules::{OutputOptions, PoolingHead};
use crate::parallel::Pool;
use crate::similarity::Similarity;
use crate::tokenizer::{Tokenizer, Tokens};
use crate::trace::{NullObserver, Recorder};

/// A model, ready to embed. All methods take `&self`, and any number of threads may call them.
///
/// In every precision a text's vector has the same bits alone and in any batch, in any order, with any number of threads, and
/// on every level that has fused multiply-add.
pub struct Embedder {
    level: Level,
    precision: Precision,
    pool: Pool,
    tokenizer: Tokenizer,
    encoder: Encoder,
    load_stats: LoadStats,
    head: PoolingHead,
    ending: OutputOptions,
    similarity: Similarity,
    prompt: String,
    prompts: BTreeMap<String, String>,
    truncation: TruncationPolicy,
    name: String,
    /// Matrices that passes have used and that the next may use again.
    buffers: Mutex<Vec<Workspace>>,
}

/// What to do with a text that is longer than the model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TruncationPolicy {
    /// Read its beginning, and say so in [`crate::TokenUsage`].
    #[default]
    Allow,
    /// Give [`Error::TooLong`].
    Error,
}

/// Tokens of a pass that one thread makes alone, about: enough that each panel of weights, once in the cache, is used for
/// sixteen tiles, few enough that the activations (17 KB a token in MiniLM, 34 KB in models of base size) stay near. (128 and
/// 256 are within the noise, 512 is 5 % slower for MiniLM.)
pub(crate) const TOKENS_PER_BATCH: usize = 192;

/// The most tokens of a pass, save a single text that is longer. Half as many again, so that two texts of middling length
/// still share one.
const MOST_TOKENS: usize = TOKENS_PER_BATCH * 3 / 2;

/// With fewer tokens than this a thread, all threads share one pass: alone, a thread would wait for its weights.
const TOKENS_FOR_A_THREAD: usize = 96;

impl Embedder {
    /// Opens a model folder with all defaults.
    ///
    /// The weights are mapped, not read. While the model is open its files must not be changed or cut short in place, by
    /// this process or another: numbers would change under the computation, or the operating system would end the process.
    /// (To replace a file by renaming another over it is fine.) Where that cannot be promised, open
    /// [`crate::ModelFiles::without_mmap`].
    ///
    /// # Errors
    /// If a file is missing, damaged or asks for something that is not supported.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        Self::builder().open(folder)
    }

    /// Settings to open a model with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The sentence vectors of some texts, in their order.
    ///
    /// A text that is longer than the model reads costs what its tokens take to count: 10 MB of English some 3 s and a few
    /// megabytes. Of a text without a place to cut it (one word of 10 MB, or Chinese for a SentencePiece tokenizer) the
    /// whole is tokenized at once, which takes 60 to 140 bytes of memory for each of its bytes.
    ///
    /// # Errors
    /// If a text cannot be tokenized, is too long and [`TruncationPolicy::Error`] is set, or its vector is not finite.
    pub fn embed<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Embeddings> {
        self.embed_with(texts, |_| ())
    }

    /// As [`Self::embed`]; `progress` is called, from any thread, with the number of texts that have just been finished.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_with<T: AsRef<str> + Sync>(&self, texts: &[T], progress: impl Fn(usize) + Sync) -> Result<Embeddings> {
        self.embed_prompted(texts, &self.prompt, progress)
    }

    /// The vectors of questions: with the model's prompt `query` before each, which is empty in a model that defines none,
    /// whatever prompt the embedder was opened with. (`encode_query` of the reference.)
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_queries<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Embeddings> {
        self.embed_prompted(texts, self.named_prompt("query"), |_| ())
    }

    /// The vectors of what is searched in: the same with the prompt `document`. (`encode_document` of the reference.)
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_documents<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Embeddings> {
        self.embed_prompted(texts, self.named_prompt("document"), |_| ())
    }

    fn named_prompt(&self, name: &str) -> &str {
        self.prompts.get(name).map_or("", String::as_str)
    }

    fn embed_prompted<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        prompt: &str,
        progress: impl Fn(usize) + Sync,
    ) -> Result<Embeddings> {
        let encoded = self.encode(texts, prompt)?;
        let width = self.width();
        let mut data = vec![0.0; texts.len() * width];
        let plan = self.plan(&encoded);
        let compute = |members: &[usize]| -> Result<Vec<f32>> {
            let texts = || members.iter().map(|&i| &encoded[i]);
            let batch = self.batch(texts());
            let mut pooled = vec![0.0; members.len() * self.head.pooled_width()];
            let pool = |tokens: MatRef<'_>| self.pool_sentences(texts(), &batch, tokens, &mut pooled);
            match plan.shared {
                true => self.pass_together(&batch, pool),
                false => self.pass_alone(&batch, &mut NullObserver, pool),
            }
            let vectors = self.head.finish(pooled, self.ending);
            self.check(&vectors, members, &batch)?;
            progress(members.len());
            Ok(vectors)
        };
        let results = if plan.shared {
            plan.batches.iter().map(|members| compute(members)).collect::<Vec<_>>()
        } else {
            self.pool.map(plan.batches.len(), |i| compute(&plan.batches[i]))
        };
        for (members, vectors) in plan.batches.iter().zip(results) {
            for (vector, &i) in vectors?.chunks_exact(width).zip(members) {
                data[i * width..][..width].copy_from_slice(vector);
            }
        }
        Ok(Embeddings { data, width, usage: encoded.iter().map(|text| text.usage).collect() })
    }

    /// How alike each sentence is to the source, by the model's similarity function: more is more alike.
    ///
    /// # Errors
    /// If there are no sentences, a score is not finite, and as [`Self::embed`]. In an error text 0 is the source.
    pub fn similarity<T: AsRef<str>>(&self, source: &str, sentences: &[T]) -> Result<Scores> {
        self.similarity_with(source, sentences, |_| ())
    }

    /// As [`Self::similarity`]; `progress` is called as by [`Self::embed_with`].
    ///
    /// # Errors
    /// As [`Self::similarity`].
    pub fn similarity_with<T: AsRef<str>>(
        &self,
        source: &str,
        sentences: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<Scores> {
        if sentences.is_empty() {
            return Err(Error::Empty("sentences"));
        }
        let texts: Vec<&str> = std::iter::once(source).chain(sentences.iter().map(AsRef::as_ref)).collect();
        let vectors = self.embed_with(&texts, progress)?;
        let score = |i| match self.score(vectors.row(0), vectors.row(i))? {
            score if score.is_finite() => Ok(score),
            _ => Err(Error::NotFinite { text: i }),
        };
        let values = (1..vectors.len()).map(score).collect::<Result<_>>()?;
        Ok(Scores { values, source: vectors.usage[0], sentences: vectors.usage[1..].to_vec() })
    }

    /// How alike two vectors of this model are.
    ///
    /// # Errors
    /// If they have different lengths.
    pub fn score(&self, a: &[f32], b: &[f32]) -> Result<f32> {
        self.similarity.score(self.level, a, b)
    }

    /// The tokens of a text, as the model reads them.
    ///
    /// # Errors
    /// If the tokenizer refuses it.
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.tokens(&with_prompt(&self.prompt, text))
    }

    /// Every intermediate result of one pass over some texts, by one thread. The bits are those of [`Self::embed`].
    ///
    /// # Errors
    /// If there are no texts, a text has no tokens at all, and as [`Self::embed`].
    pub fn trace<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Trace> {
        let encoded = self.encode(texts, &self.prompt)?;
        if encoded.is_empty() || encoded.iter().any(|text| text.ids.is_empty()) {
            return Err(Error::Empty("tokens to trace"));
        }
        let batch = self.batch(&encoded);
        let width = self.width();
        let (mut sites, mut pooled) = (Recorder::default(), vec![0.0; texts.len() * self.head.pooled_width()]);
        self.pass_alone(&batch, &mut sites, |tokens| self.pool_sentences(&encoded, &batch, tokens, &mut pooled));
        let data = self.head.finish(pooled.clone(), self.ending);
        let vectors = Embeddings { data, width, usage: encoded.iter().map(|text| text.usage).collect() };
        let lengths = encoded.iter().map(|text| text.ids.len()).collect();
        Ok(Trace { sites, ids: batch.ids().to_vec(), lengths, pooled, vectors })
    }

    /// Width of a sentence vector.
    pub fn width(&self) -> usize {
        self.ending.dimensions.map_or(self.head.width(), |dimensions| dimensions.min(self.head.width()))
    }

    /// The model's similarity function.
    pub fn similarity_function(&self) -> Similarity {
        self.similarity
    }

    /// The instructions that it computes with.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The type of the numbers that its linear layers multiply.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Floating-point operations of a pass over a text of so many tokens: the linear layers and the two products of attention,
    /// a multiply-add being two. The rest is not counted.
    pub fn operations(&self, tokens: usize) -> f64 {
        self.encoder.spec().operations(tokens)
    }

    /// What the model is and what it takes.
    pub fn info(&self) -> ModelInfo {
        let spec = self.encoder.spec();
        ModelInfo {
            name: self.name.clone(),
            architecture: spec.architecture(),
            parameters: spec.parameters(),
            modules: self.head.describe(),
            similarity: self.similarity,
            max_length: self.tokenizer.limit(),
            width: self.width(),
            dtype: self.encoder.dtype(),
            level: self.level,
            precision: self.precision,
            threads: self.pool.size(),
            prompts: self.prompts.clone(),
            prompt: self.prompt.clone(),
            memory: self.memory(self.precision),
            memory_in: self.precisions().map(|precision| (precision, self.memory(precision))).collect(),
            converted: self.load_stats.is_converted,
        }
    }

    /// The precisions that the model can be opened with from the files that it was opened from.
    fn precisions(&self) -> impl Iterator<Item = Precision> {
        let only = self.load_stats.is_converted.then_some(self.precision);
        Precision::ALL.into_iter().filter(move |&precision| only.is_none_or(|only| only == precision))
    }

    /// The most tokens of a pass that one thread makes alone.
    fn longest_pass(&self) -> usize {
        self.tokenizer.limit().max(MOST_TOKENS)
    }
}
