//! How wide, in what colours, and to whom it is printed.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// No line of ours is wider than this many columns.
pub(crate) const COLUMNS: usize = 100;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// If standard output is a terminal that has them, and NO_COLOR is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// The decision, for standard output.
    pub(crate) fn decide(self) -> Paint {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Paint {
            on: match self {
                Self::Always => true,
                Self::Never => false,
                Self::Auto => io::stdout().is_terminal() && !set("NO_COLOR") && !dumb,
            },
        }
    }
}

/// Puts colours on text, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    pub(crate) on: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn middling(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }
}

/// Breaks text into lines of at most `width` columns: between words where it can, inside a word
/// that is too long.
///
/// Widths are of the terminal, so that wide characters count as two. Control characters become
/// visible: text from outside must not steer the terminal.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let text: String = text
        .chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    for (index, paragraph) in text.split('\n').enumerate() {
        if index > 0 {
            lines.push(std::mem::take(&mut line));
        }
        for word in words(paragraph) {
            let gap = usize::from(!line.is_empty());
            if !line.is_empty() && line.width() + gap + word.width() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            for character in word.chars() {
                if !line.is_empty() && line.width() + character.width().unwrap_or(0) > width {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(character);
            }
        }
    }
    lines.push(line);
    lines
}

/// The words of a paragraph, a number and its unit as one.
fn words(paragraph: &str) -> Vec<String> {
    const UNITS: [&str; 14] = [
        "×", "%", "ns", "µs", "ms", "s", "B", "KiB", "MiB", "GiB", "kB/s", "MB/s", "GB/s", "cores",
    ];
    let mut words: Vec<String> = Vec::new();
    for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
        let unit = word.trim_end_matches([',', '.', ';', ':', ')', '(']);
        match words.last_mut() {
            Some(number) if UNITS.contains(&unit) && is_number(number) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// This text with spaces that break no line between a number and its unit.
pub(crate) fn keep_units(text: &str) -> String {
    let whole = |word: String| word.replace(' ', "\u{a0}");
    let words: Vec<String> = words(text).into_iter().map(whole).collect();
    words.join(" ")
}

fn is_number(word: &str) -> bool {
    word.ends_with(|last: char| last.is_ascii_digit() || last == '∞')
}

/// Fills up with spaces to `width` columns.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Prints to standard output. Who reads may stop reading: `brigade compare | head` is no failure.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_inside_long_ones() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("a\nb", 4), ["a", "b"]);
    }

    #[test]
    fn a_number_keeps_its_unit() {
        assert_eq!(wrap("a fork 110 ×, more", 10), ["a fork", "110 ×,", "more"]);
        assert_eq!(wrap("takes (4.21 µs).", 12), ["takes", "(4.21 µs)."]);
    }

    #[test]
    fn a_number_keeps_its_unit_elsewhere_too() {
        assert_eq!(
            keep_units("takes 4.21 µs, or 3 %"),
            "takes 4.21\u{a0}µs, or 3\u{a0}%"
        );
        assert_eq!(keep_units("1 of 2"), "1 of 2");
    }

    #[test]
    fn wide_characters_count_as_two() {
        for line in wrap("メモリを共有するスレッド µs × ∞", 9) {
            assert!(line.width() <= 9, "{line:?}");
        }
    }

    #[test]
    fn text_from_outside_does_not_steer_the_terminal() {
        assert_eq!(wrap("a\x1b[31mb", 20), ["a\u{fffd}[31mb"]);
    }

    #[test]
    fn colours_only_when_on() {
        assert_eq!(Paint { on: false }.good("x"), "x");
        assert_eq!(Paint { on: true }.good("x"), "\x1b[32mx\x1b[0m");
        assert!(Color::Always.decide().on);
        assert!(!Color::Never.decide().on);
    }
}
