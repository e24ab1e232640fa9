//! Who may ask nsqadmin, who may act, and what browsers are told.

use std::time::Duration;

use nsq_tests::{Admin, Exposition, Fake, Lookupd, Nsqd, PATIENCE, Reply, Start, wait_until};
use serde_json::{Value, json};

const CREATE: &[u8] = br#"{"topic":"t"}"#;

/// `htpasswd -nbB -C 4 ann secret`.
const ANN: &str = "--login-user=ann:$2y$04$OPsKU5uJEUS5vtsA.aUdEO7s2Num60Xoemq3TxsMcl0OBPN3zYaw6";

#[track_caller]
fn check(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.json()["message"], code);
}

#[test]
fn without_admin_users_everybody_may_act() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &[]);
    check(&admin.post("/api/topics", CREATE), 200, "");
}

#[test]
fn with_admin_users_only_they_may() {
    let nsqd = Nsqd::start(&["--broadcast-address=127.0.0.1"]);
    nsqd.order("/topic/create?topic=t");
    nsqd.order("/channel/create?topic=t&channel=c");
    let flags = [
        "--admin-user=ann",
        "--admin-user=bob",
        "--acl-http-header=X-User",
    ];
    let admin = Admin::of_nsqds(&[&nsqd], &flags);
    let node = format!("/api/nodes/{}", nsqd.http());
    let gated = [
        ("POST", "/api/topics"),
        ("POST", "/api/topics/t"),
        ("DELETE", "/api/topics/t"),
        ("POST", "/api/topics/t/c"),
        ("DELETE", "/api/topics/t/c"),
        ("DELETE", node.as_str()),
    ];
    for (method, path) in gated {
        let strangers: [&[&str]; 4] = [
            &[],
            &["X-User: eve"],
            &["X-User: Ann"],
            &["X-Forwarded-User: ann"],
        ];
        for headers in strangers {
            // Asked before the body is looked at.
            let reply = admin.request_with(method, path, headers, b"garbage");
            check(&reply, 403, "FORBIDDEN");
        }
    }
    assert_ne!(nsqd.channel("t", "c"), Value::Null);
    let reply = admin.request_with("POST", "/api/topics", &["x-user: bob"], CREATE);
    check(&reply, 200, "");
    for path in [
        "/api/topics",
        "/api/topics/t",
        "/api/nodes",
        "/api/counter",
        "/config/log_level",
    ] {
        assert_eq!(admin.get(path).status, 200, "{path}");
    }
}

#[test]
fn other_sites_cannot_act_through_a_browser() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &[]);
    let own = format!("Origin: http://{}", admin.http());
    for headers in [
        &["Origin: http://evil.example"][..],
        &["Origin: null"],
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site", &own],
    ] {
        for (method, path) in [
            ("POST", "/api/topics"),
            ("DELETE", "/api/topics/t"),
            ("PUT", "/config/log_level"),
        ] {
            let reply = admin.request_with(method, path, headers, CREATE);
            check(&reply, 403, "CROSS_SITE_REQUEST");
        }
        let reply = admin.request_with("GET", "/api/topics", headers, b"");
        assert_eq!(reply.status, 200);
    }
    for headers in [&[own.as_str()][..], &["Sec-Fetch-Site: same-origin"]] {
        let reply = admin.request_with("POST", "/api/topics", headers, CREATE);
        check(&reply, 200, "");
    }
}

#[test]
fn its_own_figures_are_open_to_a_prometheus_and_names_to_one_with_a_password() {
    let nsqd = Nsqd::start(&[]);
    nsqd.order("/topic/create?topic=secret");
    nsqd.order("/channel/create?topic=secret&channel=c");
    let admin = Admin::of_nsqds(&[&nsqd], &[ANN]);
    assert_eq!(admin.get("/api/topics").status, 401);
    let metrics = Exposition::of(&admin.get("/metrics"));
    let asked = r#"nsqadmin_http_requests_total{method="GET",path="/ping",code="2xx"}"#;
    assert!(metrics.value(asked) >= 1.0);

    let right = ["Authorization: Basic YW5uOnNlY3JldA=="];
    wait_until("the channel is judged", PATIENCE, || {
        let reply = admin.request_with("GET", "/metrics", &right, b"");
        reply.text().contains(
            r#"nsqadmin_channel_state{topic="secret",channel="c",state="idle",severity="idle"} 1"#,
        )
    });
    assert!(!admin.get("/metrics").text().contains("topic="));
    let wrong = ["Authorization: Basic YW5uOndyb25n"];
    assert_eq!(
        admin.request_with("GET", "/metrics", &wrong, b"").status,
        401
    );
}

#[test]
fn browsers_are_told_to_load_nothing_from_elsewhere() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &[]);
    for path in ["/ping", "/api/topics", "/api/none", "/none", "/api/topics/"] {
        let reply = admin.get(path);
        let policy = reply.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("same-origin"));
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
    }
}

#[test]
fn options_are_shown_and_two_of_them_changed() {
    let (lookupd, other) = (Lookupd::start(), Lookupd::start());
    let admin = Admin::of_lookupds(&[&lookupd], &["--history-interval=0"]);
    let option = |name: &str| admin.get(&format!("/config/{name}"));
    let address = format!(r#"["{}"]"#, lookupd.http());
    assert_eq!(option("nsqlookupd_http_addresses").text(), address);
    assert_eq!(option("log_level").text(), "2");
    assert_eq!(option("statsd_interval").text(), "60000000000");
    assert_eq!(option("statsd_prefix").text(), "nsq.%s");
    assert_eq!(option("graphite_url").text(), "");
    check(&option("none"), 400, "INVALID_OPTION");
    check(&option("login_users"), 400, "INVALID_OPTION");

    let put = |name: &str, value: &str| {
        admin.request("PUT", &format!("/config/{name}"), value.as_bytes())
    };
    assert_eq!(put("log_level", "fatal").text(), "5");
    check(&put("log_level", "bad"), 400, "INVALID_VALUE");
    check(&put("base_path", "/x"), 400, "INVALID_OPTION");
    check(&put("log_level", ""), 413, "INVALID_VALUE");
    check(&put("nsqlookupd_http_addresses", "x"), 400, "INVALID_VALUE");
    let addresses = format!(r#"["{}"]"#, other.http());
    assert_eq!(
        put("nsqlookupd_http_addresses", &addresses).text(),
        addresses
    );
    lookupd.order("/topic/create?topic=here");
    other.order("/topic/create?topic=there");
    assert_eq!(admin.json("/api/topics")["topics"], json!(["there"]));
    assert_eq!(put("nsqlookupd_http_addresses", "null").text(), "null");
    assert_eq!(admin.get("/api/topics").status, 502);
}

#[test]
fn options_are_for_the_allowed_addresses() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &["--allow-config-from-cidr=10.0.0.0/8"]);
    check(&admin.get("/config/log_level"), 403, "FORBIDDEN");
    check(
        &admin.request("PUT", "/config/log_level", b"debug"),
        403,
        "FORBIDDEN",
    );
    let admin = Admin::of_nsqds(&[&nsqd], &["--allow-config-from-cidr="]);
    assert_eq!(admin.get("/config/log_level").text(), "2");
}

#[test]
fn with_a_login_strangers_see_nothing() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &[ANN, "--admin-user=bob"]);
    assert_eq!(admin.get("/ping").text(), "OK");
    for path in ["/api/topics", "/api/history", "/config/log_level"] {
        let reply = admin.get(path);
        check(&reply, 401, "UNAUTHORIZED");
        assert!(
            reply
                .header("www-authenticate")
                .unwrap()
                .starts_with("Basic ")
        );
    }
    check(&admin.post("/api/topics", CREATE), 401, "UNAUTHORIZED");
    // The header by which a proxy names users is worth nothing here.
    let claimed = ["X-Forwarded-User: bob"];
    let reply = admin.request_with("POST", "/api/topics", &claimed, CREATE);
    check(&reply, 401, "UNAUTHORIZED");
    let reply = admin.get("/topics/t?t=1h");
    assert_eq!(reply.status, 303);
    assert_eq!(
        reply.header("location"),
        Some("/login?next=%2Ftopics%2Ft%3Ft%3D1h")
    );
}

#[test]
fn a_login_lasts_until_the_logout() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &[ANN, "--admin-user=ann", "--base-path=/nsq"]);
    let log_in = |form: &str| admin.post("/nsq/login", form.as_bytes());
    for form in [
        "",
        "user=ann",
        "user=ann&password=Secret",
        "user=bob&password=secret",
    ] {
        let reply = log_in(form);
        assert_eq!(reply.status, 303);
        assert_eq!(
            reply.header("location"),
            Some("/nsq/login?error=wrong&next=%2Fnsq")
        );
        assert_eq!(reply.header("set-cookie"), None);
    }
    let reply = log_in("user=ann&password=secret&next=%2Fnsq%2Fnodes");
    assert_eq!(reply.header("location"), Some("/nsq/nodes"));
    let cookie = reply.header("set-cookie").unwrap();
    for part in [
        "; Path=/nsq;",
        "; HttpOnly",
        "; SameSite=Strict",
        "; Max-Age=43200",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = format!("Cookie: a=b; {}", cookie.split(';').next().unwrap());
    let ask = |method: &str, path: &str| admin.request_with(method, path, &[&cookie], CREATE);
    check(&ask("POST", "/nsq/api/topics"), 200, "");
    assert_eq!(ask("GET", "/nsq/api/topics").status, 200);
    let reply = admin.request_with("POST", "/nsq/login", &["Sec-Fetch-Site: cross-site"], b"");
    check(&reply, 403, "CROSS_SITE_REQUEST");

    let reply = ask("POST", "/nsq/logout");
    assert_eq!(reply.header("location"), Some("/nsq/login"));
    assert!(reply.header("set-cookie").unwrap().contains("Max-Age=0"));
    check(&ask("GET", "/nsq/api/topics"), 401, "UNAUTHORIZED");
}

#[test]
fn scripts_show_their_password_and_guessing_is_slowed_down() {
    let nsqd = Nsqd::start(&[]);
    let admin = Admin::of_nsqds(&[&nsqd], &[ANN]);
    let right = ["Authorization: Basic YW5uOnNlY3JldA=="];
    let wrong = ["Authorization: Basic YW5uOndyb25n"];
    let ask = |headers: &[&str]| admin.request_with("GET", "/api/topics", headers, b"");
    assert_eq!(ask(&right).status, 200);
    for _ in 0..10 {
        check(&ask(&wrong), 401, "UNAUTHORIZED");
    }
    let reply = ask(&wrong);
    check(&reply, 429, "TOO_MANY_LOGINS");
    assert_eq!(reply.header("retry-after"), Some("300"));
    // A user whose password was right a moment ago is still let in.
    assert_eq!(ask(&right).status, 200);
    let reply = admin.post("/login", b"user=ann&password=other");
    assert_eq!(reply.header("location"), Some("/login?error=wait&next=%2F"));
}

#[test]
fn settings_that_cannot_work_end_the_start() {
    for (flags, text) in [
        (
            &[][..],
            "--nsqd-http-address or --lookupd-http-address required",
        ),
        (
            &[
                "--nsqd-http-address=127.0.0.1:1",
                "--allow-config-from-cidr=x",
            ],
            "failed to parse --allow-config-from-cidr (x) - invalid CIDR address: x",
        ),
        (
            &[
                "--nsqd-http-address=127.0.0.1:1",
                "--proxy-graphite",
                "--graphite-url=x",
            ],
            "failed to parse --graphite-url (x) - ",
        ),
        (
            &["--nsqd-http-address=127.0.0.1:1", "--login-user=ann:secret"],
            "--login-user number 1: must be name:hash",
        ),
        (
            &[
                "--nsqd-http-address=127.0.0.1:1",
                "--http-client-tls-cert=/none",
                "--http-client-tls-key=/none",
            ],
            "--http-client-tls-cert=/none: no such file",
        ),
    ] {
        let (code, log) = Admin::start_in_vain(flags);
        assert_eq!(code, Some(1));
        let line = format!("FATAL: failed to instantiate nsqadmin - {text}");
        assert!(log.contains(&line), "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
}

#[test]
fn an_endpoint_is_told_of_every_action() {
    let lookupd = Lookupd::start();
    let nsqd = Start::default().registering_with(&[lookupd.tcp()]).now();
    nsqd.order("/topic/create?topic=beer");
    nsqd.order("/channel/create?topic=beer&channel=mouth");
    lookupd.wait_for_producers("beer", &[nsqd.tcp()]);
    let endpoint = Fake::start(|_| Some(Fake::ok("{}")));
    let flag = format!(
        "--notification-http-endpoint=http://{}/told",
        endpoint.address
    );
    let admin = Admin::of_lookupds(&[&lookupd], &[&flag]);
    let told = || -> Value {
        let request = endpoint.told.recv_timeout(PATIENCE).expect("it is told");
        assert_eq!(request.line, "POST /told");
        serde_json::from_slice(&request.body).expect("JSON")
    };
    let headers = [
        "Authorization: Basic ZGY6eA==",
        "X-Scheme: https",
        "User-Agent: Mozilla/5.0",
    ];
    let pause = br#"{"action":"pause"}"#;
    let reply = admin.request_with("POST", "/api/topics/beer/mouth?x=1", &headers, pause);
    check(&reply, 200, "");
    let notice = told();
    let url = format!("https://{}/api/topics/beer/mouth?x=1", admin.http());
    assert_eq!(notice["url"], url);
    assert!(notice["timestamp"].as_i64().unwrap() > 1_700_000_000);
    assert!(
        notice["remote_ip"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    assert_ne!(notice["via"], "");
    let keys = ["action", "topic", "channel", "user", "user_agent"];
    let wanted = ["pause_channel", "beer", "mouth", "df", "Mozilla/5.0"];
    for (key, value) in keys.into_iter().zip(wanted) {
        assert_eq!(notice[key], value);
    }
    assert_eq!(notice.get("node"), None);

    let create = json!({"topic": "beer", "channel": "glass"});
    admin.tell("POST", "/api/topics", &create);
    assert_eq!(told()["action"], "create_topic");
    assert_eq!(told()["action"], "create_channel");
    // Failed actions cause no notification, except for those that upstream notifies about, too.
    admin.tell("DELETE", "/api/topics/none", &Value::Null);
    admin.tell("POST", "/api/topics/none", &json!({"action": "empty"}));
    assert_eq!(told()["action"], "empty_topic");
    let node = nsqd.http().to_string();
    let path = format!("/api/nodes/{node}");
    admin.tell("DELETE", &path, &json!({"topic": "beer"}));
    let notice = told();
    assert_eq!(notice["action"], "tombstone_topic_producer");
    assert_eq!(notice["node"], node);
    admin.tell("DELETE", "/api/topics/beer", &Value::Null);
}

#[test]
fn an_endpoint_that_is_down_or_slow_harms_nobody() {
    let nsqd = Nsqd::start(&[]);
    let down = nsq_tests::free_port();
    let slow = Fake::start(|_| None);
    for endpoint in [down, slow.address] {
        let flag = format!("--notification-http-endpoint=http://{endpoint}/");
        let flags = [flag.as_str(), "--http-client-request-timeout=300ms"];
        let admin = Admin::of_nsqds(&[&nsqd], &flags);
        for _ in 0..20 {
            check(&admin.post("/api/topics", CREATE), 200, "");
        }
        let failed = admin
            .log()
            .wait_for("failed to POST notification - ", PATIENCE);
        assert!(failed.is_some());
    }
}

#[test]
fn graphite_is_asked_for_rates_and_images() {
    let nsqd = Nsqd::start(&[]);
    let graphite = Fake::start(|request| {
        let image = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nSet-Cookie: a=b\r\nConnection: close\r\n\r\nPNG";
        Some(if request.line.contains("target=none") {
            Fake::ok("[]")
        } else if request.line.contains("target=less") {
            Fake::ok(r#"[{"target":"t","datapoints":[[-1,1]]}]"#)
        } else if request.line.contains("format=json") {
            Fake::ok(r#"[{"target":"t","datapoints":[[240,1]]}]"#)
        } else {
            image.to_vec()
        })
    });
    let url = format!("--graphite-url=http://{}", graphite.address);
    let admin = Admin::of_nsqds(&[&nsqd], &[&url, "--proxy-graphite"]);
    let told = || graphite.told.recv_timeout(PATIENCE).expect("it is asked");
    let rate = |target: &str| admin.get(&format!("/api/graphite?metric=rate&target={target}"));
    assert_eq!(rate("a%20b").text(), r#"{"rate":"4.00"}"#);
    assert_eq!(
        told().line,
        "GET /render?format=json&from=-120sec&target=a+b&until=-60sec"
    );
    assert_eq!(rate("less").text(), r#"{"rate":"N/A"}"#);
    check(&rate("none"), 500, "INTERNAL_ERROR");
    check(&admin.get("/api/graphite"), 400, "INVALID_ARG_METRIC");
    check(
        &admin.get("/api/graphite?metric=rate"),
        400,
        "INVALID_ARG_TARGET",
    );
    let _ = (told(), told());

    let headers = ["Cookie: nsqadmin_session=x", "X-Forwarded-For: 1.2.3.4"];
    let reply = admin.request_with("GET", "/render?target=a%20b&width=1", &headers, b"");
    assert_eq!((reply.status, reply.text()), (200, "PNG".to_owned()));
    assert_eq!(reply.header("content-type"), Some("image/png"));
    assert_eq!(reply.header("set-cookie"), None);
    let asked = told();
    assert_eq!(asked.line, "GET /render?target=a%20b&width=1");
    let headers = asked.headers.join("\n").to_lowercase();
    assert!(
        headers.contains("x-forwarded-for: 1.2.3.4, 127.0.0.1"),
        "{headers}"
    );
    assert!(!headers.contains("cookie"), "{headers}");

    let without = Admin::of_nsqds(&[&nsqd], &[&url]);
    assert_eq!(without.get("/render").status, 404);
    assert!(graphite.told.recv_timeout(Duration::ZERO).is_err());
}
