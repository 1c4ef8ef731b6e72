use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

/// Who did what to which secret, and what came of it: a line of JSON each, without values.
#[derive(Clone)]
pub struct Audit(Arc<Mutex<dyn Write + Send>>);

impl Audit {
    /// Writes to a file, or to the standard output.
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(to)))
    }

    /// `caller` is nobody where the token was refused; a status of 503 leaves open whether it was done.
    pub(crate) fn record(
        &self,
        caller: Option<&str>,
        action: &str,
        name: Option<&str>,
        status: u16,
    ) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = json!({
            "at": now.unwrap_or_default().as_millis().to_string(),
            "caller": caller,
            "action": action,
            "name": name,
            "status": status,
        });
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writeln!(to, "{line}").and_then(|()| to.flush());
        if let Err(error) = written {
            example_service::say(&format!("the audit log cannot be written: {error}: {line}"));
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}
