//! Connecting: credentials, rights, TLS; what is wrong is said at once.

use std::time::Duration;

use kvstore_core::{ErrorKind, KeyValueStore, Registry, SetOptions};
use kvstore_mongodb::MongoDbProvider;
use kvstore_testsuite::servers::MongoDb;
use kvstore_testsuite::unique_root;
use mongodb::Client;
use mongodb::bson::{Bson, doc};
use tokio::sync::OnceCell;

mod common;
use common::{SECRET, connect, ends, failed, printed};

/// A server with access control and these users in `admin`: `least` with the rights that the README names,
/// `all` with `readWrite`, `reader` with `read`, and one for each right of `least` that lacks it; all with the
/// password `SECRET`.
async fn guarded() -> &'static MongoDb {
    static SERVER: OnceCell<MongoDb> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            let server = MongoDb::start_standalone(&["--auth"]);
            let admin = |user: &str| format!("mongodb://{user}{}/?directConnection=true", server.address());
            // The first user may be made by anybody on this machine.
            let client = Client::with_uri_str(admin("")).await.unwrap();
            let make = doc! {"createUser": "root", "pwd": SECRET, "roles": ["root"]};
            client.database("admin").run_command(make).await.unwrap();
            let client = Client::with_uri_str(admin(&format!("root:{SECRET}@"))).await.unwrap();
            let admin = client.database("admin");
            let user = async |name: &str, role: Bson| {
                let make = doc! {"createUser": name, "pwd": SECRET, "roles": [role]};
                admin.run_command(make).await.unwrap();
            };
            const RIGHTS: [&str; 4] = ["find", "insert", "update", "remove"];
            for lacking in [None, Some("find"), Some("insert"), Some("update"), Some("remove")] {
                let name = lacking.map_or("least".to_owned(), |right| format!("no-{right}"));
                let actions: Vec<_> = RIGHTS.into_iter().filter(|right| Some(*right) != lacking).collect();
                let privileges = doc! {"resource": {"db": "kvstore_test", "collection": "small"}, "actions": actions};
                let make = doc! {"createRole": &name, "privileges": [privileges], "roles": []};
                admin.run_command(make).await.unwrap();
                user(&name, Bson::String(name.clone())).await;
            }
            user("all", doc! {"role": "readWrite", "db": "kvstore_test"}.into()).await;
            user("reader", doc! {"role": "read", "db": "kvstore_test"}.into()).await;
            server
        })
        .await
}

fn url(server: &MongoDb, user: &str, parameters: &str) -> String {
    let address = server.address();
    format!("mongodb://{user}{address}/?database=kvstore_test&timeout=2s&{parameters}")
}

#[tokio::test]
async fn with_the_least_rights_all_works_but_the_index() {
    let server = guarded().await;
    let provider = connect(&url(
        server,
        "least:hunter2@",
        "collection=small&journal=true",
    ))
    .await;
    let texts = KeyValueStore::text(provider);
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    texts.set_with("k", "v", hour).await.unwrap();
    let entry = texts.get_entry("k").await.unwrap().unwrap();
    assert!(texts.touch("k", Duration::from_secs(60)).await.unwrap());
    assert!(
        texts
            .delete_if("k", entry.version.unwrap())
            .await
            .unwrap()
            .is_applied()
    );
    texts
        .set_many([("a", "1"), ("b", "2")], hour)
        .await
        .unwrap();
    assert_eq!(texts.get_many(["a", "b"]).await.unwrap().len(), 2);
    assert_eq!(texts.keys("").next().await.unwrap().unwrap(), "a");
    assert_eq!(texts.take("a").await.unwrap().as_deref(), Some("1"));
    texts.delete_many(["b"]).await.unwrap();
    let [warning] = &texts.ping().await.unwrap().warnings[..] else {
        panic!("one warning is due");
    };
    assert!(warning.contains("right to list indexes"), "{warning}");
}

#[tokio::test]
async fn what_is_wrong_with_the_credentials_is_said_at_once() {
    let server = guarded().await;
    for (user, parameters, kind) in [
        ("", "", ErrorKind::Unauthenticated),
        ("all:wrong@", "", ErrorKind::Unauthenticated),
        ("nobody:hunter2@", "", ErrorKind::Unauthenticated),
        (
            "all:hunter2@",
            "authSource=kvstore_test",
            ErrorKind::Unauthenticated,
        ),
        ("reader:hunter2@", "", ErrorKind::PermissionDenied),
        (
            "no-find:hunter2@",
            "collection=small",
            ErrorKind::PermissionDenied,
        ),
        (
            "no-insert:hunter2@",
            "collection=small",
            ErrorKind::PermissionDenied,
        ),
        (
            "no-update:hunter2@",
            "collection=small",
            ErrorKind::PermissionDenied,
        ),
        (
            "no-remove:hunter2@",
            "collection=small",
            ErrorKind::PermissionDenied,
        ),
        (
            "least:hunter2@",
            "collection=other",
            ErrorKind::PermissionDenied,
        ),
    ] {
        let what = format!("{user} {parameters}");
        let connected = ends(
            &what,
            MongoDbProvider::connect(url(server, user, parameters)),
        )
        .await;
        let error = failed(connected, kind, &what);
        assert!(
            error.to_string().starts_with("mongodb connect: the "),
            "{error}"
        );
    }
    connect(&url(server, "all:hunter2@", "")).await;
}

/// A refused command comes back from the server with all that was in it.
#[tokio::test]
async fn a_refusal_shows_no_key_and_no_value() {
    let server = guarded().await;
    for (user, kind) in [
        ("reader:hunter2@", ErrorKind::PermissionDenied),
        ("", ErrorKind::Unauthenticated),
        ("all:wrong@", ErrorKind::Unauthenticated),
    ] {
        let texts = KeyValueStore::text(MongoDbProvider::lazy(url(server, user, "")).unwrap());
        // The second call finds the server marked by the first one's failure.
        for _ in 0..2 {
            let error = failed(
                ends("set", texts.set("hunter2-key", SECRET)).await,
                kind,
                user,
            );
            assert!(!error.outcome_unknown(), "{error:?}");
            assert_eq!(error.key(), Some("hunter2-key"));
            let batch = ends(
                "set_many",
                texts.set_many([("hunter2", SECRET)], SetOptions::new()),
            )
            .await;
            failed(batch, kind, user);
            failed(ends("take", texts.take("hunter2")).await, kind, user);
        }
    }
    // So does a duplicate, by its key.
    let name = unique_root();
    let texts = KeyValueStore::text(
        connect(&url(server, "all:hunter2@", &format!("collection={name}"))).await,
    );
    let client = Client::with_uri_str(
        url(server, "all:hunter2@", "").replace("database=kvstore_test&timeout=2s&", ""),
    );
    let raw = client
        .await
        .unwrap()
        .database("kvstore_test")
        .collection::<mongodb::bson::Document>(&name);
    let index = mongodb::IndexModel::builder().keys(doc! {"value": 1});
    let unique = mongodb::options::IndexOptions::builder()
        .unique(true)
        .build();
    raw.create_index(index.options(unique).build())
        .await
        .unwrap();
    texts.set("a", SECRET).await.unwrap();
    failed(
        texts.set("b", SECRET).await,
        ErrorKind::Other,
        "a value that another index refuses",
    );
    // Rules of the collection's own.
    let rules = doc! {"collMod": &name, "validator": {"value": {"$ne": "hunter2!"}}};
    let root = Client::with_uri_str(format!("mongodb://root:hunter2@{}", server.address()))
        .await
        .unwrap();
    root.database("kvstore_test")
        .run_command(rules)
        .await
        .unwrap();
    failed(
        texts.set("c", "hunter2!").await,
        ErrorKind::InvalidValue,
        "a value that the rules refuse",
    );
    assert!(texts.get("c").await.unwrap().is_none());
}

#[tokio::test]
async fn tls_checks_the_certificate() {
    let server = MongoDb::start_standalone(&[]);
    let ca = server.ca_path().unwrap();
    let tls = |parameters: &str| url(&server, "", &format!("tls=true&{parameters}"));
    let trusted = tls(&format!("tlsCAFile={}", ca.display()));
    let texts = KeyValueStore::text(connect(&trusted).await);
    texts.set("k", "v").await.unwrap();
    assert_eq!(texts.get("k").await.unwrap().as_deref(), Some("v"));
    assert!(
        !texts
            .ping()
            .await
            .unwrap()
            .warnings
            .iter()
            .any(|warning| warning.contains("TLS"))
    );
    let distrusted = ends("connect", MongoDbProvider::connect(tls(""))).await;
    let error = failed(
        distrusted,
        ErrorKind::Unavailable,
        "an authority that nobody knows",
    );
    assert!(
        printed(&error).contains("ertificate"),
        "{}",
        printed(&error)
    );
    let texts = KeyValueStore::text(connect(&tls("tlsInsecure=true")).await);
    let warnings = texts.ping().await.unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("certificate is not checked")),
        "{warnings:?}"
    );
    let missing = ends(
        "connect",
        MongoDbProvider::connect(tls("tlsCAFile=/no/such/file.pem")),
    )
    .await;
    failed(
        missing,
        ErrorKind::InvalidConfig,
        "a file that is not there",
    );
}

#[tokio::test]
async fn a_write_concern_that_cannot_be_met_is_said_at_once() {
    let server = MongoDb::shared();
    let connected = ends(
        "connect",
        MongoDbProvider::connect(server.url("w=3&timeout=2s")),
    )
    .await;
    failed(
        connected,
        ErrorKind::InvalidConfig,
        "more servers than there are",
    );
    let connected = ends(
        "connect",
        MongoDbProvider::connect(server.url("w=nowhere&timeout=2s")),
    )
    .await;
    failed(
        connected,
        ErrorKind::InvalidConfig,
        "a tag that no server has",
    );
    // Made without connecting, it shows with each write, which is done on the primary.
    let lazy = server.url(&format!("w=3&timeout=2s&collection={}", unique_root()));
    let texts = KeyValueStore::text(MongoDbProvider::lazy(lazy).unwrap());
    let batch = texts.set_many([("b", "v")], SetOptions::new()).await;
    for error in [
        failed(texts.set("a", "v").await, ErrorKind::InvalidConfig, "set"),
        failed(batch, ErrorKind::InvalidConfig, "set_many"),
        failed(
            texts.touch("a", Duration::from_secs(60)).await,
            ErrorKind::InvalidConfig,
            "touch",
        ),
        failed(texts.take("a").await, ErrorKind::InvalidConfig, "take"),
        failed(texts.delete("b").await, ErrorKind::InvalidConfig, "delete"),
    ] {
        assert!(error.outcome_unknown(), "{error:?}");
    }
    assert_eq!(texts.get_many(["a", "b"]).await.unwrap(), [None, None]);
}

#[tokio::test]
async fn read_and_write_concerns_are_sent() {
    let server = MongoDb::shared();
    for concerns in [
        "readConcernLevel=linearizable",
        "readConcernLevel=majority",
        "w=1&journal=true&wtimeoutMS=100",
    ] {
        let url = server.url(&format!("collection={}&{concerns}", unique_root()));
        let texts = KeyValueStore::text(connect(&url).await);
        texts.set("k", "v").await.unwrap();
        assert_eq!(texts.get("k").await.unwrap().as_deref(), Some("v"));
        assert_eq!(texts.get_many(["k"]).await.unwrap(), [Some("v".to_owned())]);
        assert_eq!(texts.keys("").next().await.unwrap().unwrap(), "k");
        assert_eq!(texts.take("k").await.unwrap().as_deref(), Some("v"));
    }
}

#[tokio::test]
async fn the_registry_opens_it_by_url() {
    let registry = Registry::new().with::<MongoDbProvider>();
    let url = MongoDb::shared().url(&format!("collection={}", unique_root()));
    let texts = KeyValueStore::text(registry.open(&url).await.unwrap());
    texts.set("k", "v").await.unwrap();
    let lazy = KeyValueStore::text(registry.open_lazy(&url).unwrap());
    assert_eq!(lazy.get("k").await.unwrap().as_deref(), Some("v"));
    assert_eq!(
        registry.schemes().collect::<Vec<_>>(),
        ["mongodb", "mongodb+srv"]
    );
    failed(
        registry.open_lazy("mongodb://h/d?nonsense=1").map(drop),
        ErrorKind::InvalidConfig,
        "open_lazy",
    );
}
