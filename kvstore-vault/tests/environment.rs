//! Nothing is read from the environment but what is named.

mod common;

use common::{Place, fails};
use kvstore_core::ErrorKind;
use kvstore_testsuite::servers::Vault;
use kvstore_vault::VaultProvider;

/// The test below runs this binary again, with these set.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("VAULT_ADDR", "http://192.0.2.1:1"),
    ("VAULT_TOKEN", "s.from-the-environment"),
    ("VAULT_SKIP_VERIFY", "true"),
    ("VAULT_NAMESPACE", "nowhere"),
    ("VAULT_CACERT", "/nowhere"),
    ("HTTP_PROXY", "http://192.0.2.1:1"),
    ("ALL_PROXY", "http://192.0.2.1:1"),
];

#[tokio::test]
async fn the_environment_means_nothing() {
    let vault = Vault::shared();
    if std::env::var("VAULT_TOKEN").is_err() {
        let again = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["the_environment_means_nothing", "--exact"])
            .env(
                "KVSTORE_TEST_VAULT_URL",
                format!("http://{}", vault.address()),
            )
            .env("KVSTORE_TEST_VAULT_TOKEN", vault.token())
            .envs(ENVIRONMENT)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(
            again.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let place = Place::new();
    let store = place.text("").await;
    store.set("key", "value").await.unwrap();
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
    let nothing = format!("vault+http://{}/{}", vault.address(), Vault::MOUNT);
    let refused = VaultProvider::connect(&nothing).await.map(drop);
    fails(refused, ErrorKind::InvalidConfig, "no way to log in");
    let named = format!("{nothing}?token_env=VAULT_TOKEN");
    fails(
        VaultProvider::connect(&named).await.map(drop),
        ErrorKind::Unauthenticated,
        "refused the token",
    );
}
