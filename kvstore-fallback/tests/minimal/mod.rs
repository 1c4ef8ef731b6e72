//! A provider of four methods, which takes no keys over 255 bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kvstore_core::{
    Bytes, Capabilities, DeleteRequest, GetRequest, Key, Outcome, Provider, Result, SetRequest,
    async_trait,
};

#[derive(Clone)]
pub(crate) struct Minimal {
    capabilities: Capabilities,
    map: Arc<Mutex<HashMap<String, Bytes>>>,
}

impl Default for Minimal {
    fn default() -> Self {
        Self {
            capabilities: Capabilities::new("minimal"),
            map: Arc::default(),
        }
    }
}

fn text(key: Key<'_>) -> &str {
    assert!(
        key.as_str().len() <= 255,
        "asked for a key that is too long"
    );
    key.as_str()
}

#[async_trait]
impl Provider for Minimal {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        Ok(self.map.lock().unwrap().get(text(request.key)).cloned())
    }

    async fn set(&self, request: SetRequest<'_>) -> Result<Outcome> {
        let key = text(request.key).to_owned();
        self.map.lock().unwrap().insert(key, request.value);
        Ok(Outcome::Applied(None))
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<Outcome> {
        self.map.lock().unwrap().remove(text(request.key));
        Ok(Outcome::Applied(None))
    }
}
