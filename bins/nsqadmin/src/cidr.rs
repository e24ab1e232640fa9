//! A range of addresses, such as `127.0.0.1/8`.

use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that share the first so many bits with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: IpAddr,
    prefix_bits: u32,
}

/// A text that is no range. `Display` is Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct NotACidr(String);

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let no = || NotACidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(no)?;
        let address: IpAddr = address.parse().map_err(|_| no())?;
        if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(no());
        }
        let prefix_bits: u32 = prefix.parse().map_err(|_| no())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix_bits > most {
            return Err(no());
        }
        Ok(Self {
            address,
            prefix_bits,
        })
    }
}

impl Cidr {
    /// Whether `address` is in it. An IPv4 address within IPv6 counts as the IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let different = match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        different >= self.prefix_bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_its_first_bits() {
        for (range, inside, outside) in [
            ("127.0.0.1/8", "127.255.0.3", "128.0.0.1"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::1/128", "::1", "::2"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("127.0.0.1/8", "::ffff:127.0.0.1", "::1"),
        ] {
            let cidr: Cidr = range.parse().unwrap();
            assert!(
                cidr.contains(inside.parse().unwrap()),
                "{inside} in {range}"
            );
            assert!(
                !cidr.contains(outside.parse().unwrap()),
                "{outside} in {range}"
            );
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/",
        ] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert_eq!(error.to_string(), format!("invalid CIDR address: {text}"));
        }
    }
}
