//! Compares every result of a trace with that of the same module of the reference, and the last
//! ones with what the models return.

use std::collections::BTreeSet;

use likewise::{Embedder, Level, Trace, TraceFile};
use safetensors::SafeTensors;

use crate::common::{Golden, Report, TINY, max_error, model, open, root};

/// Maximum error of an element: absolute up to magnitude 1, relative above.
const MAX_TENSOR_ERROR: f64 = 2e-5;

/// Returns the names of the tensors of a golden file.
fn names(golden: &Golden) -> BTreeSet<String> {
    let tensors = SafeTensors::deserialize(golden.bytes()).expect("safetensors");
    tensors.names().into_iter().map(str::to_owned).collect()
}

fn sites(trace: &Trace) -> BTreeSet<String> {
    trace.tensors().iter().map(|tensor| tensor.site().to_owned()).collect()
}

/// Returns the largest error of the elements. Both have −∞ for the same keys that are not seen.
fn error_of_scores(found: &[f32], expected: &[f64], what: &str) -> f64 {
    let seen = |(a, b): (&f32, &f64)| {
        assert_eq!(a.is_infinite(), b.is_infinite(), "{what}: a key that is seen on one side only");
        a.is_finite().then_some((*a, *b))
    };
    let (found, expected): (Vec<f32>, Vec<f64>) = found.iter().zip(expected).filter_map(seen).unzip();
    max_error(&found, &expected)
}

#[test]
fn traces_have_every_result_of_the_reference() {
    let mut report = Report::default();
    for name in TINY {
        let golden = Golden::load(&format!("sites/{name}"));
        for level in Level::available() {
            let trace = open(name, level).trace(&golden.texts).expect("a trace");
            assert_eq!(sites(&trace), names(&golden), "{name}: sites of the trace, and of the reference");
            for tensor in trace.tensors() {
                let what = format!("{name} {level} {}", tensor.site());
                let expected = golden.tensor(tensor.site());
                assert_eq!(tensor.as_slice().len(), expected.len(), "{what}: elements");
                assert_eq!(tensor.shape().iter().product::<usize>(), expected.len(), "{what}: shape");
                report.within(&what, error_of_scores(tensor.as_slice(), &expected, &what), MAX_TENSOR_ERROR);
            }
        }
    }
    report.finish();
}

/// The document lists the sites of all models together.
#[test]
fn document_lists_every_site() {
    let document = std::fs::read_to_string(root().join("docs/tracing.md")).expect("the document");
    let mut found = BTreeSet::new();
    for name in TINY {
        let trace = open(name, Level::best()).trace(&["a text"]).expect("a trace");
        for site in sites(&trace) {
            let in_layer = site.strip_prefix("layer.").and_then(|rest| rest.split_once('.'));
            let in_module = site.strip_prefix("module.");
            found.insert(match (in_layer, in_module) {
                (Some((_, name)), _) => format!("layer.N.{name}"),
                (None, Some(_)) => "module.N".to_owned(),
                (None, None) => site,
            });
        }
    }
    // Results of the other kinds of models.
    let others = [
        "classifier.hidden",
        "classifier.norm",
        "logits",
        "scores",
        "masked_language.hidden",
        "masked_language.norm",
        "scored",
        "token_weights",
        "token_vectors",
    ];
    let listed: BTreeSet<&str> =
        document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let expected: BTreeSet<&str> = found.iter().map(String::as_str).chain(others).collect();
    assert_eq!(listed, expected, "the sites of docs/tracing.md, and of traces");
}

/// Reads a written file: the shape and bytes of a tensor.
fn tensor<'a>(file: &'a [u8], name: &str) -> (Vec<usize>, &'a [u8]) {
    let tensors = SafeTensors::deserialize(file).expect("safetensors");
    let tensor = tensors.tensor(name).expect(name);
    (tensor.shape().to_vec(), tensor.data())
}

#[test]
fn files_have_the_results_packed_or_padded() {
    let trace = Embedder::open(model("tiny-bert")).expect("a model").trace(&["a", "a longer text"]).expect("a trace");
    let [short, long] = [trace.token_counts()[0], trace.token_counts()[1]];
    let width = trace.get("embeddings").expect("a site").shape()[1];
    let write = |file: &TraceFile<'_>| {
        let mut bytes = Vec::new();
        file.write(&mut bytes).expect("written");
        bytes
    };
    let packed = write(&TraceFile::new(&trace));
    assert_eq!(packed, write(&TraceFile::new(&trace)), "the same bytes each time");
    let (shape, bytes) = tensor(&packed, "embeddings");
    assert_eq!(shape, [short + long, width]);
    let elements: Vec<u8> =
        trace.get("embeddings").expect("a site").as_slice().iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(bytes, elements);
    let padded = write(&TraceFile::new(&trace).padded(true));
    let (shape, bytes) = tensor(&padded, "embeddings");
    assert_eq!(shape, [2, long, width]);
    let (first, second) = bytes.split_at(long * width * 4);
    assert_eq!([&first[..short * width * 4], second].concat(), elements);
    assert!(first[short * width * 4..].iter().all(|&byte| byte == 0), "zeros after the shorter text");
    let (shape, mask) = tensor(&padded, "attention_mask");
    assert_eq!(shape, [2, long]);
    assert_eq!(mask.chunks_exact(8).filter(|value| value[0] == 1).count(), short + long);
    let heads = tensor(&padded, "layer.0.scores").0;
    assert_eq!((heads[0], heads[2], heads[3]), (2, long, long));
    let some = TraceFile::new(&trace).keep(|site| site.ends_with(".query"));
    assert_eq!(some.sites(), ["layer.0.query", "layer.1.query"]);
    assert_eq!(SafeTensors::deserialize(&write(&some)).expect("safetensors").names().len(), 2 + 4);
}
