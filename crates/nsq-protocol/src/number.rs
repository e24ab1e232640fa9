//! Numbers in a command's parameters.

/// Reads decimal digits, and nothing but: no sign, no spaces. `None` for any other byte.
///
/// Compat: no digit at all is 0, and a number above 64 bits silently wraps around (`ByteToBase10`,
/// nsq 1.3.0, internal/protocol/byte_base10.go).
pub(crate) fn wrapping_decimal(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| number.wrapping_mul(10).wrapping_add(u64::from(digit)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_number_and_none_are_zero() {
        assert_eq!(wrapping_decimal(b""), Some(0));
        assert_eq!(wrapping_decimal(b"0"), Some(0));
        assert_eq!(wrapping_decimal(b"007"), Some(7));
        assert_eq!(wrapping_decimal(b"18446744073709551615"), Some(u64::MAX));
    }

    #[test]
    fn a_number_too_large_wraps_around() {
        assert_eq!(wrapping_decimal(b"18446744073709551616"), Some(0));
        assert_eq!(wrapping_decimal(b"18446744073709551621"), Some(5));
        assert_eq!(
            wrapping_decimal(b"100000000000000000000"),
            Some(7_766_279_631_452_241_920)
        );
    }

    #[test]
    fn anything_but_digits_is_no_number() {
        for text in ["-1", "+1", " 1", "1 ", "1_0", "1.0", "a", "1\t", "/", ":"] {
            assert_eq!(wrapping_decimal(text.as_bytes()), None, "{text:?}");
        }
    }
}
