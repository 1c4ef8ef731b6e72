//! Tokens: got once, renewed, got anew when they are refused; or clearly gone.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Place, fails, plain, policy, works_again};
use kvstore_core::{ErrorKind, KeyValueStore};
use kvstore_testsuite::servers::VaultServer;
use kvstore_vault::{Credential, VaultConfig, VaultProvider};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// An AppRole on a path of its own, with what a test needs to do things to it.
struct Role {
    place: Place,
    role_id: String,
    secret_id: String,
}

impl Role {
    fn new(settings: Value) -> Self {
        let place = Place::new();
        let (role_id, secret_id) = place
            .vault
            .approle(&place.path, &policy(&place.path), settings);
        Self {
            place,
            role_id,
            secret_id,
        }
    }

    fn config(&self) -> VaultConfig {
        plain(self.place.vault, &self.place.path).approle(&self.role_id, self.secret_id.as_str())
    }

    /// The tokens that were given out for the role and are still good.
    fn accessors(&self) -> Vec<String> {
        let vault = self.place.vault;
        let all = vault.request("LIST", "auth/token/accessors", Value::Null);
        let all = all["data"]["keys"].as_array().unwrap().clone();
        let ours = all.iter().filter_map(|accessor| {
            let body = json!({ "accessor": accessor });
            let path = "auth/token/lookup-accessor";
            // Others may end while this looks.
            let (_, found) = vault.try_request(vault.token(), "", "POST", path, &body);
            let policies = found["data"]["policies"].to_string();
            policies
                .contains(&self.place.path)
                .then(|| accessor.as_str().unwrap().to_owned())
        });
        ours.collect()
    }

    fn revoke_all(&self) {
        for accessor in self.accessors() {
            let body = json!({ "accessor": accessor });
            self.place
                .vault
                .request("POST", "auth/token/revoke-accessor", body);
        }
    }

    fn revoke_secret(&self) {
        let path = format!("auth/approle/role/{}/secret-id/destroy", self.place.path);
        self.place
            .vault
            .request("POST", &path, json!({ "secret_id": self.secret_id }));
    }
}

#[tokio::test]
async fn one_login_serves_all_calls() {
    let role = Role::new(json!({}));
    let provider = VaultProvider::lazy(role.config()).unwrap();
    let store = KeyValueStore::text(provider);
    let mut calls = JoinSet::new();
    for n in 0..50 {
        let store = store.clone();
        calls.spawn(async move { store.set(&format!("key {n}"), "value").await });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    assert_eq!(role.accessors().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_by_one_login() {
    let role = Role::new(json!({}));
    let store = KeyValueStore::text(VaultProvider::connect(role.config()).await.unwrap());
    store.set("key", "value").await.unwrap();
    for _ in 0..2 {
        role.revoke_all();
        let mut calls = JoinSet::new();
        for _ in 0..50 {
            let store = store.clone();
            calls.spawn(async move { store.get("key").await });
        }
        while let Some(call) = calls.join_next().await {
            assert_eq!(call.unwrap().unwrap().as_deref(), Some("value"));
        }
        assert_eq!(role.accessors().len(), 1);
    }
}

#[tokio::test]
async fn a_plain_token_that_was_revoked_is_an_error_of_credentials() {
    let place = Place::new();
    let made = place.vault.request("POST", "auth/token/create", json!({}));
    let token = made["auth"]["client_token"].as_str().unwrap();
    let config = plain(place.vault, &place.path).token(token);
    let store = KeyValueStore::text(VaultProvider::connect(config).await.unwrap());
    store.set("key", "value").await.unwrap();
    place
        .vault
        .request("POST", "auth/token/revoke", json!({ "token": token }));
    fails(
        store.get("key").await,
        ErrorKind::Unauthenticated,
        "refused the token",
    );
    let set = fails(
        store.set("key", "other").await,
        ErrorKind::Unauthenticated,
        "refused the token",
    );
    assert!(!set.outcome_unknown());
    assert_eq!(place.members("key"), json!({ "value": "value" }));
}

#[tokio::test]
async fn a_token_file_is_read_again_when_its_token_is_refused() {
    let place = Place::new();
    let create = || {
        let made = place.vault.request("POST", "auth/token/create", json!({}));
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let file = std::env::temp_dir().join(&place.path);
    let first = create();
    std::fs::write(&file, format!("{first}\n")).unwrap();
    let config = plain(place.vault, &place.path).token(Credential::file(&file));
    let store = KeyValueStore::text(VaultProvider::connect(config).await.unwrap());
    store.set("key", "value").await.unwrap();
    place
        .vault
        .request("POST", "auth/token/revoke", json!({ "token": first }));
    let refused = store.get("key").await;
    std::fs::write(&file, create()).unwrap();
    let found = store.get("key").await;
    std::fs::remove_file(&file).unwrap();
    fails(refused, ErrorKind::Unauthenticated, "refused the token");
    assert_eq!(found.unwrap().as_deref(), Some("value"));
}

#[tokio::test]
async fn a_revoked_secret_id_is_a_clear_error_and_a_new_one_works() {
    let role = Role::new(json!({}));
    let file = std::env::temp_dir().join(&role.place.path);
    std::fs::write(&file, &role.secret_id).unwrap();
    let config =
        plain(role.place.vault, &role.place.path).approle(&role.role_id, Credential::file(&file));
    let store = KeyValueStore::text(VaultProvider::connect(config).await.unwrap());
    store.set("key", "value").await.unwrap();
    role.revoke_secret();
    // The token is good still.
    store.get("key").await.unwrap();
    role.revoke_all();
    let refused = [
        store.get("key").await.map(drop),
        store.set("key", "other").await,
    ];
    let path = format!("auth/approle/role/{}/secret-id", role.place.path);
    let made = role.place.vault.request("POST", &path, json!({}));
    std::fs::write(&file, made["data"]["secret_id"].as_str().unwrap()).unwrap();
    let found = store.get("key").await;
    std::fs::remove_file(&file).unwrap();
    for refused in refused {
        fails(refused, ErrorKind::Unauthenticated, "the secret id");
    }
    assert_eq!(found.unwrap().as_deref(), Some("value"));
}

/// Calls without a pause for longer than any token lives; none may fail.
async fn no_call_fails(store: &KeyValueStore<String>, span: Duration) {
    store.set("key", "value").await.unwrap();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            while start.elapsed() < span {
                assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
                store.set("key", "value").await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

#[tokio::test]
async fn a_lease_of_two_seconds_is_renewed_under_load() {
    let role = Role::new(json!({ "token_ttl": "2s" }));
    let store = KeyValueStore::text(VaultProvider::connect(role.config()).await.unwrap());
    let first = role.accessors();
    no_call_fails(&store, Duration::from_secs(7)).await;
    // Renewed, and not replaced.
    assert_eq!(role.accessors(), first);
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_further_is_replaced() {
    let role = Role::new(json!({ "token_ttl": "2s", "token_max_ttl": "3s" }));
    let store = KeyValueStore::text(VaultProvider::connect(role.config()).await.unwrap());
    no_call_fails(&store, Duration::from_secs(8)).await;
    let role = Role::new(json!({ "token_ttl": "2s", "token_type": "batch" }));
    let store = KeyValueStore::text(VaultProvider::connect(role.config()).await.unwrap());
    no_call_fails(&store, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_plain_token_is_renewed() {
    let place = Place::new();
    let create = json!({ "period": "2s" });
    let made = place.vault.request("POST", "auth/token/create", create);
    let token = made["auth"]["client_token"].as_str().unwrap();
    let config = plain(place.vault, &place.path).token(token);
    let store = KeyValueStore::text(VaultProvider::connect(config).await.unwrap());
    no_call_fails(&store, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let role = Role::new(json!({ "token_ttl": "2s" }));
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let none_left = || async {
        match tasks() == before {
            true => Ok(()),
            false => Err(kvstore_core::Error::from(ErrorKind::Busy)),
        }
    };
    for close in [false, true] {
        let provider = VaultProvider::connect(role.config()).await.unwrap();
        let store = KeyValueStore::text(provider.clone());
        store.set("key", "value").await.unwrap();
        assert!(tasks() > before, "a task renews the token");
        if close {
            assert_eq!(role.accessors().len(), 1);
            store.close().await.unwrap();
            assert!(role.accessors().is_empty(), "its token was revoked");
            fails(store.get("key").await, ErrorKind::Closed, "closed");
            works_again(ErrorKind::Busy, none_left).await;
            fails(provider.purge_expired().await, ErrorKind::Closed, "closed");
        }
        drop((store, provider));
        works_again(ErrorKind::Busy, none_left).await;
        role.revoke_all();
    }
}

#[tokio::test]
async fn a_token_that_is_not_ours_is_not_revoked() {
    let place = Place::new();
    let store = place.text("").await;
    store.close().await.unwrap();
    place
        .vault
        .request("GET", "auth/token/lookup-self", Value::Null);
}

/// Says of every token that it is of a service account, as Kubernetes would.
async fn kubernetes() -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 65536]).await;
            let review = json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "status": {
                    "authenticated": true,
                    "user": { "username": "system:serviceaccount:shop:orders", "uid": "u1", "groups": ["system:serviceaccounts"] },
                },
            });
            let review = review.to_string();
            let head =
                "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{review}", review.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_logs_in_at_a_mount_of_its_own() {
    let place = Place::new();
    let (vault, mount) = (place.vault, format!("k8s/{}", place.path));
    let host = format!("http://127.0.0.1:{}", kubernetes().await);
    vault.request(
        "POST",
        &format!("sys/auth/{mount}"),
        json!({ "type": "kubernetes" }),
    );
    // Some certificate is needed, though there is no TLS.
    let ca = std::fs::read_to_string(VaultServer::shared().ca_path()).unwrap();
    let config = json!({
        "kubernetes_host": host,
        "kubernetes_ca_cert": ca,
        "disable_local_ca_jwt": true,
        "token_reviewer_jwt": JWT,
    });
    vault.request("POST", &format!("auth/{mount}/config"), config);
    vault.approle(&place.path, &policy(&place.path), json!({}));
    let role = json!({
        "bound_service_account_names": "orders",
        "bound_service_account_namespaces": "shop",
        "token_policies": place.path,
    });
    vault.request("POST", &format!("auth/{mount}/role/orders"), role);
    let file = std::env::temp_dir().join(&place.path);
    std::fs::write(&file, JWT).unwrap();
    let config = plain(vault, &place.path)
        .kubernetes_with_jwt("orders", &file)
        .auth_mount(&mount);
    let connected = VaultProvider::connect(config.clone()).await;
    let refused = VaultProvider::connect(config.kubernetes_with_jwt("others", &file))
        .await
        .map(drop);
    std::fs::remove_file(&file).unwrap();
    let store = KeyValueStore::text(connected.unwrap());
    store.set("key", "value").await.unwrap();
    assert_eq!(place.members("key"), json!({ "value": "value" }));
    fails(refused, ErrorKind::Unauthenticated, "Kubernetes");
}

/// {"alg":"RS256","typ":"JWT"} of the service account `orders` in `shop`, signed by nobody.
const JWT: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50Iiwia3ViZXJuZXRlcy5pby9zZXJ2aWNlYWNjb3VudC9uYW1lc3BhY2UiOiJzaG9wIiwia3ViZXJuZXRlcy5pby9zZXJ2aWNlYWNjb3VudC9zZXJ2aWNlLWFjY291bnQubmFtZSI6Im9yZGVycyIsImt1YmVybmV0ZXMuaW8vc2VydmljZWFjY291bnQvc2VydmljZS1hY2NvdW50LnVpZCI6InUxIiwic3ViIjoic3lzdGVtOnNlcnZpY2VhY2NvdW50OnNob3A6b3JkZXJzIn0.c2lnbmF0dXJl";

#[tokio::test]
async fn a_login_that_hangs_ends_by_the_deadline() {
    let role = Role::new(json!({}));
    let address = role.place.vault.address();
    let proxy = kvstore_testsuite::proxy::Proxy::start(address)
        .await
        .unwrap();
    let config = role
        .config()
        .port(proxy.address().port())
        .timeout(Duration::from_millis(300));
    let store = KeyValueStore::text(VaultProvider::lazy(config).unwrap());
    proxy.stall();
    let hung = AtomicBool::new(true);
    let calls = async {
        let (one, two) = tokio::join!(store.set("key", "value"), store.get("key"));
        hung.store(false, Ordering::Relaxed);
        // Nothing of the secret was sent.
        assert!(!fails(one, ErrorKind::Timeout, "").outcome_unknown());
        fails(two, ErrorKind::Timeout, "");
    };
    tokio::time::timeout(Duration::from_secs(20), calls)
        .await
        .expect("the login hangs");
    proxy.heal();
    works_again(ErrorKind::Timeout, || store.set("key", "value")).await;
}
