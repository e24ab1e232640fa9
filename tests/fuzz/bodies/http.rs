//! Fuzz bodies of nsq-daemon: paths and parameters of HTTP requests.

use super::path::{Case, Pattern, clean, toggle_slash};
use super::query::{Plus, Query, path_escape, percent_decode, query_escape};

/// Paths and parameters of a request: what was decoded can be escaped and decoded again, and cleaning a path twice gives
/// the same as cleaning it once.
pub fn http(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, raw_query) = text.split_once('?').unwrap_or((&text, ""));
    if let Ok(query) = Query::parse(raw_query) {
        let parts = raw_query.split('&').filter(|part| !part.is_empty());
        let keys: Vec<_> = parts.map(|part| part.split('=').next()).collect();
        for key in keys.into_iter().flatten() {
            let Some(key) = percent_decode(key, Plus::IsSpace) else {
                panic!("{key:?} is part of a good query");
            };
            let escaped: Vec<_> = query
                .all(&key)
                .map(|value| format!("{}={}", query_escape(&key), query_escape(value)))
                .collect();
            let again = Query::parse(&escaped.join("&"));
            let again = again.expect("what was escaped is a good query");
            assert!(again.all(&key).eq(query.all(&key)));
            assert_eq!(again.first(&key), query.first(&key));
        }
    }
    let Some(path) = percent_decode(path, Plus::IsPlus) else {
        return;
    };
    assert_eq!(
        percent_decode(&path_escape(&path), Plus::IsPlus).as_deref(),
        Some(path.as_str())
    );
    let cleaned = clean(&path);
    assert_eq!(clean(&cleaned), cleaned, "of {path:?}");
    assert!(cleaned.starts_with('/') && !cleaned.contains("//"));
    assert!(!cleaned.split('/').any(|part| matches!(part, "." | "..")));
    assert!(!toggle_slash(&path).is_empty());
    for pattern in ["/", "/ping", "/topics/:topic/:channel", "/static/*path"] {
        let pattern = Pattern::new(pattern);
        for case in [Case::Exact, Case::Ignored] {
            if let Some(found) = pattern.fit(&path, case) {
                assert_eq!(found.canonical.len(), path.len());
                let again = pattern.fit(&found.canonical, Case::Exact);
                assert_eq!(again.as_ref(), Some(&found));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn requests_of_the_corpus() {
        replay("http", super::http);
    }
}
