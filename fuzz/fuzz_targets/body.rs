//! The body of a request. The first byte selects the route.
#![no_main]

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use libfuzzer_sys::fuzz_target;
use likewise::Embedder;
use likewise::server::{ModelSpec, Settings, router};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

const PATHS: [&str; 9] = [
    "/",
    "/models/m",
    "/pipeline/feature-extraction/m",
    "/similarity",
    "/embed",
    "/embed_all",
    "/tokenize",
    "/decode",
    "/v1/embeddings",
];

static SERVICE: LazyLock<(Runtime, Router)> = LazyLock::new(|| {
    likewise_fuzz::abort_on_uncaught_panics();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let model = ModelSpec::new("m", Embedder::builder().threads(1), likewise_fuzz::model_with(&[]));
    let router = router(vec![model], Settings::default()).expect("a router");
    (runtime, router)
});

fuzz_target!(|data: &[u8]| {
    let Some((route, body)) = data.split_first() else { return };
    let (runtime, router) = &*SERVICE;
    let request = Request::post(PATHS[usize::from(*route) % PATHS.len()]).body(Body::from(body.to_vec()));
    let response = runtime.block_on(router.clone().oneshot(request.expect("a request"))).expect("a response");
    assert_ne!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "status 500");
});
