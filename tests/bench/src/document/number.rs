//! Numbers as people read them.

/// About three significant digits, with separators between thousands.
pub(crate) fn digits(value: f64) -> String {
    if value >= 999.5 {
        thousands(&format!("{value:.0}"))
    } else if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else if value >= 0.0995 || value == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// A count on an axis: `1`, `100`, `10k`, `5M`.
pub(crate) fn short(value: f64) -> String {
    if value >= 1e6 {
        format!("{}M", value / 1e6)
    } else if value >= 1e4 {
        format!("{}k", value / 1e3)
    } else {
        format!("{value}")
    }
}

/// A number of bytes: `16 B`, `4 KiB`, `1 MiB`.
pub(crate) fn bytes(value: f64) -> String {
    if value >= 1_048_576.0 {
        format!("{} MiB", value / 1_048_576.0)
    } else if value >= 1024.0 {
        format!("{} KiB", value / 1024.0)
    } else {
        format!("{value} B")
    }
}

fn thousands(digits: &str) -> String {
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The median; for an even number of values, the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[middle - 1], upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        for (value, shown) in [
            (0.0, "0.00"),
            (0.0712, "0.071"),
            (0.2, "0.20"),
            (9.999, "10.0"),
            (48.62, "48.6"),
            (999.7, "1,000"),
            (1_629_545.4, "1,629,545"),
        ] {
            assert_eq!(digits(value), shown);
        }
    }

    #[test]
    fn axes_have_short_numbers() {
        assert_eq!(
            [short(1000.0), short(10_000.0), short(5e7)],
            ["1000", "10k", "50M"]
        );
        assert_eq!(
            [bytes(16.0), bytes(4096.0), bytes(1_048_576.0)],
            ["16 B", "4 KiB", "1 MiB"]
        );
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }
}
