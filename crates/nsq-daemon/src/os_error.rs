//! The operating system's error texts as the suite's messages end with them.

use std::io;

/// The plain text of an error: `no such file or directory`, where Rust's own would be
/// `No such file or directory (os error 2)`.
pub fn plain_text(error: &io::Error) -> String {
    let text = error.to_string();
    if error.raw_os_error().is_none() {
        return text;
    }
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_goes_and_the_first_letter_is_small() {
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(plain_text(&missing), "no such file or directory");
        assert_eq!(plain_text(&io::Error::other("As it is")), "As it is");
    }
}
