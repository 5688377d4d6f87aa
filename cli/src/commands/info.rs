//! `likewise info`: the architecture, sizes and memory of a model.

use std::collections::BTreeMap;

use likewise::{Architecture, CrossEncoderInfo, Level, MemoryEstimate, ModelInfo, MultiVectorInfo, Precision};
use serde_json::{Value, json};

use crate::arguments::ModelArgs;
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
    model: ModelArgs,
}

/// The description of a model of any kind.
struct Description<'a> {
    name: &'a str,
    architecture: &'a Architecture,
    parameters: usize,
    dtype: &'a str,
    modules: &'a [String],
    max_length: usize,
    prompts: &'a BTreeMap<String, String>,
    level: Level,
    precision: Precision,
    threads: usize,
    memory: &'a MemoryEstimate,
    memory_by_precision: &'a [(Precision, MemoryEstimate)],
    /// What the model computes: the name of the row and its value.
    output: (&'static str, String),
}

pub(crate) fn run(args: &Args) -> Outcome {
    match args.model.open_any()? {
        Model::Embedder(model) => {
            let info = model.info();
            print(args, &Description::of_embedder(&info), embedder_json(&info))
        }
        Model::CrossEncoder(model) => {
            let info = model.info();
            print(args, &Description::of_cross_encoder(&info), cross_encoder_json(&info))
        }
        Model::MultiVector(model) => {
            let info = model.info();
            print(args, &Description::of_multi_vector_encoder(&info), multi_vector_json(&info))
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
        writeln!(out, "\n{}", precision_table(description))
    })?;
    Ok(())
}

impl<'a> Description<'a> {
    fn of_embedder(info: &'a ModelInfo) -> Self {
        Self {
            name: &info.name,
            architecture: &info.architecture,
            parameters: info.parameters,
            dtype: info.dtype,
            modules: &info.modules,
            max_length: info.max_length,
            prompts: &info.prompts,
            level: info.level,
            precision: info.precision,
            threads: info.threads,
            memory: &info.memory,
            memory_by_precision: &info.memory_by_precision,
            output: ("vector", format!("{} numbers, compared by {}", info.width, info.similarity)),
        }
    }

    fn of_cross_encoder(info: &'a CrossEncoderInfo) -> Self {
        let labels = info.labels.join(", ");
        Self {
            name: &info.name,
            architecture: &info.architecture,
            parameters: info.parameters,
            dtype: info.dtype,
            modules: &info.modules,
            max_length: info.max_length,
            prompts: &info.prompts,
            level: info.level,
            precision: info.precision,
            threads: info.threads,
            memory: &info.memory,
            memory_by_precision: &info.memory_by_precision,
            output: ("scores of pairs", format!("{labels}; activation {}", info.activation)),
        }
    }

    fn of_multi_vector_encoder(info: &'a MultiVectorInfo) -> Self {
        let queries = match info.expanded_query_length {
            Some(length) => format!("expanded to {length} tokens"),
            None => format!("at most {} tokens", info.max_query_length),
        };
        Self {
            name: &info.name,
            architecture: &info.architecture,
            parameters: info.parameters,
            dtype: info.dtype,
            modules: &info.modules,
            max_length: info.max_length,
            prompts: &info.prompts,
            level: info.level,
            precision: info.precision,
            threads: info.threads,
            memory: &info.memory,
            memory_by_precision: &info.memory_by_precision,
            output: (
                "token vectors",
                format!("{} numbers each, compared by {}; queries {queries}", info.width, info.similarity),
            ),
        }
    }
}

/// Formats the memory of the model in each precision as a table.
fn precision_table(info: &Description<'_>) -> String {
    let mut table = format!("{:<14} {:>13} {:>13} {:>13}", "precision", "weights", "once open", "at most");
    for (precision, m) in info.memory_by_precision {
        let [weights, open, most] = [m.packed + m.mapped, m.resident(), m.peak()].map(output::mib);
        table += &format!("\n{:<14} {weights:>13} {open:>13} {most:>13}", precision.name());
    }
    table
}

fn rows(info: &Description<'_>) -> Vec<(&'static str, String)> {
    let b = info.architecture;
    let prompts: Vec<&str> = info.prompts.keys().map(String::as_str).collect();
    let mut rows = vec![
        ("model", info.name.to_owned()),
        (
            "architecture",
            format!(
                "{}, {} layers, {} heads, width {}, inner width {}",
                b.family, b.layers, b.heads, b.hidden_size, b.intermediate_size
            ),
        ),
        ("activation", format!("{:?}, layer norm epsilon {:e}", b.activation, b.norm_epsilon)),
        ("positions", format!("from {}, {} in all", b.first_position, b.max_tokens)),
        ("vocabulary", b.vocabulary_size.to_string()),
        ("parameters", format!("{:.1} million, {} in the file", info.parameters as f64 / 1e6, info.dtype)),
        (
            "modules",
            std::iter::once("Transformer".to_owned()).chain(info.modules.to_vec()).collect::<Vec<_>>().join(" → "),
        ),
        info.output.clone(),
        ("max length", format!("{} tokens", info.max_length)),
        ("prompts", if prompts.is_empty() { "none".to_owned() } else { prompts.join(", ") }),
        (
            "level",
            format!(
                "{}{}, {}, {} threads",
                info.level,
                info.level.dot_extensions().map_or(String::new(), |names| format!(" with {names}")),
                info.precision.name(),
                info.threads
            ),
        ),
    ];
    rows.extend(memory_rows(info.memory));
    rows
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
        "kind": "embedder", "dimension": info.width, "similarity": info.similarity.name(), "converted": info.converted,
    })
}

/// Returns the keys of a cross-encoder only.
fn cross_encoder_json(info: &CrossEncoderInfo) -> Value {
    json!({ "kind": "cross-encoder", "labels": info.labels, "activation": info.activation })
}

/// Returns the keys of a multi-vector encoder only.
fn multi_vector_json(info: &MultiVectorInfo) -> Value {
    json!({
        "kind": "multi-vector", "dimension": info.width, "similarity": info.similarity.name(),
        "max_query_length": info.max_query_length, "expanded_query_length": info.expanded_query_length,
        "query_prompt": info.query_prompt, "document_prompt": info.document_prompt,
    })
}

/// Returns all keys; `of_kind` has those of the model's kind.
fn as_json(info: &Description<'_>, of_kind: Value) -> Value {
    let b = info.architecture;
    let m = info.memory;
    let sizes = |m: &MemoryEstimate| json!({ "packed_bytes": m.packed + m.mapped, "resident_bytes": m.resident(), "peak_bytes": m.peak() });
    let precisions: serde_json::Map<String, Value> =
        info.memory_by_precision.iter().map(|(precision, m)| (precision.name().to_owned(), sizes(m))).collect();
    let mut all = json!({
        "model": info.name, "architecture": b.family, "layers": b.layers, "heads": b.heads, "width": b.hidden_size,
        "inner_width": b.intermediate_size, "vocabulary": b.vocabulary_size, "positions": b.max_tokens, "parameters": info.parameters,
        "dtype": info.dtype, "modules": info.modules, "max_length": info.max_length, "prompts": info.prompts,
        "level": info.level.name(), "precision": info.precision.name(),
        "threads": info.threads, "packed_bytes": m.packed + m.mapped, "given_bytes": m.given, "mapped_bytes": m.tables,
        "resident_bytes": m.resident(), "peak_bytes": m.peak(), "tokenizing_bytes": m.tokenizing, "precisions": precisions,
        "instructions": info.level.dot_extensions(),
    });
    if let (Some(all), Value::Object(of_kind)) = (all.as_object_mut(), of_kind) {
        all.extend(of_kind);
    }
    all
}
