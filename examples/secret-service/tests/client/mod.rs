//! A caller of the service.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvstore_core::Provider;
use reqwest::Method;
use secret_service::{Audit, Callers, Secrets, app};
use tokio::net::TcpListener;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_secret-service");

pub(crate) const TOKEN: &str = "billing-0123456789abcdef";

/// The callers of the services that are started here.
pub(crate) const CALLERS: (&str, &str) = (
    "CALLERS",
    "billing:billing-0123456789abcdef backup:backup-0123456789abcdef",
);

#[derive(Clone)]
pub(crate) struct Client {
    base: String,
    token: &'static str,
    http: reqwest::Client,
}

/// A status and a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) u16, pub(crate) Vec<u8>);

impl Answer {
    #[track_caller]
    pub(crate) fn status(&self, status: u16) {
        assert_eq!(self.0, status, "{}", String::from_utf8_lossy(&self.1));
    }

    #[track_caller]
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.status(200);
        self.1
    }
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            token: TOKEN,
            http: example_service::testing::http(),
        }
    }

    pub(crate) fn with_token(&self, token: &'static str) -> Self {
        Self {
            token,
            ..self.clone()
        }
    }

    /// Asks; an error where there is no answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> reqwest::Result<Answer> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        // Far beyond every deadline: what takes longer hangs.
        let request = request.timeout(Duration::from_secs(60));
        let request = request.header("Authorization", format!("Bearer {}", self.token));
        let answer = request.body(body.to_vec()).send().await?;
        let status = answer.status().as_u16();
        Ok(Answer(status, answer.bytes().await?.to_vec()))
    }

    pub(crate) async fn create(&self, name: &str, secret: &[u8]) -> Answer {
        self.ask(Method::POST, &format!("/secrets/{name}"), secret)
            .await
            .unwrap()
    }

    pub(crate) async fn fetch(&self, name: &str) -> Answer {
        self.ask(Method::GET, &format!("/secrets/{name}"), b"")
            .await
            .unwrap()
    }

    pub(crate) async fn take(&self, name: &str) -> Answer {
        self.ask(Method::POST, &format!("/secrets/{name}/take"), b"")
            .await
            .unwrap()
    }

    pub(crate) async fn rotate(&self, name: &str, secret: &[u8]) -> Answer {
        self.ask(Method::PUT, &format!("/secrets/{name}"), secret)
            .await
            .unwrap()
    }

    pub(crate) async fn delete(&self, name: &str) -> Answer {
        self.ask(Method::DELETE, &format!("/secrets/{name}"), b"")
            .await
            .unwrap()
    }

    pub(crate) async fn list(&self, prefix: &str) -> Answer {
        self.ask(Method::GET, &format!("/secrets?prefix={prefix}"), b"")
            .await
            .unwrap()
    }

    pub(crate) async fn names(&self, prefix: &str) -> Vec<String> {
        serde_json::from_slice(&self.list(prefix).await.bytes()).unwrap()
    }
}

/// What an audit log of this process has.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The service in this process, on a provider of the test's.
pub(crate) async fn in_this_process(provider: impl Provider) -> (Client, Log) {
    let log = Log::default();
    let secrets = Secrets::new(Arc::new(provider)).unwrap();
    let app = app(
        secrets,
        Callers::parse(CALLERS.1).unwrap(),
        Audit::new(log.clone()),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (client, log)
}
