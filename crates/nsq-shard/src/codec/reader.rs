//! Bytes taken apart from the front, without a copy.

use nsq_cluster::codec::DecodeError;

/// The rest of some bytes. It never panics, and never takes more than there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `length` bytes. `what` names them in the error.
    #[inline]
    pub(crate) fn take(
        &mut self,
        length: usize,
        what: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(DecodeError::CutShort { what })?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(DecodeError::CutShort { what })?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// A number in groups of seven bits, the lowest first; the top bit says whether another group follows.
    #[inline]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let first = self.u8(what)?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut number = u64::from(first & 0x7F);
        for shift in (7..64).step_by(7) {
            let byte = self.u8(what)?;
            let group = u64::from(byte & 0x7F);
            // The tenth group has room for one bit.
            if (group << shift) >> shift != group {
                return Err(DecodeError::Invalid { what });
            }
            number |= group << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Invalid { what })
    }

    /// A byte that is 0 or 1.
    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(DecodeError::Unknown {
                what,
                found: u64::from(found),
            }),
        }
    }

    /// A count of things that take at least `least` bytes each.
    pub(crate) fn count(&mut self, least: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = self.u32(what)? as usize;
        if count > self.0.len() / least {
            return Err(DecodeError::CutShort { what });
        }
        Ok(count)
    }

    /// A name, after its length in one byte.
    pub(crate) fn name<N: for<'b> TryFrom<&'b str>>(
        &mut self,
        what: &'static str,
    ) -> Result<N, DecodeError> {
        let length = usize::from(self.u8(what)?);
        let bytes = self.take(length, what)?;
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid { what })?;
        N::try_from(text).map_err(|_| DecodeError::Invalid { what })
    }
}

/// Appends a number as [`Reader::varint`] reads it.
#[inline]
pub(crate) fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    loop {
        let [group, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return to.push(group);
        }
        to.push(group | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_as_they_were_written() {
        let powers = (0..64).map(|bit| 1_u64 << bit);
        let numbers = powers.flat_map(|power| [power - 1, power, power + 1, u64::MAX]);
        for number in numbers {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            let mut from = Reader::new(&bytes);
            assert_eq!(from.varint("a number"), Ok(number));
            assert!(from.is_empty());
        }
    }

    #[test]
    fn a_number_that_is_too_large_is_refused() {
        for bytes in [&[0xFF; 9][..], &[0xFF; 10], &[0xFF; 20]] {
            assert!(Reader::new(bytes).varint("a number").is_err(), "{bytes:?}");
        }
        let mut most = [0xFF; 10];
        most[9] = 1;
        assert_eq!(Reader::new(&most).varint("a number"), Ok(u64::MAX));
        most[9] = 2;
        assert!(Reader::new(&most).varint("a number").is_err());
    }
}
