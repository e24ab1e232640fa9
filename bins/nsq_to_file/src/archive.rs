//! A topic's files, one after the other: opened, written, rotated, closed and moved.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Zoned;
use nsq_daemon::os_error::plain_text;

use crate::file_name::{FileNames, with_revision};
use crate::folder;
use crate::output_file::{Mode, OutputFile};
use crate::rotation::{Current, Rotation};

/// Where files go and when the next one begins.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) output_dir: PathBuf,
    /// The same as `output_dir` unless files in progress are elsewhere.
    pub(crate) work_dir: PathBuf,
    pub(crate) gzip_level: Option<u32>,
    pub(crate) rotation: Rotation,
    pub(crate) skips_empty_files: bool,
}

impl Layout {
    pub(crate) fn has_work_dir(&self) -> bool {
        self.work_dir != self.output_dir
    }

    /// Whether the same name may stand for several files, told apart by their revision.
    pub(crate) fn needs_revision(&self) -> bool {
        self.gzip_level.is_some() || self.rotation != Rotation::default() || self.has_work_dir()
    }

    fn mode(&self) -> Mode {
        Mode {
            gzip: self.gzip_level,
            is_exclusive: self.gzip_level.is_some() || self.rotation.interval.is_some(),
        }
    }
}

/// The files of one topic. Everything here blocks.
#[derive(Debug)]
pub(crate) struct Archive {
    layout: Layout,
    names: FileNames,
    /// What log lines begin with: `[topic/channel]`.
    label: String,
    open: Option<Open>,
    /// Of the file opened last.
    name: String,
    revision: u64,
}

#[derive(Debug)]
struct Open {
    file: OutputFile,
    /// Below either folder.
    relative: PathBuf,
    since: Instant,
}

/// What ends the program. `Display` is upstream's text.
#[derive(Debug, thiserror::Error)]
#[error("{act}: {}", plain_text(.source))]
pub(crate) struct ArchiveError {
    act: String,
    source: io::Error,
}

impl ArchiveError {
    pub(crate) fn new(act: impl Into<String>, source: io::Error) -> Self {
        let act = act.into();
        Self { act, source }
    }
}

impl Archive {
    pub(crate) fn new(layout: Layout, names: FileNames, label: String) -> Self {
        Self {
            layout,
            names,
            label,
            open: None,
            name: String::new(),
            revision: 0,
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn names(&self) -> &FileNames {
        &self.names
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Writes bodies, each to the file that is due then. Returns whether there was a rotation, after which what is
    /// held has to be synced.
    pub(crate) fn append_all(
        &mut self,
        bodies: impl Iterator<Item = impl AsRef<[u8]>>,
    ) -> Result<bool, ArchiveError> {
        let mut rotated = false;
        // They came together, so they have one time.
        let name = self.names.at(&Zoned::now());
        for body in bodies {
            if self.needs_rotation(&name) {
                self.rotate(name.clone())?;
                rotated = true;
            }
            self.act("writing message to disk", |file| file.append(body.as_ref()))?;
        }
        if self.layout.gzip_level.is_none() {
            self.act("writing message to disk", OutputFile::flush)?;
        }
        Ok(rotated)
    }

    /// What is due every so often, whether messages come or not.
    pub(crate) fn tick(&mut self) -> Result<(), ArchiveError> {
        let name = self.names.at(&Zoned::now());
        match (self.needs_rotation(&name), self.layout.skips_empty_files) {
            (false, _) => Ok(()),
            (true, true) => self.close(),
            (true, false) => self.rotate(name),
        }
    }

    /// Returns when all that was written is on disk.
    pub(crate) fn sync(&mut self) -> Result<(), ArchiveError> {
        self.act("failed syncing messages", OutputFile::sync)
    }

    /// Closes the open file, if there is one, and moves it to where finished files go.
    pub(crate) fn close(&mut self) -> Result<(), ArchiveError> {
        self.act("failed to close output file", OutputFile::close)?;
        let Some(Open { file, relative, .. }) = self.open.take() else {
            return Ok(());
        };
        if !self.layout.has_work_dir() {
            return Ok(());
        }
        let path = file.path().to_owned();
        let numbered = |revision| PathBuf::from(with_revision(&self.name, revision));
        self.publish(&path, &relative, self.revision, numbered)
    }

    /// After a failure: leaves only what was synced.
    pub(crate) fn abandon(&mut self) {
        if let Some(Open { file, .. }) = self.open.take() {
            let path = file.path().display().to_string();
            if let Err(error) = file.abandon() {
                let error = plain_text(&error);
                tracing::error!("{} cutting back {path}: {error}", self.label);
            }
        }
    }

    /// Moves a finished file from the work folder, under a name that is free.
    pub(crate) fn publish(
        &self,
        from: &Path,
        relative: &Path,
        revision: u64,
        numbered: impl Fn(u64) -> PathBuf,
    ) -> Result<(), ArchiveError> {
        let label = &self.label;
        let mut to = self.layout.output_dir.join(relative);
        let [source, mut target] = [from, &to].map(|path| path.display().to_string());
        tracing::info!("{label} moving finished file {source} to {target}");
        let mut next = revision;
        loop {
            let moved = folder::make_parent(&to).and_then(|()| folder::move_exclusively(from, &to));
            match moved {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let act = format!("unable to move file from {source} to {target}");
                    return Err(ArchiveError::new(act, error));
                }
            }
            tracing::warn!("{label} destination file already exists: {target}");
            next += 1;
            to = self.layout.output_dir.join(numbered(next));
            target = to.display().to_string();
        }
        if next != revision {
            tracing::info!("{label} renamed finished file {source} to {target} to avoid overwrite");
        }
        Ok(())
    }

    fn needs_rotation(&self, name: &str) -> bool {
        let Some(open) = &self.open else {
            return true;
        };
        let current = Current {
            name: &self.name,
            age: open.since.elapsed(),
            size_bytes: open.file.size_bytes,
            path: open.file.path(),
        };
        let reason = self.layout.rotation.due(&current, name);
        if let Some(reason) = &reason {
            tracing::info!("{} {reason}", self.label);
        }
        reason.is_some()
    }

    fn rotate(&mut self, name: String) -> Result<(), ArchiveError> {
        self.close()?;
        self.revision = if name == self.name {
            self.revision + 1
        } else {
            0
        };
        self.name = name;
        while self.open.is_none() {
            self.open = self.try_open()?;
            if self.open.is_none() {
                self.revision += 1;
            }
        }
        Ok(())
    }

    /// Opens the file of the current name and revision; `None` if another process has it.
    fn try_open(&self) -> Result<Option<Open>, ArchiveError> {
        let label = &self.label;
        let relative = PathBuf::from(with_revision(&self.name, self.revision));
        let path = self.layout.work_dir.join(&relative);
        let shown = path.display();
        folder::make_parent(&path)
            .map_err(|error| ArchiveError::new("unable to create dir", error))?;
        if self.layout.has_work_dir() {
            let finished = self.layout.output_dir.join(&relative);
            folder::make_parent(&finished)
                .map_err(|error| ArchiveError::new("unable to create dir", error))?;
            let shown = finished.display();
            let is_taken = finished.try_exists().map_err(|error| {
                ArchiveError::new(format!("unable to stat output file {shown}"), error)
            })?;
            if is_taken {
                tracing::warn!("{label} output file already exists: {shown}");
                return Ok(None);
            }
        }
        let (file, cut_bytes) = match OutputFile::open(&path, self.layout.mode()) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                tracing::warn!("{label} working file already exists: {shown}");
                return Ok(None);
            }
            Err(error) => return Err(ArchiveError::new(format!("unable to open {shown}"), error)),
        };
        tracing::info!("{label} opening {shown}");
        if cut_bytes > 0 {
            tracing::warn!("{label} {shown} ended within a message: {cut_bytes} bytes cut off");
        }
        if let Some(reason) = self.layout.rotation.too_big(file.size_bytes, &path) {
            tracing::info!("{label} {reason}");
            return Ok(None);
        }
        let since = Instant::now();
        Ok(Some(Open {
            file,
            relative,
            since,
        }))
    }

    fn act(
        &mut self,
        act: &str,
        call: impl FnOnce(&mut OutputFile) -> io::Result<()>,
    ) -> Result<(), ArchiveError> {
        match &mut self.open {
            None => Ok(()),
            Some(open) => call(&mut open.file).map_err(|error| {
                let path = open.file.path().display();
                ArchiveError::new(format!("{act}: write {path}"), error)
            }),
        }
    }
}

#[cfg(test)]
mod tests;
