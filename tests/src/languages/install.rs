//! The installation of client libraries: once for each pinned version, in cargo's target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ClientLibrary;
use crate::start::build_folder;
use crate::wait::say_loudly;

impl ClientLibrary {
    /// go-nsq. `None`, with a loud line, where there is no Go.
    pub fn go() -> Option<Self> {
        Self::in_go("go", "go-nsq")
    }

    /// segmentio/nsq-go. `None`, with a loud line, where there is no Go.
    pub fn nsq_go() -> Option<Self> {
        Self::in_go("nsq-go", "segmentio/nsq-go")
    }

    fn in_go(folder: &str, library: &str) -> Option<Self> {
        let language = Language::named(folder, library, "Go", &["go", "version"])?;
        let program = language.installed.join("scenarios");
        let _lock = language.lock();
        // Only the versions and checksums in go.mod and go.sum are allowed.
        run(Command::new("go")
            .args(["build", "-mod=readonly", "-buildvcs=false", "-o"])
            .arg(&program)
            .current_dir(&language.source));
        Some(language.library([program]))
    }

    /// pynsq. `None`, with a loud line, where there is no Python.
    pub fn python() -> Option<Self> {
        Self::in_python("python", "pynsq")
    }

    /// gnsq. `None`, with a loud line, where there is no Python.
    pub fn gnsq() -> Option<Self> {
        Self::in_python("gnsq", "gnsq")
    }

    /// ansq. `None`, with a loud line, where there is no Python.
    pub fn ansq() -> Option<Self> {
        Self::in_python("ansq", "ansq")
    }

    fn in_python(folder: &str, library: &str) -> Option<Self> {
        let probe = ["python3", "-m", "venv", "--help"];
        let language = Language::named(folder, library, "Python", &probe)?;
        let python = language.installed.join("bin/python");
        let requirements = language.source.join("requirements.txt");
        language.install_once(&requirements, || {
            run(Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&language.installed));
            let pip = [
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--requirement",
            ];
            run(Command::new(&python).args(pip).arg(&requirements));
        });
        let program = [python, language.source.join("scenarios.py")];
        Some(language.library(program))
    }

    /// nsqjs. `None`, with a loud line, where there is no Node.
    pub fn node() -> Option<Self> {
        let language = Language::named("node", "nsqjs", "npm", &["npm", "--version"])?;
        // The snappy package contains a compiled library, so no install script has to run.
        language.install_by_npm();
        let program = ["node".into(), language.source.join("scenarios.js")];
        Some(language.library(program))
    }

    /// tokio-nsq. `None`, with a loud line, where there is no cargo, as for a test program that was copied here.
    pub fn tokio_nsq() -> Option<Self> {
        let probe = ["cargo", "--version"];
        let language = Language::named("tokio-nsq", "tokio-nsq", "cargo", &probe)?;
        let _lock = language.lock();
        run(Command::new("cargo")
            .args(["build", "--locked", "--quiet", "--target-dir"])
            .arg(&language.installed)
            .current_dir(&language.source));
        let program = language.installed.join("debug/scenarios");
        Some(language.library([program]))
    }

    /// nsq-j. `None`, with a loud line, where there is no JDK or no Maven.
    pub fn nsq_j() -> Option<Self> {
        let compiler = Language::named("nsq-j", "nsq-j", "JDK", &["javac", "-version"]);
        let language = compiler.and(Language::named(
            "nsq-j",
            "nsq-j",
            "Maven",
            &["mvn", "--version"],
        ))?;
        let (jars, classes) = (
            language.installed.join("jars"),
            language.installed.join("classes"),
        );
        language.install_once(&language.source.join("pom.xml"), || {
            run(Command::new("mvn")
                .args(["--quiet", "--batch-mode", "dependency:copy-dependencies"])
                .arg(format!("-DoutputDirectory={}", jars.display()))
                .current_dir(&language.source));
            // Maven has no lock file: these are the bytes that the tests were written for.
            run(Command::new("sha256sum")
                .args(["--check", "--quiet", "--strict"])
                .arg(language.source.join("jars.sha256"))
                .current_dir(&jars));
        });
        let libraries = jars.join("*");
        let _lock = language.lock();
        run(Command::new("javac")
            .arg("-cp")
            .arg(&libraries)
            .arg("-d")
            .arg(&classes)
            .arg(language.source.join("Scenarios.java")));
        let path = format!("{}:{}", libraries.display(), classes.display());
        // The short-lived program does not need the optimizing compiler.
        let program = ["java", "-XX:TieredStopAtLevel=1", "-cp", &path, "Scenarios"];
        Some(language.library(program.map(PathBuf::from)))
    }

    /// nsq-ruby, which is not fetched: `None`, with a loud line, unless Ruby finds this version.
    pub fn nsq_ruby() -> Option<Self> {
        let check = format!("require 'nsq'; exit Nsq::Version::STRING == '{NSQ_RUBY}'");
        let probe = ["ruby", "-e", &check];
        let needed = format!("Ruby with nsq-ruby {NSQ_RUBY}");
        let language = Language::named("nsq-ruby", "nsq-ruby", &needed, &probe)?;
        let program = ["ruby".into(), language.source.join("scenarios.rb")];
        Some(language.library(program))
    }

    /// playwright-core, which drives a Chromium, and axe-core, which checks pages. `None`, with a loud line, where there is
    /// no Chromium, or no Node that they run on.
    pub fn browser() -> Option<Self> {
        let chromium = CHROMIUMS
            .into_iter()
            .find(|name| answers(&[name, "--version"]));
        let why = match chromium {
            None => "no Chromium is on this machine",
            Some(_)
                if !answers(&["npm", "--version"]) || !answers(&["node", "--eval", NODE_20]) =>
            {
                "no Node from 20 on, with npm, is on this machine"
            }
            Some(chromium) => {
                let language = Language::at("browser");
                language.install_by_npm();
                let program = ["node".into(), language.source.join("main.js")];
                let mut library = language.library(program);
                library.tell("CHROMIUM", chromium);
                return Some(library);
            }
        };
        say_loudly(&format!(
            "SKIPPED: {why}, nsqadmin's pages were not tried in a browser"
        ));
        None
    }
}

/// Where a library's program is and where the library is installed.
#[derive(Debug)]
struct Language {
    source: PathBuf,
    installed: PathBuf,
}

impl Language {
    /// The library whose program is in `folder`. `None`, with a loud line, when `probe` does not run: the machine lacks
    /// `needed`.
    fn named(folder: &str, library: &str, needed: &str, probe: &[&str]) -> Option<Self> {
        if !answers(probe) {
            say_loudly(&format!(
                "SKIPPED: this machine has no {needed}, the {library} tests did not run"
            ));
            return None;
        }
        Some(Self::at(folder))
    }

    fn at(folder: &str) -> Self {
        let installed = build_folder().join("client-libraries").join(folder);
        fs::create_dir_all(&installed).expect("the target folder is ours");
        Self {
            source: Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("clients")
                .join(folder),
            installed,
        }
    }

    /// Installs the versions that `package-lock.json` pins.
    fn install_by_npm(&self) {
        self.install_once(&self.source.join("package-lock.json"), || {
            for file in ["package.json", "package-lock.json"] {
                let copy = self.installed.join(file);
                fs::copy(self.source.join(file), copy).expect("the target folder is ours");
            }
            run(Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(&self.installed));
        });
    }

    /// Runs `install` unless it has run for the present content of `pinned`.
    fn install_once(&self, pinned: &Path, install: impl FnOnce()) {
        let _lock = self.lock();
        let wanted = fs::read(pinned).expect("the pinned versions are part of the sources");
        let stamp = self.installed.with_extension("installed");
        if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
            return;
        }
        install();
        fs::write(stamp, wanted).expect("the target folder is ours");
    }

    /// Keeps other test programs from installing at the same time, until it is dropped.
    fn lock(&self) -> File {
        let path = self.installed.with_extension("lock");
        let file = File::create(path).expect("the target folder is ours");
        file.lock().expect("files can be locked");
        file
    }

    fn library<const N: usize>(&self, program: [PathBuf; N]) -> ClientLibrary {
        ClientLibrary {
            program: program.into(),
            modules: self.installed.join("node_modules"),
            environment: Vec::new(),
        }
    }
}

/// Returns whether this command runs here and succeeds.
fn answers(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}",
        output.status
    );
}

/// The version that `clients/nsq-ruby` was written for.
const NSQ_RUBY: &str = "2.5.0";

/// The names that Debian's, Ubuntu's and Chrome's own packages use.
const CHROMIUMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Fails in a Node that is too old for playwright-core.
const NODE_20: &str = "process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)";
