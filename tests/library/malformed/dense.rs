//! Malformed Dense modules.

use super::*;

/// Returns the files of a model with a Dense module after pooling, from 48 to 8 dimensions.
fn with_dense(config: &Value, weights: &Tensors) -> Files {
    let mut files = files("tiny-mpnet");
    edit_json(&mut files, "modules.json", |modules| {
        let modules = modules.as_array_mut().expect("an array");
        modules.push(json!({"path": "2_Dense", "type": "sentence_transformers.models.Dense"}));
    });
    files.insert("2_Dense/config.json".to_owned(), config.to_string().into_bytes());
    files.insert("2_Dense/model.safetensors".to_owned(), write(weights));
    files
}

/// Returns an F32 tensor whose elements are all `x`.
fn f32_tensor(shape: &[usize], x: f32) -> UncheckedTensor {
    UncheckedTensor {
        dtype: "F32".to_owned(),
        shape: shape.to_vec(),
        data: x.to_le_bytes().repeat(shape.iter().product()),
    }
}

/// Returns valid weights of the Dense module.
fn dense_weights() -> Tensors {
    [("linear.weight", f32_tensor(&[8, 48], 0.1)), ("linear.bias", f32_tensor(&[8], 0.5))]
        .into_iter()
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect()
}

/// Returns a valid configuration of the Dense module after setting one key.
fn dense_config(key: &str, value: Value) -> Value {
    let mut config = json!({"in_features": 48, "out_features": 8, "bias": true,
        "activation_function": "torch.nn.modules.linear.Identity"});
    config[key] = value;
    config
}

#[test]
fn dense_module_with_null_for_an_unknown_key_is_accepted() {
    let files = with_dense(&dense_config("a_key_of_later_versions", json!(null)), &dense_weights());
    let model = open(&files).expect("a model");
    assert_eq!(model.embed(&[TEXT]).expect("a vector").width(), 8);
}

#[test]
fn unsupported_dense_configuration_is_rejected_by_name() {
    let mut cases = Cases::default();
    for (key, value) in [
        ("in_features", json!(47)),
        ("in_features", json!(null)),
        ("out_features", json!(0)),
        ("out_features", json!(null)),
        ("bias", json!("yes")),
        ("use_residual", json!(1)),
        ("activation_function", json!(null)),
        ("activation_function", json!(3)),
        ("activation_function", json!("Tanh")),
        ("activation_function", json!("my.package.Tanh")),
        ("activation_function", json!("torchvision.ops.Tanh")),
        ("activation_function", json!("torch.nn.modules.activation.Hardtanh")),
        ("module_input_name", json!("token_embeddings")),
        ("module_output_name", json!("other")),
        ("a_key_of_later_versions", json!(1)),
    ] {
        let files = with_dense(&dense_config(key, value.clone()), &dense_weights());
        let parts = ["2_Dense/config.json", key, "expected", &value.to_string().replace("null", "")];
        cases.rejects_model(&format!("{key} = {value}"), &files, "Config", &parts);
    }
    cases.finish();
}

#[test]
fn dense_module_with_wrong_weights_is_rejected() {
    let mut cases = Cases::default();
    let dense_with = |edit: &dyn Fn(&mut Tensors)| {
        let mut weights = dense_weights();
        edit(&mut weights);
        with_dense(&dense_config("bias", json!(true)), &weights)
    };
    let file = "2_Dense/model.safetensors";
    let transposed = dense_with(&|tensors| drop(tensors.insert("linear.weight".to_owned(), f32_tensor(&[48, 8], 0.1))));
    cases.rejects_model("transposed", &transposed, "TensorShape", &[file, "linear.weight", "[8, 48]", "[48, 8]"]);
    let no_bias = dense_with(&|tensors| drop(tensors.remove("linear.bias")));
    cases.rejects_model("no bias", &no_bias, "MissingTensor", &[file, "linear.bias"]);
    let extra = dense_with(&|tensors| drop(tensors.insert("gate.weight".to_owned(), f32_tensor(&[8, 48], 0.1))));
    cases.rejects_model("an extra tensor", &extra, "UnknownTensor", &[file, "gate.weight", "Dense"]);
    let nan = dense_with(&|tensors| drop(tensors.insert("linear.weight".to_owned(), f32_tensor(&[8, 48], f32::NAN))));
    cases.rejects_model("not finite", &nan, "TensorNotFinite", &[file, "linear.weight", "NaN"]);
    let residual = with_dense(&dense_config("use_residual", json!(true)), &dense_weights());
    cases.rejects_model("no residual", &residual, "MissingTensor", &[file, "residual.weight"]);
    let mut pickled = with_dense(&dense_config("bias", json!(true)), &dense_weights());
    let bytes = pickled.remove(file).expect("weights");
    pickled.insert("2_Dense/pytorch_model.bin".to_owned(), bytes);
    cases.rejects_model(
        "safetensors under another name",
        &pickled,
        "Content",
        &["2_Dense/pytorch_model.bin", "weights in safetensors", "model.safetensors"],
    );
    cases.finish();
}
