//! Certificates that are read again on SIGHUP.

use std::fs;

use nsq_tests::{Lookupd, Nsqd, PATIENCE, Start};
use rustix::process::Signal;

use crate::certificates::{asking_for, client_with, connector};
use crate::test_authority::{Authority, Issued};

fn replace(files: &Issued, by: &Issued) {
    for (from, to) in [(&by.cert, &files.cert), (&by.key, &files.key)] {
        fs::copy(from, to).expect("the folder is ours");
    }
}

fn flags(files: &Issued) -> [String; 3] {
    [
        format!("--tls-cert={}", files.cert),
        format!("--tls-key={}", files.key),
        "--https-address=127.0.0.1:0".to_owned(),
    ]
}

#[test]
fn nsqd_shows_its_new_certificate_and_keeps_the_old_one_if_that_is_broken() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.issue("127.0.0.1");
    let flags = flags(&files);
    let nsqd = Start::with(&flags.each_ref().map(String::as_str)).now();
    let (trusting_old, trusting_new) = (connector(&old, None), connector(&new, None));
    let mut early = client_with(&nsqd, &["tls_v1"], Some(&trusting_old));

    fs::write(&files.cert, "no certificate").unwrap();
    nsqd.notify(Signal::HUP);
    let refused = format!(
        "the certificates did not change - failed to build TLS config - --tls-cert={}: it must",
        files.cert
    );
    assert!(
        nsqd.log().wait_for(&refused, PATIENCE).is_some(),
        "{}",
        nsqd.log().tail()
    );
    client_with(&nsqd, &["tls_v1"], Some(&trusting_old)).publish("t", "hello");

    replace(&files, &new.issue("127.0.0.1"));
    nsqd.notify(Signal::HUP);
    let done = nsqd.log().wait_for("certificates read again", PATIENCE);
    assert!(done.is_some(), "{}", nsqd.log().tail());
    client_with(&nsqd, &["tls_v1"], Some(&trusting_new)).publish("t", "hello");
    let asked = asking_for(&["tls_v1"]);
    assert!(
        nsqd.connect()
            .negotiate(&asked, Some(&trusting_old))
            .is_err()
    );
    // Those that were there stay.
    early.publish("t", "hello");
}

#[test]
fn nsqlookupd_shows_its_new_certificate() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.issue("127.0.0.1");
    let [cert, key, _] = flags(&files);
    let mut lookupd = Lookupd::start_with(&[&cert, &key]);
    let trusting = |authority: &Authority| {
        let root = format!("--lookupd-tls-root-ca-file={}", authority.file());
        let flags = ["--lookupd-tls", root.as_str()];
        let nsqd = Start::with(&flags).registering_with(&[lookupd.tcp()]).now();
        nsqd.order("/topic/create?topic=t");
        nsqd
    };
    let early = trusting(&old);
    lookupd.wait_for_producers("t", &[early.tcp()]);
    replace(&files, &new.issue("127.0.0.1"));
    lookupd.notify(Signal::HUP);
    let done = lookupd.log().wait_for("certificates read again", PATIENCE);
    assert!(done.is_some(), "{}", lookupd.log().tail());
    let late = trusting(&new);
    lookupd.wait_for_producers("t", &[early.tcp(), late.tcp()]);
    lookupd.terminate();
}

#[test]
fn without_certificates_a_hangup_ends_it_as_ever() {
    let mut nsqd = Nsqd::start(&[]);
    assert!(!nsqd.signal(Signal::HUP).success());
}

#[test]
fn authorization_servers_are_verified_with_the_new_authorities() {
    let (old, new) = (Authority::new(), Authority::new());
    // Any HTTPS server does: what it says shows that it was believed.
    let flags = flags(&new.issue("127.0.0.1"));
    let server = Start::with(&flags.each_ref().map(String::as_str)).now();
    let authorities = new.write("roots.pem", &fs::read_to_string(old.file()).unwrap());
    let nsqd = Start::with(&[
        &format!("--auth-http-address=https://{}/auth", server.https()),
        &format!("--tls-root-ca-file={authorities}"),
    ])
    .now();
    let check = |why: &str| {
        let mut client = nsqd.connect();
        client.send_with_body("AUTH", b"secret");
        client.expect_error("E_AUTH_FAILED AUTH failed");
        let line = nsqd.log().wait_for(why, PATIENCE);
        assert!(line.is_some(), "{}", nsqd.log().tail());
    };
    check("UnknownIssuer");

    fs::copy(new.file(), &authorities).unwrap();
    nsqd.notify(Signal::HUP);
    let done = nsqd.log().wait_for("certificates read again", PATIENCE);
    assert!(done.is_some(), "{}", nsqd.log().tail());
    check("got response 404 Not Found");
}
