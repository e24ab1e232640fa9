//! nsqlookupd through both its doors, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nsq_daemon::http::client::{Client, ClientOptions};
use nsq_daemon::http::{self, HttpLimits};
use nsq_daemon::version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::registry::Visibility;
use crate::{Admission, Introduction, LookupLimits, Lookupd, Registry, api, server};

/// Asks nsqlookupds for channels, each within `limit`.
pub(crate) fn client(limit: Duration) -> Client {
    Client::new(ClientOptions {
        connect_timeout: limit,
        request_timeout: limit,
        tls: None,
        user_agent: "test".into(),
        body_limit: 1024,
    })
}

/// An nsqlookupd on ports of its own.
pub(crate) struct Running {
    pub(crate) tcp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) lookupd: Arc<Lookupd>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(Admission::Plain).await
    }

    pub(crate) async fn start_with(admission: Admission) -> Self {
        Self::start_within(admission, LookupLimits::default()).await
    }

    async fn start_within(admission: Admission, limits: LookupLimits) -> Self {
        let visibility = Visibility {
            inactive_producer_timeout: Duration::from_mins(5),
            tombstone_lifetime: Duration::from_secs(45),
        };
        let tcp_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tcp, http) = (
            tcp_listener.local_addr().unwrap(),
            http_listener.local_addr().unwrap(),
        );
        let introduction = Introduction {
            broadcast_address: "127.0.0.1".into(),
            hostname: "host".into(),
            http_port: http.port(),
            tcp_port: tcp.port(),
            version: "1.3.0",
        };
        let lookupd = Arc::new(Lookupd::new(
            Registry::new(visibility),
            introduction,
            limits,
        ));
        let (stop, stopped) = watch::channel(false);
        let wait = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let router = Arc::new(api::router(Arc::clone(&lookupd)));
        let tasks = vec![
            tokio::spawn(serve_tcp(
                tcp_listener,
                Arc::clone(&lookupd),
                admission,
                wait(stopped.clone()),
            )),
            tokio::spawn(http::serve(
                http_listener,
                router,
                HttpLimits::default(),
                wait(stopped),
            )),
        ];
        Self {
            tcp,
            http,
            lookupd,
            stop,
            tasks,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }

    /// Status, head and body of the answer to `line`, such as `GET /topics`.
    async fn ask(&self, line: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    async fn check(&self, line: &str, status: u16, body: &str) {
        let (got, head, got_body) = self.ask(line).await;
        assert_eq!((got, got_body.as_str()), (status, body), "{line}");
        assert!(
            head.contains("X-Nsq-Content-Type: nsq; version=1.0"),
            "{line}: {head}"
        );
    }

    async fn check_error(&self, line: &str, status: u16, code: &str) {
        self.check(line, status, &format!(r#"{{"message":"{code}"}}"#))
            .await;
    }

    /// Connects as an nsqd at `name` and identifies it.
    async fn nsqd(&self, name: &str) -> Caller {
        let mut caller = Caller::connect(self.tcp).await;
        caller.send(b"  V1").await;
        let body = format!(
            r#"{{"broadcast_address":"{name}","hostname":"{name}","http_port":4151,"tcp_port":4150,"version":"1.3.0"}}"#
        );
        let introduction = caller.ask(&identify(&body)).await;
        assert_eq!(
            introduction,
            format!(
                r#"{{"broadcast_address":"127.0.0.1","hostname":"host","http_port":{},"tcp_port":{},"version":"1.3.0"}}"#,
                self.http.port(),
                self.tcp.port()
            )
        );
        caller
    }

    /// Waits until no one is connected: a closed connection is noticed, not announced.
    async fn until_deserted(&self) {
        while !self.lookupd.registry().dump_nodes().entries.is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

async fn serve_tcp(
    listener: TcpListener,
    lookupd: Arc<Lookupd>,
    admission: Admission,
    stop: impl Future<Output = ()>,
) {
    server::serve(listener, lookupd, admission, stop)
        .await
        .unwrap();
}

/// A connection to the TCP door.
struct Caller {
    stream: TcpStream,
}

impl Caller {
    async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn read_answer(&mut self) -> String {
        let size = self.stream.read_i32().await.unwrap();
        let mut body = vec![0; usize::try_from(size).unwrap()];
        self.stream.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    async fn ask(&mut self, bytes: &[u8]) -> String {
        self.send(bytes).await;
        self.read_answer().await
    }

    async fn check(&mut self, line: &str) {
        assert_eq!(
            self.ask(format!("{line}\n").as_bytes()).await,
            "OK",
            "{line}"
        );
    }

    fn port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }
}

fn identify(body: &str) -> Vec<u8> {
    let size = i32::try_from(body.len()).unwrap().to_be_bytes();
    [b"IDENTIFY\n", &size[..], body.as_bytes()].concat()
}

fn producer(name: &str, port: u16) -> String {
    format!(
        r#"{{"remote_address":"127.0.0.1:{port}","hostname":"{name}","broadcast_address":"{name}","tcp_port":4150,"http_port":4151,"version":"1.3.0","topology_zone":"","topology_region":""}}"#
    )
}

#[tokio::test]
async fn what_an_nsqd_registers_is_found_over_http() {
    let running = Running::start().await;
    let mut nsqd = running.nsqd("n1").await;
    nsqd.check("PING").await;
    nsqd.check("REGISTER ui c1").await;
    nsqd.check("REGISTER ui c2#ephemeral").await;
    nsqd.check("REGISTER t#ephemeral").await;

    let n1 = producer("n1", nsqd.port());
    let lookup = format!(r#"{{"channels":["c1","c2#ephemeral"],"producers":[{n1}]}}"#);
    running.check("GET /lookup?topic=ui", 200, &lookup).await;
    running
        .check("GET /topics", 200, r#"{"topics":["t#ephemeral","ui"]}"#)
        .await;
    running
        .check(
            "GET /channels?topic=ui",
            200,
            r#"{"channels":["c1","c2#ephemeral"]}"#,
        )
        .await;
    let with_topics = n1.replace(
        '}',
        r#","tombstones":[false,false],"topics":["t#ephemeral","ui"]}"#,
    );
    running
        .check(
            "GET /nodes",
            200,
            &format!(r#"{{"producers":[{with_topics}]}}"#),
        )
        .await;

    nsqd.check("UNREGISTER ui c2#ephemeral").await;
    drop(nsqd);
    running.until_deserted().await;
    running
        .check(
            "GET /lookup?topic=ui",
            200,
            r#"{"channels":["c1"],"producers":[]}"#,
        )
        .await;
    running
        .check("GET /nodes", 200, r#"{"producers":[]}"#)
        .await;
    running.check("GET /debug", 200, "{}").await;
    running.stop().await;
}

#[tokio::test]
async fn a_tombstoned_node_is_hidden_from_one_topic() {
    let running = Running::start().await;
    let mut nsqd = running.nsqd("fd00::1").await;
    nsqd.check("REGISTER ta").await;
    nsqd.check("REGISTER tb").await;
    // As nsqadmin writes an IPv6 node.
    running
        .check(
            "POST /topic/tombstone?topic=ta&node=[fd00::1]:4151",
            200,
            "",
        )
        .await;
    running
        .check(
            "GET /lookup?topic=ta",
            200,
            r#"{"channels":[],"producers":[]}"#,
        )
        .await;
    let node = producer("fd00::1", nsqd.port());
    let lookup = format!(r#"{{"channels":[],"producers":[{node}]}}"#);
    running.check("GET /lookup?topic=tb", 200, &lookup).await;
    let with_topics = node.replace('}', r#","tombstones":[true,false],"topics":["ta","tb"]}"#);
    running
        .check(
            "GET /nodes",
            200,
            &format!(r#"{{"producers":[{with_topics}]}}"#),
        )
        .await;
}

#[tokio::test]
async fn everything_can_be_dumped() {
    let running = Running::start().await;
    let mut nsqd = running.nsqd("n1").await;
    nsqd.check("REGISTER t c").await;
    running
        .check("POST /topic/tombstone?topic=t&node=n1:4151", 200, "")
        .await;
    let (_, _, body) = running.ask("GET /debug").await;
    let dump: serde_json::Value = serde_json::from_str(&body).unwrap();
    let keys: Vec<&String> = dump.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["channel:t:c", "client::", "topic:t:"]);
    let channel = &dump["channel:t:c"][0];
    assert_eq!(channel["id"], format!("127.0.0.1:{}", nsqd.port()));
    assert_eq!(channel["tombstoned"], false);
    assert_eq!(channel["tombstoned_at"], -6_795_364_578_871_345_152_i64);
    let topic = &dump["topic:t:"][0];
    assert_eq!(topic["tombstoned"], true);
    assert!(topic["tombstoned_at"].as_i64().unwrap() >= topic["last_update"].as_i64().unwrap());
    assert!(topic["last_update"].as_i64().unwrap() > 1_700_000_000_000_000_000);
    for key in [
        "broadcast_address",
        "hostname",
        "http_port",
        "tcp_port",
        "version",
    ] {
        assert_eq!(topic[key], dump["client::"][0][key]);
    }
}

#[tokio::test]
async fn topics_and_channels_are_created_and_deleted_over_http() {
    let running = Running::start().await;
    running.check("POST /topic/create?topic=t", 200, "").await;
    running
        .check(
            "POST /channel/create?topic=u&channel=c%23ephemeral",
            200,
            "",
        )
        .await;
    running
        .check("GET /topics", 200, r#"{"topics":["t","u"]}"#)
        .await;
    running
        .check(
            "GET /lookup?topic=u",
            200,
            r#"{"channels":["c#ephemeral"],"producers":[]}"#,
        )
        .await;
    running
        .check(
            "POST /channel/delete?topic=u&channel=c%23ephemeral",
            200,
            "",
        )
        .await;
    running
        .check("GET /channels?topic=u", 200, r#"{"channels":[]}"#)
        .await;
    // Not a wildcard.
    running.check("POST /topic/delete?topic=*", 200, "").await;
    running.check("POST /topic/delete?topic=t", 200, "").await;
    running.check("POST /topic/delete?topic=t", 200, "").await;
    running
        .check("GET /topics", 200, r#"{"topics":["u"]}"#)
        .await;
    running
        .check_error("GET /lookup?topic=*", 404, "TOPIC_NOT_FOUND")
        .await;
    running
        .check("GET /channels?topic=*", 200, r#"{"channels":[]}"#)
        .await;
}

#[tokio::test]
async fn wrong_questions_get_upstreams_answers() {
    let running = Running::start().await;
    for (line, status, code) in [
        ("GET /lookup", 400, "MISSING_ARG_TOPIC"),
        ("GET /lookup?topic=t", 404, "TOPIC_NOT_FOUND"),
        ("GET /lookup?topic=", 404, "TOPIC_NOT_FOUND"),
        ("GET /lookup?topic=t;u", 400, "INVALID_REQUEST"),
        ("GET /channels", 400, "MISSING_ARG_TOPIC"),
        ("POST /topic/create", 400, "MISSING_ARG_TOPIC"),
        ("POST /topic/create?topic=a$b", 400, "INVALID_ARG_TOPIC"),
        ("POST /topic/delete", 400, "MISSING_ARG_TOPIC"),
        ("POST /channel/create", 400, "MISSING_ARG_TOPIC"),
        ("POST /channel/create?topic=$", 400, "INVALID_ARG_TOPIC"),
        ("POST /channel/create?topic=t", 400, "MISSING_ARG_CHANNEL"),
        (
            "POST /channel/create?topic=t&channel=",
            400,
            "INVALID_ARG_CHANNEL",
        ),
        ("POST /channel/delete", 400, "MISSING_ARG_TOPIC"),
        ("POST /channel/delete?topic=$", 400, "INVALID_ARG_TOPIC"),
        ("POST /channel/delete?topic=t", 400, "MISSING_ARG_CHANNEL"),
        (
            "POST /channel/delete?topic=t&channel=$",
            400,
            "INVALID_ARG_CHANNEL",
        ),
        (
            "POST /channel/delete?topic=t&channel=c",
            404,
            "CHANNEL_NOT_FOUND",
        ),
        ("POST /topic/tombstone", 400, "MISSING_ARG_TOPIC"),
        ("POST /topic/tombstone?topic=t", 400, "MISSING_ARG_NODE"),
        ("GET /topic/create?topic=t", 405, "METHOD_NOT_ALLOWED"),
        ("POST /lookup?topic=t", 405, "METHOD_NOT_ALLOWED"),
        ("GET /create_topic?topic=t", 404, "NOT_FOUND"),
    ] {
        running.check_error(line, status, code).await;
    }
    running
        .check("GET /channels?topic=nobody", 200, r#"{"channels":[]}"#)
        .await;
    running
        .check("POST /topic/tombstone?topic=t&node=n", 200, "")
        .await;
    let build = version::build();
    let info = format!(r#"{{"version":"1.3.0","build":"{build}"}}"#);
    running.check("GET /info", 200, &info).await;
    let (status, head, body) = running.ask("GET /ping").await;
    assert_eq!((status, body.as_str()), (200, "OK"));
    assert!(!head.contains("X-Nsq"), "{head}");
}

#[tokio::test]
async fn every_error_ends_the_connection_behind_its_answer() {
    let running = Running::start().await;
    let too_long = "  V1".to_owned() + &"x".repeat(5000);
    let negative: &[u8] = b"  V1IDENTIFY\n\xff\xff\xff\xff";
    for (input, answer) in [
        (&b"  V2PING\n"[..], "E_BAD_PROTOCOL"),
        (
            b"  V1INVALID_COMMAND\nPING\n",
            "E_INVALID invalid command INVALID_COMMAND",
        ),
        (b"  V1REGISTER t\n", "E_INVALID client must IDENTIFY"),
        (negative, "E_BAD_BODY IDENTIFY failed to read body"),
        (
            too_long.as_bytes(),
            "E_INVALID line is longer than 4096 bytes",
        ),
    ] {
        let mut caller = Caller::connect(running.tcp).await;
        assert_eq!(caller.ask(input).await, answer);
        // The end, or a reset if something was left unread.
        assert!(!matches!(caller.stream.read(&mut [0]).await, Ok(1..)));
    }
    // And the daemon is still there.
    running.nsqd("n1").await.check("PING").await;
}

#[tokio::test]
async fn a_client_that_only_half_closes_hears_what_was_missing() {
    let running = Running::start().await;
    let mut caller = Caller::connect(running.tcp).await;
    caller.send(b"  V1PING\nIDENTIFY\n\0\0").await;
    caller.stream.shutdown().await.unwrap();
    assert_eq!(caller.read_answer().await, "OK");
    assert_eq!(
        caller.read_answer().await,
        "E_BAD_BODY IDENTIFY failed to read body size"
    );
    assert_eq!(caller.stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn stopping_closes_every_connection() {
    let running = Running::start().await;
    let mut nsqd = running.nsqd("n1").await;
    nsqd.check("REGISTER t").await;
    let mut silent = Caller::connect(running.tcp).await;
    let mut http = TcpStream::connect(running.http).await.unwrap();
    let lookupd = Arc::clone(&running.lookupd);
    running.stop().await;
    for stream in [&mut nsqd.stream, &mut silent.stream, &mut http] {
        assert!(!matches!(stream.read(&mut [0]).await, Ok(1..)));
    }
    assert!(lookupd.registry().dump_nodes().entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_let_go_after_a_minute() {
    let running = Running::start().await;
    let start = tokio::time::Instant::now();
    for said in [&b""[..], b" ", b"  V1", b"  V1PIN", b"  V1IDENTIFY\n\0\0"] {
        let mut stream = TcpStream::connect(running.tcp).await.unwrap();
        stream.write_all(said).await.unwrap();
        let begin = tokio::time::Instant::now();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let why = "E_TIMEOUT no command within 1m0s (--first-command-timeout)";
        assert!(answer.ends_with(why), "{said:?}: {answer}");
        // The clock jumps to whatever is due next.
        let waited = begin.elapsed();
        assert!(
            (59..=61).contains(&waited.as_secs()),
            "{said:?}: {waited:?}"
        );
    }
    let mut caller = Caller::connect(running.tcp).await;
    caller.send(b"  V1").await;
    assert_eq!(caller.ask(b"PING\n").await, "OK");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(caller.ask(b"PING\n").await, "OK");
    assert!(start.elapsed() >= Duration::from_mins(65));
    running.stop().await;
}
