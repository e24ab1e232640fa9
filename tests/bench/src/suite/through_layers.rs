//! The same loads through TLS and compression.

use std::{fs, path::Path};

use anyhow::Context as _;

use nsq_bench::{
    layers::Layers,
    options::{default_channel, unique_topic},
};

use crate::suite::{
    Suite,
    result::Of,
    work::{Work, create_channel},
};

pub(crate) const PART: &str = "layers";
pub(crate) const PUBLISH: &str = "MPUB of 200";
pub(crate) const CONSUME: &str = "consume";

const TLS: Layers = Layers {
    tls: true,
    ..Layers::NONE
};
const SNAPPY: Layers = Layers {
    snappy: true,
    ..Layers::NONE
};

/// The combinations and their names in the table.
const ALL: [(&str, Layers); 6] = [
    ("plain", Layers::NONE),
    ("TLS", TLS),
    ("snappy", SNAPPY),
    (
        "snappy in TLS",
        Layers {
            snappy: true,
            ..TLS
        },
    ),
    ("deflate, level 1", deflate(1)),
    ("deflate, level 6", deflate(6)),
];

const fn deflate(level: u8) -> Layers {
    Layers {
        deflate: Some(level),
        ..Layers::NONE
    }
}

/// Publishes through each combination and consumes it again; the load column is `<what> <combination>`.
///
/// # Errors
/// The certificate or the result file cannot be written.
pub(crate) fn run(suite: &mut Suite) -> anyhow::Result<()> {
    let (certificate, key) = certificate(suite.folder.path())?;
    let flags = [
        format!("--tls-cert={certificate}"),
        format!("--tls-key={key}"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let in_memory = [&flags[..], &["--mem-queue-size=10000000"]].concat();
    let mut recipes = vec![];
    recipes.extend(suite.upstream("upstream", &in_memory));
    recipes.push(suite.here("here", &flags));
    let count = suite.scale.count(400_000, 2000);
    for recipe in recipes {
        let Some(server) = suite.start(PART, &recipe)? else {
            continue;
        };
        for (name, layers) in ALL {
            suite.say(&format!("{name}: {}", recipe.name));
            let topic = unique_topic();
            let created = create_channel(&server, &topic, &default_channel());
            if suite.checked(PART, created)?.is_none() {
                break;
            }
            for work in [Work::batches(PUBLISH, 1), Work::consume(CONSUME, 1)] {
                let outcome = Work { layers, ..work }.run(&server, &topic, count);
                let Some(report) = suite.checked(PART, outcome)? else {
                    break;
                };
                let of = Of {
                    part: PART,
                    load: &format!("{}: {name}", work.name),
                    subject: &recipe.name,
                    at: None,
                };
                suite.results.report(of, &report, false)?;
            }
        }
    }
    Ok(())
}

/// A self-signed certificate and its key, as files.
fn certificate(folder: &Path) -> anyhow::Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .context("cannot make a certificate")?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path.to_string_lossy().into_owned())
    };
    Ok((
        write("certificate.pem", made.cert.pem())?,
        write("key.pem", made.signing_key.serialize_pem())?,
    ))
}
