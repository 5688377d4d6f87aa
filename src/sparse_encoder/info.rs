//! The description of an opened sparse encoder.

use std::collections::BTreeMap;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::model::SparseEncoder;
use super::route::{Route, Splade};
use super::router::Task;
use crate::backbone::{HeadMemory, MemoryEstimate};
use crate::encoder::Architecture;
use crate::similarity::Similarity;

/// The description of a sparse encoder and of how it is run. Returned by [`SparseEncoder::info`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SparseEncoderInfo {
    /// The model's name: its hub id, its folder's name, or the name that its files were given.
    pub name: String,
    /// The length of the vectors.
    pub dimension: usize,
    /// A description of the modules of each route, and of the texts that it encodes if there are
    /// several routes.
    pub routes: Vec<String>,
    /// The function that scores two vectors.
    pub similarity: Similarity,
    /// How many elements of a vector are kept at most. None keeps all.
    pub max_active_dims: Option<usize>,
    /// The maximum number of tokens of a text without a task, or else of a query.
    pub max_length: usize,
    /// The network. None if the model has only weights of tokens, as for the keys below.
    pub network: Option<SparseNetworkInfo>,
    /// The texts of the prompts that the model defines, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that is put before texts without a task.
    pub prompt: String,
}

/// The network of a sparse encoder and how it is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SparseNetworkInfo {
    /// The architecture and its sizes.
    pub architecture: Architecture,
    /// The element type of the token embeddings in the file: "F32", "F16" or "BF16".
    pub dtype: &'static str,
    /// The SIMD level of the computation.
    pub level: Level,
    /// The type of the elements that the linear layers, and the product with the vocabulary,
    /// multiply.
    pub precision: Precision,
    /// The number of threads.
    pub threads: usize,
    /// The number of threads that were requested, or the default. It is larger than `threads` if
    /// the operating system did not allow as many.
    pub requested_threads: usize,
    /// The number of parameters of the encoder, without the head and unused tensors.
    pub parameters: usize,
    /// The memory that the model takes.
    pub memory: MemoryEstimate,
    /// The memory that the model takes in each precision.
    pub memory_by_precision: Vec<(Precision, MemoryEstimate)>,
}

impl SparseEncoder {
    /// Describes the model and how it is run.
    pub fn info(&self) -> SparseEncoderInfo {
        SparseEncoderInfo {
            name: self.name.clone(),
            dimension: self.dimension(),
            routes: (0..self.routes.len()).map(|route| self.describe_route(route)).collect(),
            similarity: self.similarity,
            max_active_dims: self.max_active_dims,
            max_length: self.routes[self.default_route()].tokenizer().max_tokens(),
            network: self.routes.iter().find_map(Route::splade).map(Splade::describe_network),
            prompts: self.prompts.clone(),
            prompt: self.prompt.clone(),
        }
    }

    /// Returns the floating-point operations of a pass over a text of so many tokens, as
    /// [`Embedder::operations`](crate::Embedder::operations) does, with those of the head. The
    /// network is that of [`SparseEncoderInfo::network`]; without one there are none.
    pub fn operations(&self, tokens: usize) -> f64 {
        let of_network = |splade: &Splade| {
            splade.backbone.spec().operations(tokens) + (splade.head.operations_per_token() * tokens) as f64
        };
        self.routes.iter().find_map(Route::splade).map_or(0.0, of_network)
    }

    /// Describes the modules of a route, and the texts that it encodes if there are several.
    fn describe_route(&self, route: usize) -> String {
        let modules = self.routes[route].describe();
        if self.routes.len() == 1 {
            return modules;
        }
        let tasks = Task::ALL.iter().zip(self.route_of_task).filter(|(_, other)| *other == Some(route));
        let texts: Vec<&str> = tasks.map(|(task, _)| task.description()).collect();
        format!("{}: {modules}", if texts.is_empty() { "no texts".to_owned() } else { texts.join(", ") })
    }
}

impl Splade {
    fn describe_network(&self) -> SparseNetworkInfo {
        let backbone = &self.backbone;
        let memory = |precision| self.memory(precision);
        SparseNetworkInfo {
            architecture: backbone.spec().architecture(),
            dtype: backbone.encoder().dtype(),
            level: backbone.level(),
            precision: backbone.precision(),
            threads: backbone.thread_pool().size(),
            requested_threads: backbone.thread_pool().requested_size(),
            parameters: backbone.spec().parameters(),
            memory: memory(backbone.precision()),
            memory_by_precision: Precision::ALL.map(|precision| (precision, memory(precision))).into(),
        }
    }

    fn memory(&self, precision: Precision) -> MemoryEstimate {
        let buffers = self.head.buffer_bytes(precision, self.pooling, self.backbone.max_batch_tokens());
        let head = HeadMemory { bytes: self.head.bytes(precision), reads_one_token: false, buffers };
        self.backbone.memory(precision, head)
    }
}
