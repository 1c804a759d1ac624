//! Reading a crash file, which may be anything.

use std::ffi::OsString;
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStringExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::format::{INPUT, ReplaySpec, TITLE, VERSION};
use super::text::unescaped;
use crate::task::codec::MAX_BYTES;
use crate::task::library::Library;
use crate::task::text::floor_char_boundary;

/// The longest line: a variable may have 32 KiB, and each byte may become four.
const MAX_LINE: usize = 256 * 1024;
/// All lines before the input.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// What a crash file says.
#[derive(Debug, Default)]
pub(crate) struct CrashRecord {
    pub(crate) task: String,
    pub(crate) cause: String,
    pub(crate) phase: String,
    pub(crate) time: String,
    pub(crate) program: String,
    pub(crate) spec: ReplaySpec,
    pub(crate) input: Vec<u8>,
}

/// Why it is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a crash file")]
    Other,
    #[error("it is a crash file of version {0}, and this program knows version {VERSION} only")]
    Version(String),
    #[error("it is cut off")]
    Cut,
    #[error("it is damaged: {0}")]
    Damaged(String),
}

fn damaged<T>(what: impl Into<String>) -> Result<T, ReadError> {
    Err(ReadError::Damaged(what.into()))
}

/// Reads a crash file to its end.
pub(crate) fn read(from: impl BufRead) -> Result<CrashRecord, ReadError> {
    let mut lines = LineReader {
        from,
        line: Vec::new(),
        left: MAX_TEXT,
    };
    match lines.next() {
        Ok(first) => match first.strip_prefix(TITLE) {
            Some(VERSION) => {}
            Some(other) => return Err(ReadError::Version(other.chars().take(20).collect())),
            None => return Err(ReadError::Other),
        },
        Err(ReadError::Io(e)) => return Err(ReadError::Io(e)),
        Err(_) => return Err(ReadError::Other),
    }
    let mut record = CrashRecord::default();
    let mut seen = Vec::new();
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        let Some((key, value)) = line.split_once(": ") else {
            return damaged(format!("`{}` is not a line of a crash file", start(line)));
        };
        record.set(key, value)?;
        if !matches!(key, "variable" | "library") {
            if seen.iter().any(|k| k == key) {
                return damaged(format!("`{key}` comes twice"));
            }
            seen.push(key.to_owned());
        }
    }
    for key in ["build", "entry", "function", "descriptors", "input length"] {
        if !seen.iter().any(|k| k == key) {
            return damaged(format!("`{key}` is missing"));
        }
    }
    // For people; what is not ours is indented.
    while lines.next()? != INPUT {}
    let length = record.spec.length;
    if length > MAX_BYTES as u64 {
        return damaged(format!("an input cannot have {length} bytes"));
    }
    let input = &mut record.input;
    let end = loop {
        lines.left = MAX_LINE;
        let line = lines.next()?;
        if let Some(sum) = line.strip_prefix("end: ") {
            break sum;
        }
        if input.len() % 3 != 0 || line.is_empty() {
            return damaged("a line of the input ends too early");
        }
        let at = input.len();
        input.resize(at + line.len(), 0);
        match STANDARD.decode_slice(line, &mut input[at..]) {
            Ok(len) => input.truncate(at + len),
            Err(e) => return damaged(format!("the input is not base64: {e}")),
        }
        if input.len() as u64 > length {
            return damaged("the input is longer than its stated length");
        }
    };
    if (input.len() as u64) < length {
        return damaged("the input is shorter than its stated length");
    }
    let mut sum = record.spec.checksum()?;
    sum.add(input);
    if end != sum.hex() {
        return damaged("its checksum does not match");
    }
    if !lines.is_over()? {
        return damaged("something follows its end");
    }
    Ok(record)
}

impl CrashRecord {
    fn set(&mut self, key: &str, value: &str) -> Result<(), ReadError> {
        let wrong = || ReadError::Damaged(format!("`{key}` cannot be `{}`", start(value)));
        let text = || {
            unescaped(value)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .ok_or_else(wrong)
        };
        let decimal = || {
            let digits = value.bytes().all(|d| d.is_ascii_digit());
            let number = value.parse().ok().filter(|_| digits);
            number.ok_or_else(wrong)
        };
        let offset = || {
            let digits = value.strip_prefix("0x").ok_or_else(wrong)?;
            let fit = digits.bytes().all(|d| d.is_ascii_hexdigit());
            let number = u64::from_str_radix(digits, 16).ok().filter(|_| fit);
            number.ok_or_else(wrong)
        };
        let spec = &mut self.spec;
        match key {
            "task" => self.task = text()?,
            "cause" => self.cause = text()?,
            "phase" => self.phase = text()?,
            "time" => self.time = text()?,
            "program" => self.program = text()?,
            "address" | "blocked" | "process" | "attempt" | "started at" => {}
            "build" => spec.build = text()?,
            "entry" => spec.entry = offset()?,
            "function" => spec.function = offset()?,
            "initializer" => spec.initializer = Some(offset()?),
            "directory" => spec.directory = Some(unescaped(value).ok_or_else(wrong)?),
            "clear environment" if value == "yes" => spec.clear_environment = true,
            "variable" => {
                let (key, value) = value.split_once('=').ok_or_else(wrong)?;
                let unescaped = |text| unescaped(text).filter(|bytes| !bytes.contains(&0));
                let key = unescaped(key).filter(|k| !k.is_empty() && !k.contains(&b'='));
                let variable = key.zip(unescaped(value)).ok_or_else(wrong)?;
                spec.variables.push(variable);
            }
            "library" => spec.libraries.push(library(value).ok_or_else(wrong)?),
            "context" => spec.context = Some(text()?),
            "state" => spec.state = Some(text()?),
            "descriptors" => spec.descriptors = decimal()?,
            "input length" => spec.length = decimal()?,
            "clear environment" => return Err(wrong()),
            _ => return damaged(format!("`{}` is not a field of a crash file", start(key))),
        }
        Ok(())
    }
}

/// A library: its number, its build id, its path.
fn library(value: &str) -> Option<Library> {
    let (number, rest) = value.split_once(' ')?;
    let (id, path) = rest.split_once(' ')?;
    let digits = id.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        let fit = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(pair, 16).ok().filter(|_| fit)
    };
    Some(Library {
        number: number.parse().ok()?,
        path: OsString::from_vec(unescaped(path)?).into(),
        build_id: digits.map(byte).collect::<Option<_>>()?,
    })
}

/// Enough of a line to find it.
fn start(line: &str) -> String {
    super::text::escape_for_display(&line[..floor_char_boundary(line, 40)])
}

/// Lines, none of them longer than they may be.
struct LineReader<R> {
    from: R,
    line: Vec<u8>,
    /// Bytes that may still come.
    left: usize,
}

impl<R: BufRead> LineReader<R> {
    /// The next line, without its end.
    fn next(&mut self) -> Result<&str, ReadError> {
        self.line.clear();
        let most = MAX_LINE.min(self.left);
        let len = (&mut self.from)
            .take(most as u64)
            .read_until(b'\n', &mut self.line)?;
        self.left -= len;
        match self.line.strip_suffix(b"\n") {
            Some(line) => std::str::from_utf8(line)
                .map_err(|_| ReadError::Damaged("it is not text".to_owned())),
            None if len == most => damaged("it has more text than a crash file may have"),
            None => Err(ReadError::Cut),
        }
    }

    fn is_over(&mut self) -> io::Result<bool> {
        Ok(self.from.fill_buf()?.is_empty())
    }
}
