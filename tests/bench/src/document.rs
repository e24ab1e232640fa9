//! From a run's lines to the tables and charts of a document.
//!
//! The document is written by hand except for the parts between `<!-- bench <name> -->` and `<!-- end <name> -->`.
//! A part for which the run has no values stays as it is.

mod aims;
mod chart;
mod number;
mod pages;
mod plots;
mod table;
mod tables;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::suite::result::{self, Line};

#[derive(Debug, Args)]
pub(crate) struct Pages {
    /// The document whose marked parts are replaced; its charts go to the folder charts/ next to it.
    #[arg(long)]
    document: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DocumentOptions {
    /// The result file of a run.
    #[arg(long, default_value = "bench.jsonl")]
    results: PathBuf,
    #[command(flatten)]
    pages: Pages,
}

/// Writes the pages of a run that was measured before.
///
/// # Errors
/// A file cannot be read or written, or has the wrong form.
pub(crate) fn run(options: &DocumentOptions) -> anyhow::Result<()> {
    write(&result::read(&options.results)?, &options.pages)
}

/// Writes the document and its charts; without a document, the tables go to standard output.
///
/// # Errors
/// The document cannot be read, lacks a mark, or a file cannot be written.
pub(crate) fn write(lines: &[Line], pages: &Pages) -> anyhow::Result<()> {
    let parts = pages::parts(lines);
    let Some(path) = &pages.document else {
        let tables: Vec<&str> = parts.values().map(String::as_str).collect();
        return crate::print(&tables.join("\n"));
    };
    let old =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let new = replaced(&old, &parts).with_context(|| path.display().to_string())?;
    let folder = path.parent().unwrap_or(Path::new("")).join("charts");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, svg) in pages::charts(lines) {
        let path = folder.join(format!("{name}.svg"));
        fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    fs::write(path, new).with_context(|| format!("cannot write {}", path.display()))
}

/// Replaces the text between the marks of each part in `document`.
fn replaced(document: &str, parts: &BTreeMap<&str, String>) -> anyhow::Result<String> {
    let mut document = document.to_owned();
    for (name, text) in parts {
        let (opening, closing) = (
            format!("<!-- bench {name} -->"),
            format!("<!-- end {name} -->"),
        );
        let Some((before, rest)) = document.split_once(&opening) else {
            bail!("there is no {opening}");
        };
        let Some((_, after)) = rest.split_once(&closing) else {
            bail!("there is no {closing} after {opening}");
        };
        document = format!("{before}{opening}\n\n{}\n\n{closing}{after}", text.trim());
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &'static str, text: &str) -> BTreeMap<&'static str, String> {
        BTreeMap::from([(name, text.to_owned())])
    }

    #[test]
    fn only_what_is_between_the_marks_changes_and_a_second_time_changes_nothing() {
        let document =
            "a\n<!-- bench x -->old<!-- end x -->\nb\n<!-- bench y -->\nkept\n<!-- end y -->\n";
        let once = replaced(document, &parts("x", "new\n")).unwrap();
        assert_eq!(
            once,
            "a\n<!-- bench x -->\n\nnew\n\n<!-- end x -->\nb\n<!-- bench y -->\nkept\n<!-- end y -->\n"
        );
        assert_eq!(replaced(&once, &parts("x", "new")).unwrap(), once);
    }

    #[test]
    fn a_missing_mark_is_named() {
        let error = replaced("nothing", &parts("x", "new")).unwrap_err();
        assert_eq!(error.to_string(), "there is no <!-- bench x -->");
        let error = replaced("<!-- bench x -->", &parts("x", "new")).unwrap_err();
        assert!(error.to_string().contains("<!-- end x -->"), "{error}");
    }

    #[test]
    fn our_own_document_has_all_marks() {
        let document = include_str!("../../../docs/PERFORMANCE.md");
        let all: BTreeMap<&str, String> = pages::NAMES.map(|name| (name, name.to_owned())).into();
        assert!(replaced(document, &all).is_ok());
    }
}
