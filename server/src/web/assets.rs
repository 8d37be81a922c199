//! Files that pages load. They are in the binary, named by their content, and
//! therefore never change: browsers keep them for good. Compressed forms are
//! made when they are built, not when they are asked for.
//!
//! A debug build that was made without the browser's part reads it at run time
//! from the directory in `DEVENV_CLOUD_ASSETS`, so that working on pages needs
//! no new server; without either, pages work as they do without a script.

use std::sync::OnceLock;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;

/// A file in the binary.
struct Embedded {
    name: &'static str,
    file: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// A file that can be served.
#[derive(Clone)]
struct Asset {
    name: String,
    file: String,
    plain: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
}

/// All files of this process.
fn all() -> &'static [Asset] {
    static ALL: OnceLock<Vec<Asset>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut assets: Vec<Asset> = EMBEDDED
            .iter()
            .map(|e| Asset {
                name: e.name.to_owned(),
                file: e.file.to_owned(),
                plain: Bytes::from_static(e.plain),
                brotli: e.brotli.map(Bytes::from_static),
                gzip: e.gzip.map(Bytes::from_static),
            })
            .collect();
        if cfg!(debug_assertions) && !assets.iter().any(|a| a.name == "app.js") {
            assets.extend(from_directory());
        }
        assets
    })
}

/// The browser's part from `DEVENV_CLOUD_ASSETS`, for debug builds.
fn from_directory() -> Vec<Asset> {
    let Some(dir) = std::env::var_os("DEVENV_CLOUD_ASSETS").map(std::path::PathBuf::from) else {
        return Vec::new();
    };
    let names = std::fs::read(dir.join("manifest.json"))
        .ok()
        .and_then(|text| serde_json::from_slice::<std::collections::BTreeMap<String, String>>(&text).ok());
    let Some(names) = names else {
        tracing::warn!(dir = %dir.display(), "no readable manifest.json: pages come without a script");
        return Vec::new();
    };
    names
        .into_iter()
        .filter_map(|(name, file)| {
            let read = |file: &str| std::fs::read(dir.join(file)).ok().map(Bytes::from);
            Some(Asset {
                plain: read(&file)?,
                brotli: read(&format!("{file}.br")),
                gzip: read(&format!("{file}.gz")),
                name,
                file,
            })
        })
        .collect()
}

/// The address of a file by its name, e.g. `app.css`.
fn address(name: &str) -> Option<String> {
    all().iter().find(|a| a.name == name).map(|a| format!("/assets/{}", a.file))
}

/// What a page's head names.
pub(super) fn for_pages() -> devenv_cloud_frontend::context::Assets {
    devenv_cloud_frontend::context::Assets {
        style: address("app.css").unwrap_or_default(),
        icon: address("icon.svg").unwrap_or_default(),
        app: address("app.js").zip(address("app.wasm")),
    }
}

/// Serves the files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{file}", get(serve)).route("/favicon.ico", get(favicon))
}

async fn serve(Path(file): Path<String>, headers: HeaderMap) -> Response {
    match all().iter().find(|a| a.file == file) {
        Some(asset) => answer(asset, &headers, "public, max-age=31536000, immutable"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Browsers ask for it without having been told to.
async fn favicon(headers: HeaderMap) -> Response {
    match all().iter().find(|a| a.name == "icon.svg") {
        Some(asset) => answer(asset, &headers, "public, max-age=86400"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn answer(asset: &Asset, headers: &HeaderMap, cache: &'static str) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (body, encoding) = match (&asset.brotli, &asset.gzip) {
        (Some(body), _) if accepts(accepted, "br") => (body, Some("br")),
        (_, Some(body)) if accepts(accepted, "gzip") => (body, Some("gzip")),
        _ => (&asset.plain, None),
    };
    let mut response = body.clone().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(&asset.file)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// Whether an `Accept-Encoding` header takes this coding (RFC 9110 §12.5.3, without weighing).
fn accepts(header: &str, coding: &str) -> bool {
    header.split(',').any(|part| {
        let mut parts = part.split(';').map(str::trim);
        parts.next() == Some(coding) && !parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn media_type(file: &str) -> &'static str {
    match file.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_negotiated() {
        for (header, br) in [
            ("", false),
            ("gzip", false),
            ("gzip, deflate, br, zstd", true),
            ("br;q=0.5", true),
            ("br;q=0, gzip", false),
            ("brx", false),
        ] {
            assert_eq!(accepts(header, "br"), br, "{header}");
        }
    }

    #[test]
    fn the_style_sheet_is_always_there_and_begins_with_the_tokens() {
        let style = all().iter().find(|a| a.name == "app.css").expect("app.css");
        let text = std::str::from_utf8(&style.plain).expect("text");
        let (tokens, base) = (text.find("--accent:"), text.find("box-sizing"));
        assert!(tokens.is_some() && tokens < base, "tokens come first");
        assert!(
            style.file.starts_with("app.") && style.file.len() >= "app..css".len() + 16,
            "{}",
            style.file
        );
        // What the content security policy would refuse, or what would leave this host.
        for forbidden in ["@import", "url(", "http://", "https://"] {
            assert!(!text.contains(forbidden), "{forbidden} in the style sheet");
        }
    }
}
