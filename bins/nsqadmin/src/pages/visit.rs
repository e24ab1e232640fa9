//! One request for a page: who asks, for which part of it, and how it wants to see it.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nsq_daemon::http::{HeaderMap, Query, header};

use crate::Nsqadmin;
use crate::access::Viewer;
use crate::history::{Key, Metric, Range};

use super::chart::Point;
use super::links::Links;

/// Colours, as chosen in the page's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    Auto,
    Light,
    Dark,
}

/// How much of the page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// What is inside of the frame: for the script.
    Main,
}

/// Everything a page needs besides the data it is about.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    pub(crate) nsqadmin: &'a Nsqadmin,
    pub(crate) links: Links,
    pub(crate) visitor: Viewer,
    pub(crate) query: Query,
    pub(crate) theme: Theme,
    pub(crate) part: Part,
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
}

impl<'a> Visit<'a> {
    /// Of a request with these headers and this query. A query that is none counts as empty.
    pub(crate) fn new(
        nsqadmin: &'a Nsqadmin,
        visitor: Viewer,
        headers: &HeaderMap,
        raw_query: &str,
    ) -> Self {
        Self {
            nsqadmin,
            links: Links::new(&nsqadmin.settings.base_path),
            visitor,
            query: Query::parse(raw_query).unwrap_or_default(),
            theme: theme(headers),
            part: if headers.contains_key(PART_HEADER) {
                Part::Main
            } else {
                Part::Whole
            },
            now: Timestamp::now(),
            zone: TimeZone::system(),
        }
    }

    /// How far back the charts go: `?t=`, as upstream's pages have it.
    pub(crate) fn span(&self) -> Duration {
        let wanted = self.query.first("t").and_then(parse_span);
        let longest = self.nsqadmin.settings.history_retention.max(SHORTEST_SPAN);
        wanted.unwrap_or(DEFAULT_SPAN).clamp(SHORTEST_SPAN, longest)
    }

    /// A series over [`Visit::span`].
    pub(crate) fn series(&self, key: &Key, metric: Metric) -> Vec<Point> {
        let range = Range::last(self.span(), self.now.as_second(), 300);
        let points = self.nsqadmin.history.series(key, metric, range);
        points
            .into_iter()
            .map(|(at, value)| Point { at, value })
            .collect()
    }

    /// The last minutes, for lists.
    pub(crate) fn recent(&self, key: &Key, metric: Metric) -> Vec<Point> {
        self.nsqadmin
            .history
            .sparkline(key, metric, SPARKLINE_POINTS)
            .into_iter()
            .zip(0..)
            .map(|(value, at)| Point {
                at,
                value: value.map(f64::from),
            })
            .collect()
    }

    /// Whether buttons that change something are shown.
    pub(crate) fn may_act(&self) -> bool {
        self.visitor.is_admin
    }
}

/// `15m`, `6h`, `7d`.
pub(crate) fn parse_span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

fn theme(headers: &HeaderMap) -> Theme {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let chosen = cookies
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix("nsqadmin_theme="));
    match chosen {
        Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        _ => Theme::Auto,
    }
}

/// Sent by the pages' script.
pub(crate) const PART_HEADER: &str = "nsqadmin-part";
const DEFAULT_SPAN: Duration = Duration::from_mins(15);
const SHORTEST_SPAN: Duration = Duration::from_mins(5);
const SPARKLINE_POINTS: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use nsq_daemon::http::header::HeaderValue;

    #[test]
    fn spans_are_numbers_with_a_unit() {
        assert_eq!(parse_span("15m"), Some(Duration::from_mins(15)));
        assert_eq!(parse_span("168h"), Some(Duration::from_hours(168)));
        assert_eq!(parse_span("7d"), Some(Duration::from_hours(168)));
        for none in [
            "",
            "off",
            "h",
            "-1h",
            "1é",
            "99999999999999999999h",
            "18446744073709551615d",
        ] {
            assert_eq!(parse_span(none), None, "{none}");
        }
    }

    #[test]
    fn the_theme_is_a_cookie_among_others() {
        let with = |cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
            theme(&headers)
        };
        assert_eq!(with("a=b; nsqadmin_theme=dark"), Theme::Dark);
        assert_eq!(with("nsqadmin_theme=light"), Theme::Light);
        assert_eq!(with("nsqadmin_theme=\"><script>"), Theme::Auto);
        assert_eq!(theme(&HeaderMap::new()), Theme::Auto);
    }
}
