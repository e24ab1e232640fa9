use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fake_nsqd::{Client, FakeNsqd};
use super::{expect_no_tasks, wait_for};
use crate::{Answer, Config, ConnectError, Consumer, ConsumerEvent, Delivery};

fn config(max_in_flight: u32) -> Config {
    Config {
        max_in_flight,
        backoff_multiplier: Duration::from_millis(10),
        default_requeue_delay: Duration::ZERO,
        lookupd_poll_interval: Duration::from_millis(10),
        rdy_redistribute_interval: Duration::from_millis(10),
        ..Config::default()
    }
}

fn consumer(config: Config) -> Consumer {
    Consumer::new("t", "c", config).unwrap()
}

/// Has both ends connect.
async fn connect(consumer: &Consumer, nsqd: &FakeNsqd) -> Client {
    let address = nsqd.address();
    let (connected, client) = tokio::join!(consumer.connect_to_nsqd(&address), nsqd.subscribed());
    connected.unwrap();
    client
}

/// Finishes all messages but those of these bodies, which it fails.
fn fail(bad: &'static [&str]) -> impl Fn(Delivery) -> std::future::Ready<Result<(), &'static str>> {
    move |delivery| {
        let is_bad = bad.iter().any(|bad| bad.as_bytes() == delivery.body());
        std::future::ready(if is_bad { Err("bad") } else { Ok(()) })
    }
}

fn answer_of(command: &str, id: u64) -> String {
    format!("{command} {id:016x}")
}

#[tokio::test]
async fn failures_are_answered_after_the_ready_counts_went_down() {
    let nsqd = FakeNsqd::start().await;
    let consumer = consumer(config(5));
    consumer.serve(1, fail(&["4", "5"]));
    let mut client = connect(&consumer, &nsqd).await;
    client.expect("RDY 5").await;
    for id in 1..=3 {
        client.deliver([id], 0).await;
        client.expect(&answer_of("FIN", id)).await;
    }
    for id in 4..=5 {
        client.deliver([id], 0).await;
        client.expect("RDY 0").await;
        client.expect(&(answer_of("REQ", id) + " 0")).await;
        client.expect("RDY 1").await;
    }
    client.deliver([6], 0).await;
    client.expect("RDY 0").await;
    client.expect(&answer_of("FIN", 6)).await;
    client.expect("RDY 1").await;
    client.deliver([7], 0).await;
    client.expect("RDY 5").await;
    client.expect(&answer_of("FIN", 7)).await;
}

#[tokio::test]
async fn a_requeue_without_backoff_keeps_the_level() {
    let nsqd = FakeNsqd::start().await;
    let consumer = consumer(config(1));
    consumer.serve(1, |delivery: Delivery| async move {
        let backoff = delivery.body() == "1";
        match &delivery.body()[..] {
            b"1" | b"2" => Answer::Requeue {
                delay: None,
                backoff,
            },
            _ => Answer::Finish,
        }
    });
    let mut client = connect(&consumer, &nsqd).await;
    client.expect("RDY 1").await;
    client.deliver([1], 0).await;
    client.expect("RDY 0").await;
    client.expect(&(answer_of("REQ", 1) + " 0")).await;
    client.expect("RDY 1").await;
    client.deliver([2], 0).await;
    client.expect("RDY 0").await;
    client.expect(&(answer_of("REQ", 2) + " 0")).await;
    client.expect("RDY 1").await;
    client.deliver([3], 0).await;
    client.expect(&answer_of("FIN", 3)).await;
}

#[tokio::test]
async fn a_requeue_that_names_no_delay_grows_with_the_attempts() {
    let nsqd = FakeNsqd::start().await;
    let mut config = config(1);
    config.default_requeue_delay = Duration::from_secs(2);
    config.max_requeue_delay = Duration::from_secs(5);
    config.max_attempts = 0;
    let consumer = consumer(config);
    let messages = consumer.messages();
    let mut client = connect(&consumer, &nsqd).await;
    client.expect("RDY 1").await;
    for (attempts, delay) in [(1, 2000), (2, 4000), (3, 5000), (60_000, 5000)] {
        client.deliver([7], attempts).await;
        let message = messages.next().await.unwrap();
        message.requeue_without_backoff(None);
        let expected = format!("{} {delay}", answer_of("REQ", 7));
        client.expect(&expected).await;
    }
}

#[tokio::test]
async fn an_nsqd_that_goes_while_backing_off_is_tested_again() {
    let nsqd = FakeNsqd::start().await;
    let consumer = consumer(config(5));
    consumer.serve(1, fail(&["2"]));
    let mut client = connect(&consumer, &nsqd).await;
    client.expect("RDY 5").await;
    client.deliver([2], 0).await;
    client.expect("RDY 0").await;
    drop(client);

    let mut client = nsqd.subscribed().await;
    client.expect("RDY 1").await;
    client.deliver([3], 0).await;
    client.expect("RDY 5").await;
    client.expect(&answer_of("FIN", 3)).await;
}

#[tokio::test]
async fn a_message_that_is_dropped_or_whose_handler_panics_comes_again() {
    let nsqd = FakeNsqd::start().await;
    let first = consumer(config(1));
    let messages = first.messages();
    let mut client = connect(&first, &nsqd).await;
    client.expect("RDY 1").await;
    client.deliver([1], 1).await;
    drop(messages.next().await.unwrap());
    client.expect("RDY 0").await;
    client.expect(&(answer_of("REQ", 1) + " 0")).await;

    let second = consumer(config(1));
    second.serve(1, |delivery: Delivery| async move {
        assert_ne!(delivery.body(), "1", "this panic belongs to the test");
    });
    let mut client = connect(&second, &nsqd).await;
    client.expect("RDY 1").await;
    client.deliver([1], 1).await;
    client.expect("RDY 0").await;
    client.expect(&(answer_of("REQ", 1) + " 0")).await;
    // The handler continues.
    client.expect("RDY 1").await;
    client.deliver([2], 1).await;
    client.expect(&answer_of("FIN", 2)).await;
}

#[tokio::test]
async fn heartbeats_are_answered_while_all_handlers_are_busy() {
    let nsqd = FakeNsqd::start().await;
    let consumer = consumer(config(2));
    consumer.serve(1, |_: Delivery| std::future::pending::<()>());
    let mut client = connect(&consumer, &nsqd).await;
    client.expect("RDY 2").await;
    client.deliver([1, 2], 1).await;
    wait_for("both came", || consumer.stats().messages_in_flight == 2).await;
    client.respond("_heartbeat_").await;
    client.expect("NOP").await;
    assert!(consumer.is_starved());
}

#[tokio::test]
async fn a_message_with_too_many_attempts_is_finished_unseen_and_told() {
    let nsqd = FakeNsqd::start().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let consumer = Consumer::builder("t", "c")
        .config(config(10))
        .on_event(move |event| {
            if let ConsumerEvent::GaveUp { delivery } = event {
                note.lock().unwrap().push(delivery.body().clone());
            }
        })
        .build()
        .unwrap();
    let messages = consumer.messages();
    let mut client = connect(&consumer, &nsqd).await;
    client.expect("RDY 10").await;
    client.deliver([1], 6).await;
    client.deliver([2], 5).await;
    assert_eq!(messages.next().await.unwrap().body(), "2");
    client.expect(&answer_of("FIN", 1)).await;
    assert_eq!(*told.lock().unwrap(), ["1"]);
    assert_eq!(consumer.stats().messages_given_up, 1);
}

#[tokio::test]
async fn many_answers_leave_in_few_writes() {
    let nsqd = FakeNsqd::start().await;
    let consumer = consumer(config(2000));
    let messages = consumer.messages();
    let mut client = connect(&consumer, &nsqd).await;
    client.expect("RDY 2000").await;
    client.deliver(1..=2000, 1).await;
    let mut got = 0;
    while got < 2000 {
        for message in messages.next_many(500).await {
            message.touch();
            message.finish();
            got += 1;
        }
    }
    for id in 1..=2000 {
        client.expect(&answer_of("TOUCH", id)).await;
        client.expect(&answer_of("FIN", id)).await;
    }
    assert_eq!(consumer.stats().messages_finished, 2000);
}

#[tokio::test]
async fn a_stop_says_so_and_waits_for_answers() {
    let nsqd = FakeNsqd::start().await;
    let consumer = consumer(config(10));
    let messages = consumer.messages();
    let mut client = connect(&consumer, &nsqd).await;
    client.expect("RDY 10").await;
    client.deliver([1, 2], 1).await;
    let first = messages.next().await.unwrap();
    let stopping = tokio::spawn({
        let messages = messages.clone();
        async move {
            consumer.stop().await;
            assert!(messages.next().await.is_none());
        }
    });
    client.expect("CLS").await;
    // Still on its way when nsqd heard it.
    client.deliver([3], 1).await;
    client.respond("CLOSE_WAIT").await;
    first.finish();
    client.expect(&answer_of("FIN", 1)).await;
    messages.next().await.unwrap().finish();
    messages.next().await.unwrap().finish();
    client.expect(&answer_of("FIN", 2)).await;
    client.expect(&answer_of("FIN", 3)).await;
    client.expect_end().await;
    stopping.await.unwrap();
    drop(client);
    drop(messages);
    expect_no_tasks().await;
}

#[tokio::test]
async fn a_stop_that_has_no_patience_gives_back_what_nobody_took() {
    let nsqd = FakeNsqd::start().await;
    let consumer = consumer(config(10));
    let messages = consumer.messages();
    let mut client = connect(&consumer, &nsqd).await;
    client.expect("RDY 10").await;
    client.deliver([1, 2], 1).await;
    let held = messages.next().await.unwrap();
    consumer.stop_within(Duration::ZERO).await;
    client.expect("CLS").await;
    client.expect(&(answer_of("REQ", 2) + " 0")).await;
    client.expect_end().await;
    // Too late, and without effect.
    held.finish();
    assert_eq!(consumer.stats().messages_finished, 0);
    expect_no_tasks().await;
}

#[tokio::test]
async fn who_drops_it_leaves_no_task_behind() {
    let nsqd = FakeNsqd::start().await;
    let unreachable = FakeNsqd::start().await;
    let handled = Arc::new(AtomicUsize::new(0));
    let consumer = consumer(config(10));
    let count = Arc::clone(&handled);
    consumer.serve(3, move |_: Delivery| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(())
    });
    let mut client = connect(&consumer, &nsqd).await;
    // Never gets an answer to its IDENTIFY.
    consumer.keep_connected_to_nsqd(&unreachable.address());
    let _silent = unreachable.accept().await;
    client.expect("RDY 10").await;
    client.deliver([1], 1).await;
    client.expect(&answer_of("FIN", 1)).await;
    drop(consumer);
    client.expect("CLS").await;
    client.expect_end().await;
    expect_no_tasks().await;
    assert_eq!(handled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn refusals_are_the_errors_of_connecting() {
    let nsqd = FakeNsqd::start().await;
    let consumer = consumer(config(10));
    let address = nsqd.address();
    let identify = async {
        let mut client = nsqd.accept().await;
        client.expect("IDENTIFY").await;
        client.refuse("E_BAD_BODY IDENTIFY no").await;
    };
    let (refused, ()) = tokio::join!(consumer.connect_to_nsqd(&address), identify);
    let text = refused.unwrap_err().to_string();
    assert_eq!(text, "failed to IDENTIFY - E_BAD_BODY IDENTIFY no");

    let subscribe = async {
        let mut client = nsqd.identified().await;
        client.expect("SUB t c").await;
        client.refuse("E_SUB_FAILED SUB failed exiting").await;
    };
    let (refused, ()) = tokio::join!(consumer.connect_to_nsqd(&address), subscribe);
    assert!(matches!(refused, Err(ConnectError::Subscribe { text }) if text.starts_with("E_SUB")));

    let http = async {
        let mut client = nsqd.accept().await;
        client.expect("IDENTIFY").await;
        client.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    };
    let (refused, ()) = tokio::join!(consumer.connect_to_nsqd(&address), http);
    assert!(matches!(refused, Err(ConnectError::Http)));

    let auth = async {
        let mut client = nsqd.accept().await;
        client.expect("IDENTIFY").await;
        client.respond(r#"{"auth_required":true}"#).await;
    };
    let (refused, ()) = tokio::join!(consumer.connect_to_nsqd(&address), auth);
    assert_eq!(refused.unwrap_err().to_string(), "Auth Required");

    // After all of these it can still connect, but only once.
    let _client = connect(&consumer, &nsqd).await;
    let twice = consumer.connect_to_nsqd(&address).await;
    assert_eq!(twice.unwrap_err().to_string(), "already connected");
    drop(nsqd);
    let nobody = consumer.connect_to_nsqd("127.0.0.1:1").await;
    assert_eq!(
        nobody.unwrap_err().to_string(),
        "dial tcp 127.0.0.1:1: connect: connection refused"
    );
}

#[tokio::test]
async fn a_secret_is_sent_where_it_is_wanted() {
    let nsqd = FakeNsqd::start().await;
    let mut config = config(10);
    config.auth_secret = "opensesame".into();
    let consumer = consumer(config);
    let address = nsqd.address();
    let script = async {
        let mut client = nsqd.accept().await;
        let identity = client.expect("IDENTIFY").await;
        client
            .respond(r#"{"auth_required":true,"max_rdy_count":7}"#)
            .await;
        assert_eq!(client.expect("AUTH").await, b"opensesame");
        let granted = r#"{"identity":"me","identity_url":"","permission_count":1}"#;
        client.respond(granted).await;
        client.expect("SUB t c").await;
        // May come at any time.
        client.respond("_heartbeat_").await;
        client.expect("NOP").await;
        client.respond("OK").await;
        client.expect("RDY 7").await;
        identity
    };
    let (connected, identity) = tokio::join!(consumer.connect_to_nsqd(&address), script);
    connected.unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
    assert_eq!(identity["feature_negotiation"], true);
    assert_eq!(identity["heartbeat_interval"], 30_000);
    assert_eq!(identity["output_buffer_timeout"], 250);
    assert_eq!(identity["msg_timeout"], 0);
}

#[tokio::test]
async fn a_message_knows_how_long_nsqd_waits_for_it() {
    for (answer, timeout) in [
        (r#"{"max_rdy_count":7,"msg_timeout":1500}"#, 1500),
        (r#"{"max_rdy_count":7}"#, 60_000),
        (r#"{"max_rdy_count":7,"msg_timeout":0}"#, 60_000),
        (
            r#"{"max_rdy_count":7,"msg_timeout":18446744073709551615}"#,
            24 * 3_600_000,
        ),
    ] {
        let nsqd = FakeNsqd::start().await;
        let consumer = consumer(config(10));
        let address = nsqd.address();
        let script = async {
            let mut client = nsqd.accept().await;
            client.expect("IDENTIFY").await;
            client.respond(answer).await;
            client.expect("SUB t c").await;
            client.respond("OK").await;
            client.deliver([1], 1).await;
            client
        };
        let (connected, _client) = tokio::join!(consumer.connect_to_nsqd(&address), script);
        connected.unwrap();
        let message = consumer.messages().next().await.unwrap();
        assert_eq!(
            message.timeout(),
            Duration::from_millis(timeout),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn names_are_checked_first() {
    let refused = Consumer::new("a b", "c", Config::default()).unwrap_err();
    assert_eq!(refused.to_string(), "invalid topic name");
    let refused = Consumer::new("t", "", Config::default()).unwrap_err();
    assert_eq!(refused.to_string(), "invalid channel name");
    let consumer = consumer(config(1));
    let refused = consumer.connect_to_nsqlookupd("127.0.0.1").await;
    assert_eq!(refused.unwrap_err().to_string(), "127.0.0.1: missing port");
}
