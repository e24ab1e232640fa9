//! Pages as a browser gets them: nsqadmin served for real, before an nsqd that says whatever it likes.

mod contrast;
mod hostile;
mod metrics;
mod replication;

use std::ffi::OsString;
use std::future::pending;
use std::sync::Arc;

use nsq_daemon::http::{self, ApiError, HttpLimits, Method, Reply, Request, Router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::run::assemble;
use crate::settings::Settings;

/// What an nsqd answers.
#[derive(Debug, Clone, Default)]
struct Script {
    stats: String,
    peek: String,
    /// Of `/cluster`; empty outside of a cluster.
    cluster: String,
}

/// The address of an nsqd that keeps to `script`.
async fn nsqd(script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port();
    let info = format!(
        r#"{{"version":"1.3.0<b>","broadcast_address":"127.0.0.1","hostname":"<i>host</i>","http_port":{port},"tcp_port":1}}"#
    );
    let router = Router::new(Arc::new((script, info)))
        .route(
            Method::GET,
            "/info",
            async |script: Arc<(Script, String)>, _| Ok(Reply::raw_json(script.1.clone())),
        )
        .route(
            Method::GET,
            "/stats",
            async |script: Arc<(Script, String)>, _| Ok(Reply::raw_json(script.0.stats.clone())),
        )
        .route(
            Method::GET,
            "/channel/peek",
            async |script: Arc<(Script, String)>, _| Ok(Reply::raw_json(script.0.peek.clone())),
        )
        .route(
            Method::GET,
            "/cluster",
            async |script: Arc<(Script, String)>, _| match script.0.cluster.as_str() {
                "" => Err(ApiError::not_found("NOT_CLUSTERED")),
                report => Ok(Reply::raw_json(report.to_owned())),
            },
        )
        .route(
            Method::POST,
            "/channel/:verb",
            async |_, request: Request| {
                drop(request);
                Ok(Reply::empty())
            },
        );
    tokio::spawn(http::serve(
        listener,
        Arc::new(router),
        HttpLimits::default(),
        pending(),
    ));
    address.to_string()
}

/// An nsqadmin in front of `nsqd`, with more `flags`; its address.
async fn serve(nsqd: &str, flags: &[&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let first = [
        format!("--nsqd-http-address={nsqd}"),
        "--history-interval=0".to_owned(),
    ];
    let args = first
        .into_iter()
        .chain(flags.iter().map(|flag| (*flag).to_owned()));
    let settings = Settings::load(args.map(OsString::from)).unwrap();
    let (nsqadmin, _) = assemble(settings).unwrap();
    let router = Arc::new(crate::http::router(Arc::new(nsqadmin)));
    tokio::spawn(http::serve(
        listener,
        router,
        HttpLimits::default(),
        pending(),
    ));
    address
}

/// An answer, head and body in one text.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn get(address: &str, path: &str) -> Answer {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
    .await
}

async fn post(address: &str, path: &str, form: &str) -> Answer {
    let length = form.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{form}"
    );
    ask(address, &request).await
}

async fn ask(address: &str, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).expect("pages are UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// The token of the page's first form.
fn token(page: &str) -> String {
    let (_, rest) = page
        .split_once("name=\"csrf_token\" value=\"")
        .expect("the page has a form");
    rest.split('"').next().unwrap().to_owned()
}
