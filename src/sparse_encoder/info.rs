//! The description of an opened sparse encoder.

use likewise_kernels::quant::Precision;

use super::model::SparseEncoder;
use super::route::{Route, Splade, TokenWeights};
use super::router::Task;
use crate::backbone::HeadMemory;
use crate::encoder::Architecture;
use crate::model_info::{HeadInfo, ModelInfo, ModelOutput, TokenVectorInfo};

impl SparseEncoder {
    /// Describes the model and how it is run. A model whose routes differ is described by the route
    /// that has an encoder; `modules` and `max_length` are those of the routes.
    pub fn info(&self) -> ModelInfo {
        let route = self.routes.iter().find(|route| route.splade().is_some()).unwrap_or(&self.routes[0]);
        let tokens = match route {
            Route::Splade(splade) => splade.info(),
            Route::Static(weights) => weights.info(),
        };
        let head = HeadInfo {
            modules: (0..self.routes.len()).map(|route| self.describe_route(route)).collect(),
            prompts: &self.prompts,
            prompt: &self.prompt,
            output: ModelOutput::SparseVector {
                width: self.dimension(),
                similarity: self.similarity,
                max_active_dims: self.max_active_dims,
            },
        };
        let info = ModelInfo::new(tokens, head);
        ModelInfo { max_length: self.routes[self.default_route()].tokenizer().max_tokens(), ..info }
    }

    /// Returns the floating-point operations of a pass over a text of so many tokens, as
    /// [`Embedder::operations`](crate::Embedder::operations) does, with those of the head. Without
    /// an encoder there are none.
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
    fn info(&self) -> TokenVectorInfo<'_> {
        let memory = |precision| HeadMemory {
            bytes: self.head.bytes(precision),
            reads_one_token: false,
            buffers: self.head.buffer_bytes(precision, self.pooling, self.backbone.max_batch_tokens()),
        };
        TokenVectorInfo::of_encoder(&self.backbone, memory)
    }
}

impl TokenWeights {
    fn info(&self) -> TokenVectorInfo<'_> {
        let tokens = self.weights.len();
        let head = HeadMemory { bytes: tokens * size_of::<f32>(), reads_one_token: false, buffers: 0 };
        let memory = self.runtime.memory_with_table(0, 0, head);
        let precision = Precision::F32;
        TokenVectorInfo {
            runtime: &self.runtime,
            architecture: Architecture::of_table("SparseStaticEmbedding", 1, tokens),
            parameters: tokens,
            dtype: "F32",
            precision,
            converted: false,
            memory_by_precision: vec![(precision, memory)],
            memory,
        }
    }
}
