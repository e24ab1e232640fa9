//! What a daemon says when it cannot start: one line, with the flag, its value, and what is wrong or to be done.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use nsq_tests::{Admin, Lookupd, Nsqd, Start};

/// A start of nsqd with these flags fails, and its last words have all of these in them.
#[track_caller]
fn check_nsqd(flags: &[&str], wanted: &[&str]) {
    let (status, log) = Start::with(flags).later().start_in_vain();
    check(status.code(), &log, wanted);
}

#[track_caller]
fn check(code: Option<i32>, log: &str, wanted: &[&str]) {
    assert_eq!(code, Some(1), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("FATAL: "), "{log}");
    assert_eq!(log.matches("FATAL").count(), 1, "{log}");
    for part in wanted {
        assert!(last.contains(part), "{part:?} is not in\n{last}");
    }
}

/// A certificate and its key, as files.
fn certificate(folder: &Path, name: &str) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("it can be made");
    let files = [made.cert.pem(), made.signing_key.serialize_pem()];
    let mut paths = ["cert", "key"].map(|kind| folder.join(format!("{name}.{kind}.pem")));
    for (path, text) in paths.iter_mut().zip(files) {
        fs::write(&*path, text).expect("the file can be written");
    }
    paths.map(|path| path.to_str().expect("temporary paths are text").to_owned())
}

#[test]
fn a_listener_that_cannot_be_had() {
    let lookupd = Lookupd::start();
    let taken: SocketAddr = lookupd.http();
    let folder = tempfile::tempdir().expect("a folder");
    let [cert, key] = certificate(folder.path(), "one");
    let (cert, key) = (format!("--tls-cert={cert}"), format!("--tls-key={key}"));
    let in_use = "something listens there already: stop it, or give another address";
    for flag in ["tcp-address", "http-address", "https-address"] {
        let given = format!("--{flag}={taken}");
        let named = format!("(--{flag}: ");
        check_nsqd(
            &[&given, &cert, &key],
            &[&taken.to_string(), &named, in_use],
        );
    }
    // 203.0.113.0/24 is for documents: no machine has an address of it.
    check_nsqd(
        &["--tcp-address=203.0.113.9:4150"],
        &[
            "203.0.113.9:4150",
            "(--tcp-address: must be an address of this machine)",
        ],
    );
    check_nsqd(
        &["--http-address=127.0.0.1:99999"],
        &["invalid port (--http-address: must be an address to listen on, host:port)"],
    );
    let given = format!("--http-address={taken}");
    let (code, log) = Admin::start_in_vain(&[&given, "--lookupd-http-address=127.0.0.1:1"]);
    check(code, &log, &["(--http-address: ", in_use]);
}

#[test]
fn a_data_path_that_cannot_be_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    let missing = missing.display();
    check_nsqd(
        &[&format!("--data-path={missing}")],
        &[&format!(
            "open {missing}: no such file or directory (--data-path: must be a directory that is there"
        )],
    );
    let file = folder.path().join("file");
    fs::write(&file, "").expect("the file can be written");
    check_nsqd(
        &[&format!("--data-path={}", file.display())],
        &["not a directory (--data-path: must be a directory"],
    );
    // No user can create folders there, not even root.
    check_nsqd(
        &["--data-path=/sys"],
        &[
            "the file system of /sys cannot create a file",
            "(--data-path: this user must be able to write there)",
        ],
    );
    let other = Nsqd::start(&[]);
    check_nsqd(
        &[&format!("--data-path={}", other.folder().display())],
        &[
            "in use by another instance of nsqd) (--data-path: each nsqd needs a directory of its own)",
        ],
    );
    let mut broken = Start::default().later();
    fs::write(broken.folder().join("nsqd.dat"), "{").expect("the file can be written");
    let (status, log) = broken.start_in_vain();
    check(
        status.code(),
        &log,
        &["nsqd.dat", "EOF", "move the file away"],
    );
}

#[test]
fn certificates_and_configuration_that_cannot_be_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let [cert, key] = certificate(folder.path(), "one");
    let [_, other_key] = certificate(folder.path(), "other");
    let junk = folder.path().join("junk");
    fs::write(&junk, "broken = = 1").expect("the file can be written");
    let junk = junk.display();
    let with = |cert: &str, key: &str| [format!("--tls-cert={cert}"), format!("--tls-key={key}")];
    for (flags, wanted) in [
        (
            with("/nowhere.pem", &key),
            "--tls-cert=/nowhere.pem: no such file or directory".to_owned(),
        ),
        (
            with(&junk.to_string(), &key),
            format!("--tls-cert={junk}: it must contain a certificate"),
        ),
        (
            with(&cert, &other_key),
            format!(
                "--tls-key={other_key}: must be the key of the certificate in --tls-cert={cert}"
            ),
        ),
    ] {
        let flags = flags.each_ref().map(String::as_str);
        check_nsqd(&flags, &[&wanted]);
    }
    check_nsqd(&[&format!("--tls-cert={cert}")], &["also needs --tls-key"]);
    check_nsqd(
        &[&format!("--config={junk}")],
        &[&format!("failed to load config file {junk} - line 1")],
    );
    check_nsqd(
        &["--drain-to=nowhere"],
        &["--drain-to=nowhere: must be the host:port"],
    );
    check_nsqd(
        &["--mem-queue-size=-1"],
        &["--mem-queue-size=-1: must not be negative"],
    );
    let (code, log) = Admin::start_in_vain(&["--lookupd-http-address=nowhere"]);
    check(
        code,
        &log,
        &[
            "--lookupd-http-address (nowhere)",
            "missing port in address",
        ],
    );
}
