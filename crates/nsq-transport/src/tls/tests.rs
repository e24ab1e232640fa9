//! Files that cannot be taken, and handshakes that fail and succeed.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::test_authority::{Authority, Issued};
use super::*;

mod own_authority;
mod unsupported;

fn identity(Issued { cert, key }: &Issued) -> Result<Option<Identity>, TlsError> {
    Identity::load(
        &PemFile::new("tls-cert", cert),
        &PemFile::new("tls-key", key),
    )
}

fn authorities(path: &str) -> Result<Authorities, TlsError> {
    Authorities::load(&PemFile::new("ca-file", path))
}

fn trusting(authorities: Authorities, shown: Option<Identity>) -> Connector {
    Connector::new(Trust::Authorities(authorities), shown, MinVersion::Tls12)
}

#[track_caller]
fn check_refused(cert: &str, key: &str, text: &str) {
    let files = Issued {
        cert: cert.to_owned(),
        key: key.to_owned(),
    };
    assert_eq!(identity(&files).unwrap_err().to_string(), text);
}

#[test]
fn a_pair_that_cannot_be_taken_is_named_with_flag_file_and_rule() {
    let authority = Authority::new();
    let one = authority.issue("one");
    let other = authority.issue("other");
    let text = authority.write("text", "no PEM at all");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = authority.write("broken", broken);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = authority.write("encrypted", encrypted);
    let Issued { cert, key } = &one;

    let missing = "no such file or directory";
    check_refused(
        "/nowhere.pem",
        key,
        &format!("--tls-cert=/nowhere.pem: {missing}"),
    );
    check_refused(
        cert,
        "/nowhere.key",
        &format!("--tls-key=/nowhere.key: {missing}"),
    );
    for without in [&text, key] {
        check_refused(
            without,
            key,
            &format!("--tls-cert={without}: it must contain a certificate in PEM form"),
        );
    }
    for without in [&text, cert, &encrypted] {
        check_refused(
            cert,
            without,
            &format!(
                "--tls-key={without}: it must contain a private key that is not encrypted in PEM form"
            ),
        );
    }
    check_refused(
        cert,
        &other.key,
        &format!(
            "--tls-key={}: must be the key of the certificate in --tls-cert={cert}",
            other.key
        ),
    );
    check_refused(
        cert,
        "",
        &format!(
            "--tls-cert={cert} also needs --tls-key: a certificate and its key are given together"
        ),
    );
    check_refused(
        "",
        key,
        &format!(
            "--tls-key={key} also needs --tls-cert: a certificate and its key are given together"
        ),
    );
    let damaged = identity(&Issued {
        cert: broken.clone(),
        key: key.clone(),
    });
    let damaged = damaged.unwrap_err();
    assert!(matches!(damaged, TlsError::Damaged { .. }), "{damaged:?}");
    assert!(
        damaged
            .to_string()
            .starts_with(&format!("--tls-cert={broken}: "))
    );
    assert!(identity(&one).unwrap().is_some());
}

#[test]
fn no_pair_at_all_is_fine() {
    let neither = Issued {
        cert: String::new(),
        key: String::new(),
    };
    assert!(identity(&neither).unwrap().is_none());
}

#[test]
fn authorities_that_cannot_be_taken_are_named() {
    let authority = Authority::new();
    let text = authority.write("text", "");
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    let cut = authority.write("cut", cut);
    assert_eq!(
        authorities("/nowhere").unwrap_err().to_string(),
        "--ca-file=/nowhere: no such file or directory"
    );
    assert_eq!(
        authorities(&text).unwrap_err().to_string(),
        format!("--ca-file={text}: it must contain a certificate in PEM form")
    );
    let damaged = authorities(&cut).unwrap_err();
    assert!(matches!(damaged, TlsError::Damaged { .. }), "{damaged:?}");
    authorities(&authority.file()).unwrap();
}

/// Has the two shake hands, the client calling `host`, and the server send a word; what each has to say.
async fn meet(
    acceptor: &Acceptor,
    connector: &Connector,
    host: &str,
) -> (Result<(), String>, Result<String, String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(tcp).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await
    };
    let client = async {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut stream = connector.connect(&format!("{host}:{port}"), tcp).await?;
        let mut text = String::new();
        // To the end: one without a farewell is an end as well.
        stream.read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let (server, client) = tokio::join!(server, client);
    let text = |error: std::io::Error| error.to_string();
    (server.map_err(text), client.map_err(text))
}

#[tokio::test]
async fn a_server_is_taken_if_its_authority_is_known_and_its_name_is_right() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let connector = trusting(authorities(&known.file()).unwrap(), None);
    for (authority, issued_for, called, refusal) in [
        (&known, "127.0.0.1", "127.0.0.1", None),
        (&known, "lookup.example", "lookup.example", None),
        (&known, "::1", "[::1]", None),
        (&unknown, "127.0.0.1", "127.0.0.1", Some("UnknownIssuer")),
        (&known, "a.example", "b.example", Some("not valid for name")),
        (&known, "a.example", "", Some("invalid dns name")),
    ] {
        let pair = identity(&authority.issue(issued_for)).unwrap().unwrap();
        let acceptor = Acceptor::new(pair, ClientCertificate::NotAsked, MinVersion::Tls12);
        let (server, client) = meet(&acceptor, &connector, called).await;
        match refusal {
            None => assert_eq!((server, client), (Ok(()), Ok("hello".to_owned()))),
            Some(why) => {
                let error = client.unwrap_err();
                assert!(error.contains(why), "{error}");
                assert!(server.is_err());
            }
        }
    }
}

#[tokio::test]
async fn a_client_is_taken_if_it_shows_what_was_asked_for() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let roots = authorities(&known.file()).unwrap();
    let server = identity(&known.issue("127.0.0.1")).unwrap().unwrap();
    let acceptor = Acceptor::new(
        server,
        ClientCertificate::Verified(roots.clone()),
        MinVersion::Tls12,
    );
    for (authority, server_refusal, client_refusal) in [
        (Some(&known), None, ""),
        (
            None,
            Some("peer sent no certificates"),
            "CertificateRequired",
        ),
        (Some(&unknown), Some("UnknownIssuer"), "UnknownCA"),
    ] {
        let shown = authority.map(|one| identity(&one.issue("client")).unwrap().unwrap());
        let connector = trusting(roots.clone(), shown);
        let (server, client) = meet(&acceptor, &connector, "127.0.0.1").await;
        match server_refusal {
            None => assert_eq!((server, client), (Ok(()), Ok("hello".to_owned()))),
            Some(why) => {
                let (server, client) = (server.unwrap_err(), client.unwrap_err());
                assert!(server.contains(why), "{server}");
                assert!(client.contains(client_refusal), "{client}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_in_the_handshake_is_let_go() {
    let authority = Authority::new();
    let pair = identity(&authority.issue("127.0.0.1")).unwrap().unwrap();
    let acceptor = Acceptor::new(pair, ClientCertificate::NotAsked, MinVersion::Tls12);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut silent = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    silent.write_all(&[0x16, 3]).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let error = acceptor.accept(tcp).await.unwrap_err();
    assert_eq!(error.to_string(), "no TLS handshake within 5s");
}
