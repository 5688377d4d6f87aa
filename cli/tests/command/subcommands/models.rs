//! The choice of the model and its options; help; pipes and errors.

use super::*;

/// Writes a model to a cache as huggingface_hub does: blobs, a snapshot with links to them, a
/// branch.
#[cfg(unix)]
fn lay_out(hub: &Path, repository: &str, name: &str) -> PathBuf {
    let folder = hub.join(format!("models--{}", repository.replace('/', "--")));
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let (blobs, snapshot) = (folder.join("blobs"), folder.join("snapshots").join(commit));
    for path in [&blobs, &folder.join("refs"), &snapshot.join("1_Pooling")] {
        std::fs::create_dir_all(path).expect("folders");
    }
    std::fs::write(folder.join("refs/main"), commit).expect("a branch");
    let files = crate::common::files(name);
    // With the list of the commit's files, no other file is requested.
    let listed: serde_json::Map<_, _> = files.keys().map(|file| (file.clone(), serde_json::json!({}))).collect();
    let list = serde_json::json!({"format_version": 1, "files": listed});
    std::fs::create_dir_all(folder.join("trees")).expect("a folder");
    std::fs::write(folder.join("trees").join(format!("{commit}.json")), list.to_string()).expect("a list");
    for (i, (file, bytes)) in files.into_iter().enumerate() {
        std::fs::write(blobs.join(format!("{i:040x}")), bytes).expect("a blob");
        let up = if file.contains('/') { "../../../blobs" } else { "../../blobs" };
        std::os::unix::fs::symlink(format!("{up}/{i:040x}"), snapshot.join(file)).expect("a link");
    }
    folder
}

#[cfg(unix)]
#[test]
fn hub_id_is_found_in_the_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = folder.path().join("hub");
    lay_out(&hub, "sentence-transformers/tiny", "tiny-mpnet");
    let tiny = lay_out(&hub, "someone/tiny-bert.v2", "tiny-bert");
    let model = |id: &str, desk: &Desk| desk.json(&["info", "--json", "--model", id])["architecture"].clone();

    for (variable, path) in
        [("HF_HOME", folder.path().to_owned()), ("HF_HUB_CACHE", hub.clone()), ("HUGGINGFACE_HUB_CACHE", hub.clone())]
    {
        let desk = Desk { variables: vec![(variable, path)], ..Desk::new() };
        assert_eq!(model("sentence-transformers/tiny", &desk), "MPNet", "{variable}");
        assert_eq!(model("tiny", &desk), "MPNet", "{variable}");
        assert_eq!(model("someone/tiny-bert.v2", &desk), "BERT", "{variable}");
    }
    let mut desk = Desk { variables: vec![("HF_HOME", folder.path().to_owned())], ..Desk::new() };
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let by_commit = ["info", "--json", "--model", "tiny", "--revision", commit];
    assert_eq!(desk.json(&by_commit)["architecture"], "MPNet");
    let words = ["nobody/nothing", "hub/models--nobody--nothing/refs/main"];
    desk.fails(&["info", "--model", "nobody/nothing"], 1, &words);
    desk.fails(&["info", "--model", "tiny", "--revision", "v9"], 1, &["models--sentence-transformers--tiny/refs/v9"]);
    desk.fails(&["info", "--model", "tiny", "--revision", "../../x"], 1, &["revision"]);
    desk.fails(&["info", "--model", "../tiny"], 1, &["../tiny"]);
    // Missing blobs.
    std::fs::remove_dir_all(tiny.join("blobs")).expect("gone");
    desk.fails(&["info", "--model", "someone/tiny-bert.v2"], 1, &["no config.json", commit]);
    // Without variables, the cache is in the home folder.
    desk.variables.clear();
    lay_out(&desk.path(".cache/huggingface/hub"), "sentence-transformers/tiny", "tiny-bert");
    assert_eq!(model("tiny", &desk), "BERT");
    // LIKEWISE_MODEL may be a hub id, and --model overrides it.
    desk.variables.push(("LIKEWISE_MODEL", PathBuf::from("tiny")));
    assert_eq!(desk.json(&["info", "--json"])["architecture"], "BERT");
    assert_eq!(model(text(&crate::common::model("tiny-mpnet")), &desk), "MPNet");
}

/// Without the built-in model, a model must be named.
#[cfg(not(feature = "quickstart"))]
#[test]
fn missing_model_without_quickstart_is_a_usage_error() {
    let desk = Desk::new();
    for command in [&["info"][..], &["embed", "a"], &["similarity", "a", "b"]] {
        desk.fails(command, 2, &["no model", "--model", "LIKEWISE_MODEL"]);
        desk.fails(&words(&[command, &["--model", ""]]), 2, &["--model", "expected a value"]);
        desk.fails(&words(&[command, &["--model", "quickstart"]]), 1, &["quickstart"]);
    }
}

#[test]
fn invalid_model_is_rejected_with_a_reason() {
    let desk = Desk::new();
    for command in [&["info"][..], &["embed", "a"], &["similarity", "a", "b"]] {
        let missing = words(&[command, &["--model", "all-nothing"]]);
        let looked = [
            "all-nothing",
            ".cache/huggingface/hub/models--all-nothing/refs/main",
            "models--sentence-transformers--all-nothing/refs/main",
        ];
        desk.fails(&missing, 1, &looked);
        desk.fails(&words(&[command, &["--model", "/no/such/folder"]]), 1, &["/no/such/folder", "no such folder"]);
    }
    let mut files = crate::common::files("tiny-bert");
    edit_json(&mut files, "config.json", |json| json["hidden_act"] = Value::from("gelu_10"));
    for (name, bytes) in files {
        desk.write(&format!("bad/{name}"), bytes);
    }
    desk.fails(&["info", "--model", "bad"], 1, &["bad/config.json", "`hidden_act`", "expected one of gelu", "gelu_10"]);
    desk.write("broken/config.json", "{\"a\": 1");
    desk.fails(&["info", "--model", "broken"], 1, &["broken/config.json", "not valid JSON", "line 1"]);
}

#[test]
fn model_options_are_applied_or_rejected() {
    let desk = Desk::with_model("tiny-mpnet");
    let similarity = words(&[&["similarity", "--json", SOURCE], &SENTENCES]);
    let expected = floats(&desk.json(&similarity));
    for level in Level::available() {
        let options = ["--simd", level.name(), "--threads", "2", "--precision", "f32"];
        let scores = floats(&desk.json(&words(&[&similarity, &options])));
        for (a, b) in scores.iter().zip(&expected) {
            approx::assert_abs_diff_eq!(a, b, epsilon = 1e-5);
        }
        assert_eq!(desk.json(&["info", "--json", "--simd", level.name()])["level"], level.name());
    }
    // Weights that are read instead of mapped give the same scores, and count as memory.
    assert_eq!(floats(&desk.json(&words(&[&similarity, &["--no-mmap"]]))), expected);
    assert_eq!(desk.json(&["info", "--json"])["given_bytes"], 0);
    assert!(desk.json(&["info", "--json", "--no-mmap"])["given_bytes"].as_u64() > Some(0));
    for (option, value, part) in [
        ("--simd", "avx9000", "portable"),
        ("--simd", "", "--simd"),
        ("--threads", "0", "--threads"),
        ("--threads", "-1", "-1"),
        ("--threads", "1025", "--threads"),
        ("--precision", "f8", "f32"),
        ("--truncation", "weep", "allow"),
        ("--max-length", "many", "--max-length"),
        ("--wrong", "x", "--wrong"),
    ] {
        desk.fails(&["info", option, value], 2, &[part]);
    }
    for length in ["0", "2", "129"] {
        desk.fails(&["info", "--max-length", length], 1, &[length, "3 to 128"]);
    }
    assert_eq!(desk.json(&["info", "--json", "--max-length", "7"])["max_length"], 7);
    // As in sentence-transformers, every model has empty prompts for queries and documents.
    desk.output(&["info", "--prompt-name", "query"]);
    let known = ["`passage`", "config_sentence_transformers.json", "document, query"];
    desk.fails(&["info", "--prompt-name", "passage"], 1, &known);
    let desk = Desk::with_model("tiny-xlm-roberta");
    desk.output(&["info", "--prompt-name", "query"]);
    desk.fails(&["info", "--prompt-name", "passage"], 1, &["`passage`", "document, query"]);
}

#[test]
fn help_lists_options_and_unwrapped_examples() {
    let desk = Desk::new();
    let shown = desk.output(&["--help"]);
    for part in ["similarity", "rerank", "embed", "eval", "bench", "info", "convert", "Examples:", "LIKEWISE_MODEL"] {
        assert!(shown.contains(part), "{shown}");
    }
    for command in ["similarity", "rerank", "embed", "eval", "bench", "info", "serve", "convert"] {
        let shown = desk.output(&[command, "--help"]);
        let every = ["--model", "LIKEWISE_MODEL", "--revision", "--simd", "--precision", "--threads"];
        let others = match command {
            "convert" => &["--output"][..],
            _ => &["--max-length", "--truncation", "--prompt-name"],
        };
        for part in every.iter().chain(others) {
            assert!(shown.contains(part), "{command}: no {part}: {shown}");
        }
        assert!(shown.contains(&format!("likewise {command} ")), "{command}: no example: {shown}");
        // A wrapped example cannot be copied.
        let examples = shown.lines().filter(|line| line.trim_start().starts_with("likewise "));
        for line in examples {
            assert!(line.len() < 80 && line.matches('"').count() % 2 == 0, "{command}: a wrapped example: {line}");
        }
    }
    assert_eq!(desk.output(&["--version"]).trim(), format!("likewise {}", env!("CARGO_PKG_VERSION")));
    assert!(desk.output(&["embed", "--version"]).contains(env!("CARGO_PKG_VERSION")));
    for arguments in [&[][..], &["dance"], &["embed", "--dance"]] {
        assert_eq!(desk.run(arguments).code, 2, "{arguments:?}");
    }
}

/// `likewise … | head` closes the pipe early, which is no error.
#[cfg(unix)]
#[test]
fn closed_pipe_is_not_an_error() {
    let desk = Desk::with_model("tiny-bert");
    let many = desk.write("many.txt", "a happy dog\n".repeat(20_000));
    for arguments in [
        &["embed", "--input", text(&many)][..],
        &["similarity", "a", "--input", text(&many)],
        &["similarity", "--json", "a", "--input", text(&many)],
        &["info"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = desk.command(arguments);
        let child = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().expect("the command");
        // The command also holds the writing end until it is dropped.
        drop(command);
        drop(reader);
        let output = child.wait_with_output().expect("an end");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(0) && stderr.is_empty(), "{arguments:?}: {}: {stderr}", output.status);
    }
    // A closed stderr is no error.
    let long = "happy ".repeat(60);
    for (arguments, code) in [(&["embed", &long][..], 0), (&["info", "--model", "nothing"], 1)] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = desk.command(arguments);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).status().expect("an end");
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

/// A text of 4 MB is cut to 128 tokens. Memory must not grow by the size of a token for each word.
#[test]
fn long_text_takes_bounded_memory() {
    let desk = Desk::with_model("tiny-mpnet");
    let text = "the old lighthouse keeper climbed the stairs every evening ".repeat(70_000);
    let input = desk.write("long.txt", text);
    let run = desk.run(&["bench", "--input", &input.to_string_lossy(), "--repeat", "1", "--json"]);
    assert_eq!(run.code, 0, "{run:?}");
    let result: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(result["tokens"], 128, "{result}");
    // Linux only.
    if let Some(peak) = result["peak_rss_mib"].as_f64() {
        assert!(peak < 64.0, "{peak} MiB for a text of 4 MB and a model of 0.3 MB");
    }
}

/// A template with an undefined token makes the tokenizers crate panic. The user sees an error.
#[test]
fn damaged_tokenizer_is_an_error_without_panic_message() {
    let desk = Desk::new();
    let mut files = crate::common::files("tiny-bert");
    edit_json(&mut files, "tokenizer.json", |tokenizer| {
        tokenizer["post_processor"]["special_tokens"] = serde_json::json!({});
    });
    // The class of BERT's tokenizers would rebuild that part.
    edit_json(&mut files, "tokenizer_config.json", |json| {
        json["tokenizer_class"] = Value::from("PreTrainedTokenizerFast");
    });
    for (name, bytes) in files {
        desk.write(&format!("model/{name}"), bytes);
    }
    let run = desk.run(&["similarity", "--model", "model", "a", "b"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("tokenizer.json") && !run.stderr.contains("panicked"), "{}", run.stderr);
}
