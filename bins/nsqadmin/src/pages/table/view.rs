//! How to show a table, from the query.

use std::ops::Range;

use nsq_daemon::http::Query;

use crate::pages::links::segment;

/// Upwards or downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// Search, order and page of one table, and the page's other parameters, which its links keep.
#[derive(Debug, Clone)]
pub(crate) struct View {
    prefix: String,
    search: String,
    sort: Option<String>,
    order: Option<Order>,
    page: usize,
    /// Parameters of other tables and of the page, to be repeated in links.
    others: Vec<(String, String)>,
}

/// One page of rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// From 1.
    pub(super) number: usize,
    pub(super) count: usize,
    pub(super) range: Range<usize>,
}

impl Order {
    pub(super) fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }

    pub(super) fn aria(self) -> &'static str {
        match self {
            Self::Ascending => "ascending",
            Self::Descending => "descending",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

impl View {
    /// The page's main table: `q`, `sort`, `order`, `page`.
    pub(crate) fn main(query: &Query) -> Self {
        Self::with_prefix(query, String::new())
    }

    /// Another table of the page: `clients-q`, and so on.
    pub(crate) fn of(table: &str, query: &Query) -> Self {
        Self::with_prefix(query, format!("{table}-"))
    }

    fn with_prefix(query: &Query, prefix: String) -> Self {
        let own = |name: &str| {
            query
                .first(&format!("{prefix}{name}"))
                .filter(|value| !value.is_empty())
        };
        let search: String = own("q")
            .unwrap_or_default()
            .chars()
            .take(LONGEST_SEARCH)
            .collect();
        let order = match own("order") {
            Some("asc") => Some(Order::Ascending),
            Some("desc") => Some(Order::Descending),
            _ => None,
        };
        Self {
            search: search.trim().to_owned(),
            sort: own("sort").map(str::to_owned),
            order,
            page: own("page").and_then(|page| page.parse().ok()).unwrap_or(1),
            others: kept(query, &prefix),
            prefix,
        }
    }

    /// Sorts by `key` unless the query says otherwise.
    #[must_use]
    pub(crate) fn or_sorted_by(mut self, key: &str, order: Order) -> Self {
        if self.sort.is_none() {
            self.sort = Some(key.to_owned());
            self.order = Some(order);
        }
        self
    }

    pub(super) fn search(&self) -> &str {
        &self.search
    }

    pub(super) fn sort(&self) -> Option<&str> {
        self.sort.as_deref()
    }

    pub(super) fn order(&self) -> Option<Order> {
        self.order
    }

    /// Every word of the search is somewhere in `text`, in any letter case.
    pub(super) fn finds(&self, text: &str) -> bool {
        if self.search.is_empty() {
            return true;
        }
        let text = text.to_lowercase();
        self.search
            .to_lowercase()
            .split_whitespace()
            .all(|word| text.contains(word))
    }

    pub(super) fn page(&self, rows: usize) -> Page {
        let count = rows.div_ceil(ROWS_A_PAGE).max(1);
        let number = self.page.clamp(1, count);
        let from = (number - 1) * ROWS_A_PAGE;
        Page {
            number,
            count,
            range: from..rows.min(from + ROWS_A_PAGE),
        }
    }

    /// A parameter's full name.
    pub(super) fn parameter(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn link_sorted(&self, key: &str, order: Order) -> String {
        self.link(&[("q", &self.search), ("sort", key), ("order", order.word())])
    }

    pub(super) fn link_to_page(&self, page: usize) -> String {
        let order = self.order.map_or("", Order::word);
        let sort = self.sort().unwrap_or_default();
        self.link(&[
            ("q", &self.search),
            ("sort", sort),
            ("order", order),
            ("page", &page.to_string()),
        ])
    }

    pub(super) fn link_without_search(&self) -> String {
        let order = self.order.map_or("", Order::word);
        self.link(&[("sort", self.sort().unwrap_or_default()), ("order", order)])
    }

    /// The parameters that the search form sends along with the search.
    pub(super) fn kept_by_search(&self) -> Vec<(String, String)> {
        let mut kept = self.others.clone();
        if let Some(sort) = &self.sort {
            kept.push((self.parameter("sort"), sort.clone()));
        }
        if let Some(order) = self.order {
            kept.push((self.parameter("order"), order.word().to_owned()));
        }
        kept
    }

    fn link(&self, own: &[(&str, &str)]) -> String {
        let others = self
            .others
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str()));
        let own = own
            .iter()
            .map(|(name, value)| (self.parameter(name), *value));
        let pairs: Vec<String> = others
            .chain(own)
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{}={}", segment(&name), segment(value)))
            .collect();
        format!("?{}", pairs.join("&"))
    }
}

/// The parameters that belong to the page or to its other tables.
fn kept(query: &Query, prefix: &str) -> Vec<(String, String)> {
    let own = OWN.map(|name| format!("{prefix}{name}"));
    let mut kept = Vec::new();
    for table in TABLES {
        for name in OWN {
            kept.push(format!("{table}{name}"));
        }
    }
    kept.extend(["t", "from", "until", "look", "show", "tab"].map(str::to_owned));
    kept.into_iter()
        .filter(|name| !own.contains(name))
        .filter_map(|name| {
            let value: String = query.first(&name)?.chars().take(LONGEST_SEARCH).collect();
            (!value.is_empty()).then_some((name, value))
        })
        .collect()
}

/// Rows on one page: what a browser lays out without a pause.
pub(super) const ROWS_A_PAGE: usize = 250;
const LONGEST_SEARCH: usize = 200;
const OWN: [&str; 4] = ["q", "sort", "order", "page"];
/// What the parameters of every table begin with.
const TABLES: [&str; 6] = [
    "",
    "nodes-",
    "clients-",
    "channels-",
    "producers-",
    "orphans-",
];
