//! The context of one request for a page: the viewer, which part of the page is wanted, and how it is shown.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nsq_daemon::http::{HeaderMap, Query, header};

use crate::Nsqadmin;
use crate::access::Viewer;
use crate::cluster::Client;
use crate::history::{Key, Metric, Range};

use super::chart::{Moment, Point};
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

/// The viewer, the query, the time and the settings: what every page needs in addition to its data.
#[derive(Debug)]
pub(crate) struct PageContext<'a> {
    pub(crate) nsqadmin: &'a Nsqadmin,
    pub(crate) links: Links,
    pub(crate) viewer: Viewer,
    pub(crate) query: Query,
    /// The time span of charts that was last chosen, on whatever page.
    pub(crate) kept_span: Option<Duration>,
    pub(crate) theme: Theme,
    pub(crate) part: Part,
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
    /// What the charts of the page mark; set once by the page.
    pub(crate) moments: OnceLock<Vec<Moment>>,
}

impl<'a> PageContext<'a> {
    /// Of a request with these headers and this query. A query that is none counts as empty.
    pub(crate) fn new(
        nsqadmin: &'a Nsqadmin,
        viewer: Viewer,
        headers: &HeaderMap,
        raw_query: &str,
    ) -> Self {
        Self {
            nsqadmin,
            links: Links::new(&nsqadmin.settings.base_path),
            viewer,
            query: Query::parse(raw_query).unwrap_or_default(),
            kept_span: cookie(headers, "nsqadmin_span").and_then(parse_span),
            theme: theme(headers),
            part: if headers.contains_key(PART_HEADER) {
                Part::Main
            } else {
                Part::Whole
            },
            now: Timestamp::now(),
            zone: TimeZone::system(),
            moments: OnceLock::new(),
        }
    }

    /// How far back the charts go: `?t=`, as upstream's pages have it.
    pub(crate) fn span(&self) -> Duration {
        let wanted = self.query.first("t").and_then(parse_span);
        let wanted = wanted.or(self.kept_span);
        let longest = self.nsqadmin.settings.history_retention.max(SHORTEST_SPAN);
        wanted.unwrap_or(DEFAULT_SPAN).clamp(SHORTEST_SPAN, longest)
    }

    /// From when to when the charts go, in Unix seconds: `?from=&until=`, as chosen in a chart, else the last
    /// [`span`](Self::span).
    pub(crate) fn window(&self) -> (i64, i64) {
        let now = self.now.as_second();
        if let Some((from, until)) = self.chosen_window() {
            return (from, until);
        }
        let span = i64::try_from(self.span().as_secs()).unwrap_or(0);
        (now.saturating_sub(span), now)
    }

    /// The part of the history that was chosen in a chart.
    pub(crate) fn chosen_window(&self) -> Option<(i64, i64)> {
        let seconds = |name| self.query.first(name)?.parse::<i64>().ok();
        let now = self.now.as_second();
        let (from, until) = (seconds("from")?, seconds("until")?.min(now));
        (from > 0 && until.saturating_sub(from) >= SHORTEST_WINDOW).then_some((from, until))
    }

    /// A series over [`PageContext::window`].
    pub(crate) fn series(&self, key: &Key, metric: Metric) -> Vec<Point> {
        let (from, until) = self.window();
        let step = until.saturating_sub(from) / CHART_POINTS;
        let range = Range {
            from,
            until: until.saturating_add(1),
            step: u32::try_from(step.max(1)).unwrap_or(u32::MAX),
        };
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

    /// Messages that a consumer finishes per second, from the second look at it on.
    pub(crate) fn finish_rate(&self, client: &Client) -> Option<f64> {
        let at = self.now.as_millisecond();
        self.nsqadmin.finish_rates.rate(client, at)
    }

    /// Whether buttons that change something are shown.
    pub(crate) fn may_act(&self) -> bool {
        self.viewer.is_admin
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

/// The value of a cookie.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='))
}

fn theme(headers: &HeaderMap) -> Theme {
    match cookie(headers, "nsqadmin_theme") {
        Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        _ => Theme::Auto,
    }
}

/// Sent by the pages' script.
pub(crate) const PART_HEADER: &str = "nsqadmin-part";
const DEFAULT_SPAN: Duration = Duration::from_mins(15);
const SHORTEST_SPAN: Duration = Duration::from_mins(5);
/// Values of a series in a chart, about.
const CHART_POINTS: i64 = 300;
/// Seconds that a chosen part of the history has at least.
const SHORTEST_WINDOW: i64 = 30;
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
