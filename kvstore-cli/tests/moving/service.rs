//! Instances of the service, and a way to them.

use std::sync::Arc;
use std::time::Duration;

use example_service::serve_until;
use kvstore_core::Provider;
use reqwest::Method;
use secret_service::{Audit, Callers, Secrets, app};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const TOKEN: &str = "0123456789abcdef";

/// An instance of the service.
pub(crate) struct Running {
    pub(crate) base: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    provider: Arc<dyn Provider>,
}

impl Running {
    /// Starts one on a store: all that differs is the URL.
    pub(crate) async fn start(url: &str) -> Self {
        let provider = example_service::open(url).await.unwrap();
        let secrets = Secrets::new(Arc::clone(&provider)).unwrap();
        let callers = Callers::parse(&format!("caller:{TOKEN}")).unwrap();
        let app = app(secrets, callers, Audit::new(std::io::sink()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let until = async { drop(stopped.await) };
        Self {
            base,
            stop,
            served: tokio::spawn(serve_until(listener, app, until)),
            provider,
        }
    }

    /// Ends it when it has answered what is under way.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
        self.provider.close().await.unwrap();
    }
}

/// A way to the instance of the moment.
#[derive(Clone)]
pub(crate) struct Client {
    base: String,
    http: reqwest::Client,
}

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) u16, pub(crate) Vec<u8>);

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            http: example_service::testing::http(),
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
        let request = request.header("Authorization", format!("Bearer {TOKEN}"));
        let answer = request.body(body.to_vec()).send().await?;
        let status = answer.status().as_u16();
        Ok(Answer(status, answer.bytes().await?.to_vec()))
    }
}
