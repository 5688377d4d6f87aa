//! `/rerank` in both dialects, and text-ranking on the paths of models.

use serde_json::{Value, json};

use super::cross_encoders::{CrossEncoderFolder, RAW_RERANKER, RERANKER, server_of_all_kinds, sigmoid};
use super::harness::Server;

/// Maximum error of a score.
const MAX_ERROR: f64 = 2e-6;

/// The query and the texts of a golden file's first pairs.
fn golden() -> (CrossEncoderFolder, String, Vec<String>) {
    let folder = CrossEncoderFolder::write(RERANKER);
    let query = folder.pairs[0][0].clone();
    let texts = folder.pairs.iter().take_while(|pair| pair[0] == query).map(|pair| pair[1].clone()).collect();
    (folder, query, texts)
}

fn start(folder: &CrossEncoderFolder, options: &[&str]) -> Server {
    let server = Server::start(&[folder.argument("org/reranker")], options);
    server.wait_until_ready();
    server
}

/// The indices of a ranking, and its scores under a key.
fn ranking(response: &Value, key: &str) -> (Vec<usize>, Vec<f64>) {
    let results = response.as_array().unwrap_or_else(|| panic!("{response}"));
    let index = |one: &Value| one["index"].as_u64().expect("an index") as usize;
    (results.iter().map(index).collect(), results.iter().map(|one| one[key].as_f64().expect("a score")).collect())
}

/// Checks a ranking against the numbers of sentence-transformers for the texts.
fn check(response: &Value, key: &str, expected: &[f64]) {
    let (indices, scores) = ranking(response, key);
    assert_eq!(indices.len(), expected.len(), "{response}");
    for (&index, score) in indices.iter().zip(&scores) {
        approx::assert_abs_diff_eq!(*score, expected[index], epsilon = MAX_ERROR);
    }
    assert!(scores.is_sorted_by(|a, b| a >= b), "{response}");
}

#[test]
fn rerank_returns_the_scores_of_sentence_transformers_in_both_dialects() {
    let (folder, query, texts) = golden();
    let server = start(&folder, &[]);
    let scores: Vec<f64> = folder.logits[..texts.len()].iter().map(|&x| sigmoid(x)).collect();
    let tei = server.post("/rerank", &json!({"query": query, "texts": texts})).json();
    check(&tei, "score", &scores);
    assert!(tei[0].get("text").is_none(), "{tei}");
    let raw = server.post("/rerank", &json!({"query": query, "texts": texts, "raw_scores": true})).json();
    check(&raw, "score", &folder.logits[..texts.len()]);
    let with_text = server.post("/rerank", &json!({"query": query, "texts": texts, "return_text": true})).json();
    let best = with_text[0]["index"].as_u64().expect("an index") as usize;
    assert_eq!(with_text[0]["text"], texts[best]);
    for path in ["/rerank", "/v1/rerank", "/v2/rerank", "/", "/invocations", "/models/reranker"] {
        let response = server.post(path, &json!({"query": query, "documents": texts})).json();
        check(&response["results"], "relevance_score", &scores);
        assert!(response["results"][0].get("document").is_none(), "{path}: {response}");
        assert_eq!(response["model"], "org/reranker");
        assert!(response["usage"]["total_tokens"].as_u64().is_some_and(|tokens| tokens > 10), "{path}: {response}");
    }
    let inputs = json!({"inputs": {"query": query, "texts": texts}});
    for path in [
        "/",
        "/invocations",
        "/models/org/reranker",
        "/models/reranker/pipeline/text-ranking",
        "/pipeline/text-ranking/org/reranker",
        "/hf-inference/models/org/reranker/pipeline/text-ranking",
    ] {
        assert_eq!(server.post(path, &inputs).json(), tei, "{path}");
    }
    // The same body as for `/rerank`, as text-embeddings-inference answers it.
    assert_eq!(server.post("/", &json!({"query": query, "texts": texts})).json(), tei);
}

/// The files of this model name Identity: its own scores are the raw ones, and clients expect 0 to
/// 1.
#[test]
fn scores_are_probabilities_whatever_activation_the_files_name() {
    let folder = CrossEncoderFolder::write(RAW_RERANKER);
    let server = start(&folder, &[]);
    let [query, text] = &folder.pairs[0];
    let body = json!({"query": query, "documents": [text]});
    check(&server.post("/v2/rerank", &body).json()["results"], "relevance_score", &[sigmoid(folder.logits[0])]);
    let body = json!({"query": query, "documents": [text], "raw_scores": true});
    check(&server.post("/v2/rerank", &body).json()["results"], "relevance_score", &[folder.logits[0]]);
}

#[test]
fn ranking_has_the_order_and_the_bits_of_the_library() {
    let (folder, query, _) = golden();
    // Equal texts have equal scores, and keep their order.
    let texts: Vec<String> = (0..120).map(|i| format!("Sentence {} is about dogs.", i % 40)).collect();
    let library = folder.open();
    let expected: Vec<(usize, f32)> =
        library.rank(&query, &texts).expect("a ranking").iter().map(|one| (one.index, one.score)).collect();
    let server = start(&folder, &[]);
    let body = json!({"query": query, "texts": texts});
    let check = |response: &Value| {
        let (indices, scores) = ranking(response, "score");
        let found: Vec<(usize, f32)> = indices.into_iter().zip(scores.into_iter().map(|x| x as f32)).collect();
        assert_eq!(found, expected);
    };
    check(&server.post("/rerank", &body).json());
    // Many requests at once share batches.
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (server, body) = (&server, &body);
            scope.spawn(move || {
                let options = json!({"query": format!("Another query {i}"), "texts": ["a", "b c d e", ""]});
                assert_eq!(server.post("/rerank", &options).status, 200);
                let headers = [("x-use-cache", "false")];
                let response = server.send_request("POST", "/rerank", &headers, body.to_string().as_bytes());
                assert_eq!(response.header("x-compute-type"), Some("cpu"));
                check(&response.json());
            });
        }
    });
    assert_eq!(server.post("/rerank", &body).header("x-compute-type"), Some("cache"));
}

#[test]
fn top_n_cuts_and_null_or_zero_means_all() {
    let (folder, query, _) = golden();
    let server = start(&folder, &[]);
    let rank = |options: Value| {
        let mut body = json!({"query": query, "documents": ["a b", "a happy person", "the sun"]});
        body.as_object_mut().expect("an object").extend(options.as_object().expect("options").clone());
        server.post("/v1/rerank", &body)
    };
    let all = rank(json!({})).json();
    for (top_n, count) in [(json!(1), 1), (json!(2), 2), (json!(null), 3), (json!(0), 3), (json!(9), 3)] {
        let response = rank(json!({"top_n": top_n, "max_tokens_per_doc": null, "rank_fields": null}));
        let results = response.json()["results"].as_array().expect("results").clone();
        assert_eq!(results[..], all["results"].as_array().expect("results")[..count], "{top_n}");
        assert_eq!(response.header("x-unused-keys"), None);
    }
    for wrong in [json!(-1), json!("2"), json!(1.5)] {
        let response = rank(json!({"top_n": wrong}));
        assert_eq!((response.status, response.body.contains("`top_n`: expected an integer")), (400, true), "{wrong}");
    }
    // Clients send keys of other services.
    let response = rank(json!({"max_chunks_per_doc": 10, "priority": 1, "user": "u"}));
    assert_eq!(response.status, 200);
    assert_eq!(response.header("x-unused-keys"), Some("max_chunks_per_doc, priority"));
}

#[test]
fn documents_are_returned_as_objects_and_read_by_their_fields() {
    let (folder, query, _) = golden();
    let server = start(&folder, &[]);
    let rank = |documents: Value, options: Value| {
        let mut body = json!({"query": query, "documents": documents, "return_documents": true});
        body.as_object_mut().expect("an object").extend(options.as_object().expect("options").clone());
        server.post("/v1/rerank", &body)
    };
    let text = rank(json!(["a happy dog"]), json!({})).json();
    assert_eq!(text["results"][0]["document"], json!({"text": "a happy dog"}));
    let object = json!({"text": "a happy dog", "title": "Dogs"});
    let with_title = rank(json!([object]), json!({})).json();
    assert_eq!(with_title["results"][0]["document"], object);
    let score = |response: &Value| response["results"][0]["relevance_score"].as_f64();
    assert_eq!(score(&with_title), score(&text));
    let fields = rank(json!([object]), json!({"rank_fields": ["title", "text"]})).json();
    assert_eq!(score(&fields), score(&rank(json!(["title: Dogs\ntext: a happy dog"]), json!({})).json()));
    for (documents, part) in [
        (json!([{"content": ["a"]}]), "`documents[0].text`: expected a string, found nothing"),
        (json!([{"text": 5}]), "`documents[0].text`: expected a string, found 5"),
        (json!([5]), "`documents[0]`: expected a string or an object with `text`, found 5"),
        (json!("a"), "`documents`: expected an array of strings"),
        (json!([]), "`documents`: expected at least one element, found none"),
    ] {
        let response = rank(documents, json!({}));
        assert_eq!((response.status, response.body.contains(part)), (400, true), "{response:?}");
        // Cohere's clients read `message`, Jina's `detail`.
        let error = response.json();
        assert_eq!((&error["message"], &error["detail"]), (&error["error"], &error["error"]));
    }
}

#[test]
fn malformed_rankings_are_rejected_with_what_was_expected() {
    let server = server_of_all_kinds("org/reranker", &["--max-client-batch-size", "3"]);
    for (body, status, part) in [
        (json!({"query": "a"}), 400, "`texts`: expected an array of strings, found nothing"),
        (json!({"texts": ["a"]}), 400, "`query`: expected a string, found nothing"),
        (json!({"query": "a", "texts": []}), 400, "`texts`: expected at least one element, found none"),
        (json!({"query": 5, "texts": ["a"]}), 400, "`query`: expected a string, found 5"),
        (json!({"query": "a", "texts": "b"}), 400, "`texts`: expected an array of strings"),
        (json!({"query": "a", "texts": [null]}), 400, "`texts[0]`: expected a string, found null"),
        (json!({"query": "a", "texts": ["b"], "raw_scores": 1}), 400, "`raw_scores`: expected true or false"),
        (json!({"query": "a", "texts": ["a", "b", "c", "d"]}), 422, "--max-client-batch-size"),
        (json!({"query": "a", "texts": ["b"], "model": "other"}), 404, "other"),
    ] {
        let response = server.post("/rerank", &body);
        assert_eq!((response.status, response.body.contains(part)), (status, true), "{body}: {response:?}");
    }
    // Empty texts are texts.
    assert_eq!(server.post("/rerank", &json!({"query": "", "texts": ["", "a"]})).status, 200);
    assert_eq!(server.post("/rerank", &json!({"query": "a", "texts": ["b"], "truncate": null})).status, 200);
}

#[test]
fn pair_that_is_too_long_is_truncated_or_rejected_with_the_side_to_cut() {
    let (folder, ..) = golden();
    let server = start(&folder, &[]);
    let long = "a happy person ".repeat(60);
    let rank = |query: &str, text: &str, options: Value| {
        let mut body = json!({"query": query, "texts": ["b", text]});
        body.as_object_mut().expect("an object").extend(options.as_object().expect("options").clone());
        server.post("/rerank", &body)
    };
    let truncated = rank("a", &long, json!({}));
    assert_eq!((truncated.status, truncated.header("x-truncated-texts")), (200, Some("1")), "{truncated:?}");
    for (query, text, side) in [("a", &*long, "the second text"), (&*long, "a", "the first text")] {
        let response = rank(query, text, json!({"truncate": false}));
        assert_eq!(response.status, 422, "{response:?}");
        assert!(response.body.contains(&format!("{side} would be cut")), "{response:?}");
    }
    // The beginning of the text differs, so its end has another score.
    let mixed = format!("the old dog {long}");
    let left = rank("a", &mixed, json!({"truncation_direction": "Left"}));
    let right = rank("a", &mixed, json!({"truncation_direction": "right"}));
    assert_eq!((left.status, right.status), (200, 200));
    assert_ne!(left.body, right.body);
}

/// A reranker and an embedder have a queue each, and one set of limits and metrics.
#[test]
fn metrics_count_texts_of_cross_encoders() {
    let (folder, query, texts) = golden();
    let server = start(&folder, &["--response-cache-bytes", "0"]);
    server.post("/rerank", &json!({"query": query, "texts": texts}));
    assert_eq!(server.metric("likewise_text_count{model=\"org/reranker\"}"), texts.len() as f64);
    assert_eq!(server.metric("te_request_success{method=\"batch\"}"), 1.0);
    assert_eq!(server.metric("te_queue_size{model=\"org/reranker\"}"), 0.0);
}
