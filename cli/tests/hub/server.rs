//! The hub: a listener that plays huggingface.co, and a second one, on a port of its own, that plays the host of its large
//! files.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::repository::{Repository, etag, is_large};

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This status, with these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// The connection ends after so many bytes of the body; with none, before the head.
    CutAfter(usize),
    /// A header has this value, or is not there.
    Header(&'static str, Option<String>),
    /// Another content of the same size.
    OtherBytes,
    /// A whole content that is so much longer or shorter than it should be, and says so.
    Resized(isize),
    /// A content that never ends, and does not say how long it is.
    Endless,
    /// A head that never ends.
    EndlessHead,
    /// Nothing comes after so many bytes of the body, but the connection stays.
    Stall(usize),
    /// The whole content, whatever part of it was asked for.
    NoRanges,
    /// So many bytes at a time, so often.
    Slow(usize, Duration),
    /// Another text than the JSON.
    Body(String),
}

/// A request, and how much was sent of the answer's body.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Whether it came to the host of the large files.
    pub(crate) cdn: bool,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) status: u16,
    pub(crate) sent: usize,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    /// A method, a part of the path, how often yet, and what.
    faults: Vec<(&'static str, String, usize, Fault)>,
    log: Vec<Request>,
}

pub(crate) struct Hub {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

/// What wraps a connection before requests are read from it.
pub(crate) type Wrap = Arc<dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync>;

pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Hub {
    pub(crate) fn new(repositories: &[(&str, Repository)]) -> Self {
        Self::wrapped("http", "127.0.0.1", Arc::new(|stream| Some(Box::new(stream))), repositories)
    }

    /// A hub whose connections are of another kind.
    pub(crate) fn wrapped(scheme: &str, host: &str, wrap: Wrap, repositories: &[(&str, Repository)]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().expect("a hub").repositories =
            repositories.iter().map(|(id, repository)| ((*id).to_owned(), repository.clone())).collect();
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [url, cdn] = listeners
            .each_ref()
            .map(|listener| format!("{scheme}://{host}:{}", listener.local_addr().expect("an address").port()));
        for (i, listener) in listeners.into_iter().enumerate() {
            let (state, wrap, cdn) = (state.clone(), wrap.clone(), cdn.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let (state, wrap, cdn) = (state.clone(), wrap.clone(), cdn.clone());
                    std::thread::spawn(move || {
                        if let Some(stream) = stream.ok().and_then(|stream| wrap(stream)) {
                            // Whoever asks may go away at any time.
                            drop(converse(stream, &state, i == 1, &cdn));
                        }
                    });
                }
            });
        }
        Self { url, state }
    }

    /// Lets something go wrong `times` times, in requests by a method (or any: "") of paths with a part.
    pub(crate) fn fault(&self, method: &'static str, path: &str, times: usize, fault: Fault) {
        self.state.lock().expect("a hub").faults.push((method, path.to_owned(), times, fault));
    }

    pub(crate) fn mend(&self) {
        self.state.lock().expect("a hub").faults.clear();
    }

    pub(crate) fn put(&self, id: &str, repository: Repository) {
        self.state.lock().expect("a hub").repositories.insert(id.to_owned(), repository);
    }

    /// What was asked since this was last looked at.
    pub(crate) fn log(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().expect("a hub").log)
    }

    /// Bytes sent so far of the files whose address has a part.
    pub(crate) fn sent(&self, path: &str) -> usize {
        let state = self.state.lock().expect("a hub");
        state.log.iter().filter(|r| r.method == "GET" && r.path.contains(path)).map(|r| r.sent).sum()
    }
}

/// An answer.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        Self { status, headers, body: body.into() }
    }

    fn no(status: u16, code: &str, message: &str) -> Self {
        Self::new(status, &[("X-Error-Code", code), ("X-Error-Message", message)], "")
    }
}

fn converse(stream: Box<dyn Stream>, state: &Mutex<State>, cdn: bool, cdn_url: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let mut words = head[0].split(' ');
        let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let headers: BTreeMap<String, String> = head[1..]
            .iter()
            .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())))
            .collect();
        let request = Request { cdn, method, path, headers, status: 0, sent: 0 };
        let (place, mut answer, fault) = {
            let mut state = state.lock().expect("a hub");
            let answer = answer(&state, &request, cdn_url);
            let mut logged = request.clone();
            logged.status = answer.status;
            state.log.push(logged);
            let hit = state.faults.iter_mut().find(|(method, path, times, _)| {
                *times > 0 && (method.is_empty() || *method == request.method) && request.path.contains(path.as_str())
            });
            let fault = hit.map(|(_, _, times, fault)| {
                *times -= 1;
                fault.clone()
            });
            (state.log.len() - 1, answer, fault)
        };
        let plain = range(&request, &mut answer, matches!(fault, Some(Fault::NoRanges)));
        spoil(&mut answer, fault.as_ref(), plain);
        let sent = |bytes: usize| {
            if let Some(request) = state.lock().expect("a hub").log.get_mut(place) {
                request.sent += bytes;
            }
        };
        if !send(stream.get_mut(), &request, &answer, fault, &sent)? {
            return Ok(());
        }
    }
}

/// Makes a whole content the part that was asked for. Gives where it begins.
fn range(request: &Request, answer: &mut Answer, ignore: bool) -> usize {
    let from = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
    let Some(from) = from.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok()) else { return 0 };
    if answer.status != 200 || ignore {
        return 0;
    }
    let size = answer.body.len();
    if from >= size {
        *answer = Answer::new(416, &[("Content-Range", &format!("bytes */{size}"))], "");
        return 0;
    }
    answer.status = 206;
    answer.headers.insert("content-range".to_owned(), format!("bytes {from}-{}/{size}", size - 1));
    answer.body.drain(..from);
    from
}

fn spoil(answer: &mut Answer, fault: Option<&Fault>, from: usize) {
    match fault {
        Some(Fault::Status(status, headers)) => *answer = Answer::new(*status, headers, "no"),
        Some(Fault::OtherBytes) => answer.body.iter_mut().for_each(|byte| *byte = !*byte),
        Some(Fault::Resized(by)) => {
            let size = answer.body.len().saturating_add_signed(*by);
            answer.body.resize(size, 0);
            if answer.status == 206 {
                let range = format!("bytes {from}-{}/{}", from + size - 1, from + size);
                answer.headers.insert("content-range".to_owned(), range);
            }
        }
        Some(Fault::Body(text)) => answer.body = text.as_bytes().to_vec(),
        _ => {}
    }
    answer.headers.insert("content-length".to_owned(), answer.body.len().to_string());
    match fault {
        Some(Fault::Header(name, Some(value))) => drop(answer.headers.insert((*name).to_owned(), value.clone())),
        Some(Fault::Header(name, None)) => drop(answer.headers.remove(*name)),
        Some(Fault::Endless) => {
            answer.headers.remove("content-length");
            answer.headers.insert("connection".to_owned(), "close".to_owned());
        }
        _ => {}
    }
}

/// Whether the connection stays.
fn send(
    stream: &mut dyn Write,
    request: &Request,
    answer: &Answer,
    fault: Option<Fault>,
    sent: &dyn Fn(usize),
) -> std::io::Result<bool> {
    if let Some(Fault::CutAfter(0)) = fault {
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(Fault::EndlessHead) = fault {
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(b"x-more: and more of the same, for ever and ever\r\n")?;
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
        Some(Fault::CutAfter(bytes) | Fault::Stall(bytes)) => bytes.min(answer.body.len()),
        _ => answer.body.len(),
    };
    for chunk in answer.body[..end].chunks(step) {
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
    Ok(!matches!(fault, Some(Fault::CutAfter(_))))
}

fn answer(state: &State, request: &Request, cdn_url: &str) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    if request.cdn {
        let contents = state.repositories.values().flat_map(|repository| &repository.files);
        let mut named = contents.filter(|(name, bytes)| path == format!("/{}", etag(name, bytes)));
        return match named.next() {
            Some((_, bytes)) => Answer::new(200, &[("ETag", "\"of the cdn\"")], bytes.clone()),
            None => Answer::new(404, &[], ""),
        };
    }
    let path = path.trim_start_matches('/');
    let (id, rest) = if let Some(path) = path.strip_prefix("api/resolve-cache/models/") {
        let mut parts = path.splitn(4, '/');
        let id = format!("{}/{}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        (id, format!("cached/{}/{}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default()))
    } else {
        let path = path.strip_prefix("api/models/").unwrap_or(path);
        let cut = ["/resolve/", "/revision/", "/tree/"].iter().find_map(|word| path.find(word));
        let (id, rest) = path.split_at(cut.unwrap_or(path.len()));
        (id.to_owned(), rest.trim_start_matches('/').to_owned())
    };
    let Some(repository) = state.repositories.get(&id) else {
        return Answer::no(401, "RepoNotFound", "Repository not found");
    };
    let given = request.headers.get("authorization").and_then(|header| header.strip_prefix("Bearer "));
    if let Some(token) = &repository.token
        && given != Some(token.as_str())
    {
        return match (repository.gated, given) {
            (true, _) => Answer::no(403, "GatedRepo", "Access to model is restricted"),
            // Servers have been seen to repeat what they were sent.
            (false, Some(given)) => Answer::new(
                401,
                &[("X-Error-Message", &format!("Invalid credentials in Authorization header: {given}"))],
                "",
            ),
            (false, None) => Answer::no(401, "RepoNotFound", "Repository not found"),
        };
    }
    let mut rest = rest.splitn(3, '/');
    let what = rest.next().unwrap_or_default().to_owned();
    let revision = rest.next().unwrap_or("main").replace("%2F", "/");
    if revision != repository.commit && !repository.revisions.contains(&revision) {
        return Answer::no(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"));
    }
    match what.as_str() {
        "resolve" | "cached" => file(&id, repository, &what, rest.next().unwrap_or_default(), cdn_url),
        "tree" => tree(repository),
        _ => {
            let siblings: Vec<_> = repository.files.keys().map(|name| json!({"rfilename": name})).collect();
            let listing =
                json!({"id": id, "sha": repository.commit, "siblings": siblings, "private": false, "tags": []});
            Answer::new(200, &[("Content-Type", "application/json")], listing.to_string())
        }
    }
}

/// A file: a large one is on the other host, a small one behind a redirect on this one, as on huggingface.co.
fn file(id: &str, repository: &Repository, what: &str, name: &str, cdn_url: &str) -> Answer {
    let name = name.replace("%20", " ");
    let Some(bytes) = repository.files.get(&name) else {
        return Answer::no(404, "EntryNotFound", "Entry not found");
    };
    let (tag, size, commit) = (format!("\"{}\"", etag(&name, bytes)), bytes.len().to_string(), &repository.commit);
    let known = [("X-Repo-Commit", commit.as_str()), ("X-Linked-Etag", &tag), ("X-Linked-Size", &size)];
    if is_large(&name) {
        let location = format!("{cdn_url}/{}?Signature=signed", etag(&name, bytes));
        return Answer::new(302, &[&known[..], &[("Location", &location)]].concat(), "elsewhere");
    }
    if what == "resolve" {
        let location = format!("/api/resolve-cache/models/{id}/{commit}/{name}");
        return Answer::new(307, &[known[0], ("Location", &location)], "elsewhere");
    }
    Answer::new(200, &[known[0], ("ETag", &tag)], bytes.clone())
}

/// What huggingface_hub asks besides.
fn tree(repository: &Repository) -> Answer {
    let file = |(name, bytes): (&String, &Vec<u8>)| {
        let mut file = json!({"type": "file", "path": name, "size": bytes.len(), "oid": etag("small", bytes)});
        if is_large(name) {
            file["lfs"] = json!({"oid": etag(name, bytes), "size": bytes.len(), "pointerSize": 134});
        }
        file
    };
    let files: Vec<_> = repository.files.iter().map(file).collect();
    Answer::new(200, &[("Content-Type", "application/json")], json!(files).to_string())
}
