//! What `ping` says of a server.

mod common;

use common::Place;
use kvstore_core::KeyValueStore;
use kvstore_vault::VaultProvider;
use serde_json::json;

#[tokio::test]
async fn ping_says_what_the_server_is_and_what_could_bite() {
    let place = Place::new();
    let info = place.text("").await.ping().await.unwrap();
    assert!(info.version.is_some(), "{info:?}");
    if info.product == "openbao" {
        let memory = info
            .warnings
            .iter()
            .any(|warning| warning.contains("in memory"));
        assert!(memory, "{info:?}");
    }
    assert!(
        !info.warnings.iter().any(|warning| warning.contains("TLS")),
        "{info:?}"
    );
}

#[tokio::test]
async fn ping_warns_of_a_token_that_ends() {
    let place = Place::new();
    let create = json!({ "ttl": "1h", "renewable": false });
    let made = place.vault.request("POST", "auth/token/create", create);
    let token = made["auth"]["client_token"].as_str().unwrap();
    let config = common::plain(place.vault, &place.path).token(token);
    let store = KeyValueStore::text(VaultProvider::connect(config).await.unwrap());
    let info = store.ping().await.unwrap();
    let ends = info
        .warnings
        .iter()
        .any(|warning| warning.contains("cannot be renewed"));
    assert!(ends, "{info:?}");
}
