//! Reading a queue: every message upstream would still deliver, and those it could not get at any more.
//!
//! Nothing is changed. Where bytes make no sense, reading continues at the next record that does; so damage costs
//! what it hit, where upstream gives up the rest of the file.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::files::{bad_name, data_name, metadata_name};
use super::window::Window;
use super::{HEADER_BYTES, Head, LEAST_BYTES, LENGTH_BYTES, Metadata, Place, QueueFiles};
use super::{Remark, RemarkKind};
use crate::error::{Context, FileError};

/// A message as it stands in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its id.
    pub id: u64,
    /// When it was published, unix nanoseconds.
    pub timestamp: i64,
    /// How often it had been delivered.
    pub attempts: u16,
    /// Its body.
    pub body: &'a [u8],
    /// The number of the file, and the offset in it.
    pub place: Place,
}

/// What reading comes upon next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A message.
    Message(Message<'a>),
    /// Something to be told.
    Remark(Remark),
}

/// Reads one queue from its read position to its end.
#[derive(Debug)]
pub struct QueueReader {
    folder: PathBuf,
    queue: String,
    /// What upstream takes at most, as far as it is known: a larger one made it give a file up.
    max_body_bytes: u64,
    remarks: VecDeque<Remark>,
    stretches: VecDeque<Stretch>,
    current: Option<Current>,
}

/// A file to be read.
#[derive(Clone, Debug)]
struct Stretch {
    number: u64,
    is_bad: bool,
    from: u64,
    /// Where the metadata says that the queue ends, in the file it ends in.
    noted_end: Option<u64>,
    /// Whether the queue cannot do without it.
    is_needed: bool,
}

#[derive(Debug)]
struct Current {
    name: String,
    number: u64,
    window: Window,
    offset: u64,
}

/// What stands at a place of a file.
enum Look {
    Record(Head),
    /// No record begins here; one begins there.
    Damage(u64),
    /// No record begins here, nor after.
    Rest,
}

impl QueueReader {
    /// A reader of the queue whose files were found in `folder`.
    ///
    /// # Errors
    /// When the metadata is there and cannot be read.
    pub fn open(
        folder: &Path,
        files: &QueueFiles,
        max_body_bytes: u64,
    ) -> Result<QueueReader, FileError> {
        let mut remarks = VecDeque::new();
        let mut metadata = None;
        if files.has_metadata {
            let path = folder.join(metadata_name(&files.name));
            let bytes = std::fs::read(&path).context("read", &path)?;
            metadata = std::str::from_utf8(&bytes).ok().and_then(Metadata::parse);
        }
        if metadata.is_none() && !files.data.is_empty() {
            remarks.push_back(Remark {
                file: metadata_name(&files.name),
                kind: RemarkKind::NoMetadata,
            });
        }
        Ok(QueueReader {
            folder: folder.to_path_buf(),
            queue: files.name.clone(),
            max_body_bytes,
            stretches: plan(files, metadata.as_ref(), &mut remarks),
            remarks,
            current: None,
        })
    }

    /// The next message or remark; `None` at the end of the queue.
    ///
    /// # Errors
    /// When a file cannot be read. What was read so far stands; nothing is known of the rest.
    #[expect(
        clippy::should_implement_trait,
        reason = "what it returns is borrowed from it"
    )]
    pub fn next(&mut self) -> Result<Option<Step<'_>>, FileError> {
        loop {
            if let Some(remark) = self.remarks.pop_front() {
                return Ok(Some(Step::Remark(remark)));
            }
            let Some(current) = &mut self.current else {
                let Some(stretch) = self.stretches.pop_front() else {
                    return Ok(None);
                };
                self.enter(&stretch)?;
                continue;
            };
            let offset = current.offset;
            if offset >= current.window.length() {
                self.current = None;
                continue;
            }
            let kind = match look(&mut current.window, offset)? {
                Look::Record(head) => {
                    current.offset += head.record_bytes as u64;
                    break Ok(self.message(head, offset)?.map(Step::Message));
                }
                Look::Damage(resumed) => {
                    current.offset = resumed;
                    RemarkKind::Unreadable(offset..resumed)
                }
                Look::Rest => {
                    current.offset = current.window.length();
                    RemarkKind::Torn { offset }
                }
            };
            let file = current.name.clone();
            self.remarks.push_back(Remark { file, kind });
        }
    }

    fn message(&mut self, head: Head, offset: u64) -> Result<Option<Message<'_>>, FileError> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        let number = current.number;
        let record = current.window.at(offset, head.record_bytes)?;
        Ok(Some(Message {
            id: head.id,
            timestamp: head.timestamp,
            attempts: head.attempts,
            body: &record[LENGTH_BYTES + HEADER_BYTES..],
            place: Place {
                file: number,
                offset,
            },
        }))
    }

    fn enter(&mut self, stretch: &Stretch) -> Result<(), FileError> {
        let name = if stretch.is_bad {
            bad_name(&self.queue, stretch.number)
        } else {
            data_name(&self.queue, stretch.number)
        };
        let mut remark = |kind| {
            self.remarks.push_back(Remark {
                file: name.clone(),
                kind,
            });
        };
        let Some(mut window) = Window::open(&self.folder.join(&name))? else {
            if stretch.is_needed {
                remark(RemarkKind::Missing);
            }
            return Ok(());
        };
        let length = window.length();
        let mut offset = stretch.from;
        if stretch.is_bad {
            let (kind, resumed) = find_undelivered(&mut window, self.max_body_bytes)?;
            remark(kind);
            offset = resumed;
        } else if offset > length {
            remark(RemarkKind::ReadPastEnd { offset });
        }
        if let Some(noted) = stretch.noted_end.filter(|&noted| noted < length) {
            remark(RemarkKind::WrittenBeyond { noted });
        }
        self.current = Some(Current {
            name,
            number: stretch.number,
            window,
            offset,
        });
        Ok(())
    }
}

/// Which files to read, from where, in which order.
fn plan(
    files: &QueueFiles,
    metadata: Option<&Metadata>,
    remarks: &mut VecDeque<Remark>,
) -> VecDeque<Stretch> {
    let mut stretches = Vec::new();
    let stretch = |number| Stretch {
        number,
        is_bad: false,
        from: 0,
        noted_end: None,
        is_needed: true,
    };
    for &number in &files.bad {
        stretches.push(Stretch {
            is_bad: true,
            ..stretch(number)
        });
    }
    for &number in &files.data {
        let mut stretch = stretch(number);
        if let Some(Metadata { read, write, .. }) = metadata {
            if number < read.file {
                remarks.push_back(Remark {
                    file: data_name(&files.name, number),
                    kind: RemarkKind::Finished,
                });
                continue;
            }
            if number == read.file {
                stretch.from = read.offset;
            }
            if number == write.file {
                stretch.noted_end = Some(write.offset);
            }
        }
        stretches.push(stretch);
    }
    stretches.extend(missing(files, metadata).map(stretch));
    stretches.sort_by_key(|stretch| (stretch.number, !stretch.is_bad));
    stretches.into()
}

/// Numbers of files that should be there, as far as that is worth a word: no more than there are files.
fn missing(files: &QueueFiles, metadata: Option<&Metadata>) -> impl Iterator<Item = u64> {
    let range = match metadata {
        // An empty file to write to need not exist yet.
        Some(Metadata { read, write, .. }) if write.offset == 0 => read.file..write.file,
        Some(Metadata { read, write, .. }) if read != write => {
            read.file..write.file.saturating_add(1)
        }
        Some(_) => 0..0,
        None => files.data.first().map_or(0..0, |&first| {
            first..files.data.last().copied().unwrap_or(first)
        }),
    };
    let known = move |number: &u64| {
        files.data.binary_search(number).is_ok() || files.bad.binary_search(number).is_ok()
    };
    range
        .filter(move |number| !known(number))
        .take(files.data.len() + files.bad.len() + 1)
}

fn look(window: &mut Window, offset: u64) -> Result<Look, FileError> {
    let length = window.length();
    let resumed = |found: Option<u64>| found.map_or(Look::Rest, Look::Damage);
    let Some(head) = window.head(offset)? else {
        return Ok(resumed(window.search(offset + 1, length)?));
    };
    let end = offset + head.record_bytes as u64;
    // With the beginning of the next, so that the buffer need not go back for this one.
    window.at(offset, head.record_bytes + LEAST_BYTES)?;
    let is_followed = length - end < LEAST_BYTES as u64 || window.head(end)?.is_some();
    // A length that leads nowhere, over a record that stands there whole, is a wrong length.
    if !is_followed && let Some(within) = window.search(offset + 1, end)? {
        return Ok(Look::Damage(within));
    }
    Ok(Look::Record(head))
}

/// Where in a file that upstream gave up the first message stands that it cannot have delivered: it went as far as
/// the first record it did not like.
fn find_undelivered(
    window: &mut Window,
    max_body_bytes: u64,
) -> Result<(RemarkKind, u64), FileError> {
    let mut offset = 0;
    let mut delivered = 0;
    while offset < window.length() {
        let given_up = |resumed| RemarkKind::GivenUp { delivered, resumed };
        match look(window, offset)? {
            Look::Record(head) => {
                let body_bytes = head.record_bytes as u64 - LEAST_BYTES as u64;
                if body_bytes > max_body_bytes {
                    return Ok((given_up(offset), offset));
                }
                delivered += 1;
                offset += head.record_bytes as u64;
            }
            Look::Damage(_) | Look::Rest => return Ok((given_up(offset), offset)),
        }
    }
    // Upstream also gives up a file that it has read to the end while another one was begun.
    Ok((RemarkKind::GivenUpWhole, offset))
}
