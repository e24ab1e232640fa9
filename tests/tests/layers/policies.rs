//! Who is let in: `--tls-client-auth-policy` and `--tls-required`.

use nsq_tests::Nsqd;
use nsq_transport::tls::{Authorities, Connector, MinVersion, PemFile, Trust};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::certificates::{asking_for, client_with, connector, identity, nsqd_with};
use crate::test_authority::{Authority, Issued};

/// A plain client hears that TLS is required, whatever it says but IDENTIFY.
#[track_caller]
fn check_tls_required(nsqd: &Nsqd) {
    for line in ["NOP", "SUB t c", "NONSENSE", "PUB"] {
        let mut client = nsqd.connect();
        client.identify(&serde_json::json!({}));
        client.send_line(line);
        let name = line.split(' ').next().unwrap_or_default();
        client.expect_error(&format!(
            "E_INVALID cannot {name} in current state (TLS required)"
        ));
        client.expect_closed();
    }
}

#[track_caller]
fn check_http_refused(nsqd: &Nsqd, port: u16) {
    for path in ["/ping", "/nowhere", "/stats?format=json"] {
        let reply = nsqd.get(path);
        assert_eq!(reply.status, 403);
        let body = format!(r#"{{"message": "TLS_REQUIRED", "https_port": {port}}}"#);
        assert_eq!(reply.text(), body);
        let json = "application/json; charset=utf-8";
        assert_eq!(reply.header("content-type"), Some(json));
        assert_eq!(reply.header("x-nsq-content-type"), Some("nsq; version=1.0"));
    }
}

#[test]
fn required_tls_is_required_of_tcp_and_in_one_form_of_http() {
    let authority = Authority::new();
    let connector = connector(&authority, None);
    for (flag, is_http_open) in [
        ("--tls-required", false),
        ("--tls-required=true", false),
        ("--tls-required=TCP-HTTPS", true),
    ] {
        let nsqd = nsqd_with(&authority, &[flag]);
        check_tls_required(&nsqd);
        if is_http_open {
            assert_eq!(nsqd.get("/ping").text(), "OK");
        } else {
            check_http_refused(&nsqd, nsqd.https().port());
        }
        client_with(&nsqd, &["tls_v1"], Some(&connector)).publish("t", "hello");
    }
    let nsqd = nsqd_with(&authority, &["--tls-required=false"]);
    nsqd.connect().publish("t", "hello");
}

#[test]
fn without_https_its_port_is_told_as_0() {
    let authority = Authority::new();
    let nsqd = nsqd_with(&authority, &["--https-address=", "--tls-required"]);
    check_http_refused(&nsqd, 0);
}

#[test]
fn each_policy_asks_for_what_it_says_and_requires_tls() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let root = format!("--tls-root-ca-file={}", known.file());
    let (ours, theirs) = (known.issue("client"), unknown.issue("client"));
    for (policy, shown, refusal) in [
        ("", None, None),
        ("", Some(&theirs), None),
        ("require", None, Some("CertificateRequired")),
        ("require", Some(&theirs), None),
        ("require", Some(&ours), None),
        ("require-verify", None, Some("CertificateRequired")),
        ("require-verify", Some(&theirs), Some("UnknownCA")),
        ("require-verify", Some(&ours), None),
        // Asks for nothing, and still requires TLS.
        ("nonsense", None, None),
    ] {
        let flag = format!("--tls-client-auth-policy={policy}");
        let nsqd = nsqd_with(&known, &[&root, &flag]);
        if policy.is_empty() {
            assert_eq!(nsqd.get("/ping").status, 200);
        } else {
            check_http_refused(&nsqd, nsqd.https().port());
        }
        let connector = connector(&known, shown);
        let asked = asking_for(&["tls_v1"]);
        match (nsqd.connect().negotiate(&asked, Some(&connector)), refusal) {
            (Ok((mut client, _)), None) => client.publish("t", "hello"),
            (Err(error), Some(why)) => assert!(error.contains(why), "{policy}: {error}"),
            (outcome, _) => panic!("{policy} with {}: {outcome:?}", shown.is_some()),
        }
    }
    let nsqd = nsqd_with(&known, &["--tls-client-auth-policy=require"]);
    check_tls_required(&nsqd);
    let flags = [
        "--tls-client-auth-policy=require",
        "--tls-required=tcp-https",
    ];
    assert_eq!(nsqd_with(&known, &flags).get("/ping").status, 200);
}

#[test]
fn a_self_signed_certificate_may_be_its_own_authority_on_both_sides() {
    let folder = Authority::new();
    let own = self_signed(&folder, "127.0.0.1");
    let flags = [
        format!("--tls-cert={}", own.cert),
        format!("--tls-key={}", own.key),
        format!("--tls-root-ca-file={}", own.cert),
        "--tls-client-auth-policy=require-verify".to_owned(),
    ];
    let nsqd = Nsqd::start(&flags.each_ref().map(String::as_str));
    let roots = Authorities::load(&PemFile::new("ca", &own.cert)).unwrap();
    let trust = Trust::Authorities(roots);
    let connector = Connector::new(trust, Some(identity(&own)), MinVersion::Tls12);
    client_with(&nsqd, &["tls_v1"], Some(&connector)).publish("t", "hello");
}

/// As `openssl req -x509` makes it, with the host as a subject alternative name.
fn self_signed(folder: &Authority, host: &str) -> Issued {
    let key = KeyPair::generate().expect("keys can be made");
    let mut params = CertificateParams::new([host.to_owned()]).expect("the host is a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("it can sign itself");
    Issued {
        cert: folder.write("self.pem", &certificate.pem()),
        key: folder.write("self.key", &key.serialize_pem()),
    }
}

#[test]
fn root_authorities_alone_ask_for_no_certificate() {
    let authority = Authority::new();
    let root = format!("--tls-root-ca-file={}", authority.file());
    let nsqd = nsqd_with(&authority, &[&root]);
    let connector = connector(&authority, None);
    client_with(&nsqd, &["tls_v1"], Some(&connector)).publish("t", "hello");
}
