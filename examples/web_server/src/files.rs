//! Static files: found beneath the root and nowhere else, sent whole, in part, or not again.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::response::Builder;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::body::Content;

/// A file of this size is read at once, on the thread that asks for it: it is in the page cache, or
/// is soon. A larger one is read by other threads, as the client takes it.
const SMALL: u64 = 64 << 10;

/// The directory that is served.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

/// What a path leads to.
pub(crate) enum Found {
    File(File, Metadata),
    /// A directory that was asked for as a file.
    Directory,
}

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens what the path of a request names. The kernel keeps it beneath the root, whatever `..`
    /// and links say: openat2(2), `RESOLVE_BENEATH`. Names that begin with a dot are not served,
    /// but for `.well-known`.
    ///
    /// # Errors
    /// The status that tells the client.
    pub(crate) fn find(&self, path: &str) -> Result<Found, StatusCode> {
        let decoded: Vec<u8> = percent_decode_str(path).collect();
        let decoded = String::from_utf8(decoded).map_err(|_| StatusCode::BAD_REQUEST)?;
        if decoded.contains('\0') {
            return Err(StatusCode::BAD_REQUEST);
        }
        let mut relative = decoded.trim_start_matches('/').to_owned();
        if relative.is_empty() || relative.ends_with('/') {
            relative.push_str("index.html");
        }
        let is_hidden = |name: &str| name.starts_with('.') && name != ".well-known";
        if relative.split('/').any(is_hidden) {
            return Err(StatusCode::NOT_FOUND);
        }
        // A pipe is opened without a wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = rustix::fs::openat2(&self.0, &relative, flags, Mode::empty(), resolve);
        let file = File::from(file.map_err(|e| status(e.into()))?);
        let metadata = file.metadata().map_err(status)?;
        if metadata.is_dir() {
            return Ok(Found::Directory);
        }
        if !metadata.is_file() {
            return Err(StatusCode::NOT_FOUND);
        }
        Ok(Found::File(file, metadata))
    }

    /// The file that a path names, and no directory.
    pub(crate) fn find_file(&self, path: &str) -> Result<(File, Metadata), StatusCode> {
        match self.find(path)? {
            Found::File(file, metadata) => Ok((file, metadata)),
            Found::Directory => Err(StatusCode::NOT_FOUND),
        }
    }
}

fn status(e: io::Error) -> StatusCode {
    match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            StatusCode::NOT_FOUND
        }
        io::ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        // It would lead out of the root, or round in a circle.
        _ if matches!(e.raw_os_error(), Some(libc::EXDEV | libc::ELOOP)) => StatusCode::NOT_FOUND,
        _ => {
            tracing::error!("a file: {e}");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// The answer to a GET or HEAD of a path.
pub(crate) fn serve(
    root: &Root,
    path: &str,
    request: &Request<Incoming>,
) -> Result<Response<Content>, StatusCode> {
    let asked = request.headers();
    let (file, metadata) = match root.find(path)? {
        Found::File(file, metadata) => (file, metadata),
        Found::Directory => {
            // Two slashes at the beginning would be another host.
            let to = HeaderValue::from_str(&format!("/{}/", path.trim_matches('/')));
            let response = Response::builder()
                .status(StatusCode::MOVED_PERMANENTLY)
                .header(header::LOCATION, to.map_err(|_| StatusCode::BAD_REQUEST)?);
            return Ok(finish(response, Content::none()));
        }
    };
    let len = metadata.len();
    let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let tag = format!(
        "\"{:x}{:09x}-{len:x}\"",
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    let common = Response::builder()
        .header(header::ETAG, &tag)
        .header(header::LAST_MODIFIED, httpdate::fmt_http_date(changed))
        .header(header::ACCEPT_RANGES, "bytes");
    if is_known(asked, &tag, changed) {
        return Ok(finish(
            common.status(StatusCode::NOT_MODIFIED),
            Content::none(),
        ));
    }
    let kind = mime_guess::from_path(path).first_raw();
    let kind = match kind {
        None if path.is_empty() || path.ends_with('/') => "text/html",
        None => "application/octet-stream",
        Some(kind) => kind,
    };
    let response = common.header(header::CONTENT_TYPE, kind);
    // RFC 9110, 14.2: of a GET alone.
    let range = match *request.method() {
        Method::GET => range(asked, &tag, len),
        _ => Range::Whole,
    };
    match range {
        Range::Whole => Ok(finish(response, content(file, 0, len)?)),
        Range::Part(at, end) => {
            let response = response.status(StatusCode::PARTIAL_CONTENT).header(
                header::CONTENT_RANGE,
                format!("bytes {at}-{}/{len}", end - 1),
            );
            Ok(finish(response, content(file, at, end)?))
        }
        Range::Unsatisfiable => {
            let response = response
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{len}"));
            Ok(finish(response, Content::none()))
        }
    }
}

fn finish(response: Builder, content: Content) -> Response<Content> {
    response.body(content).expect("all headers are valid")
}

fn content(file: File, at: u64, end: u64) -> Result<Content, StatusCode> {
    if end - at > SMALL {
        return Ok(Content::of_file(file, at, end));
    }
    let mut bytes = vec![0; (end - at) as usize];
    file.read_exact_at(&mut bytes, at).map_err(status)?;
    Ok(Content::Bytes(Bytes::from(bytes)))
}

/// Whether the client has this version: RFC 9110, 13.1.
fn is_known(asked: &HeaderMap, tag: &str, changed: SystemTime) -> bool {
    if let Some(known) = asked.get(header::IF_NONE_MATCH) {
        let known = known.to_str().unwrap_or_default();
        return known
            .split(',')
            .map(str::trim)
            .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag);
    }
    let since = asked.get(header::IF_MODIFIED_SINCE);
    let since = since.and_then(|since| httpdate::parse_http_date(since.to_str().ok()?).ok());
    // The header has whole seconds.
    since.is_some_and(|since| changed <= since + std::time::Duration::from_millis(999))
}

/// What is sent of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part(u64, u64),
    Unsatisfiable,
}

/// RFC 9110, 14.2. More than one range is answered with the whole, as a server may.
fn range(asked: &HeaderMap, tag: &str, len: u64) -> Range {
    let Some(Ok(text)) = asked.get(header::RANGE).map(HeaderValue::to_str) else {
        return Range::Whole;
    };
    if asked.get(header::IF_RANGE).is_some_and(|of| of != tag) {
        return Range::Whole;
    }
    let bounds = text
        .strip_prefix("bytes=")
        .and_then(|text| text.split_once('-'));
    let (from, to) = match bounds {
        Some((from, to)) => (from.trim(), to.trim()),
        None => return Range::Whole,
    };
    let (at, end) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(last)) if last >= from => (from, last.saturating_add(1).min(len)),
        (Ok(from), Err(_)) if to.is_empty() => (from, len),
        (Err(_), Ok(last)) if from.is_empty() => (len.saturating_sub(last), len),
        _ => return Range::Whole,
    };
    if at < end {
        Range::Part(at, end)
    } else {
        Range::Unsatisfiable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str, len: u64) -> Range {
        let mut asked = HeaderMap::new();
        asked.insert(header::RANGE, HeaderValue::from_str(text).expect("valid"));
        range(&asked, "\"t\"", len)
    }

    #[test]
    fn ranges() {
        assert_eq!(part("bytes=0-0", 10), Range::Part(0, 1));
        assert_eq!(part("bytes=3-", 10), Range::Part(3, 10));
        assert_eq!(part("bytes=-4", 10), Range::Part(6, 10));
        assert_eq!(part("bytes=-40", 10), Range::Part(0, 10));
        assert_eq!(part("bytes=8-99", 10), Range::Part(8, 10));
        assert_eq!(part("bytes=0-18446744073709551615", 10), Range::Part(0, 10));
        assert_eq!(part("bytes=10-", 10), Range::Unsatisfiable);
        assert_eq!(part("bytes=-0", 10), Range::Unsatisfiable);
        assert_eq!(part("bytes=0-", 0), Range::Unsatisfiable);
        for text in [
            "bytes=5-3",
            "bytes=a-b",
            "bytes=1-2,4-5",
            "lines=1-2",
            "bytes=-",
        ] {
            assert_eq!(part(text, 10), Range::Whole, "{text}");
        }
    }

    #[test]
    fn a_range_of_another_version_is_the_whole() {
        let mut asked = HeaderMap::new();
        asked.insert(header::RANGE, HeaderValue::from_static("bytes=1-2"));
        asked.insert(header::IF_RANGE, HeaderValue::from_static("\"other\""));
        assert_eq!(range(&asked, "\"t\"", 10), Range::Whole);
    }
}
