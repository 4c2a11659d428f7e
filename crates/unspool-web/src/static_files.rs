//! Files that are answers: `static-map`.
//!
//! Which request is for a file, and the answer with it. What is not there is the application's.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use unspool_sys::files::open_beneath;

use crate::exchange::Exchange;

/// Prefixes of paths, and the directories that stand for them.
#[derive(Debug, Default)]
pub struct StaticFiles {
    maps: Vec<(Vec<u8>, PathBuf)>,
}

impl StaticFiles {
    /// In the order in which they are looked at.
    pub fn new(maps: Vec<(Vec<u8>, PathBuf)>) -> Self {
        Self { maps }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// Answers with a file if there is one for this request; whether that was so.
    pub fn answer(&self, exchange: &mut Exchange) -> io::Result<bool> {
        let request = exchange.request();
        let method = request.get(b"REQUEST_METHOD").unwrap_or_default();
        if self.maps.is_empty() || !matches!(method, b"GET" | b"HEAD") {
            return Ok(false);
        }
        let is_head = method == b"HEAD";
        let path = request.get(b"PATH_INFO").unwrap_or_default();
        let since = request.get(b"HTTP_IF_MODIFIED_SINCE").and_then(seconds_of);
        for (prefix, directory) in &self.maps {
            let Some(name) = below(path, prefix) else { continue };
            let (file, stat) = match open_beneath(directory, name) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(_) => {
                    // It leads out of its directory, or may not be read.
                    refuse(exchange)?;
                    return Ok(true);
                }
            };
            let modified = stat.mtime_ns.div_euclid(1_000_000_000).max(0) as u64;
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(modified));
            let kind = kind_of(name);
            let mut headers = vec![(&b"Last-Modified"[..], date.as_bytes())];
            if since.is_some_and(|since| modified <= since) {
                start(exchange, b"304 Not Modified", &headers, None)?;
                return Ok(true);
            }
            let bytes = stat.bytes.to_string();
            headers.push((b"Content-Type", kind.as_bytes()));
            headers.push((b"Content-Length", bytes.as_bytes()));
            start(exchange, b"200 OK", &headers, Some(stat.bytes))?;
            if !is_head {
                exchange.write_file(file.as_fd(), 0, stat.bytes)?;
            }
            return Ok(true);
        }
        Ok(false)
    }
}

/// What of a path stands behind a prefix that ends at a `/`.
fn below<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(prefix)?;
    let is_whole = prefix.ends_with(b"/") || rest.first().is_none_or(|byte| *byte == b'/');
    let start = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
    (is_whole && !rest.contains(&0)).then_some(&rest[start..])
}

fn kind_of(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    mime_guess::from_path(&*name).first_or_octet_stream().to_string()
}

fn seconds_of(date: &[u8]) -> Option<u64> {
    let date = httpdate::parse_http_date(str::from_utf8(date).ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn start(
    exchange: &mut Exchange,
    status: &[u8],
    headers: &[(&[u8], &[u8])],
    length: Option<u64>,
) -> io::Result<()> {
    exchange.start(status, headers.iter().copied(), length).map_err(io::Error::other)
}

fn refuse(exchange: &mut Exchange) -> io::Result<()> {
    let text = b"Forbidden";
    let headers = [(&b"Content-Type"[..], &b"text/plain"[..])];
    start(exchange, b"403 Forbidden", &headers, Some(text.len() as u64))?;
    exchange.write(text, true)
}
