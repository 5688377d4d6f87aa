//! The command where the operating system allows few threads. The limit of a user's threads
//! (RLIMIT_NPROC) does not apply to root, so the tests run as root and the command as a user of its
//! own, whose threads nothing else counts towards.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const TEXTS: [&str; 3] = ["That is a happy person", "That is a happy dog", "Today is a sunny day"];

/// A copy of the command that every user may run.
struct Limited(TempDir);

impl Limited {
    /// Returns None, with a note, if the tests do not run as root.
    fn new() -> Option<Self> {
        if std::fs::metadata("/proc/self").expect("a process").uid() != 0 {
            eprintln!("SKIPPED: only root can start a command as another user, whose threads are limited");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).expect("permissions");
        std::fs::copy(env!("CARGO_BIN_EXE_likewise"), folder.path().join("likewise")).expect("a copy");
        Some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The command with at most this many threads, its first one included.
    fn command(&self, threads: usize, arguments: &[&str]) -> Command {
        static USERS: AtomicU32 = AtomicU32::new(0);
        // No other process of this machine has this user.
        let user = 20_000 + std::process::id() % 4000 * 10 + USERS.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={threads}")).arg(self.path().join("likewise")).args(arguments);
        command.uid(user).gid(user).env_clear().env("HOME", self.path()).current_dir(self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, threads: usize, arguments: &[&str]) -> Output {
        let mut process = self.command(threads, arguments).spawn().expect("prlimit");
        wait(&mut process, arguments);
        process.wait_with_output().expect("an output")
    }
}

/// Waits until a process has ended. Its output fits into a pipe.
fn wait(process: &mut Child, what: &[&str]) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = process.try_wait().expect("a status") {
            return status.code().unwrap_or(-1);
        }
        if start.elapsed() > Duration::from_secs(60) {
            drop(process.kill());
            panic!("{what:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Runs a command with every small number of threads. It has the same result with a note, if it has
/// fewer threads than requested.
fn check_command(limited: &Limited, arguments: &[&str], compare: bool) {
    let full = limited.run(1000, arguments);
    assert!(full.status.success() && !text(&full.stderr).contains("threads"), "{arguments:?}: {full:?}");
    for threads in 1..=6 {
        let output = limited.run(threads, arguments);
        let stderr = text(&output.stderr);
        assert!(output.status.success() && !stderr.contains("panicked"), "{threads} threads: {arguments:?}: {stderr}");
        assert_eq!(threads < 5, stderr.contains("of 4 threads"), "{threads} threads: {arguments:?}: {stderr}");
        assert!(!compare || output.stdout == full.stdout, "{threads} threads: {arguments:?}");
    }
}

#[test]
fn commands_with_few_threads_have_the_same_output_and_a_note() {
    let Some(limited) = Limited::new() else { return };
    std::fs::write(limited.path().join("texts.txt"), TEXTS.join("\n")).expect("a file");
    let pairs: String = TEXTS.iter().map(|text| format!("{}\t{text}\t{}\n", text.len(), TEXTS[0])).collect();
    std::fs::write(limited.path().join("pairs.tsv"), pairs).expect("a file");
    for arguments in [
        &["embed", "--threads", "4", TEXTS[0], TEXTS[1], TEXTS[2]][..],
        &["similarity", "--threads", "4", "--json", TEXTS[0], TEXTS[1], TEXTS[2]],
        &["eval", "--threads", "4", "--json", "pairs.tsv"],
    ] {
        check_command(&limited, arguments, true);
    }
    check_command(&limited, &["bench", "--threads", "4", "--repeat", "1", "--input", "texts.txt"], false);
}

/// Sends a request and returns the whole response.
fn post(address: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let length = body.len();
    let head = format!("POST /embed HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

/// Waits until the model is loaded, and sends requests that are parsed and tokenized in every way.
fn check_requests(address: &str, threads: usize) {
    let long = "one two three four ".repeat(400);
    let longest = "word ".repeat(60_000);
    for text in [TEXTS[0], &long, &longest] {
        let start = Instant::now();
        let response = loop {
            let response = post(address, &format!("{{\"inputs\": {text:?}}}"));
            // The model may still be loading.
            if !response.starts_with("HTTP/1.1 503") || start.elapsed() > Duration::from_secs(30) {
                break response;
            }
        };
        assert!(response.starts_with("HTTP/1.1 200"), "{threads} threads, {} bytes: {response}", text.len());
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(post(address, &format!("{{\"inputs\": {long:?}}}")).starts_with("HTTP/1.1 200")));
        }
    });
}

#[test]
#[cfg(feature = "serve")]
fn server_with_few_threads_answers_or_ends_with_an_error() {
    let Some(limited) = Limited::new() else { return };
    let arguments = ["serve", "--port", "0", "--threads", "4"];
    let mut served = 0;
    for threads in (1..=8).chain([1000]) {
        let mut process = limited.command(threads, &arguments).spawn().expect("prlimit");
        let mut stderr = BufReader::new(process.stderr.take().expect("stderr"));
        let mut log = String::new();
        let mut address = None;
        while address.is_none() {
            let mut line = String::new();
            if stderr.read_line(&mut line).expect("a line") == 0 {
                break;
            }
            address =
                line.strip_prefix("listening at http://").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
            log += &line;
        }
        if let Some(address) = &address {
            served += 1;
            check_requests(address, threads);
            let id = process.id().to_string();
            assert!(Command::new("kill").arg(id).status().expect("kill").success());
        }
        let code = wait(&mut process, &arguments);
        stderr.read_to_string(&mut log).expect("a log");
        assert!(!log.contains("panicked"), "{threads} threads: {log}");
        match address {
            Some(_) => assert_eq!((code, log.contains("threads")), (0, threads < 1000), "{threads} threads: {log}"),
            None => {
                assert_eq!((code, threads < 4), (1, true), "{threads} threads: {log}");
                assert!(log.contains("error: cannot start the thread that"), "{threads} threads: {log}");
            }
        }
    }
    assert!(served >= 6, "{served}");
}

/// The lookup of the hub's address needs no thread.
#[test]
#[cfg(feature = "hub")]
fn pull_without_further_threads_reports_the_network_error() {
    let Some(limited) = Limited::new() else { return };
    for threads in [1, 2] {
        let mut command = limited.command(threads, &["pull", "org/name"]);
        // Nothing listens at port 1.
        command.env("HF_ENDPOINT", "http://localhost:1");
        let mut process = command.spawn().expect("prlimit");
        assert_eq!(wait(&mut process, &["pull"]), 1);
        let stderr = text(&process.wait_with_output().expect("an output").stderr);
        assert!(stderr.contains("error: ") && !stderr.contains("panicked"), "{threads} threads: {stderr}");
    }
}
