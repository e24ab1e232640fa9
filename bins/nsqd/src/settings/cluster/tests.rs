//! The cluster's options from command lines to settings and refusals.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use nsq_daemon::stop::Stop;

use super::*;
use crate::settings::Settings;

/// What a node on this machine needs.
const LOOPBACK: [&str; 3] = [
    "--cluster-peer=127.0.0.1:4153",
    "--cluster-address=127.0.0.1:4153",
    "--broadcast-address=127.0.0.1",
];

fn load(base: &[&str], args: &[&str]) -> Result<Settings, Stop> {
    let args = base.iter().chain(args);
    Settings::load(args.map(OsString::from))
}

fn cluster(args: &[&str]) -> ClusterSettings {
    let settings = load(&LOOPBACK, args).unwrap();
    settings.cluster().unwrap().clone()
}

#[track_caller]
fn check_refused(args: &[&str], text: &str) {
    match load(&[], args) {
        Err(Stop::Fatal(fatal)) => {
            let reason = fatal.strip_prefix("failed to instantiate nsqd - ");
            assert_eq!(reason, Some(text), "{args:?}");
        }
        other => panic!("{args:?}: {other:?} instead of {text:?}"),
    }
}

/// [`LOOPBACK`] with these arguments is refused.
#[track_caller]
fn check_refused_with(args: &[&str], text: &str) {
    let args: Vec<_> = LOOPBACK.iter().chain(args).copied().collect();
    check_refused(&args, text);
}

fn secret_file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
    file
}

#[test]
fn a_zone_is_told_with_its_region() {
    let zone = |args: &[&str]| cluster(args).zone;
    assert_eq!(zone(&["--topology-zone=a"]), "a");
    assert_eq!(zone(&["--topology-region=eu"]), "eu");
    assert_eq!(zone(&["--topology-zone=a", "--topology-region=eu"]), "eu/a");
}

#[test]
fn without_a_peer_there_is_no_cluster() {
    assert!(load(&[], &[]).unwrap().cluster().is_none());
}

#[test]
fn defaults_follow_from_the_other_addresses() {
    let cluster = cluster(&[]);
    assert_eq!(cluster.peers, ["127.0.0.1:4153"]);
    assert_eq!(cluster.listen.to_string(), "127.0.0.1:4153");
    assert_eq!(cluster.broadcast_address, "127.0.0.1:4153");
    assert_eq!(cluster.replicas, 3);
    assert_eq!(cluster.replace_after, Duration::from_mins(5));
    assert_eq!(cluster.publish_timeout, Duration::from_secs(5));
    assert_eq!(cluster.max_log_bytes, 1 << 30);
    assert_eq!((cluster.transfer_rate, cluster.zone.as_str()), (0, ""));
    assert!(matches!(cluster.security, ClusterSecurity::Loopback));
}

#[test]
fn equal_lists_of_peers_are_equal_in_whatever_order_they_are_given() {
    let cluster = cluster(&[
        "--cluster-peer=B.example:4152",
        "--cluster-peer=a.example:4152",
        "--cluster-peer=127.0.0.1:4153",
        "--cluster-broadcast-address=B.Example:4152",
    ]);
    let peers = ["127.0.0.1:4153", "a.example:4152", "b.example:4152"];
    assert_eq!(cluster.peers, peers);
    assert_eq!(cluster.broadcast_address, "b.example:4152");
}

#[test]
fn a_cluster_option_without_a_peer_is_refused() {
    for flag in CLUSTER_FLAGS {
        let value = match flag {
            "replicas" => "3",
            "cluster-replace-after" | "cluster-publish-timeout" => "5m",
            "cluster-max-log-bytes" | "cluster-transfer-rate" => "1GiB",
            _ => "127.0.0.1:4152",
        };
        let text = format!(
            "--{flag} needs --cluster-peer: without it nsqd is a single node and the option has no effect"
        );
        check_refused(&[&format!("--{flag}={value}")], &text);
    }
}

#[test]
fn values_that_no_node_can_use_are_refused_with_their_flag() {
    for (arg, text) in [
        ("--replicas=0", "--replicas=0: must be at least 1"),
        (
            "--cluster-replace-after=0s",
            "--cluster-replace-after=0s: must be more than 0",
        ),
        (
            "--cluster-publish-timeout=0",
            "--cluster-publish-timeout=0s: must be more than 0",
        ),
        (
            "--cluster-transfer-rate=1000KiB",
            "--cluster-transfer-rate=1024000: must be at least 1MiB, or 0 for no limit",
        ),
        (
            "--topology-zone=a\u{7}",
            "--topology-zone=a\u{7}: must be a name of at most 99 bytes in a cluster",
        ),
        (
            "--cluster-max-log-bytes=1000KiB",
            "--cluster-max-log-bytes=1024000: must be at least 1MiB",
        ),
        (
            "--cluster-peer=a",
            "--cluster-peer=a: must be host:port (missing port in address)",
        ),
        (
            "--cluster-peer=a:0",
            "--cluster-peer=a:0: must be host:port with a port from 1 to 65535",
        ),
        (
            "--cluster-broadcast-address=0.0.0.0:4152",
            "--cluster-broadcast-address=0.0.0.0:4152: must name a host that the other nodes can reach",
        ),
        (
            "--broadcast-address=",
            "--broadcast-address=: must name a host that the other nodes can reach",
        ),
        (
            "--cluster-address=127.0.0.1",
            "--cluster-address=127.0.0.1: must be host:port (missing port in address)",
        ),
        (
            "--drain-to=127.0.0.1:4151",
            "--drain-to cannot be given with --cluster-peer: a node leaves a cluster by POST /cluster/remove, and the \
             other replicas have its messages",
        ),
        (
            "--http-address=127.0.0.1:4153",
            "--cluster-address and --http-address are both port 4153: give one of them another port",
        ),
    ] {
        check_refused_with(&[arg], text);
    }
}

#[test]
fn a_port_that_others_can_reach_needs_a_protection() {
    let unprotected = |address: &str| {
        format!(
            "--cluster-address={address}: is not an address of the loopback interface, so the cluster's port needs \
             protection: give --cluster-secret-file, or --cluster-tls-cert, --cluster-tls-key and \
             --cluster-tls-root-ca-file"
        )
    };
    check_refused(&["--cluster-peer=a:4152"], &unprotected("0.0.0.0:4152"));
    let address = "--cluster-address=[::]:4153";
    check_refused_with(&[address], &unprotected("[::]:4153"));
    let secret = secret_file(b"0123456789abcdef", 0o600);
    let secret = format!("--cluster-secret-file={}", secret.path().display());
    let protected = cluster(&[address, &secret]);
    assert_eq!(protected.listen.to_string(), "[::]:4153");
    assert!(matches!(protected.security, ClusterSecurity::Secret(_)));
}

#[test]
fn a_secret_is_what_the_file_holds_without_line_ends() {
    let read = |content: &[u8], mode| {
        let file = secret_file(content, mode);
        ClusterSecret::read(file.path().to_str().unwrap())
    };
    let secret = read(b"0123456789abcdef\r\n\n", 0o640).unwrap();
    assert_eq!(secret.bytes(), b"0123456789abcdef");
    assert!(!secret.is_open_to_others);
    assert_eq!(format!("{secret:?}"), "ClusterSecret(..)");
    assert!(read(b"0123456789abcdef", 0o644).unwrap().is_open_to_others);
    assert_eq!(
        read(b"0123456789abcde\n", 0o600),
        Err(SecretError::TooShort(15))
    );
    assert_eq!(read(b"", 0o600), Err(SecretError::TooShort(0)));
    assert!(read(&[b'x'; 4096], 0o600).is_ok());
    assert_eq!(read(&[b'x'; 4097], 0o600), Err(SecretError::TooLong));
    check_refused_with(
        &["--cluster-secret-file=/nowhere/secret"],
        "--cluster-secret-file=/nowhere/secret: cannot be read: no such file or directory",
    );
}

#[test]
fn certificates_come_as_a_whole_and_without_a_secret() {
    let also_needs = |given: &str, missing: &str| {
        format!(
            "--{given} also needs --{missing}: peers of a cluster verify each other's certificate"
        )
    };
    check_refused_with(
        &["--cluster-tls-cert=c", "--cluster-tls-key=k"],
        &also_needs("cluster-tls-cert", "cluster-tls-root-ca-file"),
    );
    check_refused_with(
        &["--cluster-tls-root-ca-file=r"],
        &also_needs("cluster-tls-root-ca-file", "cluster-tls-cert"),
    );
    check_refused_with(
        &["--cluster-tls-key=k", "--cluster-secret-file=s"],
        "--cluster-secret-file and --cluster-tls-cert exclude each other: nodes authenticate each other with one of them",
    );
    let files = [
        "--cluster-tls-cert=/nowhere/c",
        "--cluster-tls-key=/nowhere/k",
        "--cluster-tls-root-ca-file=/nowhere/r",
    ];
    check_refused_with(
        &files,
        "--cluster-tls-root-ca-file=/nowhere/r: no such file or directory",
    );
}

#[test]
fn an_operator_is_told_what_is_probably_not_meant() {
    let notices = |args: &[&str]| {
        let settings = load(&LOOPBACK, args).unwrap();
        notices(settings.cluster(), &settings.given)
    };
    assert_eq!(notices(&[]), Vec::<String>::new());
    assert_eq!(notices(&["--replicas=5"]), Vec::<String>::new());
    let secret = secret_file(b"0123456789abcdef", 0o644);
    let secret = format!("--cluster-secret-file={}", secret.path().display());
    let all = notices(&["--replicas=4", "--node-id=7", &secret]);
    let flags: Vec<_> = all
        .iter()
        .map(|notice| notice.split([':', ' ']).next())
        .collect();
    let wanted = ["--replicas=4", "--cluster-secret-file", "--node-id"].map(Some);
    assert_eq!(flags, wanted, "{all:?}");
}
