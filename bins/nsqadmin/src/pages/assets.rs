//! The files that pages refer to: part of the program, and cached by browsers for good, since their names change
//! with their content.

use std::path::Path;
use std::sync::LazyLock;

use nsq_daemon::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use nsq_daemon::http::{HeaderMap, Reply, StatusCode};

/// A file and its name with the digest of its content.
#[derive(Debug)]
pub(crate) struct Asset {
    /// As in the source tree.
    file: &'static str,
    /// As in URLs.
    pub(crate) name: String,
    digest: String,
    content_type: &'static str,
    content: &'static [u8],
}

pub(crate) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "nsqadmin",
        "css",
        "text/css; charset=utf-8",
        include_bytes!("../../assets/nsqadmin.css"),
    )
});
pub(crate) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "nsqadmin",
        "js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../assets/nsqadmin.js"),
    )
});
pub(crate) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "icon",
        "svg",
        "image/svg+xml",
        include_bytes!("../../assets/icon.svg"),
    )
});

impl Asset {
    fn new(
        stem: &str,
        extension: &str,
        content_type: &'static str,
        content: &'static [u8],
    ) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, content);
        let (first, _) = digest
            .as_ref()
            .split_first_chunk()
            .expect("SHA-256 has 32 bytes");
        let digest = format!("{:016x}", u64::from_be_bytes(*first));
        let file = match extension {
            "css" => "nsqadmin.css",
            "js" => "nsqadmin.js",
            _ => "icon.svg",
        };
        Self {
            file,
            name: format!("{stem}-{digest}.{extension}"),
            digest,
            content_type,
            content,
        }
    }
}

/// Answers `/static/<name>`. With `folder` the file is read there each time, for development.
pub(crate) fn reply(name: &str, headers: &HeaderMap, folder: &str) -> Reply {
    let assets: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let Some(asset) = assets.into_iter().find(|asset| asset.name == name) else {
        // Compat: not JSON, as upstream's (nsqadmin/http.go, staticAssetHandler).
        return Reply::plain(StatusCode::NOT_FOUND, "NOT_FOUND");
    };
    let content_type = HeaderValue::from_static(asset.content_type);
    if !folder.is_empty() {
        return match std::fs::read(Path::new(folder).join(asset.file)) {
            Ok(content) => Reply::plain(StatusCode::OK, content)
                .with_header(CONTENT_TYPE, content_type)
                .with_header(CACHE_CONTROL, HeaderValue::from_static("no-store")),
            Err(error) => Reply::plain(
                StatusCode::NOT_FOUND,
                format!("{folder}/{}: {error}", asset.file),
            ),
        };
    }
    let tag = format!("\"{}\"", asset.digest);
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|given| given.trim().trim_start_matches("W/") == tag);
    let reply = if known {
        Reply::plain(StatusCode::NOT_MODIFIED, "")
    } else {
        Reply::plain(StatusCode::OK, asset.content)
    };
    reply
        .with_header(CONTENT_TYPE, content_type)
        .with_header(
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        )
        .with_header(
            ETAG,
            HeaderValue::from_str(&tag).expect("hexadecimal digits"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_served_by_its_digest_and_only_once() {
        let headers = HeaderMap::new();
        let first = reply(&STYLE.name, &headers, "");
        assert_eq!(first.status(), StatusCode::OK);
        assert!(!first.body().is_empty());
        let mut again = HeaderMap::new();
        let tag = format!("W/\"{}\"", STYLE.digest);
        again.insert(IF_NONE_MATCH, HeaderValue::from_str(&tag).unwrap());
        let second = reply(&STYLE.name, &again, "");
        assert_eq!(
            (second.status(), second.body().len()),
            (StatusCode::NOT_MODIFIED, 0)
        );
        for unknown in ["nsqadmin.css", "../Cargo.toml", ""] {
            assert_eq!(reply(unknown, &headers, "").status(), StatusCode::NOT_FOUND);
        }
    }
}
