//! A caller of the service.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::time::Duration;

use kvstore_core::Provider;
use reqwest::Method;
use serde_json::{Value, json};
use session_service::{Sessions, app};
use std::sync::Arc;
use tokio::net::TcpListener;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_session-service");

#[derive(Clone)]
pub(crate) struct Client {
    base: String,
    http: reqwest::Client,
}

/// A status and a body.
pub(crate) struct Answer(u16, String);

impl Answer {
    pub(crate) fn code(&self) -> u16 {
        self.0
    }

    #[track_caller]
    pub(crate) fn status(&self, status: u16) {
        assert_eq!(self.0, status, "{}", self.1);
    }

    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        self.status(status);
        serde_json::from_str(&self.1).unwrap()
    }
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            http: example_service::testing::http(),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&str>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        // Far beyond every deadline: what takes longer hangs.
        request = request.timeout(Duration::from_secs(60));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(body.to_owned());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        Answer(status, answer.text().await.unwrap())
    }

    pub(crate) async fn login_with(&self, body: &str) -> Answer {
        self.send(Method::POST, "/login", None, Some(body)).await
    }

    pub(crate) async fn try_login(&self, user: &str, device: &str) -> Answer {
        let body = json!({ "user": user, "device": device }).to_string();
        self.login_with(&body).await
    }

    /// The token of a new session.
    pub(crate) async fn login(&self, user: &str, device: &str) -> String {
        let answer = self.try_login(user, device).await.json(201);
        answer["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn session(&self, token: &str) -> Answer {
        self.get("/session", token).await
    }

    pub(crate) async fn without_token(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, None).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, path, Some(token), None).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str) -> Answer {
        self.send(Method::POST, path, Some(token), None).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        self.send(Method::DELETE, path, Some(token), None).await
    }
}

/// The service in this process, on a provider of the test's.
pub(crate) async fn in_this_process(provider: impl Provider, ttl: Duration) -> Client {
    let sessions = Sessions::new(Arc::new(provider), ttl).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, app(sessions)).await });
    client
}
