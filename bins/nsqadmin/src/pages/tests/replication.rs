//! The cluster's page, and what is shown of a cluster elsewhere.

use super::*;

const REPORT: &str = r#"{"state":"under-replicated","problems":["shard 2 of node 2 has 1 of 2 replicas"],
    "members":[{"id":1,"address":"a:4152","broadcast_address":"a","http_port":4151,"version":"1.3.0","is_alive":true},
        {"id":2,"address":"<b>:4152","broadcast_address":"b","http_port":4151,"version":"1.3.0","is_alive":false,"seconds_since_heard":12}],
    "directory":{"index":1,"leader":1,"term":2,"replicas":[]},
    "shards":[{"shard":1,"owner":1,"is_under_replicated":false,"leader":1,"term":1,"replicas":[
            {"node":1,"role":"leader","is_alive":true},{"node":2,"role":"voter","is_alive":false,"lag_entries":7}]},
        {"shard":2,"owner":2,"is_under_replicated":true,"leader":1,"term":3,"replicas":[{"node":1,"role":"leader","is_alive":true}]}]}"#;

#[tokio::test]
async fn a_cluster_is_shown_with_the_worst_shard_first_and_a_node_is_removed_by_its_address() {
    let node = nsqd(Script {
        stats: "{}".to_owned(),
        cluster: REPORT.to_owned(),
        ..Script::default()
    })
    .await;
    let admin = serve(&node, &[]).await;
    let page = get(&admin, "/cluster").await;
    assert_eq!(page.status, 200, "{}", page.body);
    let place = |text: &str| {
        page.body
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {}", page.body))
    };
    assert!(place("data-key=\"shard-2\"") < place("data-key=\"shard-1\""));
    assert!(page.body.contains("7 entries behind"));
    assert!(page.body.contains("It has not answered for 12 s."));
    assert!(!page.body.contains("<b>:4152"), "names are escaped");
    // From now on every page says how the cluster is.
    let topics = get(&admin, "/topics").await.body;
    assert!(
        topics.contains("data-state=\"cluster-under-replicated\""),
        "{topics}"
    );
    let question = get(&admin, "/cluster?action=remove&node=2").await.body;
    let token = token(&question);
    let form = format!("action=remove&node=2&typed=a:4152&csrf_token={token}");
    let answer = post(&admin, "/cluster", &form).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("That is not the address"));
    let form = format!("action=remove&node=9&typed=x&csrf_token={token}");
    assert_eq!(post(&admin, "/cluster", &form).await.status, 404);
}

#[tokio::test]
async fn without_a_cluster_nothing_of_it_is_shown() {
    let node = nsqd(Script {
        stats: "{}".to_owned(),
        ..Script::default()
    })
    .await;
    let admin = serve(&node, &[]).await;
    let page = get(&admin, "/cluster").await;
    assert_eq!(page.status, 404);
    assert!(page.body.contains("do not form a cluster"));
    let topics = get(&admin, "/topics").await.body;
    assert!(!topics.contains("cluster-state") && !topics.contains("href=\"/cluster\""));
}
