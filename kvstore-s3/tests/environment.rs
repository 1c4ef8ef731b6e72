//! Nothing is read from the environment but what is named, or asked for.

mod common;

use std::path::Path;

use common::fails;
use kvstore_core::{ErrorKind, KeyValueStore};
use kvstore_s3::S3Provider;
use kvstore_testsuite::servers::S3;
use kvstore_testsuite::unique_root;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The test below runs this binary again, with these set.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("AWS_ENDPOINT", "http://192.0.2.1:1"),
    ("AWS_ENDPOINT_URL", "http://192.0.2.1:1"),
    ("AWS_REGION", "nowhere-1"),
    ("AWS_BUCKET", "nowhere"),
    ("AWS_SKIP_SIGNATURE", "true"),
    ("HTTP_PROXY", "http://192.0.2.1:1"),
    ("ALL_PROXY", "http://192.0.2.1:1"),
];

#[tokio::test]
async fn the_environment_means_nothing_unless_it_is_asked_for() {
    let s3 = S3::shared();
    let (id, secret) = s3.access_key();
    if std::env::var("AWS_ACCESS_KEY_ID").is_err() {
        let again = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "the_environment_means_nothing_unless_it_is_asked_for",
                "--exact",
            ])
            .env("KVSTORE_TEST_S3_URL", s3.url("").trim_end_matches('?'))
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("KVSTORE_TEST_WRONG_SECRET", "guessed")
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
    let root = format!("prefix={}/", unique_root());
    let store = KeyValueStore::text(S3Provider::connect(s3.url(&root)).await.unwrap());
    store.set("key", "value").await.unwrap();
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
    let nothing = format!("s3+http://{}/{}?{root}", s3.address(), s3.bucket());
    let refused = S3Provider::connect(&nothing).await.map(drop);
    fails(refused, ErrorKind::InvalidConfig, "no credentials");

    // What is asked for is found.
    let named = format!("{nothing}&access_key_id={id}&secret_access_key_env=AWS_SECRET_ACCESS_KEY");
    let store = KeyValueStore::text(S3Provider::connect(&named).await.unwrap());
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
    let wrong = named.replace("AWS_SECRET_ACCESS_KEY", "KVSTORE_TEST_WRONG_SECRET");
    let refused = S3Provider::connect(&wrong).await.map(drop);
    fails(refused, ErrorKind::Unauthenticated, "access key");
    let unset = named.replace("AWS_SECRET_ACCESS_KEY", "KVSTORE_NO_SUCH_VARIABLE");
    let refused = S3Provider::lazy(&unset).map(drop);
    fails(
        refused,
        ErrorKind::InvalidConfig,
        "KVSTORE_NO_SUCH_VARIABLE",
    );
    let aws = format!("{nothing}&credentials=aws");
    let store = KeyValueStore::text(S3Provider::connect(&aws).await.unwrap());
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some("value"));
}

/// What is asked and answered where AWS puts credentials for programs.
async fn credentials(listener: TcpListener) {
    let mut stalled = Vec::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let request = request(&mut client).await;
        let line = request.lines().next().unwrap_or_default();
        let refusal = match line {
            "GET /refused HTTP/1.1" => Some("403 Forbidden"),
            "GET /down HTTP/1.1" => Some("503 Service Unavailable"),
            "GET /stalled HTTP/1.1" => {
                stalled.push(client);
                continue;
            }
            _ => None,
        };
        if let Some(status) = refusal {
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhidden"
            );
            let _ = client.write_all(answer.as_bytes()).await;
            continue;
        }
        let body = match line {
            "PUT /latest/api/token HTTP/1.1" => "imds\n".to_owned(),
            "POST / HTTP/1.1" => web_identity(&request),
            _ if !request.contains("imds\r\n") && !request.contains("pod\r\n") => continue,
            "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" => "role\n".to_owned(),
            "GET /latest/meta-data/iam/security-credentials/role HTTP/1.1" => {
                keys("INSTANCE", "t1")
            }
            "GET /pod HTTP/1.1" => keys("POD", "t2"),
            _ => keys("ODD", "t\\n3"),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let _ = client.write_all(answer.as_bytes()).await;
    }
}

fn web_identity(request: &str) -> String {
    let (_, form) = request.split_once("\r\n\r\n").unwrap();
    for part in [
        "Action=AssumeRoleWithWebIdentity",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx",
        "WebIdentityToken=pod",
    ] {
        if !form.split('&').any(|found| found == part) {
            return "hidden".to_owned();
        }
    }
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
        <AccessKeyId>WEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t5</SessionToken>\
        <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>\
        </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        .to_owned()
}

fn keys(id: &str, token: &str) -> String {
    format!(
        r#"{{"AccessKeyId":"{id}","SecretAccessKey":"s","Token":"{token}","Expiration":"2999-01-01T00:00:00Z"}}"#
    )
}

async fn request(client: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let read = client.read_buf(&mut text).await.unwrap_or_default();
        let request = std::str::from_utf8(&text).unwrap();
        let whole = request.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.split_once("\r\ncontent-length: ");
            let length = length.map(|(_, after)| after.lines().next().unwrap_or_default());
            body.len() >= length.map_or(0, |length| length.parse().unwrap())
        });
        if whole || read == 0 {
            return request.to_owned();
        }
    }
}

/// What a provider signs a request with in this environment, or why it does not.
async fn signed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let request = async {
        let (mut client, _) = listener.accept().await.unwrap();
        request(&mut client).await
    };
    let asking = async {
        let timeout = std::env::var("KVSTORE_TEST_TIMEOUT").unwrap_or("30s".to_owned());
        let url = format!("s3+http://{address}/bucket?credentials=aws&timeout={timeout}");
        let store = KeyValueStore::text(S3Provider::lazy(&url)?);
        store.get("key").await
    };
    tokio::select! {
        request = request => request,
        failed = asking => format!("{:?}", failed.unwrap_err()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_found_where_aws_puts_them() {
    const TEST: &str = "credentials_are_found_where_aws_puts_them";
    if std::env::var("KVSTORE_TEST_AGAIN").is_ok() {
        return println!("{}", signed().await);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(credentials(listener));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_root());
    std::fs::create_dir_all(folder.join(".aws")).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let token = file("token", "pod\n");
    let elsewhere = file(
        "elsewhere",
        "[team]\naws_access_key_id = TEAM\naws_secret_access_key = s\naws_session_token = t4\n",
    );
    let config = file(
        "config",
        "[profile role]\nrole_arn = arn:x\n[profile plain]\naws_access_key_id=PLAIN\naws_secret_access_key=s\n",
    );
    let instance = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.as_str());
    let (pod, odd) = (format!("{server}/pod"), format!("{server}/odd"));
    let full = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let authorization = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.as_str());
    let shared = ("AWS_SHARED_CREDENTIALS_FILE", elsewhere.as_str());
    let config = ("AWS_CONFIG_FILE", config.as_str());
    let profile = |name| ("AWS_PROFILE", name);
    let again = |variables: &[(&str, &str)], expected: [&str; 2]| {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                again.env_remove(name);
            }
        }
        again
            .args([TEST, "--exact", "--nocapture"])
            .env("KVSTORE_TEST_AGAIN", "1")
            .env("HOME", &folder)
            .envs(variables.iter().copied());
        let said = again.output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("1 passed"), "{variables:?}: {said}");
        assert!(!said.contains("hidden"), "{variables:?}: {said}");
        for expected in expected {
            assert!(said.contains(expected), "{variables:?}: {said}");
        }
    };
    let key = |id| [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", "s")];
    let [id, secret] = key("HERE");
    let session = ("AWS_SESSION_TOKEN", "t0");
    let t0 = "x-amz-security-token: t0\r\n";
    again(
        &[id, secret, session, shared, instance],
        ["Credential=HERE/", t0],
    );
    let t1 = "x-amz-security-token: t1\r\n";
    again(&[instance], ["Credential=INSTANCE/", t1]);
    let t2 = "x-amz-security-token: t2\r\n";
    again(
        &[(full, &pod), authorization, instance],
        ["Credential=POD/", t2],
    );
    let t4 = "x-amz-security-token: t4\r\n";
    again(
        &[shared, profile("team"), instance],
        ["Credential=TEAM/", t4],
    );
    again(
        &[config, profile("plain")],
        ["Credential=PLAIN/", "GET /bucket/key "],
    );
    again(&[config, instance], ["Credential=INSTANCE/", t1]);
    file(
        ".aws/credentials",
        "[default]\naws_access_key_id=HOME\naws_secret_access_key=s\n",
    );
    again(
        &[config, instance],
        ["Credential=HOME/", "GET /bucket/key "],
    );

    again(
        &[(full, &odd), authorization, profile("default")],
        ["Credential=HOME/", ""],
    );
    std::fs::remove_file(folder.join(".aws/credentials")).unwrap();
    again(
        &[(full, &odd), authorization],
        ["Unauthenticated", "visible ASCII"],
    );
    let stalled = format!("{server}/stalled");
    let soon = ("KVSTORE_TEST_TIMEOUT", "1s");
    again(
        &[(full, &stalled), authorization, soon],
        ["Timeout", "no credentials came in time"],
    );
    let (refused, down) = (format!("{server}/refused"), format!("{server}/down"));
    again(
        &[(full, &refused), authorization],
        ["Unauthenticated", "a refusal"],
    );
    again(
        &[(full, &down), authorization],
        ["Unavailable", "could be had"],
    );
    again(
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")],
        ["Unavailable", "could be had"],
    );
    let no_scheme = server.trim_start_matches("http://");
    again(
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", no_scheme)],
        [
            "InvalidConfig",
            "`AWS_EC2_METADATA_SERVICE_ENDPOINT` is not a URL",
        ],
    );
    again(
        &[config, profile("role"), instance],
        ["InvalidConfig", "no access key"],
    );
    again(
        &[config, profile("none"), instance],
        ["InvalidConfig", "no access key"],
    );
    again(
        &[(full, &pod), instance],
        ["InvalidConfig", "AUTHORIZATION_TOKEN_FILE` is not"],
    );
    let web = ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str());
    again(&[web, instance], ["InvalidConfig", "`AWS_ROLE_ARN` is not"]);
    let role = ("AWS_ROLE_ARN", "arn:aws:iam::1:role/x");
    let sts = ("AWS_ENDPOINT_URL_STS", server.as_str());
    let t5 = "x-amz-security-token: t5\r\n";
    again(&[web, role, sts, instance], ["Credential=WEB/", t5]);
    let nowhere = ("AWS_SHARED_CREDENTIALS_FILE", "/no/such-file");
    again(&[nowhere, instance], ["InvalidConfig", "cannot be read"]);
    std::fs::remove_dir_all(&folder).unwrap();
}
