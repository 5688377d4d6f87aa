//! Compares prompts, truncated dimensions and quantized vectors with sentence-transformers on 500
//! texts.

use crate::common::{Golden, Report, max_difference, model};
use likewise::{Builder, Embedder, Embeddings, Quantization, Ranges, Vectors, quantize};
use safetensors::SafeTensors;

/// Maximum absolute error of an element of a normalized vector.
const MAX_VECTOR_ERROR: f64 = 2e-6;

fn golden() -> Golden {
    Golden::load("output")
}

fn embed(golden: &Golden, builder: Builder) -> Embeddings {
    let name = golden.json["model"].as_str().expect("a name");
    builder.open(model(name)).expect("a model").embed(&golden.texts).expect("vectors")
}

/// Returns the bytes of a golden tensor.
fn bytes(golden: &Golden, name: &str) -> Vec<u8> {
    let tensors = SafeTensors::deserialize(golden.bytes()).expect("safetensors");
    tensors.tensor(name).unwrap_or_else(|_| panic!("no golden tensor {name}")).data().to_vec()
}

/// Returns the dimension and the elements of the vectors from sentence-transformers.
fn golden_vectors(golden: &Golden) -> (usize, Vec<f32>) {
    let vectors: Vec<f32> = golden.tensor("vectors").into_iter().map(|x| x as f32).collect();
    (vectors.len() / golden.texts.len(), vectors)
}

#[test]
fn prompts_and_truncated_dimensions_match_sentence_transformers() {
    let golden = golden();
    assert_eq!(golden.texts.len(), 500);
    let dimensions = golden.json["dimensions"].as_u64().expect("a number") as usize;
    let prompt = golden.json["prompt"].as_str().expect("a prompt");
    let mut report = Report::default();
    for (name, builder) in [
        ("vectors", Embedder::builder()),
        ("prompt", Embedder::builder().prompt(prompt)),
        ("truncated", Embedder::builder().truncate_dim(dimensions)),
        ("truncated.normalized", Embedder::builder().normalize().truncate_dim(dimensions)),
    ] {
        let vectors = embed(&golden, builder);
        let expected = golden.tensor(name);
        assert_eq!(vectors.width() * vectors.len(), expected.len(), "{name}");
        report.within(name, max_difference(vectors.as_slice(), &expected), MAX_VECTOR_ERROR);
    }
    report.finish();
}

/// The prompt can be selected by its name, as the default, or as the prompt of queries or
/// documents. The exporter checks that these are equivalent in sentence-transformers.
#[test]
fn named_and_default_prompts_match_sentence_transformers() {
    let golden = golden();
    let prompt = golden.json["prompt"].as_str().expect("a prompt");
    let mut report = Report::default();
    let mut files = crate::common::files(golden.json["model"].as_str().expect("a name"));
    let config = serde_json::json!({
        "prompts": {"it": prompt, "query": prompt, "document": prompt}, "default_prompt_name": "it",
    });
    files.insert("config_sentence_transformers.json".to_owned(), config.to_string().into_bytes());
    let files = crate::common::in_memory(&files);
    let model = Embedder::builder().open_files(&files).expect("a model");
    let named = Embedder::builder().prompt_name("it").open_files(&files).expect("a model");
    for (name, vectors) in [
        ("prompt by name", named.embed(&golden.texts)),
        ("default prompt", model.embed(&golden.texts)),
        ("prompt of queries", model.embed_queries(&golden.texts)),
        ("prompt of documents", model.embed_documents(&golden.texts)),
    ] {
        let vectors = vectors.expect("vectors");
        report.within(name, max_difference(vectors.as_slice(), &golden.tensor("prompt")), MAX_VECTOR_ERROR);
    }
    report.finish();
}

/// The configuration of a model applies unless the builder overrides it.
#[test]
fn configured_dimensions_and_prompt_are_applied() {
    let open = |config: serde_json::Value, builder: Builder| {
        let mut files = crate::common::files("tiny-mpnet");
        files.insert("config_sentence_transformers.json".to_owned(), config.to_string().into_bytes());
        builder.open_files(&crate::common::in_memory(&files)).expect("a model").embed(&["a dog"]).expect("a vector")
    };
    let json = |text: &str| serde_json::from_str(text).expect("JSON");
    let plain = open(json("{}"), Embedder::builder());
    let three = json(r#"{"truncate_dim": 3}"#);
    let first = |width: usize| plain.row(0)[..width].to_vec();
    for (config, builder, expected) in [
        (&three, Embedder::builder(), first(3)),
        (&three, Embedder::builder().truncate_dim(5), first(5)),
        (&json(r#"{"truncate_dim": 1000}"#), Embedder::builder(), first(plain.width())),
        (&json(r#"{"truncate_dim": null}"#), Embedder::builder(), first(plain.width())),
    ] {
        assert_eq!(open(config.clone(), builder).row(0), expected, "{config}");
    }
    let prompts = json(r#"{"prompts": {"q": "happy ", "p": "sunny "}, "default_prompt_name": "p"}"#);
    let with_prompt = |prompt: &str| open(json("{}"), Embedder::builder().prompt(prompt));
    assert_ne!(with_prompt("happy ").row(0), plain.row(0));
    for (builder, prompt) in [
        (Embedder::builder(), "sunny "),
        (Embedder::builder().prompt_name("q"), "happy "),
        (Embedder::builder().prompt_name("query"), ""),
        (Embedder::builder().prompt(""), ""),
    ] {
        assert_eq!(open(prompts.clone(), builder).row(0), with_prompt(prompt).row(0), "{prompt:?}");
    }
}

/// Like `encode_query` and `encode_document`, queries and documents use the prompt `query` or
/// `document`. A model without that prompt uses no prompt, not even the default one.
#[test]
fn query_and_document_prompts_match_sentence_transformers() {
    let with = |config: serde_json::Value| {
        let mut files = crate::common::files("tiny-mpnet");
        files.insert("config_sentence_transformers.json".to_owned(), config.to_string().into_bytes());
        Embedder::builder().open_files(&crate::common::in_memory(&files)).expect("a model")
    };
    let plain = with(serde_json::json!({}));
    let text = |prompt: &str| plain.embed(&[format!("{prompt}dog")]).expect("a vector");
    for (config, query, document, default) in [
        (serde_json::json!({}), "", "", ""),
        (
            serde_json::json!({"prompts": {"passage": "p: ", "query": "q: "}, "default_prompt_name": "passage"}),
            "q: ",
            "",
            "p: ",
        ),
        (serde_json::json!({"prompts": {"corpus": "c: "}}), "", "", ""),
        (serde_json::json!({"prompts": {"document": "d: ", "passage": "p: "}}), "", "d: ", ""),
    ] {
        let model = with(config);
        assert_eq!(model.embed_queries(&["dog"]).expect("a vector"), text(query));
        assert_eq!(model.embed_documents(&["dog"]).expect("a vector"), text(document));
        assert_eq!(model.embed(&["dog"]).expect("a vector"), text(default));
    }
}

/// The same vectors must give the same bytes.
#[test]
fn quantized_golden_vectors_match_sentence_transformers() {
    let golden = golden();
    let (width, vectors) = golden_vectors(&golden);
    let rows = || vectors.chunks_exact(width);
    let full_ranges = Ranges::from_vectors(rows()).expect("ranges");
    for form in Quantization::ALL {
        let expected = bytes(&golden, form.name());
        assert_eq!(expected.len(), golden.texts.len() * form.bytes_per_vector(width));
        assert!(quantize(form, rows(), Some(&full_ranges)).expect("bytes") == expected, "{}", form.name());
    }
    let calibration = golden.json["calibration"].as_u64().expect("a number") as usize;
    let ranges = Ranges::from_vectors(rows().take(calibration)).expect("ranges");
    for form in [Quantization::Int8, Quantization::Uint8] {
        let expected = bytes(&golden, &format!("calibrated.{}", form.name()));
        assert!(expected != bytes(&golden, form.name()), "all elements are inside the calibration ranges");
        assert!(quantize(form, rows(), Some(&ranges)).expect("bytes") == expected, "calibrated {}", form.name());
    }
}

/// Compares the bytes computed from texts. An element that is within a rounding error of the
/// boundary between two bytes may round to the other byte.
#[test]
fn quantized_texts_match_sentence_transformers() {
    let golden = golden();
    let vectors = embed(&golden, Embedder::builder());
    let ranges = Ranges::from_vectors(vectors.rows()).expect("ranges");
    for form in Quantization::ALL {
        let expected = bytes(&golden, &format!("encoded.{}", form.name()));
        let found = quantize(form, vectors.rows(), Some(&ranges)).expect("bytes");
        let differing = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        println!("{}: {differing} of {} bytes differ", form.name(), expected.len());
        assert_eq!(found.len(), expected.len(), "{}", form.name());
        assert!(differing * 5_000 <= expected.len(), "{}: {differing} bytes differ", form.name());
    }
}

/// Vector files of `likewise embed` and NumPy are valid input.
#[test]
fn npy_files_are_read_or_rejected_by_name() {
    let npy = |descr: &str, order: &str, shape: &str, data: &[u8]| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    let data: Vec<u8> = [1.0_f32, -2.5, 0.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let read = |bytes: &[u8]| Vectors::read("v.npy", bytes).map(|v| v.rows().map(<[f32]>::to_vec).collect::<Vec<_>>());
    let good = npy("<f4", "False", "(2, 2)", &data);
    assert_eq!(read(&good).expect("vectors"), [[1.0, -2.5], [0.0, 4.0]]);
    let wide: Vec<u8> = [1.0_f64, -2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(read(&npy("<f8", "False", "(1, 2)", &wide)).expect("vectors"), [[1.0, -2.5]]);
    assert_eq!(read(&npy("<f2", "False", "(1, 2)", &[0, 0x3c, 0, 0xc1])).expect("vectors"), [[1.0, -2.5]]);
    let nan: Vec<u8> = [f32::NAN; 4].iter().flat_map(|x| x.to_le_bytes()).collect();
    for (bytes, problem) in [
        (npy(">f4", "False", "(2, 2)", &data), "little-endian"),
        (npy("<i4", "False", "(2, 2)", &data), "little-endian"),
        (npy("<f4", "True", "(2, 2)", &data), "C order"),
        (npy("<f4", "False", "(4,)", &data), "two dimensions"),
        (npy("<f4", "False", "(2, 2, 1)", &data), "two dimensions"),
        (npy("<f4", "False", "(2, -2)", &data), "two dimensions"),
        (npy("<f4", "False", "(2, 3)", &data), "as many bytes"),
        (npy("<f4", "False", "(18446744073709551615, 18446744073709551615)", &data), "as many bytes"),
        (npy("<f4", "False", "(0, 2)", &[]), "shape [0, 2]"),
        (npy("<f4", "False", "(2, 2)", &nan), "NaN in row 0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "NumPy"),
        (b"\x93NUMPY\x01".to_vec(), "NumPy"),
        (b"not vectors".to_vec(), "safetensors"),
        (Vec::new(), "safetensors"),
    ] {
        let error = read(&bytes).expect_err(problem);
        let message = likewise::error_chain(&error);
        assert!(message.contains(problem) && message.contains("v.npy"), "{problem}: {message}");
    }
    for end in 0..good.len() {
        assert!(read(&good[..end]).is_err(), "truncated to {end} bytes");
    }
}
