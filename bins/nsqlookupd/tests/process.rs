//! nsqlookupd as a process: its log, its signals, its exit codes.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap fails its test, as it should"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A running nsqlookupd on ports of its own, killed when dropped.
struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
    tcp: String,
    http: String,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nsqlookupd"));
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Process {
    fn start() -> Self {
        let args = [
            "-tcp-address=127.0.0.1:0",
            "-http-address",
            "127.0.0.1:0",
            "--broadcast-address=b",
            "--verbose",
        ];
        let mut child = command(&args).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut process = Self {
            child,
            log,
            tcp: String::new(),
            http: String::new(),
        };
        process.tcp = process.log_until("TCP: listening on ");
        process.http = process.log_until("HTTP: listening on ");
        process
    }

    /// Reads the log up to a line with `text` in it; returns what follows the text.
    fn log_until(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.log.read_line(&mut line).unwrap(),
                0,
                "the log ended before {text:?}"
            );
            assert!(line.starts_with("[nsqlookupd] 20"), "{line}");
            if let Some((_, rest)) = line.trim_end().split_once(text) {
                return rest.to_owned();
            }
        }
    }

    /// Sends `signal` and returns the exit code.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_nsqd_comes_and_goes_and_the_log_tells() {
    let mut process = Process::start();
    let mut nsqd = TcpStream::connect(&process.tcp).unwrap();
    let body = br#"{"broadcast_address":"h","http_port":2,"tcp_port":1,"version":"v"}"#;
    let size = u32::try_from(body.len()).unwrap().to_be_bytes();
    nsqd.write_all(&[b"  V1IDENTIFY\n", &size[..], body, b"REGISTER t c\nPING\n"].concat())
        .unwrap();
    process.log_until("desired protocol magic '  V1'");
    process.log_until("IDENTIFY Address:h TCP:1 HTTP:2 Version:v");
    process.log_until("REGISTER category:client key: subkey:");
    process.log_until("REGISTER category:channel key:t subkey:c");
    process.log_until("REGISTER category:topic key:t subkey:");
    process.log_until("pinged (last ping ");

    let mut http = TcpStream::connect(&process.http).unwrap();
    http.write_all(b"GET /lookup?topic=t HTTP/1.0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains(r#"{"channels":["c"],"producers":[{"remote_address":"127.0.0.1:"#),
        "{answer}"
    );
    process.log_until("200 GET /lookup?topic=t (127.0.0.1:");

    drop(nsqd);
    process.log_until("exiting ioloop");
    process.log_until("UNREGISTER category:channel key:t subkey:c");
    process.log_until("UNREGISTER category:topic key:t subkey:");
    process.log_until("UNREGISTER category:client key: subkey:");
    process.log_until("ERROR: client(");
}

#[test]
fn a_signal_ends_it_whoever_is_connected() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start();
        let silent = TcpStream::connect(&process.tcp).unwrap();
        let half_a_request = TcpStream::connect(&process.http).unwrap();
        (&half_a_request).write_all(b"GET /pi").unwrap();
        process.log_until("TCP: new client(");
        assert_eq!(process.end(signal), Some(0));
        let mut rest = String::new();
        process.log.read_to_string(&mut rest).unwrap();
        for address in [&process.tcp, &process.http] {
            assert!(rest.contains(&format!("closing {address}")), "{rest}");
        }
        drop(silent);
    }
}

#[test]
fn a_start_that_fails_says_why() {
    let first = Process::start();
    for flag in ["tcp", "http"] {
        let address = if flag == "tcp" {
            &first.tcp
        } else {
            &first.http
        };
        let other = if flag == "tcp" { "http" } else { "tcp" };
        let output = command(&[
            &format!("--{flag}-address={address}"),
            &format!("--{other}-address=127.0.0.1:0"),
        ])
        .output()
        .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let log = String::from_utf8(output.stderr).unwrap();
        let fatal = format!(
            "FATAL: failed to instantiate nsqlookupd - listen ({address}) failed - listen tcp {address}: bind: address already in use (--{flag}-address: something listens there already: stop it, or give another address)\n"
        );
        assert!(log.ends_with(&fatal), "{log}");
    }
    let output = command(&["--tcp-adress=x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_version_is_told_on_stdout() {
    let output = command(&["-version"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("nsqlookupd v1.3.0 (built w/rustc1."),
        "{text}"
    );
    assert!(
        lines[1].starts_with("build ") && lines[1].contains(", commit "),
        "{text}"
    );
    assert_eq!(lines.len(), 2, "{text}");
}
