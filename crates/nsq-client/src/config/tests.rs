use super::*;

fn check(option: &str, value: &str, error: &str) {
    let mut config = Config::default();
    let refused = config.set(option, value).map_err(|error| error.to_string());
    assert_eq!(refused, Err(error.to_owned()), "{option} {value}");
}

#[test]
fn every_option_has_go_nsqs_default() {
    let config = Config::default();
    config.validate().unwrap();
    let mut set = config.clone();
    for (option, value) in [
        ("dial_timeout", "1s"),
        ("read_timeout", "60s"),
        ("write_timeout", "1s"),
        ("lookupd_poll_interval", "60s"),
        ("lookupd_poll_jitter", "0.3"),
        ("lookupd_poll_timeout", "1m"),
        ("max_requeue_delay", "15m"),
        ("default_requeue_delay", "90s"),
        ("backoff_strategy", "exponential"),
        ("max_backoff_duration", "2m"),
        ("backoff_multiplier", "1s"),
        ("max_attempts", "5"),
        ("low_rdy_idle_timeout", "10s"),
        ("low_rdy_timeout", "30s"),
        ("rdy_redistribute_interval", "5s"),
        ("heartbeat_interval", "30s"),
        ("sample_rate", "0"),
        ("tls_v1", "false"),
        ("tls_insecure_skip_verify", "0"),
        ("tls_min_version", "tls1.2"),
        ("deflate", "f"),
        ("deflate_level", "6"),
        ("snappy", "False"),
        ("output_buffer_size", "16384"),
        ("output_buffer_timeout", "250ms"),
        ("max_in_flight", "1"),
        ("msg_timeout", "0"),
        ("max_msg_size", "0"),
        ("skip_lookupd_authorization", "true"),
    ] {
        set.set(option, value).unwrap();
    }
    assert_eq!(format!("{set:?}"), format!("{config:?}"));
}

#[test]
fn options_are_set_by_either_spelling_of_their_name() {
    let mut config = Config::default();
    config.set("max-in-flight", "200").unwrap();
    config.set_pair("max_attempts,0").unwrap();
    config.set_pair("tls-v1").unwrap();
    config.set_pair("auth_secret,a,b").unwrap();
    config.set("local_addr", "127.0.0.1:0").unwrap();
    config.set("heartbeat_interval", "-1ns").unwrap();
    assert_eq!((config.max_in_flight, config.max_attempts), (200, 0));
    assert!(config.tls_v1);
    assert_eq!(config.auth_secret.reveal(), "a,b");
    assert_eq!(config.local_addr, Some(([127, 0, 0, 1], 0).into()));
    assert_eq!(config.heartbeat_interval, None);
}

#[test]
fn what_cannot_be_is_refused_by_option_value_and_rule() {
    check("bogus", "1", "invalid option bogus");
    check("tls_config", "x", "invalid option tls_config");
    check("sample_rate", "100", "invalid sample_rate ! 100 > 99");
    check(
        "max_attempts",
        "65536",
        "invalid max_attempts ! 65536 > 65535",
    );
    check("max_attempts", "-1", "invalid max_attempts ! -1 < 0");
    check("max_in_flight", "-1", "invalid max_in_flight ! -1 < 0");
    check("deflate_level", "0", "invalid deflate_level ! 0 < 1");
    check("read_timeout", "1ms", "invalid read_timeout ! 1ms < 100ms");
    check("read_timeout", "6m", "invalid read_timeout ! 6m0s > 5m0s");
    check("write_timeout", "-1s", "invalid write_timeout ! -1s < 0s");
    check(
        "lookupd_poll_jitter",
        "1.5",
        "invalid lookupd_poll_jitter ! 1.5 > 1",
    );
    check(
        "lookupd_poll_jitter",
        "NaN",
        "invalid lookupd_poll_jitter ! NaN > 1",
    );
    check(
        "heartbeat_interval",
        "-5s",
        "invalid heartbeat_interval ! -5s < 0s",
    );
    check(
        "max_attempts",
        "abc",
        "failed to coerce option max_attempts (abc) - invalid digit found in string",
    );
    check(
        "snappy",
        "yes",
        "failed to coerce option snappy (yes) - neither true nor false",
    );
    check(
        "backoff_strategy",
        "linear",
        "failed to coerce option backoff_strategy (linear) - neither exponential nor full_jitter",
    );
    check(
        "msg_timeout",
        "5",
        "failed to coerce option msg_timeout (5) - \"5\" has a number without a unit (ns, us, ms, s, m or h)",
    );
}

#[test]
fn only_switches_go_without_a_value() {
    let mut config = Config::default();
    let refused = config.set_pair("max_in_flight").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "failed to coerce option max_in_flight (true) - a value is missing: name,value"
    );
    assert_eq!(
        config.set_pair("nothing").unwrap_err().to_string(),
        "invalid option nothing"
    );
}

#[test]
fn a_refused_value_changes_nothing() {
    let mut config = Config::default();
    config.set("read_timeout", "6m").unwrap_err();
    assert_eq!(config.read_timeout, Duration::from_mins(1));
}

#[test]
fn a_field_out_of_range_is_found_by_validation() {
    let config = Config {
        sample_rate: 100,
        ..Config::default()
    };
    assert_eq!(
        config.validate().unwrap_err().to_string(),
        "invalid sample_rate ! 100 > 99"
    );
}

#[test]
fn heartbeats_must_come_within_the_read_timeout() {
    let mut config = Config::default();
    config.set("heartbeat_interval", "61s").unwrap();
    assert_eq!(
        config.validate().unwrap_err().to_string(),
        "HeartbeatInterval 1m1s must be less than ReadTimeout 1m0s"
    );
}

#[test]
fn the_secret_does_not_show() {
    let config = Config {
        auth_secret: "opensesame".into(),
        ..Config::default()
    };
    assert!(!format!("{config:?}").contains("opensesame"));
}
