//! Message ids: 64 bits inside, 16 lower-case hexadecimal digits on the wire.
//!
//! Both directions run once a message, so they work on eight digits at a time, one digit a byte of
//! a `u64`, instead of digit by digit.

use std::fmt;

/// The id field of a FIN, REQ or TOUCH as it came: any 16 bytes, not necessarily hexadecimal.
pub type RawMessageId = [u8; 16];

/// A message's id, the same in every channel; unique within its topic on one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    /// The id with this numeric value.
    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    /// The id's numeric value.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The id as it stands on the wire.
    pub fn to_hex(self) -> RawMessageId {
        let mut hex = [0; 16];
        self.write_hex(&mut hex);
        hex
    }

    /// Writes the id as it stands on the wire.
    pub fn write_hex(self, out: &mut RawMessageId) {
        let high = to_ascii(spread(self.0 >> 32));
        let low = to_ascii(spread(self.0 & 0xffff_ffff));
        out[..8].copy_from_slice(&high.to_be_bytes());
        out[8..].copy_from_slice(&low.to_be_bytes());
    }

    /// Reads exactly 16 lower-case hexadecimal digits; `None` for anything else, which is thus the
    /// id of no message of ours.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let (high, low) = <&RawMessageId>::try_from(hex).ok()?.split_at(8);
        let high = from_ascii(u64::from_be_bytes(high.try_into().ok()?))?;
        let low = from_ascii(u64::from_be_bytes(low.try_into().ok()?))?;
        Some(Self(gather(high) << 32 | gather(low)))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The same byte in all eight places.
const fn everywhere(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Gives each of the eight half-bytes of `x`, which is below 2^32, a byte of its own.
fn spread(x: u64) -> u64 {
    let x = (x << 16 | x) & 0x0000_ffff_0000_ffff;
    let x = (x << 8 | x) & 0x00ff_00ff_00ff_00ff;
    (x << 4 | x) & everywhere(0x0f)
}

/// Undoes [`spread`]: the result is below 2^32.
fn gather(nibbles: u64) -> u64 {
    let x = (nibbles >> 4 | nibbles) & 0x00ff_00ff_00ff_00ff;
    let x = (x >> 8 | x) & 0x0000_ffff_0000_ffff;
    (x >> 16 | x) & 0x0000_0000_ffff_ffff
}

/// Eight values of 0 to 15 to eight digits.
fn to_ascii(nibbles: u64) -> u64 {
    // Adding 6 carries into bit 4 for 10 and above; 39 lies between '9' + 1 and 'a'.
    let letters = (nibbles + everywhere(6)) >> 4 & everywhere(1);
    nibbles + everywhere(b'0') + letters * 39
}

/// Eight digits to eight values of 0 to 15; `None` unless all are digits.
fn from_ascii(digits: u64) -> Option<u64> {
    // Bit 6 tells 'a' (0x61) from '0' (0x30), and the low half of 'a' is 1: 9 short of its value.
    let letters = digits >> 6 & everywhere(1);
    let nibbles = (digits & everywhere(0x0f)) + letters * 9;
    // What was no digit comes back as another byte, so the way back is the check.
    (nibbles & everywhere(0xf0) == 0 && to_ascii(nibbles) == digits).then_some(nibbles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_sixteen_lower_case_digits() {
        let id = MessageId::from_u64(0x0123_4567_89ab_cdef);
        assert_eq!(&id.to_hex(), b"0123456789abcdef");
        assert_eq!(id.to_string(), "0123456789abcdef");
        assert_eq!(&MessageId::from_u64(0).to_hex(), b"0000000000000000");
        assert_eq!(&MessageId::from_u64(u64::MAX).to_hex(), b"ffffffffffffffff");
    }

    #[test]
    fn only_lower_case_digits_are_read_in_every_place() {
        for place in 0..16 {
            for byte in 0..=u8::MAX {
                let mut hex = *b"0123456789abcdef";
                hex[place] = byte;
                let expected = std::str::from_utf8(&hex)
                    .ok()
                    .filter(|_| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                    .map(|text| MessageId::from_u64(u64::from_str_radix(text, 16).unwrap()));
                assert_eq!(MessageId::from_hex(&hex), expected, "{byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn fifteen_or_seventeen_digits_are_no_id() {
        assert_eq!(MessageId::from_hex(b"0123456789abcde"), None);
        assert_eq!(MessageId::from_hex(b"0123456789abcdef0"), None);
    }

    proptest! {
        #[test]
        fn every_id_comes_back_from_the_wire(value: u64) {
            let id = MessageId::from_u64(value);
            prop_assert_eq!(MessageId::from_hex(&id.to_hex()), Some(id));
            prop_assert_eq!(id.to_hex().to_vec(), format!("{value:016x}").into_bytes());
        }
    }
}
