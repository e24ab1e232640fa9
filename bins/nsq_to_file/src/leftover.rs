//! Files that a process left behind when it was killed: cut back to what was synced, and moved to where finished files
//! go. What is cut off had not been finished, so nsqd delivers it again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::archive::{Archive, ArchiveError};
use crate::file_name::{REVISION, with_revision};
use crate::gzip_members::{self, END, Members};
use crate::output_file::cut_torn_line;

/// Brings into order what earlier processes left for this topic. To be called before anything is opened.
///
/// Files that another process has open are left alone, and so are gzip files that were not written by this program: who
/// wrote them may hold them open without a lock.
pub(crate) fn bring_into_order(archive: &Archive) -> Result<(), ArchiveError> {
    let layout = archive.layout();
    if !layout.needs_revision() {
        // The same file is opened again, and looked at then.
        return Ok(());
    }
    let mut found = Vec::new();
    let patterns = archive.names().past_names();
    list(&layout.work_dir, Path::new(""), &patterns, &mut found)
        .map_err(|error| ArchiveError::new("unable to list work dir", error))?;
    found.sort();
    for relative in found {
        let path = layout.work_dir.join(&relative);
        let shown = path.display().to_string();
        match mend(&path, layout.gzip_level.is_some()) {
            // The lock is kept until the file has been moved.
            Ok((_file, state)) => {
                report(archive.label(), &shown, state);
                if layout.has_work_dir() && state.is_finished() {
                    let (name, revision) = without_revision(&relative, &patterns);
                    let numbered = |revision| PathBuf::from(with_revision(&name, revision));
                    archive.publish(&path, &relative, revision, numbered)?;
                }
            }
            // Gone meanwhile: another process has moved it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let act = format!("unable to read left-over file {shown}");
                return Err(ArchiveError::new(act, error));
            }
        }
    }
    Ok(())
}

/// What a file was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A process has it open, or may have.
    InUse,
    Whole,
    CutBack {
        from: u64,
        to: u64,
    },
    Damaged {
        at: u64,
    },
}

impl State {
    fn is_finished(self) -> bool {
        match self {
            Self::Whole | Self::CutBack { .. } | Self::Damaged { .. } => true,
            Self::InUse => false,
        }
    }
}

fn report(label: &str, path: &str, state: State) {
    match state {
        State::InUse | State::Whole => {}
        State::CutBack { from, to } => tracing::warn!(
            "{label} left-over file {path} ended in data that was not synced: cut back from {from} to {to} bytes"
        ),
        State::Damaged { at } => tracing::error!(
            "{label} left-over file {path} is damaged at byte {at} and continues after that: left unchanged"
        ),
    }
}

fn mend(path: &Path, is_gzip: bool) -> io::Result<(File, State)> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let is_free = file.try_lock().is_ok();
    // Another process may have moved it just now.
    fs::metadata(path)?;
    let state = if is_free {
        mend_free(&mut file, is_gzip)?
    } else {
        State::InUse
    };
    Ok((file, state))
}

fn mend_free(file: &mut File, is_gzip: bool) -> io::Result<State> {
    let from = file.metadata()?.len();
    if !is_gzip {
        let cut_bytes = cut_torn_line(file)?;
        if cut_bytes == 0 {
            return Ok(State::Whole);
        }
        file.sync_all()?;
        let to = from - cut_bytes;
        return Ok(State::CutBack { from, to });
    }
    if from < END_BYTES {
        // Its writer has not written a header yet, or is not this program.
        return Ok(if is_torn_beginning(file)? {
            file.set_len(0)?;
            file.write_all(&END)?;
            file.sync_all()?;
            let to = END_BYTES;
            State::CutBack { from, to }
        } else {
            State::InUse
        });
    }
    let mut edge = [0; END.len()];
    file.read_exact(&mut edge)?;
    if !gzip_members::is_ours(&edge) {
        return Ok(State::InUse);
    }
    file.seek(SeekFrom::End(-END_OFFSET))?;
    file.read_exact(&mut edge)?;
    if edge == END && from > END_BYTES {
        return Ok(State::Whole);
    }
    file.seek(SeekFrom::Start(0))?;
    let members = gzip_members::scan(BufReader::with_capacity(SCAN_BYTES, &*file))?;
    let state = match members {
        Members::Damaged { at } => return Ok(State::Damaged { at }),
        Members::Whole => State::Whole,
        Members::Torn { whole_bytes: to } => {
            file.set_len(to)?;
            State::CutBack { from, to }
        }
    };
    // The next start knows it by that.
    file.write_all(&END)?;
    file.sync_all()?;
    Ok(state)
}

/// Whether this is the beginning of [`END`], and more than nothing: an empty file may be open in another program.
fn is_torn_beginning(file: &mut File) -> io::Result<bool> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes.len() >= OURS_BYTES && END.starts_with(&bytes))
}

/// Collects the paths below `folder` whose parts match, one expression a part.
fn list(
    folder: &Path,
    above: &Path,
    patterns: &[Regex],
    found: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let Some((pattern, below)) = patterns.split_first() else {
        return Ok(());
    };
    let entries = match fs::read_dir(folder.join(above)) {
        Ok(entries) => entries,
        // The first file will make it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| pattern.is_match(name)) {
            continue;
        }
        let path = above.join(&name);
        let kind = entry.file_type()?;
        if below.is_empty() && kind.is_file() {
            found.push(path);
        } else if !below.is_empty() && kind.is_dir() {
            list(folder, &path, below, found)?;
        }
    }
    Ok(())
}

/// The path with `<REV>` back in its place, and the revision it had.
fn without_revision(relative: &Path, patterns: &[Regex]) -> (String, u64) {
    let mut revision = 0;
    let parts: Vec<String> = relative
        .iter()
        .zip(patterns)
        .map(|(part, pattern)| {
            let part = part.to_string_lossy();
            let Some(found) = pattern.captures(&part).and_then(|found| found.name("rev")) else {
                return part.into_owned();
            };
            revision = found.as_str()[1..].parse().unwrap_or(0);
            let (before, after) = (&part[..found.start()], &part[found.end()..]);
            format!("{before}{REVISION}{after}")
        })
        .collect();
    (parts.join("/"), revision)
}

const END_BYTES: u64 = 20;
const END_OFFSET: i64 = 20;

/// So many bytes of a beginning tell our header from others'.
const OURS_BYTES: usize = 10;

/// Read at once while scanning.
const SCAN_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
