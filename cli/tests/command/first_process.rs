//! The command as the first process of a container, to which the kernel delivers only the signals
//! that it handles.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::model;

/// Runs the command as process 1 of new namespaces.
fn first_process(arguments: &[&str], cache: &Path, endpoint: &str) -> Child {
    let mut command = unshare();
    command.arg(env!("CARGO_BIN_EXE_likewise")).args(arguments).env("HF_HUB_CACHE", cache);
    command.env("HF_ENDPOINT", endpoint).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("unshare")
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
    command
}

/// Sends SIGTERM to the process that `unshare` has started. Returns its exit code.
fn exit_code_after_sigterm(mut unshare: Child) -> Option<i32> {
    let id = unshare.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("children");
    let status = Command::new("kill").args(["-TERM", children.trim()]).status().expect("kill");
    assert!(status.success(), "{children:?}");
    for _ in 0..1000 {
        if let Some(status) = unshare.try_wait().expect("a status") {
            return status.code();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(unshare.kill());
    panic!("the process ignores SIGTERM");
}

#[test]
fn signal_ends_the_first_process_of_a_container() {
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        println!("skipped: this system allows no new namespaces");
        return;
    }
    // A hub that never answers.
    let hub = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", hub.local_addr().expect("an address"));
    let cache = tempfile::tempdir().expect("a folder");
    for arguments in [&["pull", "org/name"][..], &["serve", "--model", "org/name", "--port", "0"]] {
        let process = first_process(arguments, cache.path(), &endpoint);
        let connection = hub.accept().expect("a request");
        assert_eq!(exit_code_after_sigterm(process), Some(128 + 15), "{arguments:?}");
        drop(connection);
    }
    // The server finishes requests in flight.
    let folder = model("tiny-bert").display().to_string();
    let mut server = first_process(&["serve", "--model", &folder, "--port", "0"], cache.path(), &endpoint);
    let mut lines = BufReader::new(server.stderr.take().expect("stderr")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.starts_with("listening"))), "the server listens");
    assert_eq!(exit_code_after_sigterm(server), Some(0));
}
