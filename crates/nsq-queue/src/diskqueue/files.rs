//! The files of a data path by queue.

use std::collections::BTreeMap;
use std::path::Path;

use crate::LogError;
use crate::error::Context;

/// What a file of a disk queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Messages.
    Data(u64),
    /// Messages of a file that upstream gave up.
    Bad(u64),
    /// Where reading and writing stand.
    Metadata,
    /// Metadata that was never put in its place.
    Temporary,
}

/// The files of one queue: `<topic>`, or `<topic>:<channel>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueFiles {
    /// The queue's name.
    pub name: String,
    /// Numbers of its data files, ascending.
    pub data: Vec<u64>,
    /// Numbers of those upstream gave up, ascending.
    pub bad: Vec<u64>,
    /// Whether there is metadata.
    pub has_metadata: bool,
    /// File names of metadata that was never put in its place.
    pub temporary: Vec<String>,
}

impl QueueFiles {
    /// All queues that have files in `folder`, by name.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn all_in(folder: &Path) -> Result<Vec<QueueFiles>, LogError> {
        let mut queues: BTreeMap<String, QueueFiles> = BTreeMap::new();
        for entry in std::fs::read_dir(folder).context("list", folder)? {
            let entry = entry.context("list", folder)?;
            let file = entry.file_name();
            let Some(file) = file.to_str() else { continue };
            let Some((name, kind)) = FileKind::parse(file) else {
                continue;
            };
            if !entry
                .file_type()
                .context("examine", &entry.path())?
                .is_file()
            {
                continue;
            }
            let queue = queues.entry(name.to_owned()).or_insert_with(|| QueueFiles {
                name: name.to_owned(),
                ..QueueFiles::default()
            });
            match kind {
                FileKind::Data(number) => queue.data.push(number),
                FileKind::Bad(number) => queue.bad.push(number),
                FileKind::Metadata => queue.has_metadata = true,
                FileKind::Temporary => queue.temporary.push(file.to_owned()),
            }
        }
        let mut queues: Vec<_> = queues.into_values().collect();
        for queue in &mut queues {
            queue.data.sort_unstable();
            queue.bad.sort_unstable();
        }
        Ok(queues)
    }

    /// Its topic, and its channel if it is a channel's. On Windows upstream has `;` for `:`.
    pub fn owner(&self) -> (&str, Option<&str>) {
        match self.name.split_once([':', ';']) {
            Some((topic, channel)) => (topic, Some(channel)),
            None => (&self.name, None),
        }
    }

    /// Whether there is a file that may hold messages.
    pub fn has_data(&self) -> bool {
        !(self.data.is_empty() && self.bad.is_empty())
    }

    /// The names of all its files; the metadata first.
    pub fn file_names(&self) -> Vec<String> {
        let data = self
            .data
            .iter()
            .map(|&number| data_name(&self.name, number));
        let bad = self.bad.iter().map(|&number| bad_name(&self.name, number));
        let metadata = self.has_metadata.then(|| metadata_name(&self.name));
        let temporary = self.temporary.iter().cloned();
        metadata
            .into_iter()
            .chain(data)
            .chain(bad)
            .chain(temporary)
            .collect()
    }
}

impl FileKind {
    /// The queue that a file name is of, and what the file is for; `None` for what is none of upstream's.
    pub fn parse(file: &str) -> Option<(&str, FileKind)> {
        // From the right: a topic may have the infix in its name.
        let (queue, rest) = file.rsplit_once(INFIX)?;
        if queue.is_empty() {
            return None;
        }
        let kind = if rest == METADATA_END {
            FileKind::Metadata
        } else if let Some(rest) = rest.strip_prefix(METADATA_END) {
            let number = rest.strip_prefix('.')?.strip_suffix(".tmp")?;
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then_some(FileKind::Temporary)?
        } else if let Some(number) = rest.strip_suffix(".dat") {
            FileKind::Data(parse_number(number)?)
        } else {
            FileKind::Bad(parse_number(rest.strip_suffix(".dat.bad")?)?)
        };
        Some((queue, kind))
    }
}

/// At least six digits, and no more zeros before them than that takes.
fn parse_number(digits: &str) -> Option<u64> {
    let number = digits.parse().ok()?;
    (format!("{number:06}") == digits).then_some(number)
}

pub(super) fn data_name(queue: &str, number: u64) -> String {
    format!("{queue}{INFIX}{number:06}.dat")
}

pub(super) fn bad_name(queue: &str, number: u64) -> String {
    format!("{}.bad", data_name(queue, number))
}

pub(super) fn metadata_name(queue: &str) -> String {
    format!("{queue}{INFIX}{METADATA_END}")
}

const INFIX: &str = ".diskqueue.";
const METADATA_END: &str = "meta.dat";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_from_the_right() {
        let check = |file, wanted| assert_eq!(FileKind::parse(file), wanted, "{file}");
        check("t.diskqueue.000000.dat", Some(("t", FileKind::Data(0))));
        check(
            "t:c.diskqueue.000012.dat",
            Some(("t:c", FileKind::Data(12))),
        );
        check(
            "t.diskqueue.1234567.dat.bad",
            Some(("t", FileKind::Bad(1_234_567))),
        );
        check(
            "a.b-c_d.diskqueue.meta.dat",
            Some(("a.b-c_d", FileKind::Metadata)),
        );
        check(
            "t.diskqueue.meta.dat.8674665223082153551.tmp",
            Some(("t", FileKind::Temporary)),
        );
        check(
            "t.diskqueue.000000.dat.diskqueue.000001.dat",
            Some(("t.diskqueue.000000.dat", FileKind::Data(1))),
        );
        for other in [
            "nsqd.dat",
            ".diskqueue.000000.dat",
            "t.diskqueue.00000.dat",
            "t.diskqueue.0000000.dat",
            "t.diskqueue.+00001.dat",
            "t.diskqueue.000000.dat.old",
            "t.diskqueue.meta.dat.x.tmp",
            "t.diskqueue.99999999999999999999.dat",
        ] {
            check(other, None);
        }
    }
}
