//! nsqd's settings from command lines and config files to refusals and `/config` values.

use std::ffi::OsString;
use std::io::Write as _;
use std::time::Duration;

use nsq_daemon::log_level::LogLevel;
use nsq_daemon::options::FileValue;
use nsq_daemon::version;

use super::*;

fn load(args: &[&str]) -> Result<Settings, Stop> {
    Settings::load(args.iter().map(OsString::from))
}

fn load_file(file: &str, args: &[&str]) -> Result<Settings, Stop> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    let config = format!("--config={}", on_disk.path().display());
    let args = std::iter::once(config.as_str()).chain(args.iter().copied());
    Settings::load(args.map(OsString::from))
}

fn shown(settings: &Settings, key: &str) -> String {
    match settings.config_value(key) {
        Some(ConfigValue::Text(text)) => format!("text {text}"),
        Some(ConfigValue::Json(json)) => json,
        None => "unknown".to_owned(),
    }
}

#[track_caller]
fn check_fatal(loaded: Result<Settings, Stop>, text: &str) {
    match loaded {
        Err(Stop::Fatal(fatal)) => {
            let reason = fatal.strip_prefix("failed to instantiate nsqd - ");
            assert_eq!(reason.unwrap_or(&fatal), text);
        }
        other => panic!("{other:?} instead of {text:?}"),
    }
}

#[test]
fn what_client_suites_pass_is_taken() {
    let settings = load(&[
        "--verbose",
        "--worker-id",
        "-tcp-address",
        "127.0.0.1:0",
        "-http-address=127.0.0.1:0",
    ])
    .unwrap();
    assert_eq!(settings.tcp_address, "127.0.0.1:0");
    assert_eq!(settings.http_address, "127.0.0.1:0");
}

#[test]
fn a_stray_word_after_a_switch_ends_the_flags() {
    let settings = load(&["--snappy", "false", "--max-msg-size=5"]).unwrap();
    assert_eq!(shown(&settings, "max_msg_size"), "1048576");
    assert_eq!(shown(&settings, "snappy"), "true");
    let settings = load(&["--worker-id", "5", "--node-id=9"]).unwrap();
    assert_ne!(shown(&settings, "id"), "9");
    assert!(matches!(load(&["--worker-id=5"]), Err(Stop::Usage { .. })));
}

#[test]
fn version_comes_before_the_config_file_and_every_check() {
    let stop = load(&["--config=/nowhere", "--node-id=-1", "--version"]).unwrap_err();
    assert_eq!(stop, Stop::Answer(version::answer("nsqd")));
}

#[test]
fn defaults_show_as_upstream_shows_them() {
    let settings = load(&[]).unwrap();
    for (key, value) in [
        ("log_level", "2"),
        ("log_prefix", "text [nsqd] "),
        ("tcp_address", "text 0.0.0.0:4150"),
        ("http_address", "text 0.0.0.0:4151"),
        ("https_address", "text 0.0.0.0:4152"),
        ("auth_http_addresses", "[]"),
        ("auth_http_request_method", "text get"),
        ("broadcast_tcp_port", "0"),
        ("nsqlookupd_tcp_addresses", "[]"),
        ("http_client_connect_timeout", "2000000000"),
        ("data_path", "text "),
        ("mem_queue_size", "10000"),
        ("max_bytes_per_file", "104857600"),
        ("sync_timeout", "2000000000"),
        ("sync_publish", "false"),
        ("msg_timeout", "60000000000"),
        ("max_msg_timeout", "900000000000"),
        ("max_req_timeout", "3600000000000"),
        ("max_body_size", "5242880"),
        ("min_output_buffer_timeout", "25000000"),
        ("statsd_prefix", "text nsq.%s"),
        ("e2e_processing_latency_percentiles", "[]"),
        ("e2e_processing_latency_window_time", "600000000000"),
        ("tls_required", "0"),
        ("tls_min_version", "769"),
        ("deflate", "true"),
        ("max_deflate_level", "6"),
        ("enable_experiment", "[]"),
        ("node_id", "unknown"),
        ("lookupd_tcp_address", "unknown"),
        ("config", "unknown"),
        ("version", "unknown"),
        ("verbose", "unknown"),
        ("worker_id", "unknown"),
    ] {
        assert_eq!(shown(&settings, key), value, "{key}");
    }
    let hostname = nsq_daemon::node_id::hostname();
    assert_eq!(
        shown(&settings, "broadcast_address"),
        format!("text {hostname}")
    );
    let id = nsq_daemon::node_id::default_node_id(&hostname);
    assert_eq!(shown(&settings, "id"), id.to_string());
}

#[test]
fn a_file_sets_what_the_line_does_not() {
    let file = "
        deflate = 0
        msg_timeout = 5000
        id = 5
        node_id = 6
        tls_min_version = \"\"
        tls_required = false
        log_level = \"WARN\"
        max_rdy_count = \"17\"
        no_such_option = 1
    ";
    let settings = load_file(file, &["--max-rdy-count=2500"]).unwrap();
    assert_eq!(shown(&settings, "deflate"), "true");
    assert_eq!(shown(&settings, "msg_timeout"), "5000000000");
    assert_eq!(shown(&settings, "id"), "5");
    assert_eq!(shown(&settings, "tls_min_version"), "769");
    assert_eq!(settings.log_level.current(), LogLevel::Warn);
    assert_eq!(settings.max_rdy_count, 2500);
}

#[test]
fn words_a_file_gets_wrong_are_told_in_upstreams_way() {
    check_fatal(
        load_file("log_level = \"loud\"", &[]),
        "failed parsing log_level loud",
    );
    check_fatal(
        load_file("tls_required = \"maybe\"", &[]),
        "failed parsing tls_required maybe",
    );
    check_fatal(
        load_file("tls_min_version = \"ssl3.0\"", &[]),
        "failed parsing tls_min_version ssl3.0",
    );
}

#[test]
fn tls_words_are_read_in_any_case() {
    let mut required = TlsRequired::No;
    let mut set = |word: &str| {
        let taken = nsq_daemon::options::OptionValue::set_from_flag(&mut required, word);
        taken.map(|()| required)
    };
    assert_eq!(set("TRUE"), Ok(TlsRequired::Yes));
    assert_eq!(set("TCP-https"), Ok(TlsRequired::ExceptHttp));
    assert_eq!(set("fAlSe"), Ok(TlsRequired::No));
    assert_eq!(set("1"), Ok(TlsRequired::Yes));

    let text = |args| match load(args) {
        Err(Stop::Usage { text, .. }) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        text(&["--tls-required=Foo"]),
        "invalid boolean value \"Foo\" for -tls-required: strconv.ParseBool: parsing \"foo\": invalid syntax"
    );
    assert_eq!(
        text(&["--tls-min-version=SSL3.0"]),
        "invalid value \"SSL3.0\" for flag -tls-min-version: unknown tlsVersionOption \"ssl3.0\""
    );
    let settings = load(&["--tls-min-version=TLS1.2", "--tls-min-version="]).unwrap();
    assert_eq!(settings.tls_min_version, TlsMinVersion::Tls12);
    // The next word is no value of it.
    check_fatal(
        load(&["--tls-required", "false"]),
        "cannot require TLS client connections without TLS key and cert",
    );
}

#[test]
fn upstreams_checks_have_upstreams_texts() {
    for (args, text) in [
        ("--max-deflate-level=0", "--max-deflate-level must be [1,9]"),
        (
            "--max-deflate-level=10",
            "--max-deflate-level must be [1,9]",
        ),
        ("--node-id=-1", "--node-id must be [0,1024)"),
        ("--node-id=1024", "--node-id must be [0,1024)"),
        (
            "--tls-client-auth-policy=require",
            "cannot require TLS client connections without TLS key and cert",
        ),
        (
            "--tls-required=tcp-https",
            "cannot require TLS client connections without TLS key and cert",
        ),
        (
            "--auth-http-request-method=GET",
            "--auth-http-request-method must be post or get",
        ),
        (
            "--e2e-processing-latency-percentile=1.5",
            "invalid E2E processing latency percentile: 1.5",
        ),
        (
            "--e2e-processing-latency-percentile=0.5,0",
            "invalid E2E processing latency percentile: 0",
        ),
    ] {
        check_fatal(load(&[args]), text);
    }
    for node_id in ["--node-id=0", "--node-id=1023"] {
        load(&[node_id]).unwrap();
    }
}

#[test]
fn what_upstream_would_crash_over_is_refused_with_flag_value_and_rule() {
    for (args, text) in [
        (
            &["--mem-queue-size=-1"][..],
            "--mem-queue-size=-1: must not be negative",
        ),
        (
            &["--max-channel-consumers=-1"],
            "--max-channel-consumers=-1: must not be negative",
        ),
        (
            &["--metrics-max-topics=-1"],
            "--metrics-max-topics=-1: must not be negative",
        ),
        (
            &["--metrics-max-channels=-1"],
            "--metrics-max-channels=-1: must not be negative",
        ),
        (
            &["--sync-timeout=0"],
            "--sync-timeout=0s: must be more than 0",
        ),
        (
            &["--output-buffer-timeout=0s"],
            "--output-buffer-timeout=0s: must be more than 0",
        ),
        (
            &["--statsd-address=127.0.0.1:8125", "--statsd-interval=1s"],
            "--statsd-interval=1s: must be more than 1s, over which the packets of one sending are spread",
        ),
        (
            &[
                "--e2e-processing-latency-percentile=0.5",
                "--e2e-processing-latency-window-time=0",
            ],
            "--e2e-processing-latency-window-time=0s: must be more than 0",
        ),
    ] {
        check_fatal(load(args), text);
    }
    // Without a statsd there is no interval to be wrong, and without percentiles no window.
    load(&["--statsd-interval=1s"]).unwrap();
    load(&["--e2e-processing-latency-window-time=0"]).unwrap();
}

#[test]
fn tls_to_nsqlookupd_is_had_as_asked_for_or_stops_the_start() {
    let plainly = "needs --lookupd-tls: without it nsqd connects to nsqlookupd without TLS";
    let nowhere = "--lookupd-tls-root-ca-file=/nowhere";
    for (args, text) in [
        (
            &["--lookupd-tls"][..],
            "--lookupd-tls needs --lookupd-tls-root-ca-file: nsqlookupd's certificate is always verified",
        ),
        (
            &["--lookupd-tls", nowhere],
            &format!("{nowhere}: no such file or directory"),
        ),
        (&[nowhere], &format!("{nowhere} {plainly}")),
        (
            &["--lookupd-tls-cert=c"],
            &format!("--lookupd-tls-cert=c {plainly}"),
        ),
        (
            &["--lookupd-tls-key=k"],
            &format!("--lookupd-tls-key=k {plainly}"),
        ),
    ] {
        check_fatal(load(args), text);
    }
    assert!(load(&[]).unwrap().lookupd_connector().is_none());
}

#[test]
fn files_of_tls_that_cannot_be_taken_are_named() {
    let missing = "no such file or directory";
    for (args, text) in [
        (
            &["--tls-cert=/nowhere", "--tls-key=/nowhere"][..],
            format!("failed to build TLS config - --tls-cert=/nowhere: {missing}"),
        ),
        (
            &["--tls-key=/nowhere"],
            "failed to build TLS config - --tls-key=/nowhere also needs --tls-cert: a certificate and its key are \
             given together"
                .to_owned(),
        ),
        (
            &["--tls-root-ca-file=/nowhere"],
            format!("failed to build client TLS config - --tls-root-ca-file=/nowhere: {missing}"),
        ),
    ] {
        check_fatal(load(args), &text);
    }
    let settings = load(&[]).unwrap();
    assert!(settings.acceptor().is_none() && !settings.features().tls_available);
}

#[test]
fn what_changes_nothing_is_taken() {
    load(&[
        "--http-address=",
        "--tls-required=false",
        "--enable-experiment=something-else",
        "--deflate",
        "--snappy",
    ])
    .unwrap();
    let file = "tls_cert = \"\"\nenable_experiment = []\ntls_required = false";
    load_file(file, &[]).unwrap();
}

#[test]
fn bound_ports_fill_in_what_was_not_given() {
    let mut settings = load(&["--broadcast-address=my.host"]).unwrap();
    settings.fill_in_ports(41, 42);
    assert_eq!(shown(&settings, "broadcast_tcp_port"), "41");
    assert_eq!(shown(&settings, "broadcast_http_port"), "42");
    assert_eq!(shown(&settings, "statsd_prefix"), "text nsq.my_host_42.");

    let mut settings = load(&[
        "--broadcast-address=::1",
        "--broadcast-tcp-port=1",
        "--broadcast-http-port=2",
        "--statsd-prefix=a.%s.%s.",
    ])
    .unwrap();
    settings.fill_in_ports(41, 42);
    assert_eq!(settings.broadcast_tcp_port, 1);
    assert_eq!(settings.statsd_prefix, "a.[__1]_2.[__1]_2.");

    let mut settings = load(&["--statsd-prefix="]).unwrap();
    settings.fill_in_ports(41, 42);
    assert_eq!(settings.statsd_prefix, "");
}

#[test]
fn the_two_live_options_change_for_all_who_use_them() {
    let settings = load(&[]).unwrap();
    let level = settings.log_level.clone();
    let lookupd = settings.nsqlookupd_tcp_addresses.clone();
    assert_eq!(
        settings.put_config_value("log_level", b"Debug"),
        Ok(ConfigValue::Json("1".to_owned()))
    );
    assert_eq!(level.current(), LogLevel::Debug);
    let body = br#" ["a:4160", "b:4160"] "#;
    assert_eq!(
        settings.put_config_value("nsqlookupd_tcp_addresses", body),
        Ok(ConfigValue::Json(r#"["a:4160","b:4160"]"#.to_owned()))
    );
    assert_eq!(**lookupd.current(), ["a:4160", "b:4160"]);
    for (key, body, error) in [
        ("log_level", &b"\"info\""[..], PutError::InvalidValue),
        ("log_level", b"info\n", PutError::InvalidValue),
        ("log_level", b"\xff", PutError::InvalidValue),
        ("nsqlookupd_tcp_addresses", b"a:1", PutError::InvalidValue),
        ("nsqlookupd_tcp_addresses", b"[1]", PutError::InvalidValue),
        ("lookupd_tcp_address", b"[]", PutError::InvalidOption),
        ("max_msg_size", b"5", PutError::InvalidOption),
    ] {
        assert_eq!(settings.put_config_value(key, body), Err(error), "{key}");
    }
}

#[test]
fn no_flag_and_no_key_is_given_twice() {
    let options = NsqdOptions::default();
    let rows = options.rows();
    for (at, row) in rows.iter().enumerate() {
        for other in &rows[..at] {
            assert_ne!(row.flag, other.flag);
            assert!(row.key.is_none() || row.key != other.key, "{}", row.flag);
        }
    }
}

/// The example: it loads as it stands, names every key, and shows the defaults of all but those
/// that depend on the host or have none.
#[test]
fn the_example_config_loads_and_tells_the_defaults() {
    const EXAMPLE: &str = include_str!("../../../../config/nsqd.cfg.example");
    const SAMPLE_VALUES: [&str; 23] = [
        "id",
        "cluster_peers",
        "cluster_broadcast_address",
        "cluster_secret_file",
        "cluster_tls_cert",
        "cluster_tls_key",
        "cluster_tls_root_ca_file",
        "drain_to",
        "broadcast_address",
        "topology_region",
        "topology_zone",
        "data_path",
        "nsqlookupd_tcp_addresses",
        "lookupd_tls_root_ca_file",
        "lookupd_tls_cert",
        "lookupd_tls_key",
        "auth_http_addresses",
        "statsd_address",
        "e2e_processing_latency_percentiles",
        "cluster_transfer_rate",
        "tls_client_auth_policy",
        "tls_root_ca_file",
        "enable_experiment",
    ];
    let as_it_stands = load_file(EXAMPLE, &[]).unwrap();
    assert_eq!(as_it_stands.msg_timeout, Duration::from_mins(1));

    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let table: toml::Table = uncommented.parse().unwrap();
    let mut options = NsqdOptions::default();
    for key in NsqdOptions::default()
        .rows()
        .iter()
        .filter_map(|row| row.key.as_deref())
    {
        assert!(table.contains_key(key), "the example lacks {key}");
    }
    for (key, value) in &table {
        let defaults = NsqdOptions::default();
        let rows = defaults.rows();
        let row = rows.iter().find(|row| row.key.as_deref() == Some(key));
        let flag = row
            .unwrap_or_else(|| panic!("the example invents {key}"))
            .flag;
        let value: &FileValue = value;
        options
            .value_mut(flag)
            .unwrap()
            .set_from_file(value)
            .unwrap();
        if !SAMPLE_VALUES.contains(&key.as_str()) {
            assert_eq!(
                options.config_value(key),
                defaults.config_value(key),
                "{key}"
            );
        }
    }
}
