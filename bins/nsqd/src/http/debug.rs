//! `/debug/*`: what upstream's Go runtime reports about itself. Where this program has a counterpart it is shown, as text;
//! where it has none, the answer is 501 and says what to use instead.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::num::IntErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;

use nsq_daemon::go_quote;
use nsq_daemon::http::{ApiError, Method, Reply, Request, Router, StatusCode};
use nsq_daemon::process::{Memory, Thread, threads};

use super::replies::at_once;
use crate::nsqd::Nsqd;

pub(super) fn add_routes(router: Router<Nsqd>) -> Router<Nsqd> {
    let get = Method::GET;
    router
        .quiet_route(
            get.clone(),
            "/debug/pprof/",
            at_once(|_, _| Ok(text(INDEX))),
        )
        .quiet_route(
            get.clone(),
            "/debug/pprof/cmdline",
            at_once(|_, _| Ok(text(command_line(std::env::args_os())))),
        )
        .quiet_route(
            get.clone(),
            "/debug/pprof/goroutine",
            at_once(|_, _| Ok(text(thread_table(&threads())))),
        )
        .quiet_route(
            get.clone(),
            "/debug/pprof/threadcreate",
            at_once(|_, _| Ok(text(thread_table(&threads())))),
        )
        .quiet_route(
            get.clone(),
            "/debug/pprof/heap",
            at_once(|_, _| Ok(text(memory_table(Memory::now())))),
        )
        .quiet_route(
            get.clone(),
            "/debug/pprof/profile",
            at_once(|_, _| Ok(no_profile())),
        )
        .quiet_route(
            get.clone(),
            "/debug/pprof/block",
            at_once(|_, _| Ok(missing(NO_BLOCK_PROFILE))),
        )
        .quiet_route(
            get,
            "/debug/pprof/symbol",
            at_once(|_, _| Ok(text(NO_SYMBOLS))),
        )
        .quiet_route(Method::POST, "/debug/pprof/symbol", symbol)
        .route(
            Method::PUT,
            "/debug/setblockrate",
            at_once(|_, request| Ok(set_block_rate(request))),
        )
        .route(Method::POST, "/debug/freememory", free_memory)
}

async fn symbol(_nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    request.discard_body().await?;
    Ok(text(NO_SYMBOLS))
}

async fn free_memory(_nsqd: Arc<Nsqd>, mut request: Request) -> Result<Reply, ApiError> {
    request.discard_body().await?;
    Ok(missing(
        "nsqd does not collect garbage: what it no longer needs is freed at once",
    ))
}

fn set_block_rate(request: &Request) -> Reply {
    let query = request.query().unwrap_or_default();
    let rate = query.first("rate").unwrap_or_default();
    match rate.parse::<i64>() {
        Ok(_) => missing(NO_BLOCK_PROFILE),
        Err(error) => {
            let why = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let quoted = go_quote(rate);
            let message = format!("invalid block rate : strconv.Atoi: parsing {quoted}: {why}");
            Reply::plain(StatusCode::BAD_REQUEST, message)
        }
    }
}

fn text(body: impl Into<Vec<u8>>) -> Reply {
    Reply::plain(StatusCode::OK, body.into())
}

fn missing(why: &str) -> Reply {
    Reply::plain(StatusCode::NOT_IMPLEMENTED, format!("{why}\n"))
}

fn no_profile() -> Reply {
    let process = std::process::id();
    missing(&format!(
        "nsqd does not profile itself; on its host, try: perf record -g -p {process} -- sleep 30"
    ))
}

/// The program and its arguments, with a NUL between them.
fn command_line(arguments: impl Iterator<Item = OsString>) -> Vec<u8> {
    arguments
        .map(OsString::into_vec)
        .collect::<Vec<_>>()
        .join(&0)
}

/// Threads stand in for goroutines: a handful serve everyone.
fn thread_table(threads: &[Thread]) -> String {
    let mut table = format!("threads: {}\n\n", threads.len());
    let _ = writeln!(
        table,
        "{:>10} {:<16} state {:>10} {:>10}",
        "id", "name", "user_s", "system_s"
    );
    for Thread {
        id,
        name,
        state,
        user_ticks,
        system_ticks,
    } in threads
    {
        let seconds = |ticks: u64| format!("{}.{:02}", ticks / 100, ticks % 100);
        let (user, system) = (seconds(*user_ticks), seconds(*system_ticks));
        let _ = writeln!(
            table,
            "{id:>10} {name:<16} {state:<5} {user:>10} {system:>10}"
        );
    }
    table
}

fn memory_table(memory: Memory) -> String {
    let Memory {
        anonymous_bytes,
        file_bytes,
        resident_bytes,
        peak_bytes,
        swapped_bytes,
    } = memory;
    let rows = [
        ("anonymous_bytes", anonymous_bytes, "heap and stacks"),
        (
            "file_bytes",
            file_bytes,
            "pages of mapped files, which the system takes back when it needs them",
        ),
        ("resident_bytes", resident_bytes, "both, and what is shared"),
        ("peak_bytes", peak_bytes, "the most that was ever resident"),
        ("swapped_bytes", swapped_bytes, "in swap"),
    ];
    let mut table = String::new();
    for (name, bytes, meaning) in rows {
        let _ = writeln!(table, "{name:<16} {bytes:>14}  {meaning}");
    }
    table
}

const INDEX: &str = "\
/debug/pprof/cmdline       the command line
/debug/pprof/goroutine     threads and their CPU time
/debug/pprof/threadcreate  the same
/debug/pprof/heap          memory of the process
/debug/pprof/symbol        no symbols are served
/debug/pprof/block         not there
/debug/pprof/profile       not there; says what to use instead
";

/// In the form that pprof asks for: with a number of 0 it looks symbols up elsewhere.
const NO_SYMBOLS: &str = "num_symbols: 0\n";

const NO_BLOCK_PROFILE: &str = "nsqd does not record where it waits";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_joined_by_nul() {
        let arguments = ["nsqd", "--data-path=", ""].map(OsString::from);
        assert_eq!(command_line(arguments.into_iter()), b"nsqd\0--data-path=\0");
    }

    #[test]
    fn threads_stand_in_columns() {
        let thread = Thread {
            id: 7,
            name: "worker".to_owned(),
            state: 'S',
            user_ticks: 1234,
            system_ticks: 5,
        };
        let wanted = "threads: 1\n\n        \
                      id name             state     user_s   system_s\n         \
                      7 worker           S          12.34       0.05\n";
        assert_eq!(thread_table(&[thread]), wanted);
    }

    #[test]
    fn what_is_not_there_says_what_to_use() {
        let reply = no_profile();
        assert_eq!(reply.status(), StatusCode::NOT_IMPLEMENTED);
        let body = std::str::from_utf8(reply.body()).unwrap();
        assert!(
            body.contains(&format!("-p {} ", std::process::id())),
            "{body}"
        );
    }
}
