//! The table of docs/models.md: which published models load.
//!
//! A model of `fixtures/models.json` has the files that decide whether it is supported: its
//! config.json, its modules, its tokenizer class. Its checkpoint has no tensor of the encoder. A
//! model that is supported in every other respect fails because the first tensor is missing.

use std::collections::{BTreeSet, HashMap};

use crate::common::{Golden, files, in_memory, root};
use likewise::{Embedder, Error, ModelKind, error_chain};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

/// A row of the table.
struct Row {
    /// The first model. The others have the same encoder.
    name: String,
    loads: bool,
    /// Parts of the error message.
    reasons: Vec<String>,
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("docs/models.md")).expect("docs/models.md");
    let is_row = |line: &&str| line.starts_with("| ") && line.contains('/');
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [models, _, _, licence, loads, why] = cells[..] else { panic!("{} cells: {line}", cells.len()) };
        assert!(["yes", "no"].contains(&loads) && !licence.is_empty(), "{line}");
        let reasons = why.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Row { name: models.split(',').next().unwrap_or_default().to_owned(), loads: loads == "yes", reasons }
    };
    text.lines().filter(is_row).map(row).collect()
}

/// Returns a tokenizer.json of a fixture model, by the family whose vocabulary has the same kind.
fn tokenizer(kind: &str) -> Vec<u8> {
    match kind {
        "roberta" => Golden::json_of("classes")["byte_level"].to_string().into_bytes(),
        kind => files(&format!("tiny-{kind}")).remove("tokenizer.json").expect("a tokenizer"),
    }
}

/// Returns a checkpoint of zeros.
fn zeros(tensors: &[(&str, Vec<usize>)]) -> Vec<u8> {
    let size = |shape: &[usize]| shape.iter().product::<usize>() * size_of::<f32>();
    let bytes = vec![0; tensors.iter().map(|(_, shape)| size(shape)).max().unwrap_or(0)];
    let views = tensors.iter().map(|(name, shape)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), &bytes[..size(shape)]).expect("a tensor"))
    });
    safetensors::serialize(views, None).expect("safetensors")
}

/// Adds modules.json and the files of the modules.
fn add_modules(files: &mut HashMap<String, Vec<u8>>, modules: &[Value]) {
    let mut list = Vec::new();
    for (i, module) in modules.iter().enumerate() {
        let (class, config) = module.as_object().and_then(|keys| keys.iter().next()).expect("a class");
        let class_path =
            if class.contains('.') { class.clone() } else { format!("sentence_transformers.models.{class}") };
        let path = if i == 0 { String::new() } else { format!("{i}_{class}") };
        if i > 0 {
            files.insert(format!("{path}/config.json"), config.to_string().into_bytes());
        }
        if class.rsplit('.').next() == Some("Dense") {
            let [inputs, outputs] =
                ["in_features", "out_features"].map(|key| config[key].as_u64().expect("a width") as usize);
            let mut tensors = vec![("linear.weight", vec![outputs, inputs])];
            tensors.extend((config["bias"] == true).then(|| ("linear.bias", vec![outputs])));
            files.insert(format!("{path}/model.safetensors"), zeros(&tensors));
        }
        list.push(json!({"idx": i, "name": i.to_string(), "path": path, "type": class_path}));
    }
    files.insert("modules.json".to_owned(), Value::from(list).to_string().into_bytes());
}

/// Adds the files of a Router. Each route has its modules in subfolders, and the encoder's files
/// are in the subfolder of the Transformer.
fn add_router(files: &mut HashMap<String, Vec<u8>>, routes: &serde_json::Map<String, Value>) {
    let (mut types, mut structure) = (serde_json::Map::new(), serde_json::Map::new());
    let encoder: HashMap<String, Vec<u8>> =
        files.extract_if(|name, _| name != "config_sentence_transformers.json").collect();
    for (route, modules) in routes {
        let mut paths = Vec::new();
        for (i, module) in modules.as_array().expect("modules").iter().enumerate() {
            let (class, config) = module.as_object().and_then(|keys| keys.iter().next()).expect("a class");
            let path = format!("{route}_{i}_{class}");
            types.insert(path.clone(), format!("sentence_transformers.models.{class}").into());
            if class == "Transformer" {
                files.extend(encoder.iter().map(|(name, bytes)| (format!("{path}/{name}"), bytes.clone())));
            } else {
                files.insert(format!("{path}/config.json"), config.to_string().into_bytes());
            }
            if class == "SparseStaticEmbedding" {
                for name in ["tokenizer.json", "tokenizer_config.json"] {
                    files.insert(format!("{path}/{name}"), encoder[name].clone());
                }
                files.insert(format!("{path}/model.safetensors"), zeros(&[("weight", vec![30522])]));
            }
            paths.push(path);
        }
        structure.insert(route.clone(), paths.into());
    }
    let router = json!({"types": types, "structure": structure, "parameters": {"default_route": "document"}});
    files.insert("router_config.json".to_owned(), router.to_string().into_bytes());
    let modules = json!([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}]);
    files.insert("modules.json".to_owned(), modules.to_string().into_bytes());
}

/// Returns the files that decide whether a model is supported.
fn deciding_files(model: &Value) -> HashMap<String, Vec<u8>> {
    let mut files = HashMap::new();
    for (file, key) in
        [("config.json", "config"), ("config_sentence_transformers.json", "config_sentence_transformers")]
    {
        if !model[key].is_null() {
            files.insert(file.to_owned(), model[key].to_string().into_bytes());
        }
    }
    if let Some(kind) = model["tokenizer"].as_str() {
        let mut config = json!({"tokenizer_class": model["tokenizer_class"]});
        if let Some(token) = model["mask_token"].as_str() {
            config["mask_token"] = json!(token);
        }
        files.insert("tokenizer_config.json".to_owned(), config.to_string().into_bytes());
        files.insert("tokenizer.json".to_owned(), tokenizer(kind));
    }
    if let Some(modules) = model["modules"].as_array() {
        add_modules(&mut files, modules);
    }
    if model["weights"] == "pickle" {
        let archive = std::fs::read(root().join("fixtures/pytorch/state-dict.bin")).expect("a file of torch.save");
        files.insert("pytorch_model.bin".to_owned(), archive);
    } else {
        // Names that only the code of the model's own repository knows.
        let names: Vec<&str> = model["tensors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let tensors: Vec<_> = names.into_iter().map(|name| (name, vec![1])).collect();
        files.insert("model.safetensors".to_owned(), zeros(&tensors));
    }
    if let Some(routes) = model["router"].as_object() {
        add_router(&mut files, routes);
    }
    files
}

#[test]
fn every_model_of_the_table_is_opened_or_rejected_as_it_says() {
    let text = std::fs::read(root().join("fixtures/models.json")).expect("fixtures/models.json");
    let models: Vec<Value> = serde_json::from_slice(&text).expect("JSON");
    let models: HashMap<&str, &Value> =
        models.iter().map(|model| (model["name"].as_str().expect("a name"), model)).collect();
    let rows = rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, models.keys().copied().collect(), "docs/models.md and fixtures/models.json");
    assert_eq!(names.len(), rows.len(), "a model has two rows");
    let mut wrong = Vec::new();
    for Row { name, loads, reasons } in &rows {
        let files = in_memory(&deciding_files(models[name.as_str()]));
        let builder = Embedder::builder().threads(1);
        let error = match ModelKind::detect(&files) {
            Ok(ModelKind::CrossEncoder) => builder.open_cross_encoder_files(&files).expect_err("no weights"),
            Ok(ModelKind::SparseEncoder) => builder.open_sparse_encoder_files(&files).expect_err("no weights"),
            Ok(ModelKind::MultiVector) => builder.open_multi_vector_encoder_files(&files).expect_err("no weights"),
            _ => builder.open_files(&files).expect_err("no weights"),
        };
        let message = error_chain(&error);
        println!("{name}: {message}");
        let is_supported = matches!(error, Error::MissingTensor { .. }) && models[name.as_str()]["tensors"].is_null();
        if is_supported != *loads {
            wrong.push(format!("{name}: the table says {}: {message}", if *loads { "yes" } else { "no" }));
        }
        let missing: Vec<_> = reasons.iter().filter(|reason| !message.contains(reason.as_str())).collect();
        if !loads && (reasons.is_empty() || !missing.is_empty()) {
            wrong.push(format!("{name}: the reasons {missing:?} of {reasons:?} are not in: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
