//! Mistakes that a port of the families after BERT's could make.

use super::*;

pub(super) const MUTANTS: [Mutant; 18] = [
    Mutant { model: "tiny-nomic-bert", mistake: "gate and value exchanged", edit: exchange_gates_of_nomic_bert },
    Mutant {
        model: "tiny-nomic-bert",
        mistake: "base 1000 instead of that of config.json",
        edit: |files| edit_json(files, "config.json", |config| config["rope_parameters"]["rope_theta"] = json!(1000.0)),
    },
    Mutant {
        model: "tiny-nomic-bert",
        mistake: "rotations of neighbours instead of halves",
        edit: |files| {
            for layer in 0..2 {
                edit_tensor(files, &format!("encoder.layers.{layer}.attn.Wqkv.weight"), |w| pair_neighbours(w, 48, 16));
            }
        },
    },
    Mutant {
        model: "tiny-gte",
        mistake: "halves of the fused feed-forward tensor exchanged",
        edit: |files| edit_tensor(files, "encoder.layer.1.mlp.up_gate_proj.weight", |w| w.rotate_left(56 * 40)),
    },
    Mutant {
        model: "tiny-gte",
        mistake: "query and key exchanged",
        edit: |files| {
            edit_tensor(files, "encoder.layer.0.attention.qkv_proj.weight", |w| w[..80 * 40].rotate_left(1600))
        },
    },
    Mutant {
        model: "tiny-jina-v3",
        mistake: "tanh GELU",
        edit: |files| edit_json(files, "config.json", |config| config["hidden_act"] = json!("gelu_new")),
    },
    Mutant {
        model: "tiny-modernbert",
        mistake: "bases of full and sliding attention exchanged",
        edit: |files| {
            edit_json(files, "config.json", |config| {
                let of = config["rope_parameters"].clone();
                config["rope_parameters"]["full_attention"] = of["sliding_attention"].clone();
                config["rope_parameters"]["sliding_attention"] = of["full_attention"].clone();
            });
        },
    },
    Mutant { model: "tiny-modernbert", mistake: "a window of one token more", edit: |files| set_window(files, 18) },
    Mutant { model: "tiny-modernbert", mistake: "a window of one token less", edit: |files| set_window(files, 14) },
    Mutant { model: "tiny-modernbert", mistake: "no window", edit: |files| set_window(files, 1000) },
    Mutant {
        model: "tiny-modernbert",
        mistake: "gate and value exchanged",
        edit: |files| edit_tensor(files, "layers.2.mlp.Wi.weight", |w| w.rotate_left(52 * 36)),
    },
    Mutant {
        model: "tiny-modernbert",
        mistake: "full attention in the second layer of three",
        edit: |files| {
            edit_json(files, "config.json", |config| {
                let types = config["layer_types"].as_array_mut().expect("layers");
                types.rotate_right(1);
            });
        },
    },
    Mutant {
        model: "tiny-jina-v2",
        mistake: "gate and value exchanged",
        edit: |files| edit_tensor(files, "encoder.layer.0.mlp.gated_layers.weight", |w| w.rotate_left(60 * 36)),
    },
    Mutant {
        model: "tiny-jina-v2",
        mistake: "slopes of the heads in another order",
        edit: |files| {
            for name in ["query", "key", "value"] {
                let name = format!("encoder.layer.0.attention.self.{name}.weight");
                edit_tensor(files, &name, |w| w.rotate_left(12 * 36));
            }
        },
    },
    Mutant {
        model: "tiny-t5",
        mistake: "scores divided by √d",
        edit: |files| {
            let name = "encoder.block.1.layer.0.SelfAttention.q.weight";
            edit_tensor(files, name, |w| w.iter_mut().for_each(|x| *x /= 4.0));
        },
    },
    Mutant {
        model: "tiny-t5",
        mistake: "relative bias with query and key swapped",
        edit: |files| {
            let name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
            edit_tensor(files, name, |bias| bias.rotate_left(16 * 3));
        },
    },
    Mutant {
        model: "tiny-t5-gated",
        mistake: "the other GELU",
        edit: |files| edit_json(files, "config.json", |config| config["dense_act_fn"] = json!("gelu")),
    },
    Mutant {
        model: "tiny-albert",
        mistake: "groups of layers in another order",
        edit: |files| {
            let name = |group: usize| format!("encoder.albert_layer_groups.{group}.albert_layers.0.ffn.weight");
            exchange(files, &name(0), &name(1));
        },
    },
];

fn set_window(files: &mut Files, span: usize) {
    edit_json(files, "config.json", |config| config["local_attention"] = json!(span));
}

fn exchange_gates_of_nomic_bert(files: &mut Files) {
    let [gate, value] = ["fc12", "fc11"].map(|name| format!("encoder.layers.0.mlp.{name}.weight"));
    exchange(files, &gate, &value);
}

/// Exchanges two tensors of the same shape.
fn exchange(files: &mut Files, a: &str, b: &str) {
    let mut elements = Vec::new();
    edit_tensor(files, a, |w| elements.clone_from(w));
    edit_tensor(files, b, |w| std::mem::swap(w, &mut elements));
    edit_tensor(files, a, |w| *w = elements);
}

/// Reorders the rows of queries and keys so that rotating halves of a head computes what rotating
/// neighbours would.
fn pair_neighbours(weight: &mut [f32], width: usize, head_size: usize) {
    for head in weight[..2 * width * width].chunks_mut(head_size * width) {
        let rows: Vec<Vec<f32>> = head.chunks(width).map(<[f32]>::to_vec).collect();
        let order = (0..head_size).step_by(2).chain((1..head_size).step_by(2));
        for (row, from) in head.chunks_mut(width).zip(order) {
            row.copy_from_slice(&rows[from]);
        }
    }
}

/// The mistake is to leave out the norm after the last layer.
#[test]
fn missing_final_norm_is_caught_by_goldens() {
    for (name, last) in [("tiny-modernbert", "layer.4.output"), ("tiny-t5", "layer.1.output")] {
        let golden = Golden::load(name);
        let model = Embedder::builder().open_files(&in_memory(&files(name))).expect("a model");
        let trace = model.trace(&golden.traced()).expect("a trace");
        let difference = |site| max_difference(elements(&trace, site), &golden.tensor("final_norm"));
        assert!(difference("final_norm") <= MAX_TENSOR_ERROR, "{name}");
        assert!(difference(last) > 0.1, "{name}: {}", difference(last));
    }
}
