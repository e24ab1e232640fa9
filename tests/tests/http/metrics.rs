//! `/metrics` of nsqd and nsqlookupd, read as strictly as anyone would.

use nsq_tests::{Exposition, Lookupd, Nsqd, PATIENCE, Start, wait_until};

#[track_caller]
fn metrics(nsqd: &Nsqd) -> Exposition {
    Exposition::of(&nsqd.get("/metrics"))
}

#[track_caller]
fn check(metrics: &Exposition, samples: &[(&str, f64)]) {
    for (sample, value) in samples {
        let got = metrics.value(sample);
        assert!((got - value).abs() < 1e-9, "{sample} is {got}, not {value}");
    }
}

#[test]
fn an_idle_nsqd_tells_of_itself() {
    let nsqd = Nsqd::start(&[]);
    let metrics = metrics(&nsqd);
    check(
        &metrics,
        &[
            ("nsqd_healthy", 1.0),
            ("nsqd_topics", 0.0),
            ("nsqd_channels", 0.0),
            ("nsqd_connections", 0.0),
            ("nsqd_all_topics_published_messages_total", 0.0),
        ],
    );
    assert!(metrics.mentions("nsqd_build_info{version=\"1.3.0\",built_with=\"rustc1."));
    for above_zero in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
    ] {
        // The processor time of a quick start rounds to nothing.
        let least = if above_zero.contains("cpu") { 0.0 } else { 1.0 };
        assert!(metrics.value(above_zero) >= least, "{above_zero}");
    }
    let start = nsqd.stats()["start_time"].as_f64().expect("a number");
    let told = metrics.value("process_start_time_seconds");
    assert!((told - start).abs() < 30.0, "{told} beside {start}");
}

#[test]
fn a_messages_life_is_counted_by_topic_channel_and_in_all() {
    let nsqd = Nsqd::start(&["--mem-queue-size=1"]);
    let mut consumer = nsqd.subscribe("t", "c", 1);
    nsqd.connect().publish_many("t", &["a", "bb", "c", "d"]);
    let message = consumer.expect_body("a");
    consumer.send_line(&format!("FIN {}", message.id));
    let message = consumer.expect_body("bb");
    consumer.send_line(&format!("REQ {} 60000", message.id));
    consumer.expect_body("c");
    nsqd.wait_for_channel("t", "c", &[("deferred_count", 1), ("in_flight_count", 1)]);
    nsqd.order("/channel/create?topic=t&channel=other");
    nsqd.connect().publish("t", "e");
    nsqd.order("/topic/pause?topic=t");
    nsqd.order("/channel/pause?topic=t&channel=other");

    let metrics = metrics(&nsqd);
    check(
        &metrics,
        &[
            ("nsqd_topic_published_messages_total{topic=\"t\"}", 5.0),
            ("nsqd_topic_published_bytes_total{topic=\"t\"}", 6.0),
            ("nsqd_topic_depth_messages{topic=\"t\"}", 0.0),
            ("nsqd_topic_paused{topic=\"t\"}", 1.0),
            (
                "nsqd_channel_depth_messages{topic=\"t\",channel=\"c\"}",
                2.0,
            ),
            (
                "nsqd_channel_backend_depth_messages{topic=\"t\",channel=\"c\"}",
                1.0,
            ),
            (
                "nsqd_channel_in_flight_messages{topic=\"t\",channel=\"c\"}",
                1.0,
            ),
            (
                "nsqd_channel_deferred_messages{topic=\"t\",channel=\"c\"}",
                1.0,
            ),
            ("nsqd_channel_clients{topic=\"t\",channel=\"c\"}", 1.0),
            ("nsqd_channel_paused{topic=\"t\",channel=\"c\"}", 0.0),
            ("nsqd_channel_paused{topic=\"t\",channel=\"other\"}", 1.0),
            (
                "nsqd_channel_offered_messages_total{topic=\"t\",channel=\"c\"}",
                5.0,
            ),
            (
                "nsqd_channel_delivered_messages_total{topic=\"t\",channel=\"c\"}",
                3.0,
            ),
            (
                "nsqd_channel_finished_messages_total{topic=\"t\",channel=\"c\"}",
                1.0,
            ),
            (
                "nsqd_channel_requeued_messages_total{topic=\"t\",channel=\"c\"}",
                1.0,
            ),
            (
                "nsqd_channel_timed_out_messages_total{topic=\"t\",channel=\"c\"}",
                0.0,
            ),
            (
                "nsqd_channel_publish_to_finish_seconds_count{topic=\"t\",channel=\"c\"}",
                1.0,
            ),
            ("nsqd_all_topics_published_messages_total", 5.0),
            ("nsqd_all_channels_offered_messages_total", 6.0),
            ("nsqd_all_channels_finished_messages_total", 1.0),
            ("nsqd_all_channels_depth_messages", 3.0),
            ("nsqd_all_channels_publish_to_finish_seconds_count", 1.0),
            ("nsqd_topics", 1.0),
            ("nsqd_channels", 2.0),
            ("nsqd_metrics_omitted_channels", 0.0),
        ],
    );
    let seconds = "nsqd_channel_publish_to_finish_seconds_sum{topic=\"t\",channel=\"c\"}";
    let seconds = metrics.value(seconds);
    assert!(
        seconds > 0.0 && seconds < PATIENCE.as_secs_f64(),
        "{seconds}"
    );
    // Without a FIN there is no histogram.
    assert!(!metrics.mentions("finish_seconds_count{topic=\"t\",channel=\"other\"}"));
}

#[test]
fn the_totals_hold_what_has_no_series_and_what_was_deleted() {
    let nsqd = Nsqd::start(&["--metrics-max-topics=2", "--metrics-max-channels=2"]);
    for topic in ["a", "b", "c", "d#ephemeral"] {
        let mut consumer = nsqd.subscribe(topic, "one", 1);
        nsqd.order(&format!(
            "/channel/create?topic={}&channel=two%23ephemeral",
            topic.replace('#', "%23")
        ));
        nsqd.connect().publish(topic, "x");
        let message = consumer.expect_body("x");
        consumer.send_line(&format!("FIN {}", message.id));
        consumer.send_line("NOP");
        nsqd.wait_for_channel(topic, "one", &[("in_flight_count", 0)]);
    }
    let before = metrics(&nsqd);
    // The clients of `d#ephemeral` are gone, but not its channel that is not ephemeral.
    check(
        &before,
        &[
            ("nsqd_topics", 4.0),
            ("nsqd_channels", 8.0),
            ("nsqd_metrics_omitted_topics", 2.0),
            ("nsqd_metrics_omitted_channels", 6.0),
            ("nsqd_all_topics_published_messages_total", 4.0),
            ("nsqd_all_channels_offered_messages_total", 8.0),
            ("nsqd_all_channels_finished_messages_total", 4.0),
        ],
    );
    assert!((before.sum("nsqd_topic_published_messages_total") - 2.0).abs() < 1e-9);
    assert!(!before.mentions("topic=\"c\"") && !before.mentions("#ephemeral"));

    nsqd.order("/channel/delete?topic=a&channel=one");
    nsqd.order("/topic/delete?topic=b");
    let after = metrics(&nsqd);
    after.check_grown_since(&before, "nsqd_all_");
    check(
        &after,
        &[
            ("nsqd_topics", 3.0),
            ("nsqd_topic_published_messages_total{topic=\"c\"}", 1.0),
            ("nsqd_all_channels_publish_to_finish_seconds_count", 4.0),
        ],
    );
    assert!(!after.mentions("topic=\"b\""));
}

#[test]
fn connections_and_requests_are_counted_by_route() {
    let nsqd = Nsqd::start(&[]);
    let client = nsqd.subscribe("t", "c", 1);
    drop(nsqd.subscribe("t", "c", 1));
    nsqd.get("/stats");
    nsqd.get("/config/log_level");
    nsqd.get("/config/nothing");
    nsqd.get("/no/such/path?q=%22");
    nsqd.post("/pub?topic=t", b"x");
    wait_until("one connection is left", PATIENCE, || {
        metrics(&nsqd).value("nsqd_connections") < 1.5
    });
    let metrics = metrics(&nsqd);
    let requests = |labels: &str| format!("nsqd_http_requests_total{{{labels}}}");
    check(
        &metrics,
        &[
            ("nsqd_connections", 1.0),
            ("nsqd_connections_opened_total", 2.0),
            (
                &requests("method=\"GET\",path=\"/stats\",code=\"2xx\""),
                1.0,
            ),
            (
                &requests("method=\"GET\",path=\"/config/:opt\",code=\"2xx\""),
                1.0,
            ),
            (
                &requests("method=\"GET\",path=\"/config/:opt\",code=\"4xx\""),
                1.0,
            ),
            (&requests("method=\"POST\",path=\"/pub\",code=\"2xx\""), 1.0),
            (
                &requests("method=\"other\",path=\"other\",code=\"4xx\""),
                1.0,
            ),
        ],
    );
    drop(client);
}

#[test]
fn syncs_are_timed() {
    let nsqd = Nsqd::start(&["--sync-publish"]);
    nsqd.connect().publish("t", "x");
    let metrics = metrics(&nsqd);
    assert!(metrics.value("nsqd_sync_duration_seconds_count") >= 1.0);
    assert!(metrics.value("nsqd_sync_duration_seconds_sum") > 0.0);
    check(
        &metrics,
        &[
            ("nsqd_sync_errors_total", 0.0),
            ("nsqd_append_errors_total", 0.0),
        ],
    );
}

#[test]
fn nsqlookupd_tells_how_much_it_knows() {
    let lookupd = Lookupd::start();
    let empty = Exposition::of(&lookupd.get("/metrics"));
    check(
        &empty,
        &[("nsqlookupd_topics", 0.0), ("nsqlookupd_nodes", 0.0)],
    );
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    nsqd.order("/topic/create?topic=u");
    lookupd.wait_for_channels("t", &["c"]);
    lookupd.wait_for_producers("u", &[nsqd.tcp()]);
    lookupd.order("/topic/create?topic=nowhere");
    let node = format!("127.0.0.1:{}", nsqd.http().port());
    lookupd.order(&format!("/topic/tombstone?topic=t&node={node}"));
    let metrics = Exposition::of(&lookupd.get("/metrics"));
    check(
        &metrics,
        &[
            ("nsqlookupd_topics", 3.0),
            ("nsqlookupd_channels", 1.0),
            ("nsqlookupd_nodes", 1.0),
            ("nsqlookupd_inactive_nodes", 0.0),
            ("nsqlookupd_producers", 2.0),
            ("nsqlookupd_tombstoned_producers", 1.0),
            ("nsqlookupd_connections", 1.0),
            (
                "nsqlookupd_http_requests_total{method=\"POST\",path=\"/topic/create\",code=\"2xx\"}",
                1.0,
            ),
        ],
    );
    assert!(metrics.value("nsqlookupd_connections_opened_total") >= 1.0);
    assert!(metrics.mentions("nsqlookupd_build_info{version=\"1.3.0\""));
    let prefixes = ["nsqlookupd_", "process_"];
    for family in metrics.families() {
        assert!(
            prefixes.iter().any(|prefix| family.starts_with(prefix)),
            "{family}"
        );
    }
}
