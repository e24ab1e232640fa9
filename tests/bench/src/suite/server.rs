//! A server process of a run: its own folder, a free port, and its end when it is dropped.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use nsq_bench::{error::BenchError, process::Process};
use nsq_tests::free_port;

use crate::tied;

/// How a server is started.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// The name it has in results and errors.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// `{port}` and `{folder}` are replaced.
    pub(crate) args: Vec<String>,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    recipe: Recipe,
    port: u16,
    folder: TempDir,
    child: Child,
}

impl Server {
    /// Starts the server in a folder of its own within `parent` and waits until it accepts connections.
    ///
    /// # Errors
    /// It cannot be started, ends at once, or does not listen within [`START_LIMIT`].
    pub(crate) fn start(recipe: &Recipe, parent: &Path) -> Result<Self, BenchError> {
        let failed = |error: io::Error| starting(recipe, &error.to_string());
        let folder = tempfile::tempdir_in(parent).map_err(failed)?;
        fs::create_dir(folder.path().join("data")).map_err(failed)?;
        let port = free_port().port();
        let child = spawn(recipe, port, folder.path()).map_err(failed)?;
        let mut server = Self {
            recipe: recipe.clone(),
            port,
            folder,
            child,
        };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// Kills the server and starts it again on its data. Returns how long the start took.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(crate) fn kill_and_start(&mut self) -> Result<Duration, BenchError> {
        self.end();
        let started = Instant::now();
        self.child = spawn(&self.recipe, self.port, self.folder.path())
            .map_err(|error| starting(&self.recipe, &error.to_string()))?;
        self.wait_until_it_listens()?;
        Ok(started.elapsed())
    }

    pub(crate) fn name(&self) -> &str {
        &self.recipe.name
    }

    pub(crate) fn socket_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn address(&self) -> String {
        self.socket_address().to_string()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn process(&self) -> Process {
        Process::new(self.pid())
    }

    /// The disk space that its files take, in bytes, counted as `du` counts it.
    pub(crate) fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.folder.path().join("data"))
    }

    fn wait_until_it_listens(&mut self) -> Result<(), BenchError> {
        let started = Instant::now();
        let address = self.socket_address();
        while TcpStream::connect_timeout(&address, START_LIMIT).is_err() {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || started.elapsed() > START_LIMIT {
                let log = fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
                let said = log.lines().last().unwrap_or("nothing").to_owned();
                let state = ended.map_or("it does not listen".to_owned(), |s| s.to_string());
                return Err(starting(&self.recipe, &format!("{state}; it said: {said}")));
            }
            thread::sleep(LISTEN_STEP);
        }
        Ok(())
    }

    fn end(&mut self) {
        // The server may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(recipe: &Recipe, port: u16, folder: &Path) -> io::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join(LOG))?;
    let data = folder.join("data");
    let args = recipe.args.iter().map(|arg| {
        arg.replace("{port}", &port.to_string())
            .replace("{folder}", &data.to_string_lossy())
    });
    tied::command(&recipe.program)?
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

fn starting(recipe: &Recipe, why: &str) -> BenchError {
    BenchError::Server {
        server: recipe.name.clone(),
        what: format!("cannot start {}: {why}", recipe.program.display()),
    }
}

fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;

    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
        // The file was removed after it was listed.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

const LOG: &str = "log";
/// The unit of `st_blocks`, whatever the file system's own.
const BLOCK_BYTES: u64 = 512;
/// A start with a large backlog takes upstream a few seconds at the very most.
const START_LIMIT: Duration = Duration::from_mins(1);
const LISTEN_STEP: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_an_error_that_names_the_server() {
        let recipe = Recipe {
            name: "nobody".to_owned(),
            program: "/nowhere/nsqd".into(),
            args: vec![],
        };
        let error = Server::start(&recipe, &std::env::temp_dir()).unwrap_err();
        assert!(
            error.to_string().starts_with("nobody: cannot start"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_with_files_in_folders_is_as_large_as_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), vec![1; 100_000]).unwrap();
        fs::write(folder.path().join("file"), vec![1; 50_000]).unwrap();
        File::open(folder.path().join("file"))
            .unwrap()
            .sync_all()
            .unwrap();
        let file = File::open(folder.path().join("inner/file")).unwrap();
        file.sync_all().unwrap();
        let bytes = disk_bytes(folder.path());
        assert!((150_000..200_000).contains(&bytes), "{bytes}");
    }
}
