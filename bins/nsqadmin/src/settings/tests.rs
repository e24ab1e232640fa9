use super::*;

fn load(args: &[&str]) -> Result<Settings, Stop> {
    Settings::load(args.iter().map(OsString::from))
}

fn load_file(text: &str, args: &[&str]) -> Result<Settings, Stop> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let config = format!("--config={}", file.path().display());
    load(&[&[config.as_str()], args].concat())
}

const LOOKUPD: &str = "--lookupd-http-address=127.0.0.1:4161";

#[test]
fn defaults_are_upstreams() {
    let settings = load(&[LOOKUPD]).unwrap();
    assert_eq!(settings.http_address, "0.0.0.0:4171");
    assert_eq!(settings.log_prefix, "[nsqadmin] ");
    assert_eq!(settings.base_path, "/");
    assert_eq!(settings.statsd_interval, Duration::from_mins(1));
    assert_eq!(settings.http_client_connect_timeout, Duration::from_secs(2));
    assert_eq!(settings.http_client_request_timeout, Duration::from_secs(5));
    assert_eq!(settings.acl_http_header, "X-Forwarded-User");
    assert_eq!(settings.allow_config_from_cidr, "127.0.0.1/8");
}

#[test]
fn a_base_path_has_one_form_and_everything_goes_below_it() {
    for (given, base, index, ping) in [
        ("", "/", "/", "/ping"),
        ("/", "/", "/", "/ping"),
        ("nsq", "/nsq", "/nsq", "/nsq/ping"),
        ("/nsq/", "/nsq", "/nsq", "/nsq/ping"),
        ("/a//b/../c/", "/a/c", "/a/c", "/a/c/ping"),
    ] {
        let settings = load(&[LOOKUPD, &format!("--base-path={given}")]).unwrap();
        assert_eq!(settings.base_path, base);
        assert_eq!(settings.path("/"), index);
        assert_eq!(settings.path("/ping"), ping);
    }
}

#[test]
fn lists_come_from_flags_and_from_the_file() {
    let settings = load(&[LOOKUPD, "--lookupd-http-address=localhost:1"]).unwrap();
    let addresses = settings.nsqlookupd_http_addresses.current();
    assert_eq!(addresses[..], ["127.0.0.1:4161", "localhost:1"]);
    let file = "nsqd_http_addresses = [\"127.0.0.1:4151\"]\nadmin_users = \"a,b\"\nunknown = 1";
    let settings = load_file(file, &[]).unwrap();
    assert_eq!(settings.nsqd_http_addresses[..], ["127.0.0.1:4151"]);
    assert_eq!(settings.admin_users[..], ["a", "b"]);
}

#[test]
fn what_cannot_work_stops_the_start() {
    for (args, text) in [
        (
            &[][..],
            "--nsqd-http-address or --lookupd-http-address required",
        ),
        (
            &[LOOKUPD, "--nsqd-http-address=127.0.0.1:4151"],
            "use --nsqd-http-address or --lookupd-http-address not both",
        ),
        (
            &[LOOKUPD, "--http-client-tls-cert=x"],
            "--http-client-tls-key must be specified with --http-client-tls-cert",
        ),
        (
            &[LOOKUPD, "--http-client-tls-key=x"],
            "--http-client-tls-cert must be specified with --http-client-tls-key",
        ),
        (
            &["--lookupd-http-address=nowhere"],
            "failed to resolve --lookupd-http-address (nowhere) - address nowhere: missing port in address",
        ),
        (
            &["--nsqd-http-address=127.0.0.1:x"],
            "failed to resolve --nsqd-http-address (127.0.0.1:x) - address 127.0.0.1:x: invalid port",
        ),
        (
            &[LOOKUPD, "--base-path=/:a"],
            "--base-path=/:a: no part of it may begin with : or *",
        ),
        (
            &[LOOKUPD, "--history-interval=10ms"],
            "--history-interval=10ms: must be 0, or from 1s to 1m0s",
        ),
        (
            &[LOOKUPD, "--history-retention=1s"],
            "--history-retention=1s: must be from 1m0s to 168h0m0s",
        ),
    ] {
        let want = Stop::Fatal(format!("failed to instantiate nsqadmin - {text}"));
        assert_eq!(load(args).unwrap_err(), want);
    }
    assert!(matches!(load(&["-version"]), Err(Stop::Answer(_))));
    assert!(matches!(load(&["--foo"]), Err(Stop::Usage { .. })));
}

#[test]
fn the_example_file_says_what_the_defaults_are() {
    let example = include_str!("../../../../config/nsqadmin.cfg.example");
    let default = load(&[LOOKUPD]).unwrap();
    let settings = load_file(example, &[]).unwrap();
    assert_eq!(
        settings.nsqlookupd_http_addresses.current(),
        default.nsqlookupd_http_addresses.current()
    );
    let all = uncommented(example).replace("nsqd_http_addresses", "ignored");
    for settings in [settings, load_file(&all, &[]).unwrap()] {
        assert_eq!(settings.log_prefix, default.log_prefix);
        assert_eq!(settings.http_address, default.http_address);
        assert_eq!(settings.base_path, default.base_path);
        assert_eq!(
            settings.http_client_connect_timeout,
            default.http_client_connect_timeout
        );
        assert_eq!(
            settings.http_client_request_timeout,
            default.http_client_request_timeout
        );
        assert_eq!(settings.acl_http_header, default.acl_http_header);
        assert_eq!(
            settings.allow_config_from_cidr,
            default.allow_config_from_cidr
        );
        assert_eq!(settings.login_lifetime, default.login_lifetime);
        assert_eq!(settings.history_interval, default.history_interval);
        assert_eq!(settings.history_retention, default.history_retention);
        assert_eq!(settings.history_memory, default.history_memory);
        assert_eq!(settings.statsd_prefix, default.statsd_prefix);
        assert_eq!(
            settings.statsd_counter_format,
            default.statsd_counter_format
        );
        assert_eq!(settings.statsd_gauge_format, default.statsd_gauge_format);
        assert_eq!(settings.statsd_interval, default.statsd_interval);
    }
    let all = load_file(&all, &[]).unwrap();
    assert_eq!(all.admin_users[..], ["ann", "bob"]);
    assert!(crate::access::Access::new(&all).unwrap().has_login());
}

/// The file with its commented-out settings in force.
fn uncommented(file: &str) -> String {
    let lines = file.lines().map(|line| match line.strip_prefix("# ") {
        Some(setting) if setting.contains(" = ") => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}
