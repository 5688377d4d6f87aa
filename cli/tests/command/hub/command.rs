//! Runs `likewise pull` and `--model` with a hub id.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::download::file_contents;
use super::repository::{COMMIT, ID, Repository, etag};
use super::server::{FakeHub, Fault};

const TOKEN: &str = "hf_a-token-of-this-test";

/// A fake hub and a home folder.
struct Home {
    hub: FakeHub,
    folder: TempDir,
}

impl Home {
    fn new(repository: Repository) -> Self {
        Self { hub: FakeHub::new(&[(ID, repository)]), folder: tempfile::tempdir().expect("a folder") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        command.args(arguments).env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.env("HF_ENDPOINT", &self.hub.url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(arguments).envs(variables.iter().copied()).output().expect("the command")
    }

    fn cache(&self) -> std::path::PathBuf {
        self.folder.path().join(".cache/huggingface/hub")
    }

    fn snapshot(&self) -> std::path::PathBuf {
        self.cache().join("models--org--tiny/snapshots").join(COMMIT)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Asserts that a run succeeded. Returns its stdout.
fn stdout_of_success(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Asserts that a run failed with an error message. Returns its stderr.
fn stderr_of_failure(output: &Output) -> String {
    let message = text(&output.stderr);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty() && !message.contains("panicked"), "{output:?}");
    message
}

#[test]
fn pull_prints_only_the_model_folder() {
    let home = Home::new(Repository::of("tiny-bert"));
    for model in [ID.to_owned(), format!("{ID}@v1.0"), format!("{ID}@{COMMIT}"), format!("{ID}@refs/pr/1")] {
        let output = home.run(&["pull", &model], &[]);
        assert_eq!(stdout_of_success(&output).trim_end(), home.snapshot().to_str().expect("UTF-8"));
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
    assert_eq!(file_contents(&home.snapshot()), Repository::of("tiny-bert").model_files());
    for (model, parts) in [
        ("nobody/nothing", &["nobody/nothing", "not on the hub", "token"][..]),
        ("org/tiny@nightly", &["no such branch", "Invalid rev id"]),
        ("../x", &["not a hub id"]),
        ("org/tiny@", &["revision"]),
    ] {
        let message = stderr_of_failure(&home.run(&["pull", model], &[]));
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn model_option_downloads_a_model_that_the_cache_lacks() {
    let home = Home::new(Repository::of("tiny-bert"));
    let ask = ["similarity", "--json", "--model", ID, "a dog", "a cat"];
    let scores = stdout_of_success(&home.run(&ask, &[]));
    let folder = crate::common::model("tiny-bert");
    let expected = stdout_of_success(
        &home.run(&["similarity", "--json", "--model", folder.to_str().expect("UTF-8"), "a dog", "a cat"], &[]),
    );
    assert_eq!(scores, expected);
    home.hub.take_log();
    assert_eq!(stdout_of_success(&home.run(&ask, &[])), expected);
    assert_eq!(stdout_of_success(&home.run(&[&ask[..], &["--revision", COMMIT]].concat(), &[])), expected);
    assert_eq!(home.hub.take_log().len(), 0, "a cached model needs no request");
    assert_eq!(stdout_of_success(&home.run(&[&ask[..], &["--revision", "v1.0"]].concat(), &[])), expected);
    assert_eq!(home.hub.take_log().len(), 1);
}

#[test]
fn model_option_with_an_unknown_name_lists_the_searched_places() {
    let home = Home::new(Repository::of("tiny-bert"));
    for model in ["./tiny", "/no/such/folder", "tiny/", "a/b/c", "~/x"] {
        let message = stderr_of_failure(&home.run(&["info", "--model", model], &[]));
        assert!(message.contains("no such folder") && message.contains("organisation/name"), "{message}");
    }
    std::fs::write(home.folder.path().join("weights"), "").expect("a file");
    assert!(stderr_of_failure(&home.run(&["info", "--model", "weights"], &[])).contains("a file"));
    assert_eq!(home.hub.take_log().len(), 0, "an invalid hub id causes no request");
    for (model, paths) in [
        (
            "folder",
            &[
                "\n  folder",
                "models--folder/refs/main",
                "/api/models/folder/",
                "/api/models/sentence-transformers/folder/",
            ][..],
        ),
        ("my/folder", &["\n  my/folder", "models--my--folder/refs/main", "/api/models/my/folder/"]),
    ] {
        let message = stderr_of_failure(&home.run(&["info", "--model", model], &[]));
        assert!(message.contains("no such folder") && message.contains("not on the hub"), "{message}");
        assert!(paths.iter().all(|path| message.contains(path)), "{message}");
    }
}

/// The hub's answer alone would not say that there is no such folder.
#[test]
fn missing_folder_is_reported_with_the_failure_of_the_hub() {
    let home = Home::new(Repository::of("tiny-bert"));
    std::fs::create_dir_all(home.folder.path().join("models/minilm-l6")).expect("a folder");
    std::fs::write(home.folder.path().join("models/minilm-l6/config.json"), "{}").expect("a file");
    let nowhere = ("HF_ENDPOINT", "http://127.0.0.1:1");
    let message = stderr_of_failure(&home.run(&["info", "--model", "models/minilm"], &[nowhere]));
    for part in ["no such folder", "not in the Hugging Face cache", "did you mean models/minilm-l6?", nowhere.1] {
        assert!(message.contains(part), "{message}");
    }
    let pull = stderr_of_failure(&home.run(&["pull", "models/minilm"], &[nowhere]));
    assert!(pull.contains("no complete response"), "{pull}");
}

#[test]
fn environment_variables_have_the_meaning_of_huggingface_hub() {
    let private = Repository { token: Some(TOKEN.to_owned()), ..Repository::of("tiny-bert") };
    let home = Home::new(private);
    let elsewhere = home.folder.path().join("elsewhere");
    let elsewhere = elsewhere.to_str().expect("UTF-8");
    std::fs::write(home.folder.path().join("token"), format!("{TOKEN}\n")).expect("a token");
    let pull = ["pull", ID];
    // Tokens.
    stderr_of_failure(&home.run(&pull, &[]));
    for variables in [
        &[("HF_TOKEN", TOKEN)][..],
        &[("HUGGING_FACE_HUB_TOKEN", TOKEN)],
        &[("HF_TOKEN_PATH", "token")],
        &[("HF_HOME", ".")],
        &[("HF_TOKEN", TOKEN), ("HF_HUB_CACHE", elsewhere), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")],
    ] {
        home.hub.take_log();
        stdout_of_success(&home.run(&[&pull[..]].concat(), variables));
        let log = home.hub.take_log();
        assert!(log.iter().filter(|r| !r.is_cdn).all(|r| r.headers["authorization"].ends_with(TOKEN)), "{variables:?}");
        drop(std::fs::remove_dir_all(home.cache()));
    }
    assert!(Path::new(elsewhere).join("models--org--tiny/refs/main").is_file());
    for (name, value) in [("HF_HUB_DISABLE_IMPLICIT_TOKEN", "true"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "Yes")] {
        let message = stderr_of_failure(&home.run(&pull, &[("HF_TOKEN", TOKEN), (name, value)]));
        assert!(!message.contains(TOKEN));
        assert!(home.hub.take_log().iter().all(|request| !request.headers.contains_key("authorization")));
    }
    let message = stderr_of_failure(&home.run(&pull, &[("HF_TOKEN", "hf_another")]));
    assert!(message.contains("the token is not valid") && !message.contains("hf_another"), "{message}");
    // The sum of this timeout and the present time would overflow.
    stdout_of_success(&home.run(&pull, &[("HF_TOKEN", TOKEN), ("HF_HUB_DOWNLOAD_TIMEOUT", "18446744073709551615")]));
    // Without a request the token file is not read.
    stdout_of_success(&home.run(&["info", "--model", ID], &[("HF_TOKEN_PATH", ".")]));
    let message = stderr_of_failure(&home.run(&pull, &[("HF_TOKEN_PATH", ".")]));
    assert!(message.contains("cannot read the token"), "{message}");
    drop(std::fs::remove_dir_all(home.cache()));
    // Offline.
    home.hub.take_log();
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        for value in ["1", "on", "YES", "True"] {
            let message = stderr_of_failure(&home.run(&pull, &[(name, value), ("HF_TOKEN", TOKEN)]));
            assert!(message.contains("offline"), "{message}");
            stderr_of_failure(&home.run(&["info", "--model", ID], &[(name, value), ("HF_TOKEN", TOKEN)]));
        }
    }
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_HUB_CACHE", elsewhere)];
    stdout_of_success(&home.run(&pull, &offline));
    stdout_of_success(&home.run(&["info", "--model", ID], &offline));
    assert_eq!(home.hub.take_log().len(), 0);
}

#[test]
fn environment_variables_set_the_proxy_and_the_certificates() {
    let home = Home::new(Repository::of("tiny-bert"));
    let proxy = home.hub.url.as_str();
    let elsewhere = ("HF_ENDPOINT", "http://hub.invalid");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        stderr_of_failure(&home.run(&["pull", ID], &[elsewhere, (name, proxy)]));
        let log = home.hub.take_log();
        assert!(log.iter().any(|request| request.method == "CONNECT"), "{name}: {log:?}");
        stderr_of_failure(&home.run(&["pull", ID], &[elsewhere, (name, proxy), ("NO_PROXY", "hub.invalid")]));
        assert_eq!(home.hub.take_log().len(), 0, "{name}");
    }
    let message = stderr_of_failure(&home.run(&["pull", ID], &[elsewhere, ("HTTPS_PROXY", proxy)]));
    assert!(message.contains("no complete response") && home.hub.take_log().is_empty(), "{message}");
    let message = stderr_of_failure(&home.run(&["pull", ID], &[("ALL_PROXY", "socks5://127.0.0.1:1")]));
    assert!(message.contains("proxy") && message.contains("http or https"), "{message}");
    let message = stderr_of_failure(&home.run(&["pull", ID], &[("SSL_CERT_FILE", "no-such.pem")]));
    assert!(message.contains("no-such.pem"), "{message}");
}

/// Waits for a condition, for at most a minute.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "timeout: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn spawn(home: &Home) -> Child {
    home.command(&["pull", ID]).spawn().expect("the command")
}

/// Kills the process ten times during the download, each time at another byte.
#[test]
fn pull_after_ten_kills_resumes_each_time() {
    // Large enough that the download takes a while.
    let weights: Vec<u8> = (0..4_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let repository = Repository::of("tiny-bert").with("model.safetensors", weights.clone());
    let home = Home::new(repository.clone());
    let address = format!("/{}", etag("model.safetensors", &weights));
    let blobs = home.cache().join("models--org--tiny/blobs");
    let partial = blobs.join(format!("{}.incomplete", &address[1..]));
    let size = || std::fs::metadata(&partial).map_or(0, |metadata| metadata.len());
    home.hub.add_fault("GET", &address, usize::MAX, Fault::Slow(8 << 10, Duration::from_millis(1)));
    let mut before = 0;
    for i in 1..=10_u64 {
        let mut process = spawn(&home);
        wait_until("more bytes are received", || size() > before + 100_000 + 7_919 * i);
        process.kill().expect("killed");
        let status = process.wait().expect("an end");
        assert!(!status.success(), "the process was killed during the download");
        let now = size();
        assert!(now > before && now < weights.len() as u64, "kill {i}: {before} bytes, then {now}");
        assert!(!blobs.join(&address[1..]).exists() && !home.snapshot().join("model.safetensors").exists());
        assert!(!home.cache().join("models--org--tiny/refs").exists());
        println!("kill {i}: received {now} of {} bytes", weights.len());
        before = now;
    }
    stdout_of_success(&home.run(&["pull", ID], &[]));
    assert_eq!(file_contents(&home.snapshot()), repository.model_files());
    assert!(!partial.exists());
    let log: Vec<_> = home.hub.take_log().into_iter().filter(|request| request.is_cdn).collect();
    assert_eq!(log.len(), 11, "one request per run");
    let mut from = 0;
    for request in &log[1..] {
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let begin: u64 = range.expect("a range").parse().expect("a number");
        assert!(begin > from, "each run resumes after the previous one: {begin} after {from}");
        from = begin;
    }
    let sent: usize = log.iter().map(|request| request.sent).sum();
    println!("sent {sent} bytes for a file of {} bytes", weights.len());
    // Ten downloads from the start would send more than ten megabytes. Each kill loses only the
    // bytes that are in transit.
    assert!(sent < 2 * weights.len(), "{sent}");
}

#[test]
fn two_concurrent_pulls_download_a_file_once() {
    let home = Home::new(Repository::of("tiny-bert"));
    let address = format!("/{}", etag("model.safetensors", &Repository::of("tiny-bert").files["model.safetensors"]));
    home.hub.add_fault("GET", &address, usize::MAX, Fault::Slow(8 << 10, Duration::from_millis(60)));
    let processes = [spawn(&home), spawn(&home)];
    let outputs = processes.map(|process| process.wait_with_output().expect("an end"));
    for output in &outputs {
        assert_eq!(stdout_of_success(output).trim_end(), home.snapshot().to_str().expect("UTF-8"));
    }
    let waited =
        outputs.iter().filter(|output| text(&output.stderr).contains("another process is downloading")).count();
    assert!(waited >= 1, "the waiting process prints a note: {outputs:?}");
    assert_eq!(home.hub.take_log().iter().filter(|request| request.is_cdn).count(), 1);
    assert_eq!(file_contents(&home.snapshot()), Repository::of("tiny-bert").model_files());
}

#[test]
fn retried_failure_is_reported_on_stderr() {
    let home = Home::new(Repository::of("tiny-bert"));
    home.hub.add_fault("GET", "/api/models/", 1, Fault::Status(503, &[("Retry-After", "0")]));
    let output = home.run(&["pull", ID], &[]);
    stdout_of_success(&output);
    let message = text(&output.stderr);
    assert!(
        message.starts_with("note: ") && message.contains("503") && message.contains("retrying in 1 s"),
        "{message}"
    );
}

/// Serves the fake hub for `.ci/hub` until stdin ends.
#[test]
#[ignore = "runs until stdin ends: a fake hub for other programs"]
fn serve_for_other_programs() {
    let hub = FakeHub::new(&[(ID, Repository::of("tiny-bert")), ("org/other", Repository::of("tiny-mpnet"))]);
    println!("\nhub at {}", hub.url);
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {}
    for request in hub.take_log() {
        println!(
            "{} {} {} {}",
            if request.is_cdn { "cdn" } else { "hub" },
            request.status,
            request.method,
            request.path
        );
    }
}
