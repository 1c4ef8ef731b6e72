//! A provider that writes nothing: what the store in front of it refuses is refused all the same.

use std::sync::Arc;

use kvstore_core::{
    Bytes, Capabilities, DeleteRequest, Entry, Error, ErrorKind, GetRequest, Outcome, Provider,
    Result, SetRequest, async_trait,
};

pub(crate) struct Dry(pub(crate) Arc<dyn Provider>);

#[async_trait]
impl Provider for Dry {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<Option<Bytes>> {
        self.0.get(request).await
    }

    async fn get_entry(&self, request: GetRequest<'_>) -> Result<Option<Entry<Bytes>>> {
        self.0.get_entry(request).await
    }

    async fn set(&self, _: SetRequest<'_>) -> Result<Outcome> {
        Ok(Outcome::Applied(None))
    }

    async fn delete(&self, _: DeleteRequest<'_>) -> Result<Outcome> {
        Err(Error::new(ErrorKind::Unsupported, "nothing is deleted"))
    }
}
