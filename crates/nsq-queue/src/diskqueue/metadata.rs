//! A queue's metadata: where reading and writing stand.

use std::fmt;

/// A place in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the file.
    pub file: u64,
    /// Bytes into it.
    pub offset: u64,
}

/// The metadata file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Messages in the queue; after a kill or damage, upstream's number is off.
    pub depth: i64,
    /// The next record to be read.
    pub read: Place,
    /// After the last record written.
    pub write: Place,
}

impl Metadata {
    /// Takes the text apart; `None` when it is not of that form, or says that reading is ahead of writing.
    pub fn parse(text: &str) -> Option<Metadata> {
        let mut lines = text.lines();
        let depth = lines.next()?.parse().ok()?;
        let read = parse_place(lines.next()?)?;
        let write = parse_place(lines.next()?)?;
        (read.file <= write.file).then_some(Metadata { depth, read, write })
    }
}

fn parse_place(line: &str) -> Option<Place> {
    let (file, offset) = line.split_once(',')?;
    Some(Place {
        file: file.parse().ok()?,
        offset: offset.parse().ok()?,
    })
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metadata { depth, read, write } = self;
        writeln!(f, "{depth}")?;
        writeln!(f, "{},{}", read.file, read.offset)?;
        writeln!(f, "{},{}", write.file, write.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_three_lines_of_five_numbers() {
        let text = "2\n0,1004\n3,3012\n";
        let metadata = Metadata::parse(text).unwrap();
        assert_eq!((metadata.depth, metadata.read.offset), (2, 1004));
        assert_eq!(
            metadata.write,
            Place {
                file: 3,
                offset: 3012
            }
        );
        assert_eq!(metadata.to_string(), text);
        // A depth below zero is upstream's way to say that it lost count.
        assert!(Metadata::parse("-3\n0,0\n0,0\n").is_some());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "2\n",
            "2\n0,0\n",
            "2\n0\n0,0\n",
            "x\n0,0\n0,0\n",
            "0\n0,-1\n0,0\n",
            "0\n2,0\n1,0\n",
        ] {
            assert_eq!(Metadata::parse(text), None, "{text:?}");
        }
    }
}
