//! The server over real sockets, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::limits::OpenFiles;
use crate::listen::{Bounds, Gate};
use crate::options::LiveNumber;

use super::server::serve_connection;
use super::*;

/// What the handlers below share.
#[derive(Default)]
struct State {
    entered: Notify,
    released: Notify,
}

struct Server {
    address: String,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

fn routes(state: Arc<State>) -> Router<State> {
    Router::new(state)
        .route(Method::GET, "/ping", |_, _| async {
            Ok(Reply::plain(StatusCode::OK, "OK"))
        })
        .route(Method::GET, "/text", |_, request: Request| async move {
            let query = request.query()?;
            let text = query.first("say").ok_or(ApiError::bad_request("MISSING_ARG_SAY"))?;
            Ok(Reply::text(text.to_owned()))
        })
        .route(Method::GET, "/json", |_, _| async { Ok(Reply::json(&["<&>"])) })
        .route(Method::POST, "/empty", |_, mut request: Request| async move {
            request.discard_body().await?;
            Ok(Reply::empty())
        })
        .quiet_route(Method::POST, "/pub", |_, mut request: Request| async move {
            match request.read_body(10).await {
                Ok(body) => Ok(Reply::text(body)),
                Err(BodyError::TooBig { .. }) => Err(ApiError::too_large("MSG_TOO_BIG")),
                Err(BodyError::Read(_)) => Err(ApiError::internal("INTERNAL_ERROR")),
                Err(BodyError::Late(answer)) => Err(answer),
            }
        })
        .route(Method::GET, "/config/:opt", |_, request: Request| async move {
            Ok(Reply::text(request.path_param("opt").to_owned()))
        })
        .route(Method::PUT, "/config/:opt", |_, _| async { Ok(Reply::empty()) })
        .route(Method::GET, "/debug/pprof/", |_, _| async { Ok(Reply::empty()) })
        .route(Method::GET, "/panic", |_, _| async { panic!("for the test") })
        .route(Method::GET, "/wait", |state: Arc<State>, _| async move {
            state.entered.notify_one();
            state.released.notified().await;
            Ok(Reply::text("waited"))
        })
}

impl Server {
    async fn start() -> Self {
        Self::start_with(|router| router).await
    }

    async fn start_with(change: impl FnOnce(Router<State>) -> Router<State>) -> Self {
        Self::start_within(HttpLimits::default(), change).await
    }

    async fn start_within(
        limits: HttpLimits,
        change: impl FnOnce(Router<State>) -> Router<State>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let router = Arc::new(change(routes(Arc::clone(&state))));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, router, limits, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            state,
            stop: Some(stop),
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// Sends `request` and returns all that comes until the server closes.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn request(&self, line: &str) -> String {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        self.exchange(&head).await
    }

    /// Asks for `line` and compares the status line, the named headers (`!name` must be absent) and the body.
    #[track_caller]
    fn check(answer: &str, status: &str, headers: &[&str], body: &str) {
        let (head, got_body) = answer.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.split("\r\n");
        assert_eq!(
            lines.next(),
            Some(format!("HTTP/1.1 {status}").as_str()),
            "{answer}"
        );
        let lines: Vec<&str> = lines.collect();
        for header in headers {
            match header.strip_prefix('!') {
                Some(name) => assert!(!lines.iter().any(|l| l.starts_with(name)), "{answer}"),
                None => assert!(lines.contains(header), "no {header} in {answer}"),
            }
        }
        assert_eq!(got_body, body, "{answer}");
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}

const V1: &str = "X-Nsq-Content-Type: nsq; version=1.0";
const JSON: &str = "Content-Type: application/json; charset=utf-8";
const TEXT: &str = "Content-Type: text/plain; charset=utf-8";

#[tokio::test]
async fn each_style_of_answer_has_its_headers() {
    let server = Server::start().await;
    let answer = server.request("GET /ping").await;
    Server::check(
        &answer,
        "200 OK",
        &[TEXT, "Content-Length: 2", "!X-Nsq"],
        "OK",
    );
    let answer = server.request("GET /text?say=a%20b").await;
    Server::check(&answer, "200 OK", &[TEXT, V1], "a b");
    let answer = server.request("GET /json").await;
    Server::check(&answer, "200 OK", &[JSON, V1], r#"["\u003c\u0026\u003e"]"#);
    let answer = server.request("POST /empty").await;
    Server::check(
        &answer,
        "200 OK",
        &[V1, "Content-Length: 0", "!Content-Type"],
        "",
    );
    let answer = server.request("GET /text").await;
    let message = r#"{"message":"MISSING_ARG_SAY"}"#;
    Server::check(&answer, "400 Bad Request", &[JSON, V1], message);
    let answer = server.request("GET /text?say=a;b").await;
    let message = r#"{"message":"INVALID_REQUEST"}"#;
    Server::check(&answer, "400 Bad Request", &[JSON, V1], message);
    let answer = server.request("GET /panic").await;
    let message = r#"{"message":"INTERNAL_ERROR"}"#;
    Server::check(&answer, "500 Internal Server Error", &[JSON, V1], message);
}

#[tokio::test]
async fn wrong_paths_and_methods_are_answered_as_upstream_does() {
    let server = Server::start().await;
    let answer = server.request("GET /nope").await;
    Server::check(
        &answer,
        "404 Not Found",
        &[JSON, V1],
        r#"{"message":"NOT_FOUND"}"#,
    );
    let other_method = r#"{"message":"METHOD_NOT_ALLOWED"}"#;
    for (line, allow) in [
        ("POST /ping", "Allow: GET, OPTIONS"),
        ("DELETE /config/id", "Allow: GET, OPTIONS, PUT"),
        ("GET /empty", "Allow: OPTIONS, POST"),
    ] {
        let answer = server.request(line).await;
        Server::check(
            &answer,
            "405 Method Not Allowed",
            &[allow, JSON, V1],
            other_method,
        );
    }
    let answer = server.request("HEAD /ping").await;
    Server::check(
        &answer,
        "405 Method Not Allowed",
        &["Allow: GET, OPTIONS"],
        "",
    );
    let answer = server.request("OPTIONS /config/id").await;
    let allow = "Allow: GET, OPTIONS, PUT";
    Server::check(
        &answer,
        "200 OK",
        &[allow, "Content-Length: 0", "!Content-Type"],
        "",
    );
    let answer = server.request("OPTIONS /nope").await;
    Server::check(&answer, "404 Not Found", &[], r#"{"message":"NOT_FOUND"}"#);
}

#[tokio::test]
async fn nearly_right_paths_are_redirected_with_their_query() {
    let server = Server::start().await;
    for (line, status, location) in [
        ("GET /ping/", "301 Moved Permanently", "/ping"),
        ("GET /PING?a=%20b", "301 Moved Permanently", "/ping?a=%20b"),
        ("GET //ping", "301 Moved Permanently", "/ping"),
        ("GET /x/../ping", "301 Moved Permanently", "/ping"),
        ("GET /debug/pprof", "301 Moved Permanently", "/debug/pprof/"),
        (
            "GET /Config/A%20b/",
            "301 Moved Permanently",
            "/config/A%20b",
        ),
        ("POST /empty/?t=1", "307 Temporary Redirect", "/empty?t=1"),
        ("PUT /config/id/", "307 Temporary Redirect", "/config/id"),
    ] {
        let answer = server.request(line).await;
        Server::check(&answer, status, &[&format!("Location: {location}")], "");
    }
    let answer = server.request("HEAD /ping/").await;
    Server::check(&answer, "404 Not Found", &[], "");
    let answer = server.request("GET //evil.example/ping/").await;
    Server::check(&answer, "404 Not Found", &[], r#"{"message":"NOT_FOUND"}"#);
    let answer = server.request("GET /config/a%2Fb").await;
    Server::check(&answer, "404 Not Found", &[], r#"{"message":"NOT_FOUND"}"#);
}

#[tokio::test]
async fn a_client_that_speaks_something_else_reads_http() {
    let server = Server::start().await;
    for garbage in [
        "  V2IDENTIFY\n\0\0\0\u{2}{}",
        "\u{16}\u{3}\u{1}\0",
        "PUB t\n",
        "\r\n\r\n x",
    ] {
        let answer = server.exchange(garbage).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{garbage:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn connections_are_kept_and_requests_may_be_pipelined() {
    let server = Server::start().await;
    let answer = server
        .exchange(
            "POST /pub HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
             POST /pub HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n\
             GET /ping HTTP/1.0\r\n\r\n",
        )
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains("\r\n\r\nabcHTTP/1.1"), "{answer}");
    assert!(answer.contains("\r\n\r\ndefHTTP/1.0 200 OK"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nOK"), "{answer}");
}

/// Sends `request` in pieces of a few sizes; every answer must be the same as to the whole.
async fn check_pieces(server: &Server, request: &str, wanted: &str) {
    for size in [request.len(), 1, 2, 3, 5, 16] {
        let mut stream = server.connect().await;
        stream.set_nodelay(true).unwrap();
        let (mut reading, mut writing) = stream.split();
        let mut answer = Vec::new();
        let send = async {
            for piece in request.as_bytes().chunks(size) {
                writing.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let ((), read) = tokio::join!(send, reading.read_to_end(&mut answer));
        read.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let bodies: Vec<&str> = answer
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|one| {
                one.split_once("\r\n\r\n")
                    .map_or("no head", |parts| parts.1)
            })
            .collect();
        assert_eq!(bodies.join("|"), wanted, "in pieces of {size}: {answer}");
    }
}

#[tokio::test]
async fn a_raw_hash_belongs_to_the_name() {
    let server = Server::start().await;
    check_pieces(
        &server,
        "GET /text?say=foo#ephemeral&x=1 HTTP/1.1\r\nHost: x\r\n\r\n\
         GET /config/a#b HTTP/1.1\r\nHost: x\r\n\r\n\
         GET /text?say=\"<\u{e9}>\\^`{|} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "foo#ephemeral|a#b|\"<\u{e9}>\\^`{|}",
    )
    .await;
}

#[tokio::test]
async fn a_raw_hash_in_a_body_stays_and_the_heads_after_it_are_found() {
    let server = Server::start().await;
    let post = "POST /pub HTTP/1.1\r\nHost: x\r\n";
    let get = "GET /text?say=t#e HTTP/1.1\r\nHost: x\r\n";
    check_pieces(
        &server,
        &format!(
            "{post}Content-Length: 8\r\n\r\n\r\n\r\nG /#{get}\r\n\
             {post}Transfer-Encoding: chunked\r\n\r\n3;x=#\r\n#\r\n\r\n4\r\n\n\n/#\r\n0\r\nA: #\r\n\r\n\
             {post}Content-Length: 0\r\n\r\n{get}Connection: close\r\n\r\n"
        ),
        "\r\n\r\nG /#|t#e|#\r\n\n\n/#||t#e",
    )
    .await;
}

#[tokio::test]
async fn a_folded_header_is_one_header() {
    let server = Server::start().await;
    let request = "GET /ping HTTP/1.1\r\nHost: x\r\nConnection:\r\n close\r\n\r\n";
    check_pieces(&server, request, "OK").await;
}

#[tokio::test]
async fn there_is_one_host_at_most_and_it_can_be_one() {
    let server = Server::start().await;
    for (hosts, body) in [
        ("Host: a\r\nHost: a\r\n", "400 Bad Request"),
        ("Host: a b\r\n", "400 Bad Request: malformed Host header"),
        ("Host: a/b\r\n", "400 Bad Request: malformed Host header"),
    ] {
        let answer = server
            .exchange(&format!("GET /ping HTTP/1.1\r\n{hosts}\r\n"))
            .await;
        let headers = [
            "Content-Type: text/plain; charset=utf-8",
            "Connection: close",
        ];
        Server::check(&answer, "400 Bad Request", &headers, body);
    }
    for head in [
        "GET /ping HTTP/1.0\r\n\r\n",
        "GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: [::1]:4151\r\nConnection: close\r\n\r\n",
    ] {
        assert!(server.exchange(head).await.ends_with("OK"), "{head}");
    }
}

#[tokio::test]
async fn an_expectation_that_nobody_can_meet_is_refused() {
    let server = Server::start().await;
    let answer = server
        .exchange("GET /ping HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n")
        .await;
    let headers = ["Connection: close", "Content-Length: 0"];
    Server::check(&answer, "417 Expectation Failed", &headers, "");
}

#[tokio::test]
async fn the_preface_of_http_2_is_an_unknown_method() {
    let server = Server::start().await;
    let answer = server
        .exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0")
        .await;
    let headers = ["Connection: close", "Allow: GET, OPTIONS, POST, PUT", JSON];
    let body = r#"{"message":"METHOD_NOT_ALLOWED"}"#;
    Server::check(&answer, "405 Method Not Allowed", &headers, body);
}

#[tokio::test]
async fn a_refused_body_that_has_not_come_closes_the_connection_and_says_so() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /pub HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let headers = ["Connection: close", JSON];
    let body = r#"{"message":"MSG_TOO_BIG"}"#;
    Server::check(&answer, "413 Request Entity Too Large", &headers, body);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = Server::start().await;
    let chunked = "POST /pub HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   6\r\nabcdef\r\n5\r\nghijk\r\n0\r\n\r\n";
    let announced = "POST /pub HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 11\r\n\r\nabcdefghijk";
    for request in [chunked, announced] {
        let answer = server.exchange(request).await;
        Server::check(
            &answer,
            "413 Request Entity Too Large",
            &[JSON],
            r#"{"message":"MSG_TOO_BIG"}"#,
        );
    }
}

#[tokio::test]
async fn the_answer_to_an_upload_refused_halfway_can_still_be_read() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let length = 4 << 20;
    let head = format!("POST /pub HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; length]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Server::check(
        &answer,
        "413 Request Entity Too Large",
        &[JSON],
        r#"{"message":"MSG_TOO_BIG"}"#,
    );
}

#[tokio::test]
async fn a_waiting_client_is_told_to_continue_only_if_its_body_is_wanted() {
    let server = Server::start().await;
    let head = |length| {
        format!(
            "POST /pub HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut stream = server.connect().await;
    stream.write_all(head(3).as_bytes()).await.unwrap();
    let mut continued = [0; 25];
    stream.read_exact(&mut continued).await.unwrap();
    assert_eq!(&continued, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("abc"), "{answer}");

    let answer = server.exchange(&head(99)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_refusing_router_answers_everything_alike() {
    let body = r#"{"message": "TLS_REQUIRED", "https_port": 4152}"#;
    let refusal = Reply::raw_json(body).with_status(StatusCode::FORBIDDEN);
    let server = Server::start_with(|router| router.refuse_all(refusal)).await;
    for line in ["GET /ping", "POST /nope"] {
        let answer = server.request(line).await;
        Server::check(&answer, "403 Forbidden", &[JSON, V1], body);
    }
}

#[tokio::test]
async fn shutdown_finishes_running_requests_and_closes_idle_connections() {
    let server = Server::start().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    let mut silent = server.connect().await;
    let mut running = server.connect().await;
    running
        .write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    server.state.entered.notified().await;

    let state = Arc::clone(&server.state);
    let address = server.address.clone();
    let stopping = tokio::spawn(server.stop());
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"OK"));
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    TcpStream::connect(&address).await.unwrap_err();
    assert!(!stopping.is_finished());
    state.released.notify_one();
    let mut answer = String::new();
    running.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("waited"), "{answer}");
    stopping.await.unwrap();
}

/// A connection in memory, so that a stopped clock moves only when everyone waits.
fn connect_in_memory() -> (DuplexStream, watch::Sender<bool>) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let (closing, closed) = watch::channel(false);
    let router = Arc::new(routes(Arc::default()));
    let limits = Arc::default();
    tokio::spawn(serve_connection(
        theirs,
        Remote::Unix,
        router,
        limits,
        closed,
    ));
    (ours, closing)
}

async fn read_all(stream: &mut DuplexStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_off() {
    let started = Instant::now();
    for (beginning, answer) in [
        ("", ""),
        (
            "GET /ping HT",
            "REQUEST_TIMEOUT: no whole head within 1m0s (--http-header-timeout)",
        ),
    ] {
        let (mut stream, _closing) = connect_in_memory();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let got = read_all(&mut stream).await;
        let body = got.split("\r\n\r\n").nth(1).unwrap_or_default();
        let wanted = format!("{{\"message\":\"{answer}\"}}");
        assert_eq!(body, if answer.is_empty() { "" } else { &wanted });
        assert!(
            got.is_empty() || got.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
            "{got}"
        );
    }
    assert!(started.elapsed() < Duration::from_mins(3));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_until_it_begins_a_head() {
    let (mut stream, _closing) = connect_in_memory();
    let mut answer = vec![0; 4096];
    for _ in 0..2 {
        stream
            .write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        assert_ne!(stream.read(&mut answer).await.unwrap(), 0);
        tokio::time::sleep(Duration::from_mins(59)).await;
    }
    stream.write_all(b"GET").await.unwrap();
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_for_an_hour_is_closed() {
    let (mut stream, _closing) = connect_in_memory();
    stream
        .write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let started = Instant::now();
    assert!(read_all(&mut stream).await.ends_with("OK"));
    assert!(started.elapsed() >= Duration::from_hours(1));
}

#[tokio::test(start_paused = true)]
async fn a_body_in_drops_is_not_waited_for() {
    for path in ["/pub", "/empty"] {
        let (mut stream, _closing) = connect_in_memory();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let started = Instant::now();
        let mut answer = vec![0; 4096];
        let read = loop {
            // A byte in a chunk of its own would fill /pub's ten bytes: an extension may be as long as it likes.
            let _ = stream
                .write_all(if started.elapsed().is_zero() {
                    b"1;"
                } else {
                    b"x"
                })
                .await;
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer));
            if let Ok(read) = read.await {
                break read.unwrap();
            }
        };
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(
            answer.ends_with(
                r#"{"message":"REQUEST_TIMEOUT: no whole body within 5m0s (--http-body-timeout)"}"#
            ),
            "{answer}"
        );
        assert!(started.elapsed() < Duration::from_mins(6));
    }
}

#[tokio::test]
async fn a_head_above_the_limits_is_told_which_they_are() {
    let limits = HttpLimits {
        max_header_bytes: 10_000,
        max_headers: 5,
        ..HttpLimits::default()
    };
    let server = Server::start_within(limits, |router| router).await;
    let long = format!("A: {}\r\n", "x".repeat(20_000));
    let many = "A: x\r\n".repeat(6);
    for headers in [long, many] {
        let mut stream = server.connect().await;
        // A request before it is answered as usual.
        stream
            .write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].ends_with(b"OK"));
        let request = format!("GET /ping HTTP/1.1\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut refusal = String::new();
        stream.read_to_string(&mut refusal).await.unwrap();
        assert!(
            refusal.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"),
            "{refusal}"
        );
        let body = r#"{"message":"HEADERS_TOO_LARGE: more than 10000 bytes (--http-max-header-bytes) or 5 headers (--http-max-headers)"}"#;
        assert!(refusal.ends_with(body), "{refusal}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let gate = |total, per_address| {
        let bounds = Bounds {
            flag: "max-http-connections",
            total: LiveNumber::new(total),
            per_address: LiveNumber::new(per_address),
            is_for_operators: true,
        };
        Gate::new(bounds, OpenFiles::of(1000), Arc::default())
    };
    for (gate, status, why) in [
        (
            gate(1, 0),
            "503 Service Unavailable",
            "no more than 1 connections at a time (--max-http-connections)",
        ),
        (
            gate(0, 1),
            "429 Too Many Requests",
            "no more than 1 connections at a time from one address (--max-connections-per-address)",
        ),
    ] {
        let limits = HttpLimits::new(Arc::clone(&gate), Arc::default());
        let server = Server::start_within(limits, |router| router).await;
        let mut first = server.connect().await;
        let mut second = server.connect().await;
        let mut answer = String::new();
        second.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{answer}"
        );
        let body = format!(r#"{{"message":"TOO_MANY_CONNECTIONS: {why}"}}"#);
        assert!(answer.ends_with(&body), "{answer}");
        first
            .write_all(b"GET /ping HTTP/1.0\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("OK"), "{answer}");
        while gate.open_count() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(server.request("GET /ping").await.ends_with("OK"));
        server.stop().await;
        assert_eq!(gate.open_count(), 0);
    }
}
