//! Tables that can be searched, sorted and paged, by the query alone: `?q=&sort=&order=&page=`.
//!
//! The script makes the same requests in the background. Cells are made only for the rows that are shown, so a list
//! of thousands costs little more than one page of it.

#[cfg(test)]
mod tests;
mod view;

pub(crate) use view::{Order, View};

use std::cmp::Ordering;

use maud::{Markup, html};

use super::format;

/// A table of `T`s.
pub(crate) struct Table<'a, T> {
    /// The element's id, and with a hyphen what its parameters begin with; a page's main table has plain ones.
    pub(crate) id: &'static str,
    pub(crate) caption: &'a str,
    pub(crate) columns: Vec<Column<'a, T>>,
    /// A row's key, unique in the table.
    pub(crate) key: Box<dyn Fn(&T) -> String + 'a>,
    /// The text that the search looks in.
    pub(crate) searched: Box<dyn Fn(&T) -> String + 'a>,
    /// Shown in place of a table without rows.
    pub(crate) empty: Markup,
}

/// The head of a table's panel: the title with the number of rows, a search field, buttons.
pub(crate) struct Heading<'a> {
    pub(crate) title: &'a str,
    /// What the search field finds, such as `nodes and topics`.
    pub(crate) searched: &'a str,
    /// With fewer rows there is no search field.
    pub(crate) fewest_to_search: usize,
    pub(crate) buttons: Markup,
}

impl<'a> Heading<'a> {
    /// Without buttons.
    pub(crate) fn new(title: &'a str, searched: &'a str, fewest_to_search: usize) -> Self {
        Self {
            title,
            searched,
            fewest_to_search,
            buttons: html! {},
        }
    }
}

/// One column.
pub(crate) struct Column<'a, T> {
    key: &'static str,
    label: &'static str,
    help: &'static str,
    kind: Kind,
    sort: Option<Sort<'a, T>>,
    cell: Box<dyn Fn(&T) -> Markup + 'a>,
    total: Option<Total<'a, T>>,
}

/// What stands below a column, of the rows that are found.
type Total<'a, T> = Box<dyn Fn(&[&T]) -> Markup + 'a>;

type Sort<'a, T> = Box<dyn Fn(&T) -> SortKey + 'a>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The row's name: a heading.
    Name,
    Text,
    Number,
}

/// What rows are ordered by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SortKey {
    /// Without regard to letter case.
    Text(String),
    /// Unknown is lowest.
    Number(Option<f64>),
}

impl<'a, T> Column<'a, T> {
    /// The row's name.
    pub(crate) fn name(
        key: &'static str,
        label: &'static str,
        sort: impl Fn(&T) -> String + 'a,
        cell: impl Fn(&T) -> Markup + 'a,
    ) -> Self {
        Self {
            sort: Some(Box::new(move |row| SortKey::Text(sort(row)))),
            ..Self::plain(key, label, cell)
        }
        .of_kind(Kind::Name)
    }

    /// Text that can be sorted by.
    pub(crate) fn text(
        key: &'static str,
        label: &'static str,
        sort: impl Fn(&T) -> String + 'a,
        cell: impl Fn(&T) -> Markup + 'a,
    ) -> Self {
        Self {
            sort: Some(Box::new(move |row| SortKey::Text(sort(row)))),
            ..Self::plain(key, label, cell)
        }
    }

    /// A whole number.
    pub(crate) fn count(
        key: &'static str,
        label: &'static str,
        value: impl Fn(&T) -> i64 + Copy + 'a,
    ) -> Self {
        Self::number(
            key,
            label,
            move |row| Some(wide(value(row))),
            move |row| count_cell(value(row)),
        )
    }

    /// A whole number, with its sum over the rows that are found below them.
    pub(crate) fn summed(
        key: &'static str,
        label: &'static str,
        value: impl Fn(&T) -> i64 + Copy + 'a,
    ) -> Self {
        Self::count(key, label, value).total_of(move |rows| {
            let sum = rows
                .iter()
                .map(|row| value(row))
                .fold(0, i64::saturating_add);
            html! { (format::grouped_signed(sum)) }
        })
    }

    /// As [`summed`](Self::summed), of a number that may not be known: `–`, and not part of the sum.
    pub(crate) fn known(
        key: &'static str,
        label: &'static str,
        value: impl Fn(&T) -> Option<i64> + Copy + 'a,
    ) -> Self {
        let cell = move |row: &T| {
            let unknown =
                || html! { span.muted title="Not known: its node is not responding" { "–" } };
            value(row).map_or_else(unknown, count_cell)
        };
        Self::number(key, label, move |row| value(row).map(wide), cell).total_of(move |rows| {
            let known = rows.iter().filter_map(|row| value(row));
            html! { (format::grouped_signed(known.fold(0, i64::saturating_add))) }
        })
    }

    /// A number with a look of its own; `None` is not known.
    pub(crate) fn number(
        key: &'static str,
        label: &'static str,
        sort: impl Fn(&T) -> Option<f64> + 'a,
        cell: impl Fn(&T) -> Markup + 'a,
    ) -> Self {
        Self {
            sort: Some(Box::new(move |row| SortKey::Number(sort(row)))),
            ..Self::plain(key, label, cell)
        }
        .of_kind(Kind::Number)
    }

    /// A rate per second.
    pub(crate) fn rate(
        key: &'static str,
        label: &'static str,
        value: impl Fn(&T) -> Option<f64> + Copy + 'a,
    ) -> Self {
        Self::number(key, label, value, move |row| rate_cell(value(row)))
    }

    /// Something that cannot be sorted by.
    pub(crate) fn plain(
        key: &'static str,
        label: &'static str,
        cell: impl Fn(&T) -> Markup + 'a,
    ) -> Self {
        Self {
            key,
            label,
            help: "",
            kind: Kind::Text,
            sort: None,
            cell: Box::new(cell),
            total: None,
        }
    }

    /// Sorted by this number, shown as text: how bad a state is.
    pub(crate) fn ranked(
        key: &'static str,
        label: &'static str,
        rank: impl Fn(&T) -> f64 + 'a,
        cell: impl Fn(&T) -> Markup + 'a,
    ) -> Self {
        Self {
            sort: Some(Box::new(move |row| SortKey::Number(Some(rank(row))))),
            ..Self::plain(key, label, cell)
        }
    }

    /// What the heading says when pointed at.
    pub(crate) fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// What stands in the row of totals.
    pub(crate) fn total(self, total: Markup) -> Self {
        self.total_of(move |_| total.clone())
    }

    /// What stands in the row of totals, of the rows that are found.
    pub(crate) fn total_of(mut self, total: impl Fn(&[&T]) -> Markup + 'a) -> Self {
        self.total = Some(Box::new(total));
        self
    }

    fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    fn class(&self) -> &'static str {
        match self.kind {
            Kind::Name => "name-cell",
            Kind::Text => self.key,
            Kind::Number => "number",
        }
    }

    /// What the first click on the heading sorts by: the largest numbers matter, and names begin with A.
    fn first_order(&self, sample: Option<&T>) -> Order {
        match (&self.sort, sample) {
            (Some(sort), Some(row)) => match sort(row) {
                SortKey::Text(_) => Order::Ascending,
                SortKey::Number(_) => Order::Descending,
            },
            _ => Order::Ascending,
        }
    }
}

impl<T> Table<'_, T> {
    /// The rows that `view` wants, with headings that sort, totals, and a pager when there are many. Without a
    /// `sort` in `view` the rows stay in the order given.
    pub(crate) fn render(&self, rows: &[T], view: &View) -> Markup {
        let mut found: Vec<&T> = rows
            .iter()
            .filter(|row| view.finds(&(self.searched)(row)))
            .collect();
        let sorted_by = self
            .columns
            .iter()
            .find(|column| column.sort.is_some() && Some(column.key) == view.sort());
        if let Some(column) = sorted_by {
            sort(&mut found, column, view);
        }
        let page = view.page(found.len());
        let shown = &found[page.range.clone()];
        if rows.is_empty() {
            return html! { div.empty id=(self.id) { (self.empty) } };
        }
        html! {
            div.scroll tabindex="0" role="region" aria-label=(self.caption) {
                table id=(self.id) data-rows=(found.len()) data-all=(rows.len()) {
                    caption.visually-hidden { (self.caption) }
                    thead { tr {
                        @for column in &self.columns { (heading(column, rows.first(), view)) }
                    } }
                    tbody {
                        @for row in shown { (self.row(row)) }
                        @if shown.is_empty() {
                            tr { td.muted colspan=(self.columns.len()) {
                                "No rows match “" (view.search()) "”. "
                                a href=(view.link_without_search()) data-soft { "Show all" }
                            } }
                        }
                    }
                    @if self.columns.iter().any(|column| column.total.is_some()) && rows.len() > 1 {
                        tfoot { tr {
                            @for (index, column) in self.columns.iter().enumerate() {
                                @if index == 0 {
                                    th scope="row" {
                                        @if found.len() < rows.len() { (format::grouped(wide_usize(found.len()))) " found" }
                                        @else { "All " (format::grouped(wide_usize(rows.len()))) }
                                    }
                                } @else {
                                    td class=(column.class()) { @if let Some(total) = &column.total { (total(&found)) } }
                                }
                            }
                        } }
                    }
                }
            }
            @if page.count > 1 || found.len() < rows.len() {
                nav.pager aria-label={ "Pages of " (self.caption) } data-test={ (self.id) "-pager" } {
                    span {
                        (format::grouped(wide_usize(shown.len()))) " of "
                        (format::grouped(wide_usize(found.len())))
                        @if found.len() < rows.len() { " found among " (format::grouped(wide_usize(rows.len()))) }
                    }
                    @if page.number > 1 {
                        a.button.tiny href=(view.link_to_page(page.number - 1)) rel="prev" data-soft { "← Previous" }
                    }
                    @if page.count > 1 { span { "Page " (page.number) " of " (page.count) } }
                    @if page.number < page.count {
                        a.button.tiny href=(view.link_to_page(page.number + 1)) rel="next" data-soft { "Next →" }
                    }
                }
            }
        }
    }

    /// The table in a panel of its own, below `heading`.
    pub(crate) fn panel(&self, rows: &[T], view: &View, heading: &Heading<'_>) -> Markup {
        let title_id = format!("{}-title", self.id);
        html! {
            section.panel aria-labelledby=(title_id) {
                div.panel-head {
                    h2 id=(title_id) { (heading.title) span.count { (format::grouped(wide_usize(rows.len()))) } }
                    @if rows.len() >= heading.fewest_to_search { (filter(self.id, view, heading.searched)) }
                    (heading.buttons)
                }
                (self.render(rows, view))
            }
        }
    }

    fn row(&self, row: &T) -> Markup {
        html! {
            tr data-key=((self.key)(row)) data-search=((self.searched)(row).to_lowercase()) {
                @for column in &self.columns {
                    @match column.kind {
                        Kind::Name => th scope="row" class="name-cell" { ((column.cell)(row)) },
                        Kind::Text => td class=(column.key) { ((column.cell)(row)) },
                        Kind::Number => td class="number" { ((column.cell)(row)) },
                    }
                }
            }
        }
    }
}

fn sort<T>(rows: &mut [&T], column: &Column<'_, T>, view: &View) {
    let Some(key) = &column.sort else {
        return;
    };
    let order = view
        .order()
        .unwrap_or_else(|| column.first_order(rows.first().copied()));
    rows.sort_by_cached_key(|row| Ranked(key(row), order));
}

fn heading<T>(column: &Column<'_, T>, sample: Option<&T>, view: &View) -> Markup {
    let is_sorted = view.sort() == Some(column.key);
    let first = column.first_order(sample);
    let order = view.order().unwrap_or(first);
    let next = if is_sorted { order.reversed() } else { first };
    let title = (!column.help.is_empty()).then_some(column.help);
    html! {
        @if column.sort.is_some() {
            th scope="col" class=(column.class()) title=[title] aria-sort=[is_sorted.then(|| order.aria())]
                data-column=(column.key) {
                a href=(view.link_sorted(column.key, next)) data-soft {
                    (column.label)
                    span.sort-sign aria-hidden="true" {
                        @if is_sorted { (if order == Order::Ascending { "▲" } else { "▼" }) }
                    }
                }
            }
        } @else {
            th scope="col" class=(column.class()) title=[title] data-column=(column.key) { (column.label) }
        }
    }
}

/// The search field of a table: a form of its own, so that it works without a script.
fn filter(id: &str, view: &View, what: &str) -> Markup {
    html! {
        form.filter role="search" aria-label={ "Search " (what) } method="get" action="" data-filter=(id) {
            @for (name, value) in view.kept_by_search() { input type="hidden" name=(name) value=(value); }
            input type="search" id={ (id) "-search" } name=(view.parameter("q")) value=(view.search())
                placeholder={ "Search " (what) } aria-label={ "Search " (what) } autocomplete="off" spellcheck="false"
                maxlength="200";
            button.button type="submit" { "Search" }
        }
    }
}

/// A count; nothing at all is quieter than something.
pub(crate) fn count_cell(value: i64) -> Markup {
    html! { span.zero[value == 0] { (format::grouped_signed(value)) } }
}

/// A rate, or a dash while it is not known.
pub(crate) fn rate_cell(value: Option<f64>) -> Markup {
    html! {
        @match value {
            Some(value) => span.zero[value.abs() < 0.005] { (format::Unit::PerSecond.short(value)) },
            None => span.muted title="Known after the second measurement" { "–" },
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for comparing and for charts")]
pub(crate) fn wide(value: i64) -> f64 {
    value as f64
}

fn wide_usize(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// A key in an order. Equal keys keep the order they came in.
struct Ranked(SortKey, Order);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let ascending = match (&self.0, &other.0) {
            (SortKey::Text(a), SortKey::Text(b)) => a
                .to_lowercase()
                .cmp(&b.to_lowercase())
                .then_with(|| a.cmp(b)),
            (SortKey::Number(a), SortKey::Number(b)) => {
                let known = |value: Option<f64>| value.unwrap_or(f64::NEG_INFINITY);
                known(*a).total_cmp(&known(*b))
            }
            (SortKey::Text(_), SortKey::Number(_)) => Ordering::Less,
            (SortKey::Number(_), SortKey::Text(_)) => Ordering::Greater,
        };
        match self.1 {
            Order::Ascending => ascending,
            Order::Descending => ascending.reverse(),
        }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}
