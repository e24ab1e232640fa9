use jiff::tz::{TimeZone, offset};

use super::axis::{ValueAxis, time_ticks};
use super::*;
use crate::pages::format::Unit;

fn points(values: &[Option<f64>]) -> Vec<Point> {
    let at = |index: usize| 1_000 + 10 * i64::try_from(index).unwrap();
    values
        .iter()
        .enumerate()
        .map(|(index, value)| Point {
            at: at(index),
            value: *value,
        })
        .collect()
}

fn chart(series: Vec<Series>) -> String {
    let chart = Chart {
        id: "depth",
        title: "Depth",
        unit: Unit::Count,
        series,
        from: 1_000,
        to: 1_100,
        moments: &[],
        zone: &TimeZone::UTC,
    };
    chart.render().into_string()
}

#[test]
fn an_axis_holds_its_highest_value_in_round_steps() {
    let cases = [
        (0.0, Unit::Count, 1.0, 1),
        (1.0, Unit::Count, 1.0, 1),
        (3.0, Unit::Count, 1.0, 3),
        (7.0, Unit::Count, 2.0, 4),
        (100.0, Unit::Count, 50.0, 2),
        (0.3, Unit::PerSecond, 0.1, 3),
        (4096.0, Unit::Bytes, 1024.0, 4),
        (5000.0, Unit::Bytes, 2048.0, 3),
        (0.0, Unit::Nanos, 1e6, 1),
    ];
    for (highest, unit, step, steps) in cases {
        let axis = ValueAxis::holding(highest, unit);
        assert!(
            (axis.step - step).abs() < step * 1e-9,
            "{highest}: {axis:?}"
        );
        assert_eq!(axis.steps, steps, "{highest}: {axis:?}");
        assert!(axis.top() >= highest * (1.0 - 1e-9));
    }
}

#[test]
fn no_value_breaks_an_axis() {
    for value in [
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        f64::NAN,
        f64::INFINITY,
        -1.0,
        1e300,
        1.8e19,
    ] {
        for unit in [Unit::Count, Unit::PerSecond, Unit::Bytes, Unit::Nanos] {
            let axis = ValueAxis::holding(value, unit);
            assert!((1..=4).contains(&axis.steps), "{value} {unit:?} {axis:?}");
            assert!(axis.step > 0.0, "{value} {unit:?} {axis:?}");
            if value.is_finite() && value > 0.0 && value < 1e308 {
                assert!(
                    axis.top() >= value * (1.0 - 1e-6),
                    "{value} {unit:?} {axis:?}"
                );
            }
            assert!((0.0..=1.0).contains(&axis.below_top(0.5)));
        }
    }
}

#[test]
fn times_are_ticked_at_round_local_times() {
    let labels = |from, to, zone: &TimeZone| {
        time_ticks(from, to, zone)
            .into_iter()
            .map(|tick| tick.label)
            .collect::<Vec<_>>()
    };
    // 1970-01-01 00:16:40 and an hour on.
    let utc = TimeZone::UTC;
    assert_eq!(
        labels(1_000, 4_600, &utc),
        ["00:30", "00:45", "01:00", "01:15"]
    );
    let india = TimeZone::fixed(offset(5).saturating_add(jiff::SignedDuration::from_mins(30)));
    assert_eq!(labels(0, 6 * 3600, &india), ["06:00", "08:00", "10:00"]);
    assert_eq!(
        labels(0, 20, &utc),
        ["00:00:00", "00:00:05", "00:00:10", "00:00:15", "00:00:20"]
    );
    assert_eq!(labels(5, 5, &utc), Vec::<String>::new());
    assert_eq!(labels(5, 1, &utc), Vec::<String>::new());
    for (from, to) in [(0, i64::MAX), (i64::MIN, i64::MAX), (0, 365 * 86_400)] {
        assert!(time_ticks(from, to, &utc).len() <= 13, "{from}..{to}");
    }
}

#[test]
fn a_line_is_lifted_at_a_gap_and_a_lone_point_is_a_dot() {
    let placed = [
        (0.0, Some(1.0)),
        (1.0, Some(2.0)),
        (2.0, None),
        (3.0, Some(4.04)),
    ];
    assert_eq!(path(&placed), "M0 1L1 2M3 4h0");
    assert_eq!(area(&placed, 10.0), "M0 10L0 1L1 2L1 10Z");
    assert_eq!(path(&[]), "");
    assert_eq!(path(&[(0.0, None)]), "");
}

#[test]
fn thinning_keeps_the_spikes_and_the_gaps() {
    let mut values = vec![Some(1.0); 1000];
    values[333] = Some(900.0);
    values[600..700].fill(None);
    let thin = thinned(&points(&values), 100);
    assert_eq!(thin.len(), 100);
    assert!(thin.iter().any(|point| point.value == Some(900.0)));
    assert!(thin.iter().any(|point| point.value.is_none()));
    assert_eq!(thinned(&points(&[Some(1.0)]), 100).len(), 1);
}

#[test]
fn a_chart_says_its_values_in_words_and_numbers() {
    let html = chart(vec![
        Series::new(
            "queued",
            points(&[Some(1.0), Some(5000.0), None, Some(20.0)]),
        ),
        Series::new("in flight", points(&[Some(2.0)])),
    ]);
    assert!(html.contains(
        "Depth. queued: now 20, lowest 1, highest 5k. in flight: now 2, lowest 2, highest 2."
    ));
    assert!(html.contains("data-points=\"1000:1 1010:5000 1020: 1030:20\""));
    assert!(html.contains("<span>2k</span>"), "{html}");
    assert!(!html.contains("style="));
}

#[test]
fn a_chart_without_values_says_so() {
    for series in [
        vec![],
        vec![Series::new("a", vec![])],
        vec![Series::new("a", points(&[None, None]))],
    ] {
        let html = chart(series);
        assert!(html.contains("No measurements"), "{html}");
    }
}

#[test]
fn no_value_breaks_a_chart() {
    for value in [f64::NAN, f64::INFINITY, f64::MAX, -5.0, 0.0, 1e-320] {
        let html = chart(vec![Series::new("x", points(&[Some(value), Some(1.0)]))]);
        for wrong in ["NaN", "inf"] {
            assert!(!html.contains(wrong), "{value}: {html}");
        }
    }
    let html = chart(vec![Series::new(
        "far",
        vec![Point {
            at: i64::MAX,
            value: Some(1.0),
        }],
    )]);
    assert!(html.contains("No measurements"));
}

#[test]
fn labels_are_escaped() {
    let html = chart(vec![Series::new(
        "<script>\"'&",
        points(&[Some(1.0), Some(2.0)]),
    )]);
    assert!(!html.contains("<script>"), "{html}");
    assert!(html.contains("&lt;script&gt;&quot;"), "{html}");
}

#[test]
fn a_sparkline_stands_for_any_course() {
    let spark =
        |values: &[Option<f64>]| sparkline(&points(values), Unit::PerSecond, "rate").into_string();
    assert!(spark(&[]).contains("Nothing measured yet"));
    assert!(spark(&[None]).contains("Nothing measured yet"));
    assert!(spark(&[Some(3.0)]).contains("rate: now 3/s, between 3/s and 3/s"));
    assert!(spark(&[Some(0.0), Some(0.0)]).contains("L95 21"));
    assert!(spark(&vec![Some(1.0); 5000]).len() < 4000);
}
