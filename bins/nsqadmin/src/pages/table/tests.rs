use maud::html;
use nsq_daemon::http::Query;

use super::view::ROWS_A_PAGE;
use super::*;

#[derive(Debug, Clone)]
struct Row {
    name: String,
    depth: i64,
}

fn rows(names: &[(&str, i64)]) -> Vec<Row> {
    let row = |(name, depth): &(&str, i64)| Row {
        name: (*name).to_owned(),
        depth: *depth,
    };
    names.iter().map(row).collect()
}

fn render(rows: &[Row], query: &str) -> String {
    let query = Query::parse(query).unwrap();
    let table = Table {
        id: "rows",
        caption: "Rows",
        columns: vec![
            Column::name(
                "name",
                "Name",
                |row: &Row| row.name.clone(),
                |row: &Row| html! { (row.name) },
            ),
            Column::count("depth", "Depth", |row: &Row| row.depth).total(html! { "sum" }),
        ],
        key: Box::new(|row: &Row| row.name.clone()),
        searched: Box::new(|row: &Row| row.name.clone()),
        empty: html! { "none at all" },
    };
    table.render(rows, &View::main(&query)).into_string()
}

fn names(html: &str) -> Vec<&str> {
    html.split("data-key=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect()
}

#[test]
fn rows_are_sorted_as_the_query_says() {
    let rows = rows(&[("b", 10), ("A", 9), ("c", 100)]);
    for (query, expected) in [
        ("", ["b", "A", "c"]),
        ("sort=name", ["A", "b", "c"]),
        ("sort=name&order=desc", ["c", "b", "A"]),
        ("sort=depth", ["c", "b", "A"]),
        ("sort=depth&order=asc", ["A", "b", "c"]),
        ("sort=nonsense&order=up", ["b", "A", "c"]),
    ] {
        assert_eq!(names(&render(&rows, query)), expected, "{query}");
    }
    let html = render(&rows, "sort=depth&order=desc&t=1h");
    assert!(html.contains("aria-sort=\"descending\""), "{html}");
    assert!(
        html.contains("href=\"?t=1h&amp;sort=depth&amp;order=asc\""),
        "{html}"
    );
}

#[test]
fn a_search_finds_all_words_in_any_case() {
    let rows = rows(&[("Orders-Paid", 1), ("orders-new", 2), ("users", 3)]);
    assert_eq!(
        names(&render(&rows, "q=ORDERS")),
        ["Orders-Paid", "orders-new"]
    );
    assert_eq!(names(&render(&rows, "q=paid+orders")), ["Orders-Paid"]);
    let html = render(&rows, "q=%3Cscript%3E");
    assert!(
        html.contains("&lt;script&gt;") && !html.contains("<script>"),
        "{html}"
    );
    assert!(html.contains("No rows match"), "{html}");
}

#[test]
fn many_rows_come_in_pages() {
    let many: Vec<Row> = (0..2000)
        .map(|n| Row {
            name: format!("t{n:04}"),
            depth: n,
        })
        .collect();
    let html = render(&many, "sort=name&page=2");
    assert_eq!(names(&html).len(), ROWS_A_PAGE);
    assert_eq!(names(&html)[0], format!("t{ROWS_A_PAGE:04}"));
    assert!(html.contains("Page 2 of 8"), "{html}");
    assert!(html.contains("page=3"), "{html}");
    assert_eq!(
        names(&render(&many, "page=99")).len(),
        2000 - 7 * ROWS_A_PAGE
    );
    assert_eq!(names(&render(&many, "page=-1")).len(), ROWS_A_PAGE);
    assert!(render(&many, "q=t199").contains("10 of 10 found among 2,000"));
}

#[test]
fn a_table_without_rows_says_so() {
    assert!(render(&[], "").contains("none at all"));
}

#[test]
fn names_cannot_leave_their_cell() {
    let html = render(&rows(&[("\"><img src=x onerror=alert(1)>", 1)]), "");
    assert!(!html.contains("<img"), "{html}");
}

#[test]
fn the_parameters_of_two_tables_do_not_meet() {
    let query = Query::parse("q=a&clients-q=b&clients-sort=depth&t=6h").unwrap();
    let view = View::of("clients", &query);
    assert_eq!(view.search(), "b");
    assert_eq!(
        view.link_sorted("name", Order::Ascending),
        "?q=a&t=6h&clients-q=b&clients-sort=name&clients-order=asc"
    );
}
