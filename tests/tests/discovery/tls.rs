//! Registration by TLS: who is let in, who is not, and where it says so.

#[path = "../../../crates/nsq-transport/src/tls/test_authority.rs"]
mod test_authority;

use std::process::Command;

use nsq_tests::{Lookupd, Nsqd, PATIENCE, RawClient, Start, path_of_nsqlookupd};

use self::test_authority::Authority;

/// An nsqd that registers there, with these flags.
fn nsqd(lookupd: &Lookupd, flags: &[String]) -> Nsqd {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let nsqd = Start::with(&flags).registering_with(&[lookupd.tcp()]).now();
    nsqd.order("/topic/create?topic=t");
    nsqd
}

fn by_tls(root_ca: &Authority, shown: Option<&Authority>) -> Vec<String> {
    let mut flags = vec![
        "--lookupd-tls".to_owned(),
        format!("--lookupd-tls-root-ca-file={}", root_ca.file()),
    ];
    if let Some(shown) = shown {
        let issued = shown.issue("nsqd.example");
        flags.push(format!("--lookupd-tls-cert={}", issued.cert));
        flags.push(format!("--lookupd-tls-key={}", issued.key));
    }
    flags
}

/// An nsqlookupd with a certificate, and these flags.
fn lookupd(authority: &Authority, flags: &[&str]) -> Lookupd {
    let issued = authority.issue("127.0.0.1");
    let pair = [
        format!("--tls-cert={}", issued.cert),
        format!("--tls-key={}", issued.key),
    ];
    let pair = [pair[0].as_str(), pair[1].as_str()];
    Lookupd::start_with(&[&pair, flags].concat())
}

#[test]
fn either_is_welcome_beside_the_other() {
    let authority = Authority::new();
    let mut lookupd = lookupd(&authority, &[]);
    let silent = RawClient::connect_silently(lookupd.tcp());
    let encrypted = nsqd(&lookupd, &by_tls(&authority, None));
    let plain = nsqd(&lookupd, &[]);
    lookupd.wait_for_producers("t", &[encrypted.tcp(), plain.tcp()]);
    encrypted.order("/channel/create?topic=t&channel=later");
    lookupd.wait_for_channels("t", &["later"]);
    drop(silent);

    lookupd.kill9();
    lookupd.start_again();
    lookupd.wait_for_producers("t", &[encrypted.tcp(), plain.tcp()]);
    drop(encrypted);
    lookupd.wait_for_producers("t", &[plain.tcp()]);
}

#[test]
fn only_those_with_the_right_certificates_get_in_where_they_are_required() {
    let (authority, other) = (Authority::new(), Authority::new());
    let client_ca = format!("--tls-client-ca-file={}", authority.file());
    let lookupd = lookupd(&authority, &["--tls-required", &client_ca]);
    let address = lookupd.tcp();

    for (flags, told_to_nsqd, told_to_lookupd) in [
        (vec![], "", "refused, since it does not speak TLS"),
        (
            by_tls(&other, Some(&authority)),
            "TLS handshake - invalid peer certificate: UnknownIssuer",
            "TLS handshake failed - ",
        ),
        (
            by_tls(&authority, None),
            "CertificateRequired",
            "TLS handshake failed - peer sent no certificates",
        ),
        (
            by_tls(&authority, Some(&other)),
            "UnknownCA",
            "TLS handshake failed - invalid peer certificate: UnknownIssuer",
        ),
    ] {
        let refused = nsqd(&lookupd, &flags);
        // Over and over: after each, there is the same to say of the next.
        let line = format!("LOOKUPD({address}): ");
        let logged = refused.log().wait_for(&line, PATIENCE);
        let logged = logged.unwrap_or_else(|| panic!("no {line:?}"));
        assert!(logged.contains(told_to_nsqd), "{logged}");
        let logged = lookupd.log().wait_for(told_to_lookupd, PATIENCE);
        let logged = logged.unwrap_or_else(|| panic!("no {told_to_lookupd:?}"));
        assert!(logged.contains("client(127.0.0.1:"), "{logged}");
        assert!(lookupd.nodes().is_empty());
    }

    let good = nsqd(&lookupd, &by_tls(&authority, Some(&authority)));
    lookupd.wait_for_producers("t", &[good.tcp()]);
}

#[test]
fn files_that_cannot_be_taken_stop_the_start() {
    let authority = Authority::new();
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let output = Command::new(path_of_nsqlookupd())
        .arg(format!("--tls-cert={}", one.cert))
        .arg(format!("--tls-key={}", other.key))
        .output()
        .expect("nsqlookupd can be started");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let wanted = format!(
        "FATAL: failed to instantiate nsqlookupd - --tls-key={}: must be the key of the certificate in --tls-cert={}",
        other.key, one.cert
    );
    assert!(stderr.contains(&wanted), "{stderr}");
}
