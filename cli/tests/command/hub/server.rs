//! A fake hub: one listener behaves like huggingface.co, and a second one on another port like the
//! host of its large files (the CDN).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::repository::Repository;
use super::responses::{Response, respond};

/// A failure of the fake hub.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Respond with this status and these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// Close the connection after this many bytes of the body; 0 means before the head.
    CloseAfter(usize),
    /// Set a header to this value, or remove it.
    Header(&'static str, Option<String>),
    /// Send other bytes of the same length.
    WrongBytes,
    /// Change the body's length by this many bytes, and announce that length.
    WrongLength(isize),
    /// Send a body that never ends, without Content-Length.
    Endless,
    /// Send response headers that never end.
    EndlessHeaders,
    /// Stop sending after this many bytes of the body, and keep the connection open.
    Stall(usize),
    /// Send the whole file regardless of the requested range.
    IgnoreRange,
    /// Send this many bytes at a time, with this delay.
    Slow(usize, Duration),
    /// Send this text as the body.
    Body(String),
}

/// A request, and the number of body bytes sent in the response.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Whether the CDN received it.
    pub(crate) is_cdn: bool,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) status: u16,
    pub(crate) sent: usize,
}

/// A fault of the next requests that match.
struct PlannedFault {
    /// The method, or an empty text for any.
    method: &'static str,
    /// A part of the path.
    path: String,
    /// The number of requests that still fail.
    remaining: usize,
    fault: Fault,
}

impl PlannedFault {
    fn matches(&self, request: &Request) -> bool {
        let is_method = self.method.is_empty() || self.method == request.method;
        self.remaining > 0 && is_method && request.path.contains(self.path.as_str())
    }
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    faults: Vec<PlannedFault>,
    log: Vec<Request>,
}

pub(crate) struct FakeHub {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

/// Wraps a connection before requests are read from it, for example in TLS.
pub(crate) type Wrap = Arc<dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync>;

pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl FakeHub {
    pub(crate) fn new(repositories: &[(&str, Repository)]) -> Self {
        Self::wrapped("http", "127.0.0.1", Arc::new(|stream| Some(Box::new(stream))), repositories)
    }

    /// Starts a hub whose connections are wrapped.
    pub(crate) fn wrapped(scheme: &str, host: &str, wrap: Wrap, repositories: &[(&str, Repository)]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().expect("a hub").repositories =
            repositories.iter().map(|(id, repository)| ((*id).to_owned(), repository.clone())).collect();
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [url, cdn] = listeners
            .each_ref()
            .map(|listener| format!("{scheme}://{host}:{}", listener.local_addr().expect("an address").port()));
        for (i, listener) in listeners.into_iter().enumerate() {
            let state = state.clone();
            let wrap = wrap.clone();
            let cdn = cdn.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let state = state.clone();
                    let wrap = wrap.clone();
                    let cdn = cdn.clone();
                    std::thread::spawn(move || {
                        if let Some(stream) = stream.ok().and_then(|stream| wrap(stream)) {
                            // The client may disconnect at any time.
                            drop(serve_connection(stream, &state, i == 1, &cdn));
                        }
                    });
                }
            });
        }
        Self { url, state }
    }

    /// Makes the next `times` requests fail whose method ("" means any) and part of the path match.
    pub(crate) fn add_fault(&self, method: &'static str, path: &str, times: usize, fault: Fault) {
        self.state.lock().expect("a hub").faults.push(PlannedFault {
            method,
            path: path.to_owned(),
            remaining: times,
            fault,
        });
    }

    pub(crate) fn clear_faults(&self) {
        self.state.lock().expect("a hub").faults.clear();
    }

    pub(crate) fn add_repository(&self, id: &str, repository: Repository) {
        self.state.lock().expect("a hub").repositories.insert(id.to_owned(), repository);
    }

    /// Returns the requests since the last call.
    pub(crate) fn take_log(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().expect("a hub").log)
    }

    /// Returns the number of body bytes sent for GET requests whose path contains a text.
    pub(crate) fn sent(&self, path: &str) -> usize {
        let state = self.state.lock().expect("a hub");
        state.log.iter().filter(|r| r.method == "GET" && r.path.contains(path)).map(|r| r.sent).sum()
    }
}

fn serve_connection(stream: Box<dyn Stream>, state: &Mutex<State>, is_cdn: bool, cdn_url: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream, is_cdn)? {
        let (index, mut response, fault) = {
            let mut state = state.lock().expect("a hub");
            let response = respond(&state.repositories, &request, cdn_url);
            let mut logged = request.clone();
            logged.status = response.status;
            state.log.push(logged);
            let planned = state.faults.iter_mut().find(|planned| planned.matches(&request));
            let fault = planned.map(|planned| {
                planned.remaining -= 1;
                planned.fault.clone()
            });
            (state.log.len() - 1, response, fault)
        };
        let from = apply_range(&request, &mut response, matches!(fault, Some(Fault::IgnoreRange)));
        apply_fault(&mut response, fault.as_ref(), from);
        let sent = |bytes: usize| {
            if let Some(request) = state.lock().expect("a hub").log.get_mut(index) {
                request.sent += bytes;
            }
        };
        if !send(stream.get_mut(), &request, &response, fault, &sent)? {
            break;
        }
    }
    Ok(())
}

/// Reads a request without a body. Returns `None` at the end of the connection.
fn read_request(stream: &mut impl BufRead, is_cdn: bool) -> std::io::Result<Option<Request>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let mut words = head[0].split(' ').map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let headers = head[1..].iter().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Ok(Some(Request { is_cdn, method, path, headers, status: 0, sent: 0 }))
}

/// Cuts a body to the requested range. Returns the range's first byte.
fn apply_range(request: &Request, response: &mut Response, ignore: bool) -> usize {
    let from = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
    let Some(from) = from.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok()) else { return 0 };
    if response.status != 200 || ignore {
        return 0;
    }
    let size = response.body.len();
    if from >= size {
        *response = Response::new(416, &[("Content-Range", &format!("bytes */{size}"))], "");
        return 0;
    }
    response.status = 206;
    response.headers.insert("content-range".to_owned(), format!("bytes {from}-{}/{size}", size - 1));
    response.body.drain(..from);
    from
}

fn apply_fault(response: &mut Response, fault: Option<&Fault>, from: usize) {
    match fault {
        Some(Fault::Status(status, headers)) => *response = Response::new(*status, headers, "no"),
        Some(Fault::WrongBytes) => response.body.iter_mut().for_each(|byte| *byte = !*byte),
        Some(Fault::WrongLength(by)) => {
            let size = response.body.len().saturating_add_signed(*by);
            response.body.resize(size, 0);
            if response.status == 206 {
                let range = format!("bytes {from}-{}/{}", from + size - 1, from + size);
                response.headers.insert("content-range".to_owned(), range);
            }
        }
        Some(Fault::Body(text)) => response.body = text.as_bytes().to_vec(),
        _ => {}
    }
    response.headers.insert("content-length".to_owned(), response.body.len().to_string());
    match fault {
        Some(Fault::Header(name, Some(value))) => drop(response.headers.insert((*name).to_owned(), value.clone())),
        Some(Fault::Header(name, None)) => drop(response.headers.remove(*name)),
        Some(Fault::Endless) => {
            response.headers.remove("content-length");
            response.headers.insert("connection".to_owned(), "close".to_owned());
        }
        _ => {}
    }
}

/// Sends a response. Returns whether the connection stays open.
fn send(
    stream: &mut dyn Write,
    request: &Request,
    response: &Response,
    fault: Option<Fault>,
    sent: &dyn Fn(usize),
) -> std::io::Result<bool> {
    if let Some(Fault::CloseAfter(0)) = fault {
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", response.status);
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(Fault::EndlessHeaders) = fault {
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(b"x-more: and more of the same, without an end\r\n")?;
        }
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.flush()?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    let (step, pause) = match fault {
        Some(Fault::Slow(step, pause)) => (step, pause),
        _ => (64 << 10, Duration::ZERO),
    };
    let end = match fault {
        Some(Fault::CloseAfter(bytes) | Fault::Stall(bytes)) => bytes.min(response.body.len()),
        _ => response.body.len(),
    };
    for chunk in response.body[..end].chunks(step) {
        stream.write_all(chunk)?;
        stream.flush()?;
        sent(chunk.len());
        std::thread::sleep(pause);
    }
    match fault {
        Some(Fault::Stall(_)) => std::thread::sleep(Duration::from_secs(20)),
        Some(Fault::Endless) => loop {
            stream.write_all(&[b' '; 4096])?;
            sent(4096);
        },
        _ => {}
    }
    Ok(!matches!(fault, Some(Fault::CloseAfter(_))))
}
