use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Query, RawPathParams, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use example_service::{Answer, Failure};
use serde::Deserialize;

use crate::{Audit, Callers, Secrets};

/// How many bytes a secret has at most.
pub const LARGEST: usize = 64 * 1024;

/// The service over HTTP, for these callers.
///
/// What is done has its line in the audit log also when the caller hangs up, if it is served by
/// [`example_service::serve_until`].
pub fn app(secrets: Secrets, callers: Callers, audit: Audit) -> Router {
    Router::new()
        .route("/secrets", get(list))
        .route(
            "/secrets/{name}",
            post(create).get(fetch).put(rotate).delete(delete),
        )
        .route("/secrets/{name}/take", post(take))
        .route_layer(from_fn_with_state((callers, audit), guard))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(secrets)
}

/// Lets callers in, and writes down what they did, and what strangers tried.
async fn guard(
    State((callers, audit)): State<(Callers, Audit)>,
    path: MatchedPath,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let token = request.headers().get(header::AUTHORIZATION);
    let token = token.and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
    let caller = token
        .and_then(|token| callers.name(token))
        .map(str::to_owned);
    let action = action(request.method(), path.as_str());
    // What is no UTF-8 is no name.
    let parameters = parameters.ok();
    let name = parameters.iter().flatten().next();
    let name = name.map(|(_, name)| name.to_owned());
    let mut response = match &caller {
        Some(_) => next.run(request).await,
        None => Failure::refused(StatusCode::UNAUTHORIZED, "no token, or not one of a caller")
            .into_response(),
    };
    let status = response.status().as_u16();
    audit.record(caller.as_deref(), action, name.as_deref(), status);
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

fn action(method: &Method, path: &str) -> &'static str {
    match (method.as_str(), path) {
        (_, "/secrets") => "list",
        (_, "/secrets/{name}/take") => "take",
        ("POST", _) => "create",
        ("PUT", _) => "rotate",
        ("DELETE", _) => "delete",
        _ => "fetch",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifetime {
    /// Seconds.
    ttl: Option<u64>,
}

async fn create(
    State(secrets): State<Secrets>,
    Path(name): Path<String>,
    Query(lifetime): Query<Lifetime>,
    secret: Bytes,
) -> Answer<StatusCode> {
    let ttl = lifetime.ttl.map(Duration::from_secs);
    secrets.create(&name, secret, ttl).await?;
    Ok(StatusCode::CREATED)
}

async fn fetch(State(secrets): State<Secrets>, Path(name): Path<String>) -> Answer<Bytes> {
    secrets.fetch(&name).await
}

async fn take(State(secrets): State<Secrets>, Path(name): Path<String>) -> Answer<Bytes> {
    secrets.take(&name).await
}

async fn rotate(
    State(secrets): State<Secrets>,
    Path(name): Path<String>,
    secret: Bytes,
) -> Answer<StatusCode> {
    secrets.rotate(&name, secret).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(State(secrets): State<Secrets>, Path(name): Path<String>) -> Answer<StatusCode> {
    secrets.delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default)]
    prefix: String,
}

async fn list(
    State(secrets): State<Secrets>,
    Query(listing): Query<Listing>,
) -> Answer<Json<Vec<String>>> {
    secrets.names(&listing.prefix).await.map(Json)
}
