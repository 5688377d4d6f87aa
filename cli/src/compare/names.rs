//! Sites of the names that PyTorch's hooks print.
//!
//! A hook knows the path of its module. examples/dump_torch.py adds `.input` to it for the input of
//! the module, and `@1` for the module's second call.

use std::collections::HashMap;

/// The part of a tensor that belongs to a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// One of several equal groups of columns: its index, and their number.
    Columns(usize, usize),
}

/// A tensor of a file that belongs to a site.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    pub(crate) site: String,
    pub(crate) part: Part,
}

/// The sites of modules of a layer, by the path inside the layer. Several sites share the columns.
/// The first of several paths with one site that a file has is read.
const OF_LAYER: &[(&[&str], &[&str])] = &[
    (&["layer.0.layer_norm", "attn_norm"], &["attention_input"]),
    (&["attention.self.query", "attention.attn.q", "attention.query", "self_attn.q_proj"], &["query"]),
    (&["attention.self.key", "attention.attn.k", "attention.key", "self_attn.k_proj"], &["key"]),
    (&["attention.self.value", "attention.attn.v", "attention.value", "self_attn.v_proj"], &["value"]),
    (&["attention.q_lin", "layer.0.SelfAttention.q"], &["query"]),
    (&["attention.k_lin", "layer.0.SelfAttention.k"], &["key"]),
    (&["attention.v_lin", "layer.0.SelfAttention.v"], &["value"]),
    (&["attn.Wqkv", "mixer.Wqkv", "attention.qkv_proj"], &["query", "key", "value"]),
    (&["attention.output.dense.input", "attention.attn.o.input", "attention.dense.input"], &["context"]),
    (&["self_attn.o_proj.input", "attention.out_lin.input", "layer.0.SelfAttention.o.input"], &["context"]),
    (&["attn.Wo.input", "attn.out_proj.input", "attention.o_proj.input", "mixer.out_proj.input"], &["context"]),
    (&["attention.self"], &["context"]),
    (&["attention.output.dense", "attention.attn.o", "attention.dense"], &["attention_projection"]),
    (&["self_attn.o_proj", "attention.out_lin", "layer.0.SelfAttention.o"], &["attention_projection"]),
    (&["attn.Wo", "attn.out_proj", "attention.o_proj", "mixer.out_proj"], &["attention_projection"]),
    (&["self_attn", "layer.0.SelfAttention", "attention.attn", "attn"], &["attention_projection"]),
    (&["attention.output.LayerNorm.input", "attention.LayerNorm.input"], &["attention_sum"]),
    (&["post_attention_layernorm.input", "sa_layer_norm.input", "attn_ln.input", "norm1.input"], &["attention_sum"]),
    (&["mlp_norm.input", "layer.1.layer_norm.input"], &["attention"]),
    // The whole module comes before its norm, which a port may apply in another place.
    (&["attention", "layer.0"], &["attention"]),
    (&["attention.output"], &["attention"]),
    (&["attention.output.LayerNorm", "attention.LayerNorm"], &["attention"]),
    (&["post_attention_layernorm", "sa_layer_norm", "attn_ln", "norm1"], &["attention"]),
    (&["mlp_norm", "layer.1.layer_norm"], &["feed_forward_input"]),
    (&["mlp.gate_proj", "layer.1.DenseReluDense.wi_0", "mlp.fc12"], &["gate"]),
    (&["mlp.Wi", "mlp.gated_layers"], &["gate", "up"]),
    (&["mlp.up_gate_proj"], &["up", "gate"]),
    (&["intermediate.dense", "ffn", "ffn.lin1", "mlp.fc1", "mlp.fc11", "mlp.up_proj"], &["up"]),
    (&["layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wi_1"], &["up"]),
    (&["output.dense.input", "ffn_output.input", "ffn.lin2.input", "mlp.fc2.input"], &["intermediate"]),
    (&["mlp.down_proj.input", "mlp.Wo.input", "mlp.wo.input", "layer.1.DenseReluDense.wo.input"], &["intermediate"]),
    (&["intermediate", "intermediate.intermediate_act_fn", "activation", "ffn.activation"], &["intermediate"]),
    (&["mlp.activation_fn"], &["intermediate"]),
    (&["output.dense", "ffn_output", "ffn.lin2", "mlp.fc2", "mlp.down_proj", "mlp.Wo", "mlp.wo"], &["down"]),
    (&["layer.1.DenseReluDense.wo", "layer.1.DenseReluDense"], &["down"]),
    (&["output.LayerNorm.input", "post_mlp_layernorm.input", "output_layer_norm.input"], &["feed_forward_sum"]),
    (&["mlp_ln.input", "norm2.input", "mlp.layernorm.input", "full_layer_layer_norm.input"], &["feed_forward_sum"]),
    (&[""], &["output"]),
    (&["output.LayerNorm", "post_mlp_layernorm", "output_layer_norm", "mlp_ln", "norm2"], &["output"]),
    (&["mlp.layernorm", "full_layer_layer_norm", "output", "layer.1"], &["output"]),
];

/// The sites of other modules, by the end of their path.
const OF_MODEL: &[(&[&str], &str)] = &[
    (&["word_embeddings", "tok_embeddings", "embed_tokens", "shared"], "embeddings.token"),
    (&["position_embeddings"], "embeddings.position"),
    (&["token_type_embeddings"], "embeddings.token_type"),
    (&["embeddings.LayerNorm.input", "embeddings.norm.input", "emb_ln.input"], "embeddings.sum"),
    (&["embeddings_project", "embedding_hidden_mapping_in"], "embeddings"),
    (&["final_norm", "final_layer_norm"], "final_norm"),
];

/// The last parts of names that the module inside attention has, whatever its path.
const OF_ATTENTION: [&str; 4] = ["scores", "probabilities", "rotated_query", "rotated_key"];

/// The modules that contain layers by number.
const CONTAINERS: [&str; 4] = ["layer", "layers", "block", "h"];

/// Returns the site of each name, in the order of preference if several have one site. A name that
/// no rule knows is its own site, so that two dumps of an unknown model can be compared.
pub(crate) fn targets<'a>(names: &'a [String], map: &HashMap<String, String>) -> Vec<Target<'a>> {
    let mut found: Vec<(usize, Target<'a>)> = Vec::new();
    let model = Model::of(names);
    for name in names {
        let whole = |site: &str| Target { name, site: site.to_owned(), part: Part::Whole };
        if let Some(site) = map.get(name) {
            found.push((0, whole(site)));
            continue;
        }
        if let Some((layer, path)) = model.in_layer(name) {
            if let Some(site) = OF_ATTENTION.iter().find(|site| path.rsplit('.').next() == Some(**site)) {
                found.push((0, whole(&format!("layer.{layer}.{site}"))));
                continue;
            }
            if let Some((rank, sites)) = model.sites_in_layer(path) {
                for (index, site) in sites.iter().enumerate() {
                    let part = if sites.len() == 1 { Part::Whole } else { Part::Columns(index, sites.len()) };
                    found.push((rank, Target { name, site: format!("layer.{layer}.{site}"), part }));
                }
                continue;
            }
        }
        found.push(model.outside(name).map_or((usize::MAX, whole(name)), |(rank, site)| (rank, whole(&site))));
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, target)| target).collect()
}

/// What the names of a file say about the model.
struct Model {
    /// A projection follows the norm of the embeddings.
    has_projection: bool,
    /// The calls of each group of ALBERT's shared layers.
    group_calls: usize,
    is_distilbert: bool,
}

impl Model {
    fn of(names: &[String]) -> Self {
        let calls = |name: &String| name.split_once('@').map_or(1, |(_, call)| 1 + call.parse().unwrap_or(0));
        let in_group = |name: &&String| name.contains("albert_layer_groups.0.albert_layers");
        Self {
            has_projection: names
                .iter()
                .any(|name| name.ends_with("embeddings_project") || name.ends_with("embedding_hidden_mapping_in")),
            group_calls: names.iter().filter(in_group).map(calls).max().unwrap_or(1),
            is_distilbert: names.iter().any(|name| name.contains("attention.q_lin")),
        }
    }

    /// Returns the layer of a name, and the path inside the layer.
    fn in_layer<'a>(&self, name: &'a str) -> Option<(usize, &'a str)> {
        let (path, call) = name.split_once('@').unwrap_or((name, "0"));
        if let Some((_, rest)) = path.split_once("albert_layer_groups.") {
            let (group, rest) = rest.split_once('.')?;
            let rest = rest.strip_prefix("albert_layers.0")?;
            let layer = group.parse::<usize>().ok()? * self.group_calls + call.parse::<usize>().ok()?;
            return Some((layer, rest.strip_prefix('.').unwrap_or(rest)));
        }
        let mut rest = path;
        loop {
            let (part, after) = rest.split_once('.')?;
            rest = after;
            if CONTAINERS.contains(&part) {
                let (number, inside) = rest.split_once('.').unwrap_or((rest, ""));
                return number.parse().ok().map(|layer| (layer, inside));
            }
        }
    }

    /// Returns the sites of a path in a layer, and the order of preference.
    fn sites_in_layer(&self, path: &str) -> Option<(usize, &'static [&'static str])> {
        if self.is_distilbert && path == "attention" {
            return Some((OF_LAYER.len(), &["attention_projection"]));
        }
        let mut rules = OF_LAYER.iter().enumerate();
        let (rank, (_, sites)) = rules.find(|(_, (paths, _))| paths.contains(&path))?;
        Some((rank, sites))
    }

    /// Returns the site of a module outside the layers, and the order of preference.
    fn outside(&self, name: &str) -> Option<(usize, String)> {
        let ends = |end: &str| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let after_norm = if self.has_projection { "embeddings.norm" } else { "embeddings" };
        if let Some(at) = OF_MODEL.iter().position(|(paths, _)| paths.iter().any(|path| ends(path))) {
            return Some((at, OF_MODEL[at].1.to_owned()));
        }
        // Dropout may follow the norm, so the module's own output comes first.
        if ends("embeddings") {
            return Some((OF_MODEL.len(), after_norm.to_owned()));
        }
        if ["embeddings.LayerNorm", "embeddings.norm", "emb_ln"].iter().any(|path| ends(path)) {
            return Some((OF_MODEL.len() + 1, after_norm.to_owned()));
        }
        match name.strip_suffix("sentence_embedding")?.trim_end_matches('.') {
            "" => Some((0, "vectors".to_owned())),
            "1" => Some((0, "pooled".to_owned())),
            module => Some((0, format!("module.{module}"))),
        }
    }
}

/// The order of the computation, for files that do not say it.
pub(crate) fn rank(site: &str) -> (usize, usize, usize) {
    const BEFORE: [&str; 6] = ["token", "position", "token_type", "sum", "norm", ""];
    const LAYER: [&str; 19] = [
        "attention_input",
        "query",
        "key",
        "value",
        "rotated_query",
        "rotated_key",
        "scores",
        "probabilities",
        "context",
        "attention_projection",
        "attention_sum",
        "attention",
        "feed_forward_input",
        "gate",
        "up",
        "intermediate",
        "down",
        "feed_forward_sum",
        "output",
    ];
    let place = |list: &[&str], name: &str| list.iter().position(|known| *known == name).unwrap_or(list.len());
    if let Some(name) = site.strip_prefix("embeddings") {
        return (0, 0, place(&BEFORE, name.trim_start_matches('.')));
    }
    if let Some((layer, name)) = site.strip_prefix("layer.").and_then(|rest| rest.split_once('.')) {
        return (1, layer.parse().unwrap_or(usize::MAX), place(&LAYER, name));
    }
    let after = ["final_norm", "pooled", "module", "vectors"];
    match site.strip_prefix("module.").and_then(|number| number.parse().ok()) {
        Some(module) => (2, place(&after, "module"), module),
        None => (2, place(&after, site), 0),
    }
}
