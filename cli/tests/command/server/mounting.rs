//! The service's routes mounted in another axum application.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use likewise::Embedder;
use likewise::server::{ModelSpec, Settings, router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::harness::{Response, example_body, expected_scores, read_response, request};
use crate::common::model;

/// Sends a request and reads its response.
fn send(address: &str, method: &str, path: &str, body: &Value) -> Response {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let bytes = request(method, path, &[("accept", "text/html")], body.as_bytes());
    std::io::Write::write_all(&mut stream, &bytes).expect("sent");
    read_response(&mut stream)
}

/// Waits until a condition holds, for at most a minute.
fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "the condition does not hold after a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends requests to an application that has the service below `/similarity/`.
fn check_mounted(address: &str) {
    let get = |path: &str| send(address, "GET", path, &Value::Null);
    let post = |path: &str, body: &Value| send(address, "POST", path, body);
    wait_until(|| get("/similarity/health").status == 200);
    assert_eq!(get("/own").body, "the application's own route");
    for path in ["/similarity/", "/similarity/models/org/tiny", "/similarity/similarity"] {
        let response = post(path, &example_body());
        assert_eq!((response.status, response.body.as_str()), (200, expected_scores().as_str()), "{path}");
        assert!(response.header("x-request-id").is_some(), "{response:?}");
    }
    let page = get("/similarity/");
    assert_eq!((page.status, page.body.contains("href=\"page.css\"")), (200, true), "{page:?}");
    assert_eq!(get("/similarity/page.css").status, 200);
    let missing = post("/similarity/nowhere", &json!({}));
    assert_eq!((missing.status, &missing.json()["error"]), (404, &json!("no route for /nowhere")), "{missing:?}");
    let invalid = post("/similarity/v1/embeddings", &json!({}));
    assert_eq!((invalid.status, invalid.json()["error"]["message"].is_string()), (400, true), "{invalid:?}");
    // A body that is long enough to be parsed as blocking work.
    let long = post("/similarity/embed", &json!({"inputs": "word ".repeat(100_000)}));
    assert_eq!((long.status, long.header("x-truncated-texts")), (200, Some("1")), "{}", long.head);
}

/// The threads of this process that compute for a service.
#[cfg(target_os = "linux")]
fn workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("likewise-worker")).count()
}

#[test]
fn router_nested_under_a_prefix_answers_requests_and_ends_its_threads() {
    for mut builder in [Builder::new_multi_thread(), Builder::new_current_thread()] {
        let runtime = builder.enable_all().build().expect("a runtime");
        let files = likewise::ModelFiles::folder(model("tiny-mpnet"));
        let spec = ModelSpec::new("org/tiny", Embedder::builder().threads(2), files);
        let service = router(vec![spec], Settings::default()).expect("a router");
        let app = Router::new().route("/own", get(|| async { "the application's own route" }));
        let app = app.nest("/similarity/", service);
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a listener");
        let address = listener.local_addr().expect("an address").to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let application = std::thread::spawn(move || {
            let shutdown = async move { stopped.await.unwrap_or_default() };
            runtime
                .block_on(axum::serve(listener, app).with_graceful_shutdown(shutdown).into_future())
                .expect("served");
        });
        check_mounted(&address);
        stop.send(()).expect("a running application");
        application.join().expect("the application ends");
        #[cfg(target_os = "linux")]
        wait_until(|| workers() == 0);
    }
}
