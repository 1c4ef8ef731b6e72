//! `cargo run -p session-service [URL]`, see the README.

use std::process::ExitCode;

use session_service::{Sessions, TTL, app};

#[tokio::main]
async fn main() -> ExitCode {
    example_service::serve("session-service", async |provider| {
        let sessions = Sessions::new(provider, TTL)?;
        if !sessions.can_list() {
            example_service::say(
                "this store cannot list keys: GET and DELETE /sessions will answer 501",
            );
        }
        Ok(app(sessions))
    })
    .await
}
