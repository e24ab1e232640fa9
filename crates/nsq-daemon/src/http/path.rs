//! Route patterns, and the cleaned-up spelling of a path.

/// A route's path: literal segments, `:name` for one segment, and at the end `*name` for all the rest.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone)]
enum Segment {
    Literal(Box<str>),
    One(Box<str>),
    Rest(Box<str>),
}

/// A path that fits a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// The pattern's parameters with what stood in their place.
    pub(super) params: Vec<(Box<str>, String)>,
    /// The path in the pattern's own letter case.
    pub(super) canonical: String,
}

/// Whether `/Ping` fits `/ping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Exact,
    Ignored,
}

impl Pattern {
    /// # Panics
    /// If `pattern` does not begin with `/`, or continues after `*name`: a route is written by us.
    pub(super) fn new(pattern: &str) -> Self {
        let rest = pattern.strip_prefix('/').expect("a route begins with /");
        let segments: Vec<Segment> = rest
            .split('/')
            .map(|part| match part.split_at_checked(1) {
                Some((":", name)) => Segment::One(name.into()),
                Some(("*", name)) => Segment::Rest(name.into()),
                _ => Segment::Literal(part.into()),
            })
            .collect();
        let before_last = &segments[..segments.len() - 1];
        assert!(
            !before_last.iter().any(|s| matches!(s, Segment::Rest(_))),
            "a catch-all ends its route"
        );
        Self { segments }
    }

    /// Fits the whole of `path`, which is unescaped.
    pub(super) fn fit(&self, path: &str, case: Case) -> Option<Match> {
        let mut left = Some(path.strip_prefix('/')?);
        let mut params = Vec::new();
        let mut canonical = String::with_capacity(path.len());
        for segment in &self.segments {
            canonical.push('/');
            let here = left?;
            let (part, after) = match here.split_once('/') {
                Some((part, after)) => (part, Some(after)),
                None => (here, None),
            };
            left = after;
            match segment {
                Segment::Literal(literal) => {
                    let fits = match case {
                        Case::Exact => **literal == *part,
                        Case::Ignored => literal.eq_ignore_ascii_case(part),
                    };
                    if !fits {
                        return None;
                    }
                    canonical.push_str(literal);
                }
                Segment::One(_) if part.is_empty() => return None,
                Segment::One(name) => {
                    canonical.push_str(part);
                    params.push((name.clone(), part.to_owned()));
                }
                Segment::Rest(name) => {
                    canonical.push_str(here);
                    params.push((name.clone(), here.to_owned()));
                    left = None;
                }
            }
        }
        left.is_none().then_some(Match { params, canonical })
    }
}

/// `path` without empty, `.` and `..` segments; a trailing slash stays.
pub(super) fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let mut clean = String::with_capacity(path.len());
    for part in &kept {
        clean.push('/');
        clean.push_str(part);
    }
    if clean.is_empty() || path.ends_with('/') || path.ends_with("/.") {
        clean.push('/');
    }
    clean
}

/// `path` with its trailing slash taken off, or one put on.
pub(super) fn toggle_slash(path: &str) -> String {
    match path.strip_suffix('/') {
        Some(without) if !without.is_empty() => without.to_owned(),
        _ => format!("{path}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pattern: &str, path: &str) -> Option<Vec<String>> {
        let found = Pattern::new(pattern).fit(path, Case::Exact)?;
        assert_eq!(found.canonical, path);
        Some(found.params.into_iter().map(|(_, value)| value).collect())
    }

    #[test]
    fn a_pattern_fits_whole_paths_only() {
        assert_eq!(fit("/ping", "/ping"), Some(vec![]));
        for path in ["/pin", "/pingo", "/ping/", "/ping/x", "/", "ping", "", "*"] {
            assert_eq!(fit("/ping", path), None, "{path}");
        }
        assert_eq!(fit("/", "/"), Some(vec![]));
        assert_eq!(fit("/debug/pprof/", "/debug/pprof/"), Some(vec![]));
    }

    #[test]
    fn a_parameter_is_one_segment_that_is_not_empty() {
        assert_eq!(fit("/config/:opt", "/config/id"), Some(vec!["id".into()]));
        for path in ["/config/", "/config", "/config/a/b"] {
            assert_eq!(fit("/config/:opt", path), None, "{path}");
        }
    }

    #[test]
    fn a_catch_all_takes_the_rest() {
        assert_eq!(fit("/static/*f", "/static/a/b"), Some(vec!["a/b".into()]));
        assert_eq!(fit("/static/*f", "/static/"), Some(vec![String::new()]));
        assert_eq!(fit("/static/*f", "/static"), None);
    }

    #[test]
    fn letter_case_can_be_ignored_but_parameters_keep_theirs() {
        let found = Pattern::new("/config/:opt").fit("/Config/ID", Case::Ignored);
        assert_eq!(found.unwrap().canonical, "/config/ID");
    }

    #[test]
    fn cleaning_drops_empty_and_dotted_segments() {
        for (path, want) in [
            ("/topics", "/topics"),
            ("//topics", "/topics"),
            ("/a/../topics", "/topics"),
            ("/../../topics/", "/topics/"),
            ("/./topics/.", "/topics/"),
            ("//evil.example/..", "/"),
            ("", "/"),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
    }
}
