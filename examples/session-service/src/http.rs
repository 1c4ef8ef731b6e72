use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use example_service::{Answer, Failure};
use serde::{Deserialize, Serialize};

use crate::sessions::{Session, Sessions};

/// How many bytes a login has at most.
pub const LARGEST: usize = 64 * 1024;

/// The service over HTTP.
pub fn app(sessions: Sessions) -> Router {
    Router::new()
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/session", get(session))
        .route("/sessions", get(list).delete(revoke_all))
        .route("/sessions/{id}", delete(revoke))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(sessions)
}

/// The token in `Authorization: Bearer TOKEN`.
struct Bearer(String);

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let token = header
            .and_then(|header| header.to_str().ok())
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let missing = || Failure::refused(StatusCode::UNAUTHORIZED, "not logged in");
        let (_, token) = token.ok_or_else(missing)?;
        Ok(Self(token.trim().to_owned()))
    }
}

#[derive(Deserialize)]
struct Login {
    user: String,
    #[serde(default)]
    device: String,
}

#[derive(Serialize)]
struct Begun {
    token: String,
}

async fn login(State(sessions): State<Sessions>, Json(login): Json<Login>) -> Answer {
    if login.user.is_empty() {
        return Err(Failure::refused(StatusCode::BAD_REQUEST, "no user"));
    }
    let token = sessions.begin(&login.user, &login.device).await?;
    Ok(not_cached(
        (StatusCode::CREATED, Json(Begun { token })).into_response(),
    ))
}

async fn session(State(sessions): State<Sessions>, Bearer(token): Bearer) -> Answer {
    let (_, session): (_, Session) = sessions.find(&token).await?;
    Ok(not_cached(Json(session).into_response()))
}

async fn logout(State(sessions): State<Sessions>, Bearer(token): Bearer) -> Answer {
    sessions.end(&token).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn list(State(sessions): State<Sessions>, Bearer(token): Bearer) -> Answer {
    let (current, _) = sessions.find(&token).await?;
    let listed = sessions.list(&current).await?;
    Ok(not_cached(Json(listed).into_response()))
}

async fn revoke(
    State(sessions): State<Sessions>,
    Bearer(token): Bearer,
    Path(id): Path<String>,
) -> Answer {
    let (current, _) = sessions.find(&token).await?;
    sessions.revoke(&current, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn revoke_all(State(sessions): State<Sessions>, Bearer(token): Bearer) -> Answer {
    let (current, _) = sessions.find(&token).await?;
    sessions.revoke_all(&current).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What an answer says is good for the moment, and for who asked.
fn not_cached(mut response: Response) -> Response {
    let no_store = header::HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
