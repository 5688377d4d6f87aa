//! Options of requests: which keys a route reads, and what happens to all others.

use serde_json::{Value, json};

use super::harness::{SENTENCES, SOURCE, Server, floats};

/// The routes, each with a valid body and the options that it reads.
fn routes() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let tokenization = ["truncate", "truncation_direction", "prompt_name", "use_cache", "wait_for_model"];
    let format = ["normalize", "dimensions"];
    let similar = json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}});
    vec![
        ("/", similar.clone(), tokenization.to_vec()),
        ("/", json!({"inputs": "a"}), [&tokenization[..], &format].concat()),
        ("/models/org/tiny/pipeline/feature-extraction", json!({"inputs": "a"}), [&tokenization[..], &format].concat()),
        ("/pipeline/sentence-similarity/org/tiny", similar.clone(), tokenization.to_vec()),
        ("/similarity", similar, [&tokenization[..], &["model"]].concat()),
        ("/embed", json!({"inputs": "a"}), [&tokenization[..], &format, &["model"]].concat()),
        ("/embed_all", json!({"inputs": "a"}), [&tokenization[..], &["model"]].concat()),
        ("/tokenize", json!({"inputs": "a"}), vec!["prompt_name", "add_special_tokens", "model"]),
        ("/decode", json!({"ids": [2]}), vec!["skip_special_tokens", "model"]),
        ("/v1/embeddings", json!({"input": "a"}), [&tokenization[..], &format, &["model", "encoding_format"]].concat()),
    ]
}

fn with(body: &Value, key: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[key] = value;
    body
}

/// A key that the response does not report is read: a wrong value is an error that names it.
#[test]
fn option_is_read_or_reported_on_every_route() {
    let server = Server::with_tiny_mpnet(&[]);
    let all = [
        "truncate",
        "truncation_direction",
        "prompt_name",
        "use_cache",
        "wait_for_model",
        "normalize",
        "dimensions",
        "model",
        "encoding_format",
        "add_special_tokens",
        "skip_special_tokens",
    ];
    for (path, body, options) in routes() {
        for key in all {
            let response = server.post(path, &with(&body, key, json!([true])));
            let reported = response.header("x-unused-keys");
            if options.contains(&key) {
                assert_eq!((response.status, reported), (400, None), "{path} {key}: {response:?}");
                assert!(response.body.contains(&format!("`{key}`")), "{path} {key}: {response:?}");
            } else if !["use_cache", "wait_for_model"].contains(&key) {
                assert_eq!((response.status, reported), (200, Some(key)), "{path} {key}: {response:?}");
            }
        }
        // An empty name is not the default one.
        for key in ["model", "prompt_name"].into_iter().filter(|key| options.contains(key)) {
            let response = server.post(path, &with(&body, key, json!("")));
            assert_eq!(
                (response.status, response.body.contains("not empty")),
                (400, true),
                "{path} {key}: {response:?}"
            );
        }
        let empty = server.post(path, &with(&body, "truncation_direction", json!("")));
        assert_eq!(empty.status, if options.contains(&"truncation_direction") { 400 } else { 200 }, "{path}");
        let null = server.post(path, &with(&body, "normalise", Value::Null));
        assert_eq!((null.status, null.header("x-unused-keys")), (200, None), "{path}");
    }
    let empty = server.post("/v1/embeddings", &json!({"input": "a", "encoding_format": ""}));
    assert_eq!((empty.status, empty.body.contains("`encoding_format`")), (400, true), "{empty:?}");
}

#[test]
fn misspelt_option_is_reported_with_the_right_spelling() {
    let server = Server::with_tiny_mpnet(&["--cors-allow-origin", "*", "--log-level", "debug"]);
    for (path, body, expected) in [
        ("/embed", json!({"inputs": "a", "normalise": false}), "normalise (similar: normalize)"),
        ("/embed", json!({"inputs": "a", "promptName": "query"}), "promptname (similar: prompt_name)"),
        ("/", json!({"inputs": "a", "truncat": true}), "truncat (similar: truncate)"),
        ("/", json!({"inputs": "a", "parameters": {"dimension": 3}}), "parameters.dimension (similar: dimensions)"),
        ("/", json!({"inputs": "a", "options": {"use_cach": true}}), "options.use_cach (similar: use_cache)"),
        ("/v1/embeddings", json!({"input": "a", "dimension": 3}), "dimension (similar: dimensions)"),
        ("/v1/embeddings", json!({"input": "a", "parameters": {"x": 1}}), "parameters"),
    ] {
        let response = server.post(path, &body);
        assert_eq!((response.status, response.header("x-unused-keys")), (200, Some(expected)), "{path} {body}");
    }
    server.wait_until("the log has the keys", || server.log().contains("normalise (similar: normalize)"));
    let origin = [("origin", "https://a.example")];
    let response = server.send_request("POST", "/embed", &origin, br#"{"inputs": "a", "x": 1}"#);
    let exposed = response.header("access-control-expose-headers").unwrap_or_default();
    assert!(exposed.contains("x-unused-keys") && exposed.contains("x-replaced-surrogates"), "{exposed}");
}

/// Clients send keys of other servers to every server.
#[test]
fn keys_that_clients_send_to_every_server_change_nothing() {
    let server = Server::with_tiny_mpnet(&[]);
    let plain = server.post("/v1/embeddings", &json!({"input": "a"})).body;
    for (key, value) in [
        ("user", json!("somebody")),
        ("input_type", json!("query")),
        ("encoding_format", json!("float")),
        ("encoding_format", Value::Null),
        ("truncate_prompt_tokens", json!(100)),
        ("extra_body", json!({"a": 1})),
        ("timeout", json!(30)),
        ("truncate", json!("NONE")),
        ("truncate", json!("END")),
    ] {
        let response = server.post("/v1/embeddings", &with(&json!({"input": "a"}), key, value));
        assert_eq!((response.status, &response.body), (200, &plain), "{key}");
        let is_standard = ["user", "encoding_format", "truncate"].contains(&key);
        assert_eq!(response.header("x-unused-keys"), (!is_standard).then_some(key));
    }
}

/// The options of text-embeddings-inference have effect at the root and in `parameters`.
#[test]
fn option_in_parameters_equals_the_option_at_the_root() {
    let server = Server::with_tiny_mpnet(&[]);
    let long = "word ".repeat(500);
    for option in [json!({"normalize": false}), json!({"dimensions": 3}), json!({"prompt_name": "query"})] {
        let mut root = json!({"inputs": "a dog"});
        root.as_object_mut().expect("an object").extend(option.as_object().expect("an object").clone());
        let below = json!({"inputs": "a dog", "parameters": option});
        let (root, below) = (server.post("/embed", &root), server.post("/embed", &below));
        assert_eq!((root.status, &root.body, below.header("x-unused-keys")), (200, &below.body, None), "{option}");
    }
    for path in ["/embed", "/embed_all"] {
        assert_eq!(
            server.post(path, &json!({"inputs": long, "parameters": {"truncate": false}})).status,
            422,
            "{path}"
        );
    }
    let cached = json!({"inputs": "a dog", "options": {"use_cache": false}});
    assert_eq!(server.post("/embed", &cached).header("x-compute-type"), Some("cpu"));
    assert_eq!(server.post("/embed", &json!({"inputs": "a", "parameters": 3})).status, 400);
}

#[test]
fn openai_route_applies_the_options_of_the_other_routes() {
    let server = Server::with_tiny_mpnet(&[]);
    let long: String = (0..500).map(|i| format!("{} ", ["dog", "sun", "person", "day"][i % 7 % 4])).collect();
    let vector = |body: Value| {
        let response = server.post("/v1/embeddings", &body);
        assert_eq!(response.status, 200, "{response:?}");
        floats(&response.json()["data"][0]["embedding"])
    };
    let embed = |body: Value| floats(&server.post("/embed", &body).json()[0]);
    for option in [json!({"truncation_direction": "left"}), json!({"normalize": false}), json!({"dimensions": 5})] {
        let body = |key: &str| {
            let mut body = json!({key: long});
            body.as_object_mut().expect("an object").extend(option.as_object().expect("an object").clone());
            body
        };
        assert_eq!(vector(body("input")), embed(body("inputs")), "{option}");
    }
    let left = embed(json!({"inputs": long, "truncation_direction": "left"}));
    assert_eq!(vector(json!({"input": long, "truncate": "START"})), left);
    assert_ne!(vector(json!({"input": long, "truncate": "END"})), left);
    for refused in [json!(false), json!("NONE")] {
        assert_eq!(
            server.post("/v1/embeddings", &json!({"input": long, "truncate": refused})).status,
            422,
            "{refused}"
        );
    }
    for wrong in [json!("MIDDLE"), json!(""), json!(1)] {
        assert_eq!(server.post("/v1/embeddings", &json!({"input": "a", "truncate": wrong})).status, 400, "{wrong}");
    }
}
