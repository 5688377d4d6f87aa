//! `likewise pull` and `--model`, as a user runs them.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::download::contents;
use crate::repository::{COMMIT, ID, Repository, etag};
use crate::server::{Fault, Hub};

const TOKEN: &str = "hf_a-token-of-this-test";

/// A home folder, and a hub.
struct Home {
    hub: Hub,
    folder: TempDir,
}

impl Home {
    fn new(repository: Repository) -> Self {
        Self { hub: Hub::new(&[(ID, repository)]), folder: tempfile::tempdir().expect("a folder") }
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

/// That a run went well, and its stdout.
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// What a run that failed as one should said.
fn bad(output: &Output) -> String {
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty() && !said.contains("panicked"), "{output:?}");
    said
}

#[test]
fn pull_prints_the_folder_and_nothing_else() {
    let home = Home::new(Repository::of("tiny-bert"));
    for model in [ID.to_owned(), format!("{ID}@v1.0"), format!("{ID}@{COMMIT}"), format!("{ID}@refs/pr/1")] {
        let output = home.run(&["pull", &model], &[]);
        assert_eq!(good(&output).trim_end(), home.snapshot().to_str().expect("UTF-8"));
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
    assert_eq!(contents(&home.snapshot()), Repository::of("tiny-bert").wanted());
    for (model, words) in [
        ("nobody/nothing", &["nobody/nothing", "no such repository", "token"][..]),
        ("org/tiny@nightly", &["no such branch", "Invalid rev id"]),
        ("../x", &["not a model's name"]),
        ("org/tiny@", &["revision"]),
    ] {
        let said = bad(&home.run(&["pull", model], &[]));
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

#[test]
fn models_are_downloaded_where_they_are_named() {
    let home = Home::new(Repository::of("tiny-bert"));
    let ask = ["similarity", "--json", "--model", ID, "a dog", "a cat"];
    let scores = good(&home.run(&ask, &[]));
    let folder = crate::common::model("tiny-bert");
    let expected =
        good(&home.run(&["similarity", "--json", "--model", folder.to_str().expect("UTF-8"), "a dog", "a cat"], &[]));
    assert_eq!(scores, expected);
    home.hub.log();
    assert_eq!(good(&home.run(&ask, &[])), expected);
    assert_eq!(good(&home.run(&[&ask[..], &["--revision", COMMIT]].concat(), &[])), expected);
    assert_eq!(home.hub.log().len(), 0, "what is there is not asked for");
    assert_eq!(good(&home.run(&[&ask[..], &["--revision", "v1.0"]].concat(), &[])), expected);
    assert_eq!(home.hub.log().len(), 1);
}

#[test]
fn what_is_neither_a_folder_nor_a_model() {
    let home = Home::new(Repository::of("tiny-bert"));
    for model in ["./tiny", "/no/such/folder", "tiny/", "a/b/c", "~/x"] {
        let said = bad(&home.run(&["info", "--model", model], &[]));
        assert!(said.contains("not a folder") && said.contains("organisation/name"), "{said}");
    }
    std::fs::write(home.folder.path().join("weights"), "").expect("a file");
    assert!(bad(&home.run(&["info", "--model", "weights"], &[])).contains("a file"));
    assert_eq!(home.hub.log().len(), 0, "none of these is a name that the hub could have");
    for (model, places) in [
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
        let said = bad(&home.run(&["info", "--model", model], &[]));
        assert!(said.contains("neither a folder") && said.contains("nor on the hub"), "{said}");
        assert!(places.iter().all(|place| said.contains(place)), "{said}");
    }
}

#[test]
fn the_environment_is_that_of_huggingface_hub() {
    let private = Repository { token: Some(TOKEN.to_owned()), ..Repository::of("tiny-bert") };
    let home = Home::new(private);
    let elsewhere = home.folder.path().join("elsewhere");
    let elsewhere = elsewhere.to_str().expect("UTF-8");
    std::fs::write(home.folder.path().join("token"), format!("{TOKEN}\n")).expect("a token");
    let pull = ["pull", ID];
    // Tokens.
    bad(&home.run(&pull, &[]));
    for variables in [
        &[("HF_TOKEN", TOKEN)][..],
        &[("HUGGING_FACE_HUB_TOKEN", TOKEN)],
        &[("HF_TOKEN_PATH", "token")],
        &[("HF_HOME", ".")],
        &[("HF_TOKEN", TOKEN), ("HF_HUB_CACHE", elsewhere), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")],
    ] {
        home.hub.log();
        good(&home.run(&[&pull[..]].concat(), variables));
        let log = home.hub.log();
        assert!(log.iter().filter(|r| !r.cdn).all(|r| r.headers["authorization"].ends_with(TOKEN)), "{variables:?}");
        drop(std::fs::remove_dir_all(home.cache()));
    }
    assert!(Path::new(elsewhere).join("models--org--tiny/refs/main").is_file());
    for (name, value) in [("HF_HUB_DISABLE_IMPLICIT_TOKEN", "true"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "Yes")] {
        let said = bad(&home.run(&pull, &[("HF_TOKEN", TOKEN), (name, value)]));
        assert!(!said.contains(TOKEN));
        assert!(home.hub.log().iter().all(|request| !request.headers.contains_key("authorization")));
    }
    let said = bad(&home.run(&pull, &[("HF_TOKEN", "hf_another")]));
    assert!(said.contains("the token is not valid") && !said.contains("hf_another"), "{said}");
    // No moment is that far away.
    good(&home.run(&pull, &[("HF_TOKEN", TOKEN), ("HF_HUB_DOWNLOAD_TIMEOUT", "18446744073709551615")]));
    // Nor is a token read for what needs no request.
    good(&home.run(&["info", "--model", ID], &[("HF_TOKEN_PATH", ".")]));
    let said = bad(&home.run(&pull, &[("HF_TOKEN_PATH", ".")]));
    assert!(said.contains("cannot read the token"), "{said}");
    drop(std::fs::remove_dir_all(home.cache()));
    // Offline.
    home.hub.log();
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        for value in ["1", "on", "YES", "True"] {
            let said = bad(&home.run(&pull, &[(name, value), ("HF_TOKEN", TOKEN)]));
            assert!(said.contains("offline"), "{said}");
            bad(&home.run(&["info", "--model", ID], &[(name, value), ("HF_TOKEN", TOKEN)]));
        }
    }
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_HUB_CACHE", elsewhere)];
    good(&home.run(&pull, &offline));
    good(&home.run(&["info", "--model", ID], &offline));
    assert_eq!(home.hub.log().len(), 0);
}

#[test]
fn proxies_and_authorities_of_the_environment() {
    let home = Home::new(Repository::of("tiny-bert"));
    let proxy = home.hub.url.as_str();
    let elsewhere = ("HF_ENDPOINT", "http://hub.invalid");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        bad(&home.run(&["pull", ID], &[elsewhere, (name, proxy)]));
        let log = home.hub.log();
        assert!(log.iter().any(|request| request.method == "CONNECT"), "{name}: {log:?}");
        bad(&home.run(&["pull", ID], &[elsewhere, (name, proxy), ("NO_PROXY", "hub.invalid")]));
        assert_eq!(home.hub.log().len(), 0, "{name}");
    }
    let said = bad(&home.run(&["pull", ID], &[elsewhere, ("HTTPS_PROXY", proxy)]));
    assert!(said.contains("no answer") && home.hub.log().is_empty(), "{said}");
    let said = bad(&home.run(&["pull", ID], &[("ALL_PROXY", "socks5://127.0.0.1:1")]));
    assert!(said.contains("proxy") && said.contains("http or https"), "{said}");
    let said = bad(&home.run(&["pull", ID], &[("SSL_CERT_FILE", "no-such.pem")]));
    assert!(said.contains("no-such.pem"), "{said}");
}

/// Waits until something is so, for at most a minute.
fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "not so: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn spawn(home: &Home) -> Child {
    home.command(&["pull", ID]).spawn().expect("the command")
}

/// Killed ten times while it downloads, each time at another byte, it goes on where it was.
#[test]
fn interrupted_ten_times_the_file_is_whole() {
    // Large enough to be in the midst of for long.
    let weights: Vec<u8> = (0..4_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let repository = Repository::of("tiny-bert").with("model.safetensors", weights.clone());
    let home = Home::new(repository.clone());
    let address = format!("/{}", etag("model.safetensors", &weights));
    let blobs = home.cache().join("models--org--tiny/blobs");
    let partial = blobs.join(format!("{}.incomplete", &address[1..]));
    let size = || std::fs::metadata(&partial).map_or(0, |metadata| metadata.len());
    home.hub.fault("GET", &address, usize::MAX, Fault::Slow(8 << 10, Duration::from_millis(1)));
    let mut before = 0;
    for i in 1..=10_u64 {
        let mut process = spawn(&home);
        wait_until("more of it has come", || size() > before + 100_000 + 7_919 * i);
        process.kill().expect("killed");
        let status = process.wait().expect("an end");
        assert!(!status.success(), "it was killed in the midst of it");
        let now = size();
        assert!(now > before && now < weights.len() as u64, "kill {i}: {before} bytes, then {now}");
        assert!(!blobs.join(&address[1..]).exists() && !home.snapshot().join("model.safetensors").exists());
        assert!(!home.cache().join("models--org--tiny/refs").exists());
        println!("kill {i}: {now} of {} bytes are there", weights.len());
        before = now;
    }
    good(&home.run(&["pull", ID], &[]));
    assert_eq!(contents(&home.snapshot()), repository.wanted());
    assert!(!partial.exists());
    let log: Vec<_> = home.hub.log().into_iter().filter(|request| request.cdn).collect();
    assert_eq!(log.len(), 11, "one request a run");
    let mut from = 0;
    for request in &log[1..] {
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let begin: u64 = range.expect("a range").parse().expect("a number");
        assert!(begin > from, "each run goes on from where the one before it was: {begin} after {from}");
        from = begin;
    }
    let sent: usize = log.iter().map(|request| request.sent).sum();
    println!("sent {sent} bytes for a file of {}, the rest was on its way when the process was killed", weights.len());
    // Ten times from the beginning would be more than ten megabytes.
    assert!(sent < 2 * weights.len(), "{sent}");
}

#[test]
fn two_at_once_download_once() {
    let home = Home::new(Repository::of("tiny-bert"));
    let address = format!("/{}", etag("model.safetensors", &Repository::of("tiny-bert").files["model.safetensors"]));
    home.hub.fault("GET", &address, usize::MAX, Fault::Slow(8 << 10, Duration::from_millis(60)));
    let processes = [spawn(&home), spawn(&home)];
    let outputs = processes.map(|process| process.wait_with_output().expect("an end"));
    for output in &outputs {
        assert_eq!(good(output).trim_end(), home.snapshot().to_str().expect("UTF-8"));
    }
    let waited = outputs.iter().filter(|output| text(&output.stderr).contains("another process downloads")).count();
    assert!(waited >= 1, "who waits says so: {outputs:?}");
    assert_eq!(home.hub.log().iter().filter(|request| request.cdn).count(), 1);
    assert_eq!(contents(&home.snapshot()), Repository::of("tiny-bert").wanted());
}

/// Faults are said on stderr, with what is done about them.
#[test]
fn faults_are_told() {
    let home = Home::new(Repository::of("tiny-bert"));
    home.hub.fault("GET", "/api/models/", 1, Fault::Status(503, &[("Retry-After", "0")]));
    let output = home.run(&["pull", ID], &[]);
    good(&output);
    let said = text(&output.stderr);
    assert!(said.starts_with("note: ") && said.contains("503") && said.contains("again in 1 s"), "{said}");
}

/// The hub for `.ci/hub`: until stdin ends.
#[test]
#[ignore = "waits for stdin: a hub for other programs"]
fn a_hub_for_others() {
    let hub = Hub::new(&[(ID, Repository::of("tiny-bert")), ("org/other", Repository::of("tiny-mpnet"))]);
    println!("\nhub at {}", hub.url);
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {}
    for request in hub.log() {
        println!("{} {} {} {}", if request.cdn { "cdn" } else { "hub" }, request.status, request.method, request.path);
    }
}
