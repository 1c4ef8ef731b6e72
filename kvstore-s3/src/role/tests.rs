use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn config() -> S3Config {
    S3Config::new("s3.cn-north-1.amazonaws.com.cn", "bucket").aws_credentials()
}

/// What gives credentials, or this answer.
#[derive(Clone, Default)]
struct Giver {
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Giver {
    async fn start(&self) -> Arc<Role> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let giver = self.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n\r\n") {
                    client.read_buf(&mut text).await.unwrap();
                }
                giver.asked.fetch_add(1, Ordering::AcqRel);
                let answer = giver.answer.lock().unwrap().clone();
                client.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let place = Place::Container { url, token: None };
        Arc::new(Role::new(place, &config()).unwrap())
    }

    fn answers(&self, status: &str, body: &str) {
        *self.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n{body}");
    }

    fn gives(&self, id: &str, left: Duration) {
        let ends = Moment::now().after(left).to_text().unwrap();
        let body = format!(
            r#"{{"AccessKeyId":"{id}","SecretAccessKey":"s","Token":"t","Expiration":"{ends}"}}"#
        );
        self.answers("200 OK", &body);
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::AcqRel)
    }
}

async fn id(role: &Arc<Role>) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let credential = role.credential(deadline).await?;
    Ok(credential.key_id.clone())
}

fn kind(result: Result<String>) -> ErrorKind {
    result.unwrap_err().kind()
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn credentials_are_used_until_they_end_and_renewed_before() {
    let giver = Giver::default();
    let role = giver.start().await;
    let renew_now = || role.held().as_mut().unwrap().renew = Moment::now();
    giver.gives("ONE", HOUR);
    assert_eq!(id(&role).await.unwrap(), "ONE");
    assert_eq!(id(&role).await.unwrap(), "ONE");
    assert_eq!(giver.asked(), 1);

    // It fails, for whatever reason, and what is held is good yet.
    for (status, body, asked) in [
        ("503 Service Unavailable", "", 3),
        ("403 Forbidden", "", 1),
        ("200 OK", "{}", 1),
    ] {
        giver.answers(status, body);
        renew_now();
        assert_eq!(id(&role).await.unwrap(), "ONE");
        role.renewing.ended().await;
        assert_eq!(giver.asked(), asked, "{status}");
        assert_eq!(id(&role).await.unwrap(), "ONE");
        assert_eq!(giver.asked(), 0, "so soon");
    }
    giver.gives("TWO", HOUR);
    renew_now();
    assert_eq!(id(&role).await.unwrap(), "ONE", "nobody waits");
    role.renewing.ended().await;
    assert_eq!(id(&role).await.unwrap(), "TWO");

    // They have ended.
    role.held().as_mut().unwrap().ends = Moment::now();
    giver.answers("503 Service Unavailable", "");
    assert_eq!(kind(id(&role).await), ErrorKind::Unavailable);
    giver.answers("403 Forbidden", "");
    assert_eq!(kind(id(&role).await), ErrorKind::Unauthenticated);
    giver.gives("THREE", HOUR);
    assert_eq!(id(&role).await.unwrap(), "THREE");
}

#[tokio::test]
async fn what_is_given_is_used_although_it_should_have_ended() {
    let giver = Giver::default();
    let role = giver.start().await;
    giver.gives("LATE", Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(id(&role).await.unwrap(), "LATE");
    }
    assert_eq!(giver.asked(), 1);
}

#[tokio::test]
async fn what_gives_too_much_is_an_error() {
    let giver = Giver::default();
    let role = giver.start().await;
    giver.answers("200 OK", &" ".repeat(ANSWER + 1));
    assert_eq!(kind(id(&role).await), ErrorKind::Unavailable);
    assert_eq!(giver.asked(), 1);
}

fn variables(set: &[(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    move |name| {
        let found = set.iter().find(|(set, _)| *set == name);
        found.map(|(_, value)| (*value).to_owned())
    }
}

fn found(set: &[(&'static str, &'static str)], config: &S3Config) -> Result<Place> {
    let variable = variables(set);
    match Place::web_identity(&variable, config)? {
        Some(place) => Ok(place),
        None => Place::container_or_instance(&variable),
    }
}

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const INSTANCE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const STS: &str = "AWS_ENDPOINT_URL_STS";
const WEB: (&str, &str) = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
const ROLE: (&str, &str) = ("AWS_ROLE_ARN", "arn:x");
const TOKEN: (&str, &str) = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token");

#[test]
fn places_are_where_variables_say() {
    let aws = S3Config::new("s3.eu-west-1.amazonaws.com", "bucket");
    let (china, own) = (config(), S3Config::new("minio", "bucket"));
    for (set, config, url) in [
        (&[][..], &own, "http://169.254.169.254"),
        (
            &[(INSTANCE, "http://[fd00:ec2::254]/")],
            &own,
            "http://[fd00:ec2::254]",
        ),
        (&[(RELATIVE, "/v2/x")], &own, "http://169.254.170.2/v2/x"),
        (
            &[(FULL, "http://localhost/x"), TOKEN],
            &own,
            "http://localhost/x",
        ),
        (&[WEB, ROLE], &own, "https://sts.us-east-1.amazonaws.com"),
        (&[WEB, ROLE], &aws, "https://sts.eu-west-1.amazonaws.com"),
        (
            &[WEB, ROLE],
            &china,
            "https://sts.cn-north-1.amazonaws.com.cn",
        ),
        (
            &[WEB, ROLE, (STS, "http://minio:9000")],
            &own,
            "http://minio:9000",
        ),
        (
            &[WEB, ROLE, (RELATIVE, "/v2/x")],
            &aws,
            "https://sts.eu-west-1.amazonaws.com",
        ),
    ] {
        assert_eq!(found(set, config).unwrap().url(), url);
    }
}

#[test]
fn what_is_no_place_is_told() {
    let odd = S3Config::new("minio", "bucket").region("{eu}");
    let own = S3Config::new("minio", "bucket");
    for (set, config, words) in [
        (
            &[(INSTANCE, "127.0.0.1:9")][..],
            &own,
            "`AWS_EC2_METADATA_SERVICE_ENDPOINT` is not a URL",
        ),
        (&[(INSTANCE, "localhost:9")], &own, "is not a URL"),
        (&[(INSTANCE, "http://a b")], &own, "is not a URL"),
        (&[(INSTANCE, "ftp://host")], &own, "is not a URL"),
        (&[(RELATIVE, "v2")], &own, "does not begin with a slash"),
        (&[(RELATIVE, "/a\nb")], &own, "is not a URL"),
        (&[(FULL, "/x"), TOKEN], &own, "is not a URL"),
        (&[(FULL, "http://localhost/x")], &own, "TOKEN_FILE` is not"),
        (&[WEB], &own, "`AWS_ROLE_ARN` is not"),
        (
            &[WEB, ROLE, (STS, "sts.local")],
            &own,
            "`AWS_ENDPOINT_URL_STS` is not a URL",
        ),
        (
            &[WEB, ROLE],
            &odd,
            "the region's token service is not a URL",
        ),
    ] {
        let error = found(set, config).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(words), "{error}");
    }
}
