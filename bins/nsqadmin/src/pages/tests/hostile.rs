//! Nothing that a node, a client or a message says gets out of its place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Script, get, nsqd, post, serve, token};

const EVIL: &str = "\"><script>alert(1)</script><a href=javascript:x onclick='y'>\u{202e}&";

fn stats() -> String {
    json!({
        "version": EVIL, "health": EVIL, "start_time": i64::MAX,
        "topics": [
            {"topic_name": "t", "depth": i64::MAX, "backend_depth": -5, "message_count": i64::MAX, "message_bytes": i64::MAX,
             "channels": [{
                "channel_name": "c", "depth": i64::MAX, "in_flight_count": i64::MAX, "deferred_count": 1, "client_count": 1,
                "message_count": 3, "e2e_processing_latency": {"count": 1, "percentiles": [{"quantile": 0.999, "value": 1e300}]},
                "clients": [{
                    "client_id": EVIL, "hostname": EVIL, "user_agent": EVIL, "remote_address": EVIL, "connect_ts": -1,
                    "authed": true, "auth_identity": EVIL, "auth_identity_url": "javascript:alert(1)",
                    "tls": true, "tls_version": EVIL, "topology_zone": EVIL, "topology_region": EVIL
                }]
             }]},
            {"topic_name": EVIL, "depth": 1, "channels": [{"channel_name": EVIL, "depth": 1}]},
            {"topic_name": "x#ephemeral", "channels": [{"channel_name": "y#ephemeral"}]}
        ],
        "producers": [{"client_id": EVIL, "hostname": EVIL, "pub_counts": [{"topic": EVIL, "count": 1}]}]
    })
    .to_string()
}

fn peek() -> String {
    let mebibyte: Vec<u8> = (0..1_u32 << 20).map(|n| n.to_le_bytes()[0]).collect();
    let body = STANDARD.encode(mebibyte);
    let message = json!({"id": EVIL, "timestamp": 1, "attempts": 65535, "body": body, "body_size": 1 << 20, "truncated": false});
    let html = STANDARD.encode("</pre><script>alert(1)</script>");
    let text = json!({"id": "a", "timestamp": i64::MIN, "body": html, "body_size": 31, "due_at": i64::MAX,
        "client": {"client_id": EVIL, "hostname": EVIL, "remote_address": EVIL}});
    let broken = json!({"id": "b", "body": "***", "body_size": 3});
    json!({"queued_total": 3, "queued": [message, broken], "in_flight": [text]}).to_string()
}

fn script() -> Script {
    Script {
        stats: stats(),
        peek: peek(),
        cluster: String::new(),
    }
}

fn check_harmless(path: &str, page: &str) {
    for wrong in [
        "<script>alert",
        "onclick='y'>",
        "href=\"javascript:",
        "style=",
        "<b>",
        "<i>",
        "NaN",
    ] {
        assert!(!page.contains(wrong), "{path}: {wrong} in {page}");
    }
    assert_eq!(page.matches("<script").count(), 1, "{path}");
}

#[tokio::test]
async fn hostile_names_and_bodies_stay_text_on_every_page() {
    let node = nsqd(script()).await;
    let admin = serve(&node, &[]).await;
    let evil = crate::pages::links::segment(EVIL);
    let node_page = format!("/nodes/{node}");
    let not_there = format!("/topics/{}", "%3Cb%3Enope");
    for (path, status) in [
        ("/", 200),
        (
            "/topics?q=%3Cscript%3Ealert(1)%3C/script%3E&sort=%22%3E%3Cb%3E&t=%3Cb%3E",
            200,
        ),
        ("/topics/t", 200),
        ("/topics/t?action=delete", 200),
        ("/topics/t/c", 200),
        ("/topics/t/c?look=1", 200),
        ("/topics/t/c?action=empty&node=%3Cb%3E", 200),
        ("/topics/t?action=%3Cb%3E", 200),
        ("/topics/x%23ephemeral", 200),
        ("/topics/x%23ephemeral/y%23ephemeral", 200),
        ("/nodes", 200),
        (&node_page, 200),
        ("/nodes/%3Cb%3E:1", 404),
        ("/lookup", 200),
        ("/counter", 200),
        (&not_there, 404),
        ("/topics/t/%3Cb%3E", 404),
        ("/topics?notice=%3Cb%3E", 200),
        (&format!("/topics/{}", evil.replace("%2F", "-")), 404),
    ] {
        let answer = get(&admin, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        check_harmless(path, &answer.body);
        assert!(
            answer.head.contains("content-type: text/html"),
            "{path}: {}",
            answer.head
        );
        assert!(
            answer
                .head
                .contains("content-security-policy: default-src 'none'"),
            "{}",
            answer.head
        );
    }
}

#[tokio::test]
async fn a_mebibyte_of_bytes_is_shown_in_part_and_said_so() {
    let node = nsqd(script()).await;
    let admin = serve(&node, &[]).await;
    let page = get(&admin, "/topics/t/c?look=1").await.body;
    assert!(
        page.contains("000010  10 11 12"),
        "{}",
        &page[page.len().saturating_sub(9000)..]
    );
    assert!(page.contains("first 4,096 bytes"));
    assert!(page.contains("cannot be decoded"));
    assert!(page.len() < 200_000, "{}", page.len());
}

#[tokio::test]
async fn the_links_of_ephemeral_names_lead_to_them() {
    let node = nsqd(script()).await;
    let admin = serve(&node, &["--base-path=/nsq"]).await;
    let page = get(&admin, "/nsq/topics").await.body;
    assert!(
        page.contains("href=\"/nsq/topics/x%23ephemeral\""),
        "{page}"
    );
    let page = get(&admin, "/nsq/topics/x%23ephemeral").await.body;
    assert!(
        page.contains("href=\"/nsq/topics/x%23ephemeral/y%23ephemeral\""),
        "{page}"
    );
    for link in [
        "href=\"/topics",
        "href=\"/nodes",
        "src=\"/static",
        "action=\"/topics",
    ] {
        assert!(!page.contains(link), "{link}: {page}");
    }
}

#[tokio::test]
async fn what_would_lose_messages_takes_the_name() {
    let node = nsqd(script()).await;
    let admin = serve(&node, &[]).await;
    let question = get(&admin, "/topics/t/c?action=empty").await.body;
    assert!(question.contains("data-confirm=\"empty\""), "{question}");
    let token = token(&question);
    let path = "/topics/t/c";
    for (form, status, words) in [
        (
            format!("action=empty&csrf_token={token}"),
            400,
            "type the name",
        ),
        (
            format!("action=empty&csrf_token={token}&typed=t"),
            400,
            "That is not the name",
        ),
        ("action=empty&typed=c".to_owned(), 403, "no longer valid"),
        (
            "action=empty&typed=c&csrf_token=AAAA".to_owned(),
            403,
            "no longer valid",
        ),
        (
            format!("action=burn&csrf_token={token}"),
            400,
            "INVALID_ACTION",
        ),
    ] {
        let answer = post(&admin, path, &form).await;
        assert_eq!(answer.status, status, "{form}: {}", answer.body);
        assert!(answer.body.contains(words), "{form}: {}", answer.body);
    }
    let answer = post(
        &admin,
        path,
        &format!("action=empty&csrf_token={token}&typed=c"),
    )
    .await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    assert!(
        answer.head.contains("location: /topics/t/c?notice=1"),
        "{}",
        answer.head
    );
    let after = get(&admin, "/topics/t/c?notice=1").await.body;
    assert!(after.contains("Emptied channel c."), "{after}");
}

#[tokio::test]
async fn who_may_not_act_sees_no_buttons_and_is_refused() {
    let node = nsqd(script()).await;
    let admin = serve(&node, &["--admin-user=ada"]).await;
    for path in [
        "/topics",
        "/topics/t",
        "/topics/t/c",
        "/topics/t?action=delete",
        "/lookup",
    ] {
        let page = get(&admin, path).await.body;
        for hidden in ["?action=", "name=\"csrf_token\"", "data-confirm"] {
            assert!(!page.contains(hidden), "{path}: {hidden}");
        }
    }
    let answer = post(&admin, "/topics/t", "action=delete&typed=t").await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.body.contains("Only administrators"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn without_anybody_to_ask_the_page_says_who_was_asked() {
    // No one listens there.
    let address = "127.0.0.1:1";
    let admin = serve(address, &[]).await;
    for path in ["/topics", "/topics/t", "/topics/t/c", "/nodes", "/counter"] {
        let answer = get(&admin, path).await;
        assert_eq!(answer.status, 502, "{path}");
        assert!(
            answer.body.contains("Not responding"),
            "{path}: {}",
            answer.body
        );
        assert!(answer.body.contains(address), "{path}: {}", answer.body);
    }
}
