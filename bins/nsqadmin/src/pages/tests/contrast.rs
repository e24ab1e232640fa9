//! Text can be read, in light and in dark: contrast by WCAG 2.2, over the pairs that the style sheet uses.

use std::collections::HashMap;

/// Name to red, green and blue, in light and in dark.
fn palette() -> HashMap<&'static str, [[u8; 3]; 2]> {
    let sheet = include_str!("../../../assets/nsqadmin.css");
    let colour = |text: &str| -> [u8; 3] {
        let digits = text.trim().strip_prefix('#').expect("colours are #rrggbb");
        let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
        [part(0), part(2), part(4)]
    };
    sheet
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--")?.split_once(": light-dark("))
        .map(|(name, values)| {
            let (light, dark) = values
                .trim_end_matches(");")
                .split_once(',')
                .expect("two values");
            (name, [colour(light), colour(dark)])
        })
        .collect()
}

fn luminance(colour: [u8; 3]) -> f64 {
    let [red, green, blue] = colour.map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 {
            part / 12.92
        } else {
            ((part + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn check(least: f64, pairs: &[(&str, &[&str])]) {
    let palette = palette();
    for (front, grounds) in pairs {
        for ground in *grounds {
            for (theme, index) in [("light", 0), ("dark", 1)] {
                let ratio = contrast(palette[front][index], palette[ground][index]);
                assert!(
                    ratio >= least,
                    "{front} on {ground}, {theme}: {ratio:.2} < {least}"
                );
            }
        }
    }
}

#[test]
fn the_formula_knows_its_ends() {
    assert!((contrast([0; 3], [255; 3]) - 21.0).abs() < 1e-9);
    assert!((contrast([119; 3], [255; 3]) - 4.48).abs() < 0.01);
}

#[test]
fn text_reaches_four_and_a_half() {
    let grounds: &[&str] = &["page", "surface", "raised"];
    check(
        4.5,
        &[
            ("text", grounds),
            ("text", &["good-fill", "warn-fill", "bad-fill", "info-fill"]),
            ("muted", grounds),
            ("link", grounds),
            ("link", &["good-fill", "warn-fill", "bad-fill", "info-fill"]),
            ("bad", grounds),
            ("warn", grounds),
            ("good", &["good-fill", "surface"]),
            ("warn", &["warn-fill"]),
            ("bad", &["bad-fill"]),
            ("info", &["info-fill"]),
            ("bar-text", &["bar"]),
            ("bar-muted", &["bar"]),
            ("primary-text", &["primary"]),
            ("danger-text", &["danger"]),
        ],
    );
}

#[test]
fn lines_and_borders_reach_three() {
    check(
        3.0,
        &[
            ("control", &["surface", "page"]),
            ("focus", &["surface", "page", "raised"]),
            ("s0", &["surface"]),
            ("s1", &["surface"]),
            ("s2", &["surface"]),
            ("s3", &["surface"]),
            ("s4", &["surface"]),
            ("s5", &["surface"]),
        ],
    );
}
