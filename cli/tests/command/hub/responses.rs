//! The fake hub's responses to valid requests.

use std::collections::BTreeMap;

use serde_json::json;

use super::repository::{Repository, etag, is_large};
use super::server::Request;

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        Self { status, headers, body: body.into() }
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        Self::new(status, &[("X-Error-Code", code), ("X-Error-Message", message)], "")
    }
}

/// Returns the response to a request.
pub(crate) fn respond(repositories: &BTreeMap<String, Repository>, request: &Request, cdn_url: &str) -> Response {
    let path = request.path.split('?').next().unwrap_or_default();
    if request.is_cdn {
        let file_contents = repositories.values().flat_map(|repository| &repository.files);
        let mut named = file_contents.filter(|(name, bytes)| path == format!("/{}", etag(name, bytes)));
        return match named.next() {
            Some((_, bytes)) => Response::new(200, &[("ETag", "\"of the cdn\"")], bytes.clone()),
            None => Response::new(404, &[], ""),
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
    let Some(repository) = repositories.get(&id) else {
        return Response::error(401, "RepoNotFound", "Repository not found");
    };
    let given = request.headers.get("authorization").and_then(|header| header.strip_prefix("Bearer "));
    if let Some(token) = &repository.token
        && given != Some(token.as_str())
    {
        return match (repository.gated, given) {
            (true, _) => Response::error(403, "GatedRepo", "Access to model is restricted"),
            // Some servers repeat the token.
            (false, Some(given)) => Response::new(
                401,
                &[("X-Error-Message", &format!("Invalid credentials in Authorization header: {given}"))],
                "",
            ),
            (false, None) => Response::error(401, "RepoNotFound", "Repository not found"),
        };
    }
    let mut rest = rest.splitn(3, '/');
    let what = rest.next().unwrap_or_default().to_owned();
    let revision = rest.next().unwrap_or("main").replace("%2F", "/");
    if revision != repository.commit && !repository.revisions.contains(&revision) {
        return Response::error(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"));
    }
    match what.as_str() {
        "resolve" | "cached" => file(&id, repository, &what, rest.next().unwrap_or_default(), cdn_url),
        "tree" => tree(repository),
        _ => {
            let siblings: Vec<_> = repository.files.keys().map(|name| json!({"rfilename": name})).collect();
            let listing =
                json!({"id": id, "sha": repository.commit, "siblings": siblings, "private": false, "tags": []});
            Response::new(200, &[("Content-Type", "application/json")], listing.to_string())
        }
    }
}

/// Returns the response for a file. As on huggingface.co, a large file redirects to the CDN and a
/// small one to another path of the hub.
fn file(id: &str, repository: &Repository, what: &str, name: &str, cdn_url: &str) -> Response {
    let name = name.replace("%20", " ");
    let Some(bytes) = repository.files.get(&name) else {
        return Response::error(404, "EntryNotFound", "Entry not found");
    };
    let tag = format!("\"{}\"", etag(&name, bytes));
    let size = bytes.len().to_string();
    let commit = &repository.commit;
    let known = [("X-Repo-Commit", commit.as_str()), ("X-Linked-Etag", &tag), ("X-Linked-Size", &size)];
    if is_large(&name) {
        let location = format!("{cdn_url}/{}?Signature=signed", etag(&name, bytes));
        return Response::new(302, &[&known[..], &[("Location", &location)]].concat(), "redirect");
    }
    if what == "resolve" {
        let location = format!("/api/resolve-cache/models/{id}/{commit}/{name}");
        return Response::new(307, &[known[0], ("Location", &location)], "redirect");
    }
    Response::new(200, &[known[0], ("ETag", &tag)], bytes.clone())
}

/// Returns the response to a request that only huggingface_hub makes.
fn tree(repository: &Repository) -> Response {
    let file = |(name, bytes): (&String, &Vec<u8>)| {
        let mut file = json!({"type": "file", "path": name, "size": bytes.len(), "oid": etag("small", bytes)});
        if is_large(name) {
            file["lfs"] = json!({"oid": etag(name, bytes), "size": bytes.len(), "pointerSize": 134});
        }
        file
    };
    let files: Vec<_> = repository.files.iter().map(file).collect();
    Response::new(200, &[("Content-Type", "application/json")], json!(files).to_string())
}
