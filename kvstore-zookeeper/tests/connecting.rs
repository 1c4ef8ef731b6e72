//! Connecting: what is checked, and what is said when it fails; rights; and what `ping` says.

use std::time::Duration;

use kvstore_core::{Connect as _, ErrorKind, KeyValueStore, Registry, SetOptions};
use kvstore_testsuite::proxy::Proxy;
use kvstore_testsuite::servers::ZooKeeper;
use kvstore_testsuite::unique_root;
use kvstore_zookeeper::{Acl, ZooKeeperConfig, ZooKeeperProvider};
use zookeeper_client::{Acl as TheirAcl, AuthId, Client, CreateMode, Permission};

mod common;
use common::{HANGS, config, create, ends, failed, other, printed, texts};

const SECRET: &str = "hunter2";

async fn not_connected(config: ZooKeeperConfig, kind: ErrorKind, says: &str) {
    let error = failed(
        ends(says, ZooKeeperProvider::connect(config)).await,
        kind,
        says,
    );
    assert!(
        error.to_string().starts_with("zookeeper connect: ") && error.to_string().contains(says),
        "{error}"
    );
    assert!(!printed(&error).contains(SECRET), "{}", printed(&error));
}

#[tokio::test]
async fn by_url() {
    let zookeeper = ZooKeeper::shared();
    let registry = Registry::new().with::<ZooKeeperProvider>();
    assert_eq!(ZooKeeperProvider::SCHEMES, ["zookeeper"]);
    let url = zookeeper.url(&format!("/by-url/{}?timeout=3s", unique_root()));
    let texts = KeyValueStore::text(registry.open(&url).await.unwrap());
    texts.set("key", "v").await.unwrap();
    let lazy = KeyValueStore::text(registry.open_lazy(&url).unwrap());
    assert_eq!(lazy.get("key").await.unwrap().as_deref(), Some("v"));
}

#[tokio::test]
async fn nothing_is_written_by_connecting() {
    let (zookeeper, root) = (ZooKeeper::shared(), format!("/{}", unique_root()));
    let config = config(zookeeper).root(format!("{root}/a/b"));
    let store = texts(config).await;
    let other = other(zookeeper).await;
    assert!(other.check_stat(&root).await.unwrap().is_none());
    assert_eq!(store.get("key").await.unwrap(), None);
    assert!(store.keys("").next().await.is_none());
    assert!(!store.has("key").await.unwrap());
    store.delete("key").await.unwrap();
    assert!(store.take("key").await.unwrap().is_none());
    assert!(other.check_stat(&root).await.unwrap().is_none());
    store.set("key", "v").await.unwrap();
    let buckets = other.list_children(&format!("{root}/a/b")).await.unwrap();
    assert_eq!(buckets.len(), 1);
}

/// Many make the nodes above the keys at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_writes_of_many_clients() {
    for round in 0..5 {
        let config = config(ZooKeeper::shared()).root(format!("/{}/a/b", unique_root()));
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let config = config.clone();
                tokio::spawn(async move {
                    let store = texts(config).await;
                    let items = (0..20).map(|n| (format!("{task}:{n}"), "v"));
                    match (round + task) % 3 {
                        0 => store.set_many(items, SetOptions::new()).await.unwrap(),
                        _ => {
                            for (key, value) in items {
                                store.set(&key, value).await.unwrap();
                            }
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let store = texts(config).await;
        let mut keys = store.keys("");
        let mut count = 0;
        while let Some(key) = keys.next().await {
            key.unwrap();
            count += 1;
        }
        assert_eq!(count, 160);
    }
}

#[tokio::test]
async fn wrong_credentials_are_found_where_nodes_are_of_somebody() {
    let zookeeper = ZooKeeper::shared();
    let config = config(zookeeper);
    // `addauth` takes any password: who was first has them.
    let owner = texts(config.clone().credentials("app", SECRET)).await;
    owner.set("key", "v").await.unwrap();
    let denied = ErrorKind::PermissionDenied;
    let wrong = config.clone().credentials("app", "hunter22");
    not_connected(wrong.clone(), denied, "password is wrong").await;
    not_connected(config.clone(), denied, "user's name or password").await;
    let bob = config.clone().credentials("bob", SECRET);
    not_connected(bob, denied, "to create").await;
    let lazy = KeyValueStore::text(ZooKeeperProvider::lazy(wrong).unwrap());
    for result in [
        lazy.get("key").await.map(drop),
        lazy.set("key", SECRET).await,
        lazy.set("other", SECRET).await,
        lazy.delete("key").await,
        lazy.take("key").await.map(drop),
        lazy.keys("").next().await.unwrap().map(drop),
    ] {
        let error = failed(result, denied, "lazily");
        assert!(!error.outcome_unknown() && !printed(&error).contains(SECRET));
    }
    assert_eq!(owner.get("key").await.unwrap().as_deref(), Some("v"));
    texts(config.credentials("app", SECRET)).await;
}

#[tokio::test]
async fn an_acl_that_the_server_does_not_take() {
    let config = config(ZooKeeper::shared());
    for acl in [
        Acl::new("nonsense", "id", kvstore_zookeeper::Rights::ALL),
        "digest:no-hash:r".parse().unwrap(),
    ] {
        not_connected(
            config.clone().acl([acl]),
            ErrorKind::PermissionDenied,
            "ACL",
        )
        .await;
    }
    // Keys that nobody may write, once they are there.
    let read_only = "world:anyone:r".parse::<Acl>().unwrap();
    not_connected(
        config.acl([read_only]),
        ErrorKind::PermissionDenied,
        "to create a node for the keys",
    )
    .await;
}

/// The rights that the README lists, on nodes that an administrator has made: no others are used.
#[tokio::test]
async fn the_least_rights() {
    let zookeeper = ZooKeeper::shared();
    let admin = Client::connector()
        .with_auth("digest", b"admin:word")
        .connect(&zookeeper.address().to_string())
        .await
        .unwrap();
    // The hash of `app:hunter2`, as ZooKeeper makes it.
    let app = AuthId::new("digest", "app:iOP3B+pUrcBZysiBUhcHPOz0lJU=");
    let root = format!("/{}", unique_root());
    let make = async |path: &str, rights| {
        let acl = [
            TheirAcl::new(Permission::ALL, AuthId::authed()),
            TheirAcl::new(rights, app.clone()),
        ];
        let options = CreateMode::Persistent.with_acls((&acl[..]).into());
        admin.create(path, b"", &options).await.unwrap();
    };
    make(&root, Permission::READ | Permission::CREATE).await;
    // A bucket that is there already.
    let bucket = Permission::READ | Permission::WRITE | Permission::CREATE | Permission::DELETE;
    make(&format!("{root}/ca"), bucket).await;
    let acl: Acl = "auth::rwcd".parse().unwrap();
    let config = config(zookeeper).root(&root).acl([acl]);
    let store = texts(config.clone().credentials("app", SECRET)).await;
    for key in ["a", "b"] {
        store.set(key, "v").await.unwrap();
        store.touch(key, Duration::from_secs(60)).await.unwrap();
        assert_eq!(store.get(key).await.unwrap().as_deref(), Some("v"));
        store.take(key).await.unwrap().unwrap();
        store.set(key, "v").await.unwrap();
    }
    let mut keys = store.keys("");
    assert!(keys.next().await.unwrap().is_ok() && keys.next().await.unwrap().is_ok());

    // Without that to read a bucket, which conditions need; `c5` is the one that is looked at.
    let root = format!("/{}", unique_root());
    make(&root, Permission::READ | Permission::CREATE).await;
    let bucket = Permission::WRITE | Permission::CREATE | Permission::DELETE;
    make(&format!("{root}/c5"), bucket).await;
    let without = config.clone().root(&root).credentials("app", SECRET);
    let denied = ErrorKind::PermissionDenied;
    not_connected(without, denied, "to read a node above the keys").await;

    // Without that to read what is created.
    let root = format!("/{}", unique_root());
    make(&root, Permission::READ | Permission::CREATE).await;
    make(&format!("{root}/c5"), Permission::ALL).await;
    let blind = config.clone().acl(["auth::cdwa".parse().unwrap()]);
    let blind = blind.root(&root).credentials("app", SECRET);
    not_connected(blind, denied, "to read keys").await;

    // Without those on the root, and on a bucket.
    let root = format!("/{}", unique_root());
    make(&root, Permission::READ).await;
    let config = config.root(&root).credentials("app", SECRET);
    not_connected(
        config,
        ErrorKind::PermissionDenied,
        "to create a node for the keys",
    )
    .await;
}

/// Nothing is asked of the nodes above the root: an administrator may have closed the server's own.
#[tokio::test]
async fn nodes_above_the_root_that_are_closed() {
    let server = ZooKeeper::start();
    let other = other(&server).await;
    create(&other, "/apps", b"").await;
    create(&other, "/apps/fruit", b"").await;
    let nobody = [TheirAcl::new(
        Permission::ALL,
        AuthId::new("ip", "192.0.2.1"),
    )];
    for path in ["/apps", "/"] {
        other.set_acl(path, &nobody, None).await.unwrap();
    }
    let store = texts(config(&server).root("/apps/fruit")).await;
    store.set("key", "v").await.unwrap();
    assert_eq!(store.take("key").await.unwrap().as_deref(), Some("v"));
    store.ping().await.unwrap();
}

#[tokio::test]
async fn nobody_there() {
    let mut server = ZooKeeper::start();
    server.stop();
    let (address, config) = (server.address(), config(&server));
    let short = Duration::from_millis(300);
    let config = config.credentials("app", SECRET).timeout(short);
    let says = format!("no connection to {address}: it cannot be reached");
    not_connected(config, ErrorKind::Unavailable, &says).await;
    // An address that is for documents, so that nobody answers there, if anybody says so at all.
    let nowhere = ZooKeeperConfig::new("192.0.2.1", 2181).connect_timeout(short);
    not_connected(
        nowhere.timeout(short * 2),
        ErrorKind::Unavailable,
        "192.0.2.1:2181",
    )
    .await;
    let unknown = ZooKeeperConfig::new("no-such-host.invalid", 2181).timeout(short);
    not_connected(unknown, ErrorKind::Unavailable, "no-such-host.invalid").await;
    // However long calls may take.
    let patient = ZooKeeperConfig::new("127.0.0.1", address.port())
        .server("no-such-host.invalid", 2181)
        .timeout(HANGS * 2);
    not_connected(patient, ErrorKind::Unavailable, "no connection to").await;
    // One of three is enough.
    let server = ZooKeeper::shared();
    let (host, port) = (server.address().ip().to_string(), server.address().port());
    let three = ZooKeeperConfig::new("127.0.0.1", address.port())
        .server(host, port)
        .server("no-such-host.invalid", 2181);
    for _ in 0..5 {
        texts(three.clone()).await;
    }
}

#[tokio::test]
async fn a_wrong_url_is_told_before_anything_is_tried() {
    let error = failed(
        ZooKeeperProvider::connect("zookeeper://a:hunter2@127.0.0.1:1/..").await,
        ErrorKind::InvalidConfig,
        "the root",
    );
    assert!(error.to_string().starts_with("zookeeper connect: the root"));
    assert!(!printed(&error).contains(SECRET));
    let config = ZooKeeperConfig::new("", 2181);
    failed(
        ZooKeeperProvider::lazy(config),
        ErrorKind::InvalidConfig,
        "no host",
    );
}

#[tokio::test]
async fn a_server_that_wants_credentials() {
    let server =
        ZooKeeper::start_with(&["enforce.auth.enabled=true", "enforce.auth.schemes=digest"]);
    let config = config(&server).timeout(Duration::from_secs(3));
    texts(config.clone().credentials("app", SECRET)).await;
    not_connected(
        config,
        ErrorKind::Unauthenticated,
        "wants clients to authenticate",
    )
    .await;
}

#[tokio::test]
async fn ping_names_the_server_and_what_may_bite() {
    let server = ZooKeeper::start();
    let open = texts(config(&server)).await.ping().await.unwrap();
    assert_eq!(open.product, "zookeeper");
    let version = open.version.unwrap();
    assert!(
        version.starts_with("3.") && version.split('.').count() == 3,
        "{version}"
    );
    assert_eq!(open.warnings.len(), 2, "{:?}", open.warnings);
    assert!(open.warnings[0].contains("open ACL") && open.warnings[1].contains("alone"));
    let own = texts(config(&server).credentials("app", SECRET)).await;
    assert_eq!(own.ping().await.unwrap().warnings.len(), 1);
    let remote = config(&server).server("zk.example", 2181);
    let warnings = texts(remote).await.ping().await.unwrap().warnings;
    assert!(warnings[0].contains("no TLS"), "{warnings:?}");
}

/// Nothing of a key, a value or a password is in what can be logged.
#[tokio::test]
async fn no_secret_is_printed() {
    const KEY: &str = "session-key-81c7";
    const VALUE: &str = "password-value-55e2";
    let zookeeper = ZooKeeper::shared();
    let proxy = Proxy::start(zookeeper.address()).await.unwrap();
    let address = proxy.address();
    let config = ZooKeeperConfig::new(address.ip().to_string(), address.port())
        .root(format!("/{}", unique_root()))
        .credentials("app", SECRET)
        .timeout(Duration::from_millis(300));
    let provider = ZooKeeperProvider::connect(config.clone()).await.unwrap();
    let text = KeyValueStore::text(provider.clone());
    let numbers: KeyValueStore<u64> = KeyValueStore::model(provider.clone());
    let mut shown = format!("{provider:?} {provider:#?} {config:?} {text:?}");
    text.set(KEY, VALUE).await.unwrap();
    let mut errors = vec![numbers.get(KEY).await.unwrap_err()];
    errors.push(text.set(KEY, VALUE.repeat(100_000)).await.unwrap_err());
    proxy.cut_after_request();
    errors.push(text.set(KEY, VALUE).await.unwrap_err());
    proxy.stall();
    errors.push(text.set(KEY, VALUE).await.unwrap_err());
    proxy.heal();
    proxy.refuse();
    errors.push(text.get(KEY).await.unwrap_err());
    proxy.heal();
    let foreign = config.clone().credentials("bob", SECRET);
    errors.push(
        ZooKeeperProvider::connect(foreign.clone())
            .await
            .map(drop)
            .unwrap_err(),
    );
    let foreign = KeyValueStore::text(ZooKeeperProvider::lazy(foreign).unwrap());
    errors.push(foreign.get(KEY).await.unwrap_err());
    errors.push(foreign.take(KEY).await.unwrap_err());
    for error in &errors {
        shown += &printed(error);
    }
    for secret in [KEY, VALUE, SECRET] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}
