//! `cargo run -p secret-service [URL]`, see the README.

use std::process::ExitCode;

use secret_service::{Audit, Callers, Secrets, app};

#[tokio::main]
async fn main() -> ExitCode {
    example_service::serve("secret-service", async |provider| {
        let callers = match example_service::variable("CALLERS")? {
            Some(list) => Callers::parse(&list)?,
            None => {
                let (callers, token) = Callers::demo()?;
                example_service::say_out(&format!(
                    "CALLERS is not set; the caller `demo` has the token {token}"
                ));
                callers
            }
        };
        let audit = Audit::new(std::io::stdout());
        Ok(app(Secrets::new(provider)?, callers, audit))
    })
    .await
}
