//! `--print-config`, `--check-config` and `--log-format`.

use std::fs;
use std::process::Command;

use nsq_tests::{PATIENCE, Start, build_folder};
use serde_json::Value;

/// Runs a program where it ends by itself: exit code, stdout, stderr.
fn run(program: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(build_folder().join(program))
        .args(args)
        .output();
    let output = output.expect("the program can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_daemon_prints_what_is_in_force_and_takes_that_as_its_config_file() {
    for (program, flag) in [
        ("nsqd", "--msg-timeout=7s"),
        ("nsqlookupd", "--tombstone-lifetime=7s"),
        ("nsqadmin", "--login-lifetime=7s"),
    ] {
        let (code, printed, stderr) = run(program, &[flag, "--print-config"]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{program}");
        let name = flag.split('=').next().expect("it has a name");
        let line = printed
            .lines()
            .find(|line| line.ends_with(&format!("# {name}")));
        assert!(
            line.is_some_and(|line| line.contains("= \"7s\"")),
            "{printed}"
        );

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        fs::write(&path, &printed).expect("the file can be written");
        let config = format!("--config={}", path.display());
        let (code, again, _) = run(program, &[&config, "--print-config"]);
        assert_eq!(code, Some(0));
        let settings = |text: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.rsplit_once("  # "));
            lines.map(|(line, _)| line.trim_end().to_owned()).collect()
        };
        assert_eq!(settings(&again), settings(&printed), "{program}");
    }
}

#[test]
fn a_check_tells_before_the_start_what_would_end_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let no_pem = folder.path().join("not.pem");
    fs::write(&no_pem, "x").expect("the file can be written");
    let cert = format!("--tls-cert={}", no_pem.display());
    let key = format!("--tls-key={}", no_pem.display());
    for (program, args, told) in [
        ("nsqd", &[&*cert, &*key][..], "--tls-cert"),
        ("nsqd", &["--node-id=1024"], "--node-id"),
        ("nsqlookupd", &[&*cert, &*key], "--tls-cert"),
        ("nsqlookupd", &["--tls-required"], "--tls-required"),
        ("nsqadmin", &[], "--lookupd-http-address"),
        (
            "nsqadmin",
            &["--nsqd-http-address=127.0.0.1:1", "--login-user=x"],
            "--login-user",
        ),
    ] {
        let args = [args, &["--check-config"]].concat();
        let (code, stdout, stderr) = run(program, &args);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{program} {args:?}");
        assert!(stderr.contains(told), "{program} {args:?}: {stderr}");
    }

    let config = folder.path().join("nsqd.cfg");
    fs::write(&config, "msg_timeot = \"1s\"").expect("the file can be written");
    let config = format!("--config={}", config.display());
    for args in [
        &["nsqd"][..],
        &["nsqlookupd"],
        &["nsqadmin", "--nsqd-http-address=127.0.0.1:1"],
    ] {
        let args = [args, &[&config, "--check-config"]].concat();
        let (code, stdout, stderr) = run(args[0], &args[1..]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{args:?}");
        let told = format!("nsqd.cfg: {} has no option msg_timeot", args[0]);
        assert!(stderr.contains(&told), "{args:?}: {stderr}");
    }
    let nsqd = Start::with(&[&config]).now();
    let warning = "nsqd has no option msg_timeot: ignored";
    assert!(nsqd.log().wait_for(warning, PATIENCE).is_some());
    for args in [
        &["nsqlookupd"][..],
        &["nsqadmin", "--nsqd-http-address=127.0.0.1:1"],
    ] {
        let (code, stdout, _) = run(args[0], &[&args[1..], &["--check-config"]].concat());
        assert_eq!(code, Some(0), "{args:?}");
        assert!(stdout.ends_with("the configuration is fine\n"), "{stdout}");
    }
}

#[test]
fn log_lines_can_be_json() {
    let mut nsqd = Start::with(&["--log-format=json"]).later();
    nsqd.start_blindly();
    let line = nsqd.log().wait_for("HTTP: listening", PATIENCE);
    let line = line.expect("it says where it listens");
    let line: Value = serde_json::from_str(&line).expect("a line is an object");
    assert_eq!(line["level"], "info");
    assert_eq!(line["logger"], "nsqd");
    assert!(
        line["time"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z')),
        "{line}"
    );
    let status = nsqd.terminate();
    assert!(status.success(), "{status}");
    let log = nsqd.log().text();
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}
