//! Bytes and times as text, and back.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

/// A value on one line: what could end the line or play with a terminal, and `\` itself, is written
/// as `\xNN`.
pub(super) fn escaped(bytes: &[u8]) -> String {
    escape(bytes, |c| c == '\\' || c.is_control())
}

/// A line for people: as [`escaped`], but `\` and tabs stay what they are, since no program reads
/// it back.
pub(super) fn escape_for_display(line: &str) -> String {
    escape(line.as_bytes(), |c| c.is_control() && c != '\t')
}

fn escape(bytes: &[u8], unfit: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let hex = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            let _ = write!(text, "\\x{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if unfit(c) {
                hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        hex(&mut text, chunk.invalid());
    }
    text
}

/// What [`escaped`] was given. `None`: it never wrote this.
pub(super) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.strip_prefix('x')?;
        bytes.push(byte(digits.get(..2)?)?);
        bytes.extend(digits.get(2..)?.as_bytes());
    }
    // One way to write each value, so that a line that was tampered with is not taken for another
    // one.
    (escaped(&bytes) == text).then_some(bytes)
}

fn byte(digits: &str) -> Option<u8> {
    // `from_str_radix` takes a sign as well.
    digits
        .bytes()
        .all(|d| d.is_ascii_hexdigit())
        .then(|| u8::from_str_radix(digits, 16).ok())?
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A word for a POSIX shell.
pub(super) fn shell_quote(word: &OsStr) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', r"'\''")),
        None => written_out(word),
    }
}

/// A word that is no text: the shell has printf(1) make it of octal digits. It takes line feeds at
/// the end away, which a path that is no text has to do without.
fn written_out(word: &OsStr) -> String {
    let mut all = String::new();
    for &byte in word.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "\\{byte:03o}");
        }
    }
    format!("\"$(printf '{all}')\"")
}

/// A moment, in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct UtcTime {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millisecond: u32,
}

impl UtcTime {
    /// A time before 1970 is taken for 1970.
    pub(super) fn at(time: SystemTime) -> UtcTime {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let seconds = since.as_secs();
        // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days: years
        // begin in March there, and eras of 400 years in the year 0.
        let days = seconds / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        UtcTime {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            millisecond: since.subsec_millis(),
        }
    }

    /// As RFC 3339 has it.
    pub(super) fn rfc3339(self) -> String {
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            self.year, self.month, self.day, self.hour, self.minute, self.second, self.millisecond
        )
    }

    /// For the name of a file: the same order, and nothing that a shell or another system minds.
    pub(super) fn compact(self) -> String {
        format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_comes_back_and_keeps_to_its_line() {
        for value in [
            &b"plain"[..],
            b"",
            b"two\nlines\r and a \x1b[31m red \\ one",
            b"\xff\xfe not UTF-8 \xc3",
            "Umlaute: äöü, and \u{85}".as_bytes(),
            b"\\x41",
        ] {
            let text = escaped(value);
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert_eq!(unescaped(&text).as_deref(), Some(value), "{text}");
        }
        for garbage in [
            "\\", "\\x", "\\x4", "\\xg0", "\\x+1", "\\n", "\\x41", "\\xé",
        ] {
            assert_eq!(unescaped(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_line_for_people_stays_legible() {
        assert_eq!(escape_for_display("C:\\dir\t\x1b[2J"), "C:\\dir\t\\x1b[2J");
    }

    #[test]
    fn moments() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.250Z"),
            (951_782_399, "2000-02-28T23:59:59.250Z"),
            (951_782_400, "2000-02-29T00:00:00.250Z"),
            (1_709_251_199, "2024-02-29T23:59:59.250Z"),
            (1_735_689_599, "2024-12-31T23:59:59.250Z"),
            (1_735_689_600, "2025-01-01T00:00:00.250Z"),
            (4_107_542_400, "2100-03-01T00:00:00.250Z"),
            (253_402_300_799, "9999-12-31T23:59:59.250Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 250_000_000);
            assert_eq!(UtcTime::at(time).rfc3339(), expected);
        }
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(951_782_399);
        assert_eq!(UtcTime::at(late).compact(), "20000228T235959Z");
    }

    #[test]
    fn words_for_a_shell() {
        assert_eq!(shell_quote(OsStr::new("/usr/bin/a-b.c")), "/usr/bin/a-b.c");
        assert_eq!(shell_quote(OsStr::new("it's $HOME")), r"'it'\''s $HOME'");
        assert_eq!(shell_quote(OsStr::new("")), "''");
        let odd = OsStr::from_bytes(b"/a b/\xff'%");
        assert_eq!(shell_quote(odd), r#""$(printf '/a\040b/\377\047\045')""#);
    }
}
