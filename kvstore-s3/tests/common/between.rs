//! What may stand between a client and a server, and change what goes through.

use kvstore_s3::S3Config;
use kvstore_testsuite::servers::S3Server;
use kvstore_testsuite::unique_root;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request. Its text is that of the whole request, with names of headers in lower case.
pub(crate) enum Pass {
    On(String),
    /// It is sent again when it was answered, as a proxy does that takes it for lost.
    Twice(String),
    /// The server does not see it: this is answered.
    Answer(&'static str),
}

/// A way to the bucket that everybody may use, where nothing is signed: `there` sees each request, and `back` each
/// answer.
pub(crate) async fn between(
    there: impl Fn(String) -> Pass + Copy + Send + 'static,
    back: impl Fn(String) -> String + Copy + Send + 'static,
) -> S3Config {
    let server = S3Server::shared();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = server.address();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Some(request) = request(&mut client).await else {
                    return;
                };
                let answer = match there(request) {
                    Pass::Answer(answer) => answer.to_owned(),
                    Pass::On(request) => ask(target, &request).await,
                    Pass::Twice(request) => {
                        ask(target, &request).await;
                        ask(target, &request).await
                    }
                };
                let _ = client.write_all(back(answer).as_bytes()).await;
            });
        }
    });
    S3Config::new("127.0.0.1", server.open_bucket())
        .port(address.port())
        .plain()
        .anonymous()
        .prefix(format!("{}/", unique_root()))
        .timeout(super::TIMEOUT)
}

/// A request as a proxy passes it on that keeps no connections; `None` when there is none.
async fn request(client: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let read = client.read_buf(&mut text).await.ok()?;
        let request = std::str::from_utf8(&text).ok()?;
        if let Some((head, body)) = request.split_once("\r\n\r\n")
            && body.len() >= length(head)
        {
            return Some(format!("{head}\r\nconnection: close\r\n\r\n{body}"));
        }
        if read == 0 {
            return None;
        }
    }
}

fn length(head: &str) -> usize {
    let after = head.split_once("\r\ncontent-length: ");
    let digits = after.map(|(_, after)| after.lines().next().unwrap_or_default());
    digits.map_or(0, |digits| digits.parse().unwrap())
}

async fn ask(target: std::net::SocketAddr, request: &str) -> String {
    let mut server = TcpStream::connect(target).await.unwrap();
    server.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).await.unwrap();
    answer
}
