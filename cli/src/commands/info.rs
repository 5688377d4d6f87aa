//! `likewise info`: the architecture, sizes and memory of a model.

use std::collections::BTreeMap;

use likewise::{
    Architecture, CrossEncoderInfo, Level, MemoryEstimate, ModelInfo, Precision, SparseEncoderInfo, SparseNetworkInfo,
};
use serde_json::{Value, json};

use crate::arguments::{KindArgs, ModelArgs};
use crate::model::Model;
use crate::outcome::Outcome;
use crate::{output, stdout};

/// Describe a model: architecture, modules, sizes, memory.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  likewise info\n  likewise info --model all-MiniLM-L6-v2")]
pub(crate) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    kind: KindArgs,

    #[command(flatten)]
    model: ModelArgs,
}

/// The description of a model of any kind.
struct Description<'a> {
    kind: &'static str,
    name: &'a str,
    /// None if the model has no network: only weights of tokens.
    network: Option<Network<'a>>,
    /// The modules in the order of their use. If there are several orders, the texts of each.
    modules: Vec<String>,
    max_length: usize,
    prompts: &'a BTreeMap<String, String>,
    /// What the model computes: the name of the row and its value.
    output: (&'static str, String),
}

/// The network of a model, and how it is run.
struct Network<'a> {
    architecture: &'a Architecture,
    parameters: usize,
    dtype: &'a str,
    level: Level,
    precision: Precision,
    threads: usize,
    memory: &'a MemoryEstimate,
    memory_by_precision: &'a [(Precision, MemoryEstimate)],
}

pub(crate) fn run(args: &Args) -> Outcome {
    match args.model.open_any(&args.kind)? {
        Model::Embedder(model) => {
            let info = model.info();
            print(args, &Description::of_embedder(&info), embedder_json(&info))
        }
        Model::CrossEncoder(model) => {
            let info = model.info();
            print(args, &Description::of_cross_encoder(&info), cross_encoder_json(&info))
        }
        Model::SparseEncoder(model) => {
            let info = model.info();
            print(args, &Description::of_sparse_encoder(&info), sparse_encoder_json(&info))
        }
    }
}

fn print(args: &Args, description: &Description<'_>, of_kind: Value) -> Outcome {
    stdout::write(|out| {
        if args.json {
            return writeln!(out, "{}", as_json(description, of_kind));
        }
        for (name, value) in rows(description) {
            writeln!(out, "{name:<14} {value}")?;
        }
        description.network.as_ref().map_or(Ok(()), |network| writeln!(out, "\n{}", precision_table(network)))
    })?;
    Ok(())
}

impl<'a> Description<'a> {
    fn of_embedder(info: &'a ModelInfo) -> Self {
        Self {
            kind: "embedder",
            name: &info.name,
            network: Some(Network {
                architecture: &info.architecture,
                parameters: info.parameters,
                dtype: info.dtype,
                level: info.level,
                precision: info.precision,
                threads: info.threads,
                memory: &info.memory,
                memory_by_precision: &info.memory_by_precision,
            }),
            modules: after_transformer(&info.modules),
            max_length: info.max_length,
            prompts: &info.prompts,
            output: ("vector", format!("{} numbers, compared by {}", info.width, info.similarity)),
        }
    }

    fn of_cross_encoder(info: &'a CrossEncoderInfo) -> Self {
        let labels = info.labels.join(", ");
        Self {
            kind: "cross-encoder",
            name: &info.name,
            network: Some(Network {
                architecture: &info.architecture,
                parameters: info.parameters,
                dtype: info.dtype,
                level: info.level,
                precision: info.precision,
                threads: info.threads,
                memory: &info.memory,
                memory_by_precision: &info.memory_by_precision,
            }),
            modules: after_transformer(&info.modules),
            max_length: info.max_length,
            prompts: &info.prompts,
            output: ("scores of pairs", format!("{labels}; activation {}", info.activation)),
        }
    }

    fn of_sparse_encoder(info: &'a SparseEncoderInfo) -> Self {
        let most = info.max_active_dims.map_or(String::new(), |count| format!(", at most {count} of them not 0"));
        let network = |info: &'a SparseNetworkInfo| Network {
            architecture: &info.architecture,
            parameters: info.parameters,
            dtype: info.dtype,
            level: info.level,
            precision: info.precision,
            threads: info.threads,
            memory: &info.memory,
            memory_by_precision: &info.memory_by_precision,
        };
        Self {
            kind: "sparse encoder",
            name: &info.name,
            network: info.network.as_ref().map(network),
            modules: info.routes.clone(),
            max_length: info.max_length,
            prompts: &info.prompts,
            output: ("vector", format!("{} numbers{most}, compared by {}", info.dimension, info.similarity)),
        }
    }
}

/// Describes the modules of a model with an encoder.
fn after_transformer(modules: &[String]) -> Vec<String> {
    vec![std::iter::once("Transformer").chain(modules.iter().map(String::as_str)).collect::<Vec<_>>().join(" → ")]
}

/// Formats the memory of the model in each precision as a table.
fn precision_table(info: &Network<'_>) -> String {
    let mut table = format!("{:<14} {:>13} {:>13} {:>13}", "precision", "weights", "once open", "at most");
    for (precision, m) in info.memory_by_precision {
        let [weights, open, most] = [m.packed + m.mapped, m.resident(), m.peak()].map(output::mib);
        table += &format!("\n{:<14} {weights:>13} {open:>13} {most:>13}", precision.name());
    }
    table
}

fn rows(info: &Description<'_>) -> Vec<(&'static str, String)> {
    let prompts: Vec<&str> = info.prompts.keys().map(String::as_str).collect();
    let mut rows = vec![("model", info.name.to_owned()), ("kind", info.kind.to_owned())];
    rows.extend(info.network.as_ref().map(architecture_rows).into_iter().flatten());
    rows.extend(info.modules.iter().map(|modules| ("modules", modules.clone())));
    rows.push(info.output.clone());
    rows.push(("max length", tokens(info.max_length)));
    rows.push(("prompts", if prompts.is_empty() { "none".to_owned() } else { prompts.join(", ") }));
    if let Some(network) = &info.network {
        let Network { level, precision, threads, memory, .. } = network;
        let extensions = level.dot_extensions().map_or(String::new(), |names| format!(" with {names}"));
        rows.push(("level", format!("{level}{extensions}, {}, {threads} threads", precision.name())));
        rows.extend(memory_rows(memory));
    }
    rows
}

/// Describes a maximum length. Weights of tokens have none.
fn tokens(max_length: usize) -> String {
    if max_length >= u32::MAX as usize { "none".to_owned() } else { format!("{max_length} tokens") }
}

fn architecture_rows(network: &Network<'_>) -> [(&'static str, String); 5] {
    let b = network.architecture;
    let sizes = format!(
        "{}, {} layers, {} heads, width {}, inner width {}",
        b.family, b.layers, b.heads, b.hidden_size, b.intermediate_size
    );
    let parameters = format!("{:.1} million, {} in the file", network.parameters as f64 / 1e6, network.dtype);
    [
        ("architecture", sizes),
        ("activation", format!("{:?}, layer norm epsilon {:e}", b.activation, b.norm_epsilon)),
        ("positions", format!("from {}, {} in all", b.first_position, b.max_tokens)),
        ("vocabulary", b.vocabulary_size.to_string()),
        ("parameters", parameters),
    ]
}

fn memory_rows(m: &MemoryEstimate) -> [(&'static str, String); 3] {
    [
        (
            "memory",
            format!(
                "{} once open: {} packed weights, {} tokenizer, {} program{}",
                output::mib(m.resident()),
                output::mib(m.packed),
                output::mib(m.tokenizer),
                output::mib(m.program),
                if m.given > 0 { format!(", {} weights in the program", output::mib(m.given)) } else { String::new() }
            ),
        ),
        (
            "at most",
            format!(
                "{} at work: {}{} of tables mapped (rows come as texts need them), {} activations",
                output::mib(m.peak()),
                if m.mapped > 0 {
                    format!("{} of packed weights mapped, ", output::mib(m.mapped))
                } else {
                    String::new()
                },
                output::mib(m.tables),
                output::mib(m.activations)
            ),
        ),
        ("any text", format!("{} more while texts without spaces are tokenized", output::mib(m.tokenizing))),
    ]
}

/// Returns the keys of an embedder only.
fn embedder_json(info: &ModelInfo) -> Value {
    json!({
        "kind": "embedder", "modules": info.modules, "dimension": info.width, "similarity": info.similarity.name(), "converted": info.converted,
    })
}

/// Returns the keys of a cross-encoder only.
fn cross_encoder_json(info: &CrossEncoderInfo) -> Value {
    json!({
        "kind": "cross-encoder", "modules": info.modules, "labels": info.labels, "activation": info.activation,
    })
}

/// Returns the keys of a sparse encoder only.
fn sparse_encoder_json(info: &SparseEncoderInfo) -> Value {
    json!({
        "kind": "sparse-encoder", "dimension": info.dimension, "similarity": info.similarity.name(),
        "max_active_dims": info.max_active_dims, "modules": info.routes,
    })
}

/// Returns all keys; `of_kind` has those of the model's kind.
fn as_json(info: &Description<'_>, of_kind: Value) -> Value {
    let mut all = serde_json::Map::new();
    let common = json!({ "model": info.name, "max_length": info.max_length, "prompts": info.prompts });
    for part in [common, info.network.as_ref().map_or(Value::Null, network_json), of_kind] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

/// Returns the keys of a network.
fn network_json(info: &Network<'_>) -> Value {
    let b = info.architecture;
    let m = info.memory;
    let sizes = |m: &MemoryEstimate| json!({ "packed_bytes": m.packed + m.mapped, "resident_bytes": m.resident(), "peak_bytes": m.peak() });
    let precisions: serde_json::Map<String, Value> =
        info.memory_by_precision.iter().map(|(precision, m)| (precision.name().to_owned(), sizes(m))).collect();
    json!({
        "architecture": b.family, "layers": b.layers, "heads": b.heads, "width": b.hidden_size,
        "inner_width": b.intermediate_size, "vocabulary": b.vocabulary_size, "positions": b.max_tokens, "parameters": info.parameters,
        "dtype": info.dtype, "level": info.level.name(), "precision": info.precision.name(),
        "threads": info.threads, "packed_bytes": m.packed + m.mapped, "given_bytes": m.given, "mapped_bytes": m.tables,
        "resident_bytes": m.resident(), "peak_bytes": m.peak(), "tokenizing_bytes": m.tokenizing, "precisions": precisions,
        "instructions": info.level.dot_extensions(),
    })
}
