//! A server process for one test, and a client that sends raw bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::model;

pub(crate) const SOURCE: &str = "That is a happy person";
pub(crate) const SENTENCES: [&str; 3] = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"];

/// A running `likewise serve`, on a free port.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    log: Arc<Mutex<String>>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The status line and the headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Server {
    pub(crate) fn start(models: &[String], options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        command.args(["serve", "--port", "0", "--threads", "2"]).args(options);
        for model in models {
            command.args(["--model", model]);
        }
        Self::of(command)
    }

    /// Starts a command that serves, and waits until it listens.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().expect("likewise");
        let mut stderr = BufReader::new(process.stderr.take().expect("stderr"));
        let mut line = String::new();
        while !line.starts_with("listening") {
            line.clear();
            assert!(stderr.read_line(&mut line).expect("a line") > 0, "the server ended before it listened");
        }
        let address = line.strip_prefix("listening at http://").and_then(|rest| rest.split_whitespace().next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        let log = Arc::new(Mutex::new(String::new()));
        let lines = log.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                lines.lock().expect("the log").push_str(&std::mem::take(&mut line));
            }
        });
        Self { process, address, log }
    }

    pub(crate) fn with_tiny_mpnet(options: &[&str]) -> Self {
        let server = Self::start(&[format!("org/tiny={}", model("tiny-mpnet").display())], options);
        server.wait_until_ready();
        server
    }

    /// Waits until all models are loaded.
    pub(crate) fn wait_until_ready(&self) {
        self.wait_until("the models are loaded", || self.get("/health").status == 200);
    }

    /// Waits until a condition holds, for at most a minute.
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "after a minute not true: {what}; the log: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    }

    /// Sends raw bytes and reads the response until the connection closes.
    pub(crate) fn send(&self, request: &[u8]) -> Response {
        let mut stream = self.connect();
        // A server that rejects a request may close the connection before all bytes are sent. Its
        // response has arrived by then.
        drop(stream.write_all(request));
        read_response(&mut stream)
    }

    pub(crate) fn send_request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.send(&request(method, path, headers, body))
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send_request("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.send_request("POST", path, &[], body.to_string().as_bytes())
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// The value of one series in `/metrics`; 0 if the series does not exist.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).map(str::parse);
        value.map_or(0.0, |value| value.expect("a number"))
    }

    /// The resident memory of the process in kB.
    pub(crate) fn resident_kb(&self) -> u64 {
        self.status_kb("VmRSS:")
    }

    /// The most memory that the process ever had resident, in kB.
    pub(crate) fn peak_kb(&self) -> u64 {
        self.status_kb("VmHWM:")
    }

    fn status_kb(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// The memory of the process's maps of a file in kB, by the keys of /proc/PID/smaps.
    #[cfg(target_os = "linux")]
    pub(crate) fn maps_of(&self, file: &std::path::Path) -> std::collections::HashMap<String, u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps", self.process.id())).expect("smaps");
        let file = file.canonicalize().expect("a path").display().to_string();
        let mut sums = std::collections::HashMap::new();
        let mut of_file = false;
        for line in text.lines() {
            let value = line.split_once(':').filter(|(key, _)| !key.contains(' '));
            match value.map(|(key, value)| (key, value.trim().strip_suffix(" kB"))) {
                None => of_file = line.ends_with(&file),
                Some((key, Some(kilobytes))) if of_file => {
                    *sums.entry(key.to_owned()).or_default() += kilobytes.parse::<u64>().expect("a number");
                }
                Some(_) => {}
            }
        }
        sums
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("kill").success());
    }

    /// The exit code of the process, which must end within a minute.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.process.try_wait().expect("a status") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The bytes of a request that asks the server to close the connection.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Reads a response until the server closes the connection.
pub(crate) fn read_response(stream: &mut TcpStream) -> Response {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::trim)
    }
}

/// A connection for many requests.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    will_close: bool,
}

impl Connection {
    pub(crate) fn to(server: &Server) -> Self {
        Self::over(server.connect())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("no delay");
        Self { stream: BufReader::new(stream), will_close: false }
    }

    /// Whether the last response announced that the connection will be closed.
    pub(crate) fn will_close(&self) -> bool {
        self.will_close
    }

    /// Sends a request and returns the status and the body of the response; `None` if the
    /// connection ends without one.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Option<(u16, String)> {
        let length = body.len();
        let request = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        let mut status = None;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            self.will_close |= line == "connection: close";
            status = status.or_else(|| line.split(' ').nth(1)?.parse().ok());
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((status?, String::from_utf8(body).expect("UTF-8")))
    }
}

/// The body of the published example.
pub(crate) fn example_body() -> Value {
    json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}})
}

/// The output of `likewise similarity --json` for the example.
pub(crate) fn expected_scores() -> String {
    let arguments = ["similarity", "--json", "--model"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    let output =
        command.args(arguments).arg(model("tiny-mpnet")).arg(SOURCE).args(SENTENCES).output().expect("likewise");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// The floats of a JSON array.
pub(crate) fn floats(value: &Value) -> Vec<f32> {
    value.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
}
