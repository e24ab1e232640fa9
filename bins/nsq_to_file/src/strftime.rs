//! `--datetime-format`: the codes of strftime that upstream knows, and no others.

use jiff::Zoned;

/// Fills in a format. A code that is not known stays as it is.
pub(crate) fn strftime(format: &str, time: &Zoned) -> String {
    let mut text = String::new();
    for piece in pieces(format) {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Code(code) => text.push_str(&time.strftime(code).to_string()),
        }
    }
    text
}

/// A regular expression for everything that [`strftime`] can make of a format.
pub(crate) fn regex(format: &str) -> String {
    let mut text = String::new();
    for piece in pieces(format) {
        match piece {
            Piece::Text(literal) => text.push_str(&regex::escape(literal)),
            Piece::Code("%Y") => text.push_str(r"\d{4,}"),
            Piece::Code("%z") => text.push_str(r"[+-]\d{4,6}"),
            Piece::Code("%Z") => text.push_str("[A-Za-z0-9+-]+"),
            Piece::Code("%B" | "%b" | "%A" | "%a" | "%p") => text.push_str("[A-Za-z]+"),
            Piece::Code("%%") => text.push('%'),
            Piece::Code(_) => text.push_str(r"\d{2}"),
        }
    }
    text
}

enum Piece<'a> {
    Text(&'a str),
    /// Two characters: `%` and one of [`CODES`].
    Code(&'a str),
}

fn pieces(format: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = format;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let is_code = rest.starts_with('%') && rest[1..].starts_with(CODES);
        // A lone % is text, and so is what follows up to the next one.
        let end = match (
            is_code,
            rest.char_indices().skip(1).find(|(_, c)| *c == '%'),
        ) {
            (true, _) => 2,
            (false, Some((at, _))) => at,
            (false, None) => rest.len(),
        };
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some(if is_code {
            Piece::Code(piece)
        } else {
            Piece::Text(piece)
        })
    })
}

const CODES: [char; 16] = [
    'B', 'b', 'm', 'A', 'a', 'd', 'H', 'I', 'M', 'S', 'Y', 'y', 'p', 'Z', 'z', '%',
];

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Zoned {
        "2026-03-05T15:07:09+01:00[Europe/Berlin]".parse().unwrap()
    }

    #[test]
    fn every_code_is_filled_in() {
        for (format, expected) in [
            ("%Y-%m-%d_%H", "2026-03-05_15"),
            ("%B %b %A %a", "March Mar Thursday Thu"),
            ("%y %I:%M:%S %p", "26 03:07:09 PM"),
            ("%Z %z", "CET +0100"),
            ("100%%", "100%"),
        ] {
            assert_eq!(strftime(format, &moment()), expected, "{format}");
        }
    }

    #[test]
    fn all_else_stays() {
        for format in ["", "%", "%q%", "x%é", "%j %e", "15 Jan Mon 2006 MST"] {
            assert_eq!(strftime(format, &moment()), format);
        }
    }

    #[test]
    fn the_expression_matches_what_the_format_makes() {
        for format in ["%Y/%m/%d.%H%M%S", "%B-%b %A %a %y %I %p %z %Z 5%% %q+"] {
            let expression = regex::Regex::new(&format!("^{}$", regex(format))).unwrap();
            let text = strftime(format, &moment());
            assert!(expression.is_match(&text), "{format}: {text}");
            assert!(!expression.is_match(&format!("{text}.")), "{format}");
        }
    }
}
