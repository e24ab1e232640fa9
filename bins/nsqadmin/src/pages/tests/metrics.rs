//! The judgement on channels for Prometheus, from an nsqadmin that keeps no history.

use super::{Script, get, nsqd, serve};

#[tokio::test]
async fn metrics_have_the_state_of_each_channel_the_worst_first_and_bounded() {
    let idle = (0..2000).map(|number| format!(r#"{{"channel_name":"c{number}"}}"#));
    let stuck = r#"{"channel_name":"z","depth":5}"#.to_owned();
    let channels: Vec<String> = idle.chain([stuck]).collect();
    let stats = format!(
        r#"{{"topics":[{{"topic_name":"t","channels":[{}]}}]}}"#,
        channels.join(",")
    );
    let script = Script {
        stats,
        ..Script::default()
    };
    let admin = serve(&nsqd(script).await, &[]).await;
    let metrics = get(&admin, "/metrics").await.body;
    let states: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("nsqadmin_channel_state{"))
        .collect();
    assert_eq!(states.len(), 2000);
    assert_eq!(
        states[0],
        r#"nsqadmin_channel_state{topic="t",channel="z",state="no_consumers",severity="critical"} 1"#
    );
    for line in [
        r#"nsqadmin_channels{severity="critical"} 1"#,
        r#"nsqadmin_channels{severity="idle"} 2000"#,
        "nsqadmin_metrics_omitted_channels 1",
        "nsqadmin_lost_nodes 0",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}");
    }
}
