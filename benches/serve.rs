//! The service under load: many clients with short requests, compared with `likewise bench` on the
//! same texts.
//!
//!     cargo bench --bench serve -- --model path/to/all-MiniLM-L6-v2 --input sentences.txt \
//!         --clients 64
//!
//! The default model has the size of all-MiniLM-L6-v2 and synthetic weights; the default texts are
//! generated. Server and clients share the machine's cores. Before the timing starts, every
//! response is compared with the library's result. Each round runs both programs, one after the
//! other; the result is the median of the rounds' ratios.

use likewise_tests as common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use likewise::Embedder;
use serde_json::{Value, json};

/// The arguments of the benchmark.
struct Setup {
    model: PathBuf,
    input: PathBuf,
    clients: usize,
    rounds: usize,
    /// The folder of generated files, deleted at the end.
    _folder: tempfile::TempDir,
}

fn main() {
    let setup = setup();
    let texts: Vec<String> = std::fs::read_to_string(&setup.input).expect("texts").lines().map(str::to_owned).collect();
    let server = Server::start(&setup.model);
    let requests = requests(&texts);
    check(&server, &setup.model, &texts, &requests);
    println!("{} texts in {} requests, {} clients", texts.len(), requests.len(), setup.clients);
    let mut ratios = Vec::new();
    let mut latencies = Vec::new();
    for _ in 0..setup.rounds {
        let alone = bench(&setup);
        let start = Instant::now();
        latencies.extend(load(&server, &requests, setup.clients));
        let served = texts.len() as f64 / start.elapsed().as_secs_f64();
        println!("bench {alone:.1} texts/s, served {served:.1} texts/s, ratio {:.3}", served / alone);
        ratios.push(served / alone);
    }
    latencies.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    let at = |part: f64| 1e3 * latencies[((latencies.len() - 1) as f64 * part).round() as usize];
    println!("median ratio {:.3}; p50 {:.1} ms, p99 {:.1} ms", ratios[ratios.len() / 2], at(0.5), at(0.99));
}

fn setup() -> Setup {
    let folder = tempfile::tempdir().expect("a folder");
    let mut model = None;
    let mut input = None;
    let mut clients = 64;
    let mut rounds = 3;
    // `cargo bench` adds the argument `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name}: expected a value"));
        match name.as_str() {
            "--model" => model = Some(PathBuf::from(value)),
            "--input" => input = Some(PathBuf::from(value)),
            "--clients" => clients = value.parse().expect("a number of clients"),
            "--rounds" => rounds = value.parse().expect("a number of rounds"),
            _ => panic!("{name}: expected --model, --input, --clients or --rounds"),
        }
    }
    let model = model.unwrap_or_else(|| {
        let mut files = common::synthetic_weights::edited("full-mpnet", "tiny-mpnet", |config| {
            config["hidden_size"] = json!(384);
            config["num_attention_heads"] = json!(12);
            config["intermediate_size"] = json!(1536);
            config["num_hidden_layers"] = json!(6);
        });
        common::edit_json(&mut files, "1_Pooling/config.json", |config| {
            config["word_embedding_dimension"] = json!(384)
        });
        for (name, bytes) in files {
            let path = folder.path().join("model").join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, bytes).expect("written");
        }
        folder.path().join("model")
    });
    let input = input.unwrap_or_else(|| {
        let words = ["a", "happy", "dog", "person", "sun", "day", "is", "the", "very", "today"];
        let text = |i: usize| (0..6 + i * 7 % 13).map(|j| words[(i * 3 + j * j) % words.len()]).collect::<Vec<_>>();
        let texts: Vec<String> = (0..1024).map(|i| text(i).join(" ")).collect();
        std::fs::write(folder.path().join("texts"), texts.join("\n")).expect("written");
        folder.path().join("texts")
    });
    Setup { model, input, clients, rounds, _folder: folder }
}

/// Creates requests of one to five texts, alternately for vectors and for scores.
fn requests(texts: &[String]) -> Vec<Value> {
    let mut requests = Vec::new();
    let mut rest = texts;
    while !rest.is_empty() {
        let (some, after) = rest.split_at(rest.len().min(1 + requests.len() % 5));
        requests.push(match some {
            [source, sentences @ ..] if requests.len() % 2 == 1 && !sentences.is_empty() => {
                json!({"inputs": {"source_sentence": source, "sentences": sentences}})
            }
            some => json!({"inputs": some}),
        });
        rest = after;
    }
    requests
}

/// Checks that every response has the bits of the library's result.
fn check(server: &Server, model: &PathBuf, texts: &[String], requests: &[Value]) {
    let library = Embedder::open(model).expect("a model");
    let vectors = library.embed(texts).expect("vectors");
    let mut connection = Connection::to(server);
    let mut next = 0;
    for request in requests {
        let response: Value = serde_json::from_str(&connection.post(&request.to_string())).expect("JSON");
        let floats = |value: &Value| -> Vec<f32> {
            value.as_array().expect("floats").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
        };
        match &request["inputs"] {
            Value::Array(inputs) => {
                for (i, row) in response.as_array().expect("rows").iter().enumerate() {
                    assert!(common::same_bits(&floats(row), vectors.row(next + i)), "text {}", next + i);
                }
                next += inputs.len();
            }
            inputs => {
                let count = inputs["sentences"].as_array().expect("sentences").len();
                let score = |i| library.score(vectors.row(next), vectors.row(next + i)).expect("a score");
                let expected: Vec<f32> = (1..=count).map(score).collect();
                assert!(common::same_bits(&floats(&response), &expected), "texts from {next}");
                next += 1 + count;
            }
        }
    }
    assert_eq!(next, texts.len());
}

/// Returns the texts per second of `likewise bench`.
fn bench(setup: &Setup) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(["bench", "--json", "--repeat", "3", "--model"]).arg(&setup.model).arg("--input").arg(&setup.input);
    let output = command.output().expect("likewise");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    result["texts_per_s"].as_f64().expect("a number")
}

/// Sends all requests from concurrent clients, and returns the seconds of each request.
fn load(server: &Server, requests: &[Value], clients: usize) -> Vec<f64> {
    let bodies: Vec<String> = requests.iter().map(Value::to_string).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let client = || {
            let mut connection = Connection::to(server);
            let mut seconds = Vec::new();
            while let Some(body) = bodies.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                let start = Instant::now();
                std::hint::black_box(connection.post(body));
                seconds.push(start.elapsed().as_secs_f64());
            }
            seconds
        };
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    })
}

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(model: &PathBuf) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        // Without a cache, so that every response is computed. With a quiet log, because a terminal
        // would be the bottleneck.
        command
            .args(["serve", "--port", "0", "--response-cache-bytes", "0", "--log-level", "warn", "--model"])
            .arg(model);
        let mut process = command.stderr(Stdio::piped()).spawn().expect("likewise");
        let mut line = String::new();
        BufReader::new(process.stderr.take().expect("stderr")).read_line(&mut line).expect("a line");
        let address = line.trim_start_matches("listening at http://").split(' ').next().expect("an address").to_owned();
        Self { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A connection for many requests.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn to(server: &Server) -> Self {
        let stream = TcpStream::connect(&server.address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self(BufReader::new(stream))
    }

    /// Sends a request and returns the body of the response, whose status must be 200.
    fn post(&mut self, body: &str) -> String {
        let head =
            format!("POST / HTTP/1.1\r\nhost: t\r\nx-wait-for-model: true\r\ncontent-length: {}\r\n\r\n", body.len());
        self.0.get_mut().write_all((head + body).as_bytes()).expect("sent");
        let mut line = String::new();
        let mut length = 0;
        self.0.read_line(&mut line).expect("a status");
        assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
        while line != "\r\n" {
            line.clear();
            assert!(self.0.read_line(&mut line).expect("a header") > 0, "the connection ended");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        String::from_utf8(body).expect("UTF-8")
    }
}
