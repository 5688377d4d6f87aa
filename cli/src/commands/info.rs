//! `likewise info`: the architecture, sizes and memory of a model.

use likewise::{Architecture, MemoryEstimate, ModelInfo, ModelOutput};
use serde_json::{Value, json};

use crate::arguments::{KindArgs, ModelArgs};
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

pub(crate) fn run(args: &Args) -> Outcome {
    let info = args.model.open_any(&args.kind)?.info();
    stdout::write(|out| {
        if args.json {
            return writeln!(out, "{}", as_json(&info));
        }
        for (name, value) in rows(&info) {
            writeln!(out, "{name:<14} {value}")?;
        }
        writeln!(out, "\n{}", precision_table(&info))
    })?;
    Ok(())
}

/// Formats the memory of the model in each precision as a table.
fn precision_table(info: &ModelInfo) -> String {
    let mut table = format!("{:<14} {:>13} {:>13} {:>13}", "precision", "weights", "once open", "at most");
    for (precision, m) in &info.memory_by_precision {
        let [weights, open, most] = [m.packed + m.mapped, m.resident(), m.peak()].map(output::mib);
        table += &format!("\n{:<14} {weights:>13} {open:>13} {most:>13}", precision.name());
    }
    table
}

fn rows(info: &ModelInfo) -> Vec<(&'static str, String)> {
    let b = &info.architecture;
    let prompts: Vec<&str> = info.prompts.keys().map(String::as_str).collect();
    let mut rows = vec![("model", info.name.clone()), ("kind", kind(&info.output).to_owned())];
    rows.extend(architecture_rows(b));
    rows.extend([
        ("vocabulary", b.vocabulary_size.to_string()),
        ("parameters", format!("{:.1} million, {} in the file", info.parameters as f64 / 1e6, info.dtype)),
        ("modules", modules(info)),
        output_row(&info.output),
        ("max length", max_length(info.max_length)),
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
    ]);
    rows.extend(memory_rows(&info.memory));
    rows
}

/// Returns the rows about the layers, of which static embeddings have none.
fn architecture_rows(b: &Architecture) -> Vec<(&'static str, String)> {
    if b.layers == 0 {
        return vec![("architecture", format!("{}, a table of tokens, width {}", b.family, b.hidden_size))];
    }
    let sizes = format!(
        "{}, {} layers, {} heads, width {}, inner width {}",
        b.family, b.layers, b.heads, b.hidden_size, b.intermediate_size
    );
    vec![
        ("architecture", sizes),
        ("activation", format!("{:?}, layer norm epsilon {:e}", b.activation, b.norm_epsilon)),
        ("positions", format!("from {}, {} in all", b.first_position, b.max_tokens)),
    ]
}

fn modules(info: &ModelInfo) -> String {
    if let ModelOutput::SparseVector { .. } = info.output {
        // A description for each kind of texts, such as queries.
        return info.modules.join("; ");
    }
    let first = if info.architecture.layers == 0 { "StaticEmbedding" } else { "Transformer" };
    std::iter::once(first).chain(info.modules.iter().map(String::as_str)).collect::<Vec<_>>().join(" → ")
}

fn max_length(tokens: usize) -> String {
    if tokens == u32::MAX as usize { "none".to_owned() } else { format!("{tokens} tokens") }
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

fn kind(output: &ModelOutput) -> &'static str {
    match output {
        ModelOutput::Vector { .. } => "embedder",
        ModelOutput::SparseVector { .. } => "sparse encoder",
        ModelOutput::TokenVectors { .. } => "late-interaction model",
        ModelOutput::Scores { .. } => "cross-encoder",
        _ => "other",
    }
}

/// Returns the name and the value of the row of what a model computes.
fn output_row(output: &ModelOutput) -> (&'static str, String) {
    match output {
        ModelOutput::Vector { width, similarity, .. } => {
            ("vector", format!("{width} numbers, compared by {similarity}"))
        }
        ModelOutput::Scores { labels, activation } => {
            ("scores of pairs", format!("{}; activation {activation}", labels.join(", ")))
        }
        ModelOutput::SparseVector { width, similarity, max_active_dims, .. } => {
            let most = max_active_dims.map_or(String::new(), |count| format!(", at most {count} of them not 0"));
            ("sparse vector", format!("{width} numbers{most}, compared by {similarity}"))
        }
        ModelOutput::TokenVectors { width, similarity, max_query_length, expanded_query_length, .. } => {
            let queries = match expanded_query_length {
                Some(length) => format!("expanded to {length} tokens"),
                None => format!("at most {max_query_length} tokens"),
            };
            ("token vectors", format!("{width} numbers each, compared by {similarity}; queries {queries}"))
        }
        _ => ("output", "of another kind".to_owned()),
    }
}

/// Returns the keys that depend on what the model computes.
fn output_json(info: &ModelInfo) -> Value {
    match &info.output {
        ModelOutput::Vector { width, similarity, .. } => json!({
            "kind": "embedder", "dimension": width, "similarity": similarity.name(), "converted": info.converted,
        }),
        ModelOutput::Scores { labels, activation } => {
            json!({ "kind": "cross-encoder", "labels": labels, "activation": activation })
        }
        ModelOutput::SparseVector { width, similarity, max_active_dims, .. } => json!({
            "kind": "sparse-encoder", "dimension": width, "similarity": similarity.name(), "max_active_dims": max_active_dims,
        }),
        ModelOutput::TokenVectors { width, similarity, max_query_length, expanded_query_length, query_prompt } => {
            json!({
                "kind": "multi-vector", "dimension": width, "similarity": similarity.name(),
                "max_query_length": max_query_length, "expanded_query_length": expanded_query_length,
                "query_prompt": query_prompt, "document_prompt": info.prompt,
            })
        }
        _ => json!({}),
    }
}

fn as_json(info: &ModelInfo) -> Value {
    let b = &info.architecture;
    let m = &info.memory;
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
    if let (Some(all), Value::Object(output)) = (all.as_object_mut(), output_json(info)) {
        all.extend(output);
    }
    all
}
