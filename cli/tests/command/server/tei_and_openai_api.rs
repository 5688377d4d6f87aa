//! The routes of text-embeddings-inference and OpenAI, the metadata routes for clients of the hub,
//! and the pages.

use base64::Engine;
use likewise::Embedder;
use serde_json::{Value, json};

use super::harness::{SENTENCES, SOURCE, Server, example_body, expected_scores, floats};
use crate::common::{model, same_bits};

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[test]
fn embed_returns_the_bits_of_the_library() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let vectors = library.embed(&SENTENCES).expect("vectors");
    let embed = |body: Value| server.post("/embed", &body);
    // Always a list of vectors, of length 1 unless `normalize` is false.
    let one = embed(json!({"inputs": SENTENCES[0]})).json();
    assert!(same_bits(&floats(&one[0]), vectors.row(0)));
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    let all = embed(json!({"inputs": SENTENCES, "model": "tiny"})).json();
    for (i, row) in all.as_array().expect("rows").iter().enumerate() {
        assert!(same_bits(&floats(row), vectors.row(i)), "vector {i}");
    }
    let raw = floats(&embed(json!({"inputs": SENTENCES[0], "normalize": false})).json()[0]);
    assert!((length(&raw) - 1.0).abs() > 1e-3);
    // A vector with fewer dimensions is normalized again.
    let short = floats(&embed(json!({"inputs": SENTENCES[0], "dimensions": 5})).json()[0]);
    let part = length(&raw[..5]);
    assert_eq!(short.len(), 5);
    for (short, raw) in short.iter().zip(&raw[..5]) {
        approx::assert_abs_diff_eq!(*short, raw / part, epsilon = 1e-6);
    }
    let width = vectors.width();
    for (dimensions, status) in [(json!(width), 200), (json!(width + 1), 422), (json!(0), 400), (json!(-1), 400)] {
        assert_eq!(embed(json!({"inputs": "a", "dimensions": dimensions})).status, status, "{dimensions}");
    }
}

/// As in sentence-transformers, every model has a prompt for queries and one for documents, which
/// may be empty.
#[test]
fn prompt_name_selects_a_prompt_of_the_model() {
    let server = Server::with_tiny_mpnet(&[]);
    let embed = |name: &str| server.post("/embed", &json!({"inputs": "a", "prompt_name": name}));
    assert_eq!(embed("query").body, server.post("/embed", &json!({"inputs": "a"})).body);
    assert_eq!(embed("document").status, 200);
    let unknown = embed("passage");
    assert_eq!((unknown.status, unknown.body.contains("passage")), (422, true), "{unknown:?}");
}

/// The token ids of a text give the text's vector.
#[test]
fn token_ids_as_inputs_give_the_vectors_of_their_texts() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let ids: Vec<Vec<u32>> = SENTENCES.iter().map(|text| library.tokenize(text).expect("tokens").ids).collect();
    let expected = server.post("/embed", &json!({"inputs": SENTENCES})).body;
    assert_eq!(server.post("/embed", &json!({"inputs": ids})).body, expected);
    assert_eq!(server.post("/embed", &json!({"inputs": [SENTENCES[0], ids[1], ids[2]]})).body, expected);
    let one = server.post("/embed", &json!({"inputs": ids[0]})).json();
    assert_eq!(one[0], serde_json::from_str::<Value>(&expected).expect("JSON")[0]);
    let unknown = server.post("/embed", &json!({"inputs": [0, 999_999, 2]}));
    assert_eq!((unknown.status, unknown.body.contains("999999")), (422, true), "{unknown:?}");
    // More ids than the model's maximum are truncated on the requested side, or rejected.
    let many: Vec<u32> = (0..1000).map(|i| 5 + i % 90).collect();
    let long = |more: Value| {
        let mut body = json!({"inputs": many});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        server.post("/embed", &body)
    };
    let limit = library.info().max_length;
    let cut = long(json!({}));
    assert_eq!(cut.header("x-truncated-texts"), Some("1"));
    assert_eq!(cut.body, server.post("/embed", &json!({"inputs": many[..limit]})).body);
    let left = long(json!({"truncation_direction": "left"}));
    assert_eq!(left.body, server.post("/embed", &json!({"inputs": many[many.len() - limit..]})).body);
    assert_eq!(long(json!({"truncate": false})).status, 422);
}

/// The client chooses which side of a long text is cut.
#[test]
fn truncation_direction_selects_the_side_that_is_cut() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let limit = library.info().max_length;
    let text: String = (0..500).map(|i| format!("{} ", ["dog", "sun", "person", "day"][i % 7 % 4])).collect();
    let all: Vec<u32> = server.post("/tokenize", &json!({"inputs": text})).json()[0]
        .as_array()
        .expect("tokens")
        .iter()
        .map(|token| token["id"].as_u64().expect("an id") as u32)
        .collect();
    assert!(all.len() > limit);
    let vector = |body: Value| server.post("/embed", &body).body;
    let right = [&all[..limit - 1], &all[all.len() - 1..]].concat();
    let left = [&all[..1], &all[all.len() - limit + 1..]].concat();
    assert_ne!(right, left);
    assert_eq!(vector(json!({"inputs": text})), vector(json!({"inputs": right})));
    for side in ["left", "Left"] {
        assert_eq!(vector(json!({"inputs": text, "truncation_direction": side})), vector(json!({"inputs": left})));
    }
    assert_eq!(server.post("/embed", &json!({"inputs": text, "truncation_direction": "up"})).status, 400);
}

/// There is a vector for each token of a trace, and their mean is the pooled vector.
#[test]
fn embed_all_returns_the_token_vectors_of_a_trace() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let response = server.post("/embed_all", &json!({"inputs": SENTENCES})).json();
    let texts = response.as_array().expect("texts");
    assert_eq!(texts.len(), SENTENCES.len());
    for (text, sentence) in texts.iter().zip(SENTENCES) {
        let rows: Vec<Vec<f32>> = text.as_array().expect("tokens").iter().map(floats).collect();
        let trace = library.trace(&[sentence]).expect("a trace");
        assert_eq!(rows.len(), trace.token_counts()[0]);
        for (d, pooled) in trace.get("pooled").expect("a site").as_slice().iter().enumerate() {
            let mean = rows.iter().map(|row| f64::from(row[d])).sum::<f64>() / rows.len() as f64;
            approx::assert_abs_diff_eq!(mean as f32, *pooled, epsilon = 1e-6);
        }
    }
    // The vectors of a text are the same alone and in a batch.
    let alone = server.post("/embed_all", &json!({"inputs": SENTENCES[1]})).json();
    assert_eq!(alone[0], texts[1]);
    let small = Server::with_tiny_mpnet(&["--max-response-floats", "100"]);
    assert_eq!(small.post("/embed_all", &json!({"inputs": SENTENCES})).status, 422);
}

#[test]
fn tei_similarity_returns_the_scores_of_the_command() {
    let server = Server::with_tiny_mpnet(&[]);
    assert_eq!(server.post("/similarity", &example_body()).body, expected_scores());
    let with =
        json!({"inputs": example_body()["inputs"], "parameters": {"truncate": true, "truncation_direction": "right"}});
    assert_eq!(server.post("/similarity", &with).body, expected_scores());
    let rejected = json!({"inputs": {"source_sentence": SOURCE, "sentences": ["word ".repeat(500)]}, "parameters": {"truncate": false}});
    assert_eq!(server.post("/similarity", &rejected).status, 422);
}

#[test]
fn tokenize_and_decode_agree_with_the_library() {
    let server = Server::start(&[model("tiny-bert").display().to_string()], &[]);
    server.wait_until_ready();
    let library = Embedder::open(model("tiny-bert")).expect("a model");
    let text = "Grüße, happy dog!";
    let response = server.post("/tokenize", &json!({"inputs": [text, "dog"]})).json();
    let tokens = response[0].as_array().expect("tokens");
    let expected = library.tokenize(text).expect("tokens");
    let ids: Vec<u32> = tokens.iter().map(|token| token["id"].as_u64().expect("an id") as u32).collect();
    assert_eq!(ids, expected.ids);
    let characters: Vec<char> = text.chars().collect();
    for (i, token) in tokens.iter().enumerate() {
        let special = i == 0 || i == tokens.len() - 1;
        assert_eq!(token["special"], special, "{token}");
        match (token["start"].as_u64(), token["stop"].as_u64()) {
            (Some(start), Some(stop)) => {
                assert_eq!((start as usize, stop as usize), expected.offsets[i]);
                let part: String = characters[start as usize..stop as usize].iter().collect();
                assert_eq!(token["text"], part);
            }
            (start, stop) => assert!(special && start.is_none() && stop.is_none(), "{token}"),
        }
    }
    let bare = server.post("/tokenize", &json!({"inputs": "dog", "add_special_tokens": false})).json();
    assert!(bare[0].as_array().expect("tokens").iter().all(|token| token["special"] == false), "{bare}");
    let ids = library.tokenize("happy dog").expect("tokens").ids;
    assert_eq!(server.post("/decode", &json!({"ids": ids})).json(), json!(["happy dog"]));
    let kept = server.post("/decode", &json!({"ids": [ids], "skip_special_tokens": false})).json();
    assert_eq!(kept, json!(["[CLS] happy dog [SEP]"]));
    assert_eq!(server.post("/decode", &json!({"ids": [999_999]})).status, 422);
}

#[test]
fn openai_embeddings_return_the_bits_of_the_library() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let vectors = library.embed(&SENTENCES).expect("vectors");
    let tokens: usize = vectors.usage().iter().map(|usage| usage.used).sum();
    for path in ["/v1/embeddings", "/embeddings"] {
        let response = server.post(path, &json!({"input": SENTENCES, "model": "org/tiny", "user": "somebody"})).json();
        assert_eq!((&response["object"], &response["model"]), (&json!("list"), &json!("org/tiny")));
        assert_eq!(response["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));
        for (i, one) in response["data"].as_array().expect("data").iter().enumerate() {
            assert_eq!((&one["object"], &one["index"]), (&json!("embedding"), &json!(i)));
            assert!(same_bits(&floats(&one["embedding"]), vectors.row(i)));
        }
    }
    let packed = server.post("/v1/embeddings", &json!({"input": SENTENCES[1], "encoding_format": "base64"})).json();
    let text = packed["data"][0]["embedding"].as_str().expect("base64");
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    let unpacked: Vec<f32> =
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four"))).collect();
    assert!(same_bits(&unpacked, vectors.row(1)));
    let short = server.post("/v1/embeddings", &json!({"input": "a", "dimensions": 7})).json();
    approx::assert_abs_diff_eq!(length(&floats(&short["data"][0]["embedding"])), 1.0, epsilon = 1e-6);
    // Errors have the format that OpenAI's clients show.
    for (body, status, part) in [
        (json!({"input": "a", "model": "text-embedding-3-small"}), 404, "does not exist"),
        (json!({"input": "a", "encoding_format": "int8"}), 400, "encoding_format"),
        (json!({"inputs": "a"}), 400, "`input`"),
        (json!({"input": []}), 400, "at least one"),
    ] {
        let response = server.post("/v1/embeddings", &body);
        assert_eq!(response.status, status, "{response:?}");
        assert!(response.json()["error"]["message"].as_str().is_some_and(|text| text.contains(part)), "{response:?}");
        assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
    }
    let models = server.get("/v1/models").json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("org/tiny")));
    assert_eq!((&models["data"][0]["state"], &models["data"][0]["precision"]), (&json!("ready"), &json!("f32")));
}

#[test]
fn hub_metadata_routes_describe_the_models() {
    let server = Server::with_tiny_mpnet(&[]);
    for query in ["", "?expand=inferenceProviderMapping", "?expand[]=inferenceProviderMapping"] {
        let model = server.get(&format!("/api/models/org/tiny{query}")).json();
        assert_eq!(model["inferenceProviderMapping"]["hf-inference"]["status"], "live", "{model}");
        assert_eq!((&model["id"], &model["pipeline_tag"]), (&json!("org/tiny"), &json!("sentence-similarity")));
    }
    assert_eq!(server.get("/api/models/other").status, 404);
    let tasks = server.get("/api/tasks").json();
    for task in ["sentence-similarity", "feature-extraction"] {
        assert_eq!(
            (&tasks[task]["models"][0]["id"], &tasks[task]["widgetModels"][0]),
            (&json!("org/tiny"), &json!("org/tiny"))
        );
    }
    assert_eq!(server.get("/api/agent-harnesses").json(), json!({"standardEnvVars": [], "harnesses": {}}));
    assert_eq!(server.get("/status/org/tiny").json()["state"], "Loaded");
    for path in ["/info", "/models/org/tiny/info", "/models/tiny/info"] {
        let info = server.get(path).json();
        assert_eq!((&info["model_id"], &info["model_dtype"]), (&json!("org/tiny"), &json!("float32")));
        assert_eq!(info["model_type"]["embedding"]["pooling"], "mean");
        assert_eq!(info["max_concurrent_requests"], 512);
    }
    assert_eq!((server.get("/models/tiny/health").status, server.get("/models/no/health").status), (200, 404));
}

#[test]
fn demo_page_loads_nothing_from_other_hosts() {
    let server = Server::with_tiny_mpnet(&[]);
    let html = |path: &str| server.send_request("GET", path, &[("accept", "text/html,application/xhtml+xml")], b"");
    assert_eq!(server.get("/").json(), json!({"ok": "ok"}));
    for (path, kind, part) in [
        ("/", "text/html", "<title>"),
        ("/docs", "text/html", "docs.js"),
        ("/page.css", "text/css", "{"),
        ("/page.js", "text/javascript", "similarity"),
        ("/explain.js", "text/javascript", "explain"),
        ("/docs.js", "text/javascript", "openapi.json"),
    ] {
        let response = html(path);
        assert_eq!(response.status, 200, "{path}");
        assert!(
            response.header("content-type").is_some_and(|found| found.starts_with(kind)),
            "{path}: {}",
            response.head
        );
        assert!(response.body.contains(part), "{path}");
        let policy = response.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        // The page contains no address of another host.
        for word in ["http://", "https://", "//cdn", "@import"] {
            let found = response
                .body
                .match_indices(word)
                .map(|(at, _)| response.body[at..].chars().take(40).collect::<String>());
            let outside: Vec<String> = found.filter(|found| !found.starts_with("http://www.w3.org/")).collect();
            assert!(outside.is_empty(), "{path}: {outside:?}");
        }
    }
    let openapi = server.get("/openapi.json").json();
    assert_eq!(openapi["info"]["version"], env!("CARGO_PKG_VERSION"));
    // A reverse proxy may have added a prefix to the paths.
    for name in ["/", "/docs"] {
        let page = html(name).body;
        assert!(!page.contains("href=\"/") && !page.contains("src=\"/"), "{name}: {page}");
    }
    let operations =
        openapi["paths"].as_object().expect("paths").values().filter_map(|path| path["post"]["servers"].as_array());
    let servers = operations.chain(openapi["servers"].as_array()).flatten();
    let addresses: Vec<&str> = servers.map(|server| server["url"].as_str().expect("an address")).collect();
    assert!(addresses.len() > 10 && addresses.iter().all(|address| address.starts_with("./")), "{addresses:?}");
}
