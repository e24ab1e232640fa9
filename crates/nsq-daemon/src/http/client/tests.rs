//! The client against servers of its own, which say what a test has them say.

use std::sync::Mutex;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use nsq_transport::tls::{Acceptor, Authorities, ClientCertificate, Identity, MinVersion, PemFile};

use self::test_authority::Authority;

#[path = "../../../../nsq-transport/src/tls/test_authority.rs"]
mod test_authority;

/// A server that answers each request with what `answer` makes of its head and body, byte for byte, and
/// closes the connection after an empty answer.
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer).await
    }

    async fn start_with(
        tls: Option<Acceptor>,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let server = Self {
            address,
            seen: Arc::clone(&seen),
            connections: Arc::clone(&connections),
        };
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *connections.lock().unwrap() += 1;
                let (seen, answer, tls) = (Arc::clone(&seen), Arc::clone(&answer), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, &seen, &*answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &seen, &*answer).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<String>>,
    answer: &(dyn Fn(&str) -> String + Send + Sync),
) {
    let mut received = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or_default();
        if read == 0 {
            return;
        }
        received += std::str::from_utf8(&buffer[..read]).unwrap();
        let Some((head, body)) = received.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().unwrap())
        });
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let request = std::mem::take(&mut received);
        let text = answer(&request);
        seen.lock().unwrap().push(request);
        if text.is_empty() || stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn options() -> ClientOptions {
    ClientOptions {
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(20),
        tls: None,
        user_agent: "test/1".into(),
        body_limit: 64,
    }
}

fn client() -> Client {
    Client::new(options())
}

fn trusting(trust: Trust) -> Client {
    let tls = Some(Connector::new(trust, None, MinVersion::default()));
    Client::new(ClientOptions { tls, ..options() })
}

fn acceptor(authority: &Authority, clients: Option<&Authority>) -> Acceptor {
    let clients = match clients.map(authorities) {
        None => ClientCertificate::NotAsked,
        Some(authorities) => ClientCertificate::Verified(authorities),
    };
    Acceptor::new(identity(authority), clients, MinVersion::Tls12)
}

fn identity(authority: &Authority) -> Identity {
    let files = authority.issue("127.0.0.1");
    let cert = PemFile::new("cert", &files.cert);
    let key = PemFile::new("key", &files.key);
    Identity::load(&cert, &key).unwrap().unwrap()
}

fn authorities(authority: &Authority) -> Authorities {
    Authorities::load(&PemFile::new("ca", &authority.file())).unwrap()
}

async fn failure(client: &Client, url: &str) -> Cause {
    client.get_json::<Vec<String>>(url).await.unwrap_err().cause
}

#[tokio::test]
async fn requests_share_a_connection_and_say_who_asks_for_what() {
    let server = Server::start(|_| response("200 OK", r#"["a"]"#)).await;
    let client = client();
    for _ in 0..3 {
        let list: Vec<String> = client.get_json(&server.url("/list?x=%23")).await.unwrap();
        assert_eq!(list, ["a"]);
    }
    client.order(&server.url("/do")).await.unwrap();
    let (status, body) = client
        .post(&server.url("/put"), "text/plain", "hello".into())
        .await
        .unwrap();
    assert_eq!((status, &body[..]), (StatusCode::OK, &br#"["a"]"#[..]));
    assert_eq!(server.connections(), 1);

    let seen = server.seen();
    let host = &server.address;
    assert!(
        seen[0].starts_with("GET /list?x=%23 HTTP/1.1\r\n"),
        "{}",
        seen[0]
    );
    for line in [
        "accept: application/vnd.nsq; version=1.0",
        "user-agent: test/1",
        &format!("host: {host}"),
    ] {
        assert!(seen[0].contains(&format!("\r\n{line}\r\n")), "{}", seen[0]);
    }
    assert!(seen[3].starts_with("POST /do "), "{}", seen[3]);
    assert!(seen[3].contains("content-length: 0"), "{}", seen[3]);
    assert!(seen[4].contains("content-type: text/plain"), "{}", seen[4]);
    assert!(seen[4].ends_with("\r\n\r\nhello"), "{}", seen[4]);
}

#[tokio::test]
async fn failures_name_the_url_and_the_cause() {
    let server = Server::start(|request| match request.split([' ', '?']).nth(1) {
        Some("/missing") => response("404 Not Found", r#"{"message":"NOT_FOUND"}"#),
        Some("/announced") => "HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n".to_owned(),
        Some("/chunked") => format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n{}\r\n",
            "x".repeat(65)
        ),
        Some("/text") => response("200 OK", "no JSON"),
        Some("/garbage") => "\0\0\0\u{2}OK\r\n\r\n".to_owned(),
        _ => String::new(),
    })
    .await;
    let client = client();
    let error = client.order(&server.url("/missing?a=b")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            r#"Post "http://{}/missing?a=b": got response 404 Not Found "{{\"message\":\"NOT_FOUND\"}}""#,
            server.address
        )
    );
    let check = async |path: &str, expected: &str| {
        let cause = failure(&client, &server.url(path)).await;
        assert!(cause.to_string().contains(expected), "{path}: {cause:?}");
    };
    check("/announced", "longer than 64 bytes").await;
    check("/chunked", "longer than 64 bytes").await;
    check("/text", "failed to decode response - expected").await;
    check("/garbage", "invalid HTTP").await;
    check("/closes", "connection closed before message completed").await;
    for (url, expected) in [
        ("ftp://x/", "unsupported protocol scheme \"ftp\""),
        ("x", "invalid address"),
        ("http://", "invalid address"),
    ] {
        let cause = failure(&client, url).await;
        assert!(matches!(cause, Cause::Address(_)), "{url}: {cause:?}");
        assert!(cause.to_string().contains(expected), "{url}: {cause}");
    }
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_allowed() {
    // Accepted by the system, answered by no one.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}/");
    let hasty = Client::new(ClientOptions {
        request_timeout: Duration::from_millis(20),
        ..options()
    });
    let error = hasty.get(&url).await.unwrap_err();
    let expected = format!("Get \"http://{address}/\": timeout after 20ms");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn where_nobody_listens_the_address_is_named() {
    let cause = failure(&client(), "http://127.0.0.1:1/").await;
    let expected = "dial tcp 127.0.0.1:1: connect: connection refused";
    assert_eq!(cause.to_string(), expected);
}

#[tokio::test]
async fn an_answer_that_trickles_in_is_bounded_in_time_too() {
    let server =
        Server::start(|_| "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[".to_owned()).await;
    let hasty = Client::new(ClientOptions {
        request_timeout: Duration::from_millis(50),
        ..options()
    });
    let cause = failure(&hasty, &server.url("/")).await;
    assert!(matches!(cause, Cause::Timeout(_)), "{cause:?}");
}

#[tokio::test]
async fn redirects_are_followed_up_to_a_limit() {
    let server = Server::start(|request| {
        let path = request.split(' ').nth(1).unwrap();
        let number: usize = path.trim_start_matches('/').parse().unwrap();
        match number {
            0 => response("200 OK", "[]"),
            more => format!(
                "HTTP/1.1 302 Found\r\nLocation: /{}\r\nContent-Length: 0\r\n\r\n",
                more - 1
            ),
        }
    })
    .await;
    let client = client();
    client
        .get_json::<Vec<String>>(&server.url("/9"))
        .await
        .unwrap();
    let cause = failure(&client, &server.url("/10")).await;
    assert_eq!(cause.to_string(), "stopped after 10 redirects");
    assert_eq!(server.seen().len(), 20);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_failure() {
    let turn = Mutex::new(0);
    let server = Server::start(move |_| {
        let mut turn = turn.lock().unwrap();
        *turn += 1;
        // The second request is taken, and the connection closed upon it.
        if *turn == 2 {
            String::new()
        } else {
            response("200 OK", "[]")
        }
    })
    .await;
    let client = client();
    for _ in 0..2 {
        client
            .get_json::<Vec<String>>(&server.url("/"))
            .await
            .unwrap();
    }
    assert_eq!((server.seen().len(), server.connections()), (3, 2));
}

#[tokio::test]
async fn certificates_are_verified_with_the_authorities_given() {
    let (ours, other) = (Authority::new(), Authority::new());
    let answer = |_: &str| response("200 OK", "[]");
    let server = Server::start_with(Some(acceptor(&ours, None)), answer).await;
    let url = format!("https://{}/", server.address);
    let with = |authority: &Authority| Trust::Authorities(authorities(authority));
    for trust in [with(&ours), Trust::Anyone] {
        let client = trusting(trust);
        client.get_json::<Vec<String>>(&url).await.unwrap();
    }
    for trust in [with(&other), Trust::System] {
        let cause = failure(&trusting(trust), &url).await;
        assert!(matches!(cause, Cause::Tls(_)), "{cause:?}");
    }
    // The certificate is for the IP alone.
    let by_name = format!("https://localhost:{}/", server.port());
    let cause = failure(&trusting(with(&ours)), &by_name).await;
    assert!(cause.to_string().contains("not valid for name"), "{cause}");
    trusting(Trust::Anyone).get(&by_name).await.unwrap();
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_one() {
    let ours = Authority::new();
    let answer = |_: &str| response("200 OK", "[]");
    let server = Server::start_with(Some(acceptor(&ours, Some(&ours))), answer).await;
    let url = format!("https://{}/", server.address);
    let trust = Trust::Authorities(authorities(&ours));
    let tls = Some(Connector::new(
        trust.clone(),
        Some(identity(&ours)),
        MinVersion::default(),
    ));
    let client = Client::new(ClientOptions { tls, ..options() });
    client.get_json::<Vec<String>>(&url).await.unwrap();
    assert!(trusting(trust).get(&url).await.is_err());
}

#[tokio::test]
async fn a_daemon_that_wants_tls_is_asked_again_over_it() {
    let ours = Authority::new();
    let secure =
        Server::start_with(Some(acceptor(&ours, None)), |_| response("200 OK", "[]")).await;
    let port = secure.port().to_owned();
    let plain = Server::start(move |request| {
        let body = if request.contains(" /elsewhere ") {
            format!(r#"{{"message":"TLS_REQUIRED","https_port":{port}}}"#)
        } else {
            r#"{"message":"FORBIDDEN"}"#.to_owned()
        };
        response("403 Forbidden", &body)
    })
    .await;
    let client = trusting(Trust::Authorities(authorities(&ours)));
    client
        .get_json::<Vec<String>>(&plain.url("/elsewhere"))
        .await
        .unwrap();
    client.order(&plain.url("/elsewhere")).await.unwrap();
    assert_eq!(secure.seen().len(), 2);
    let cause = failure(&client, &plain.url("/")).await;
    assert_eq!(
        cause.to_string(),
        r#"got response 403 Forbidden "{\"message\":\"FORBIDDEN\"}""#
    );
}
