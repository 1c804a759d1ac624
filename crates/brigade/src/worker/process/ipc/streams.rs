//! Where a worker's standard streams go, if not where they go by default, and what else comes with
//! them before its setup; and lines, as they travel to their reader.
//!
//! Which task has written a line, the bytes in a pipe do not tell. So a worker whose lines are read
//! writes, before the first task of a function, a mark of which function that is ([`mark`]) into
//! the stream itself, where it has its place among the lines. It is one write of less than
//! `PIPE_BUF` bytes, which nothing comes between. The fork server takes it out again. A task that
//! forges one has its own lines called by another task's name, or by none.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// What the fork server does with what a worker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Route {
    Nowhere,
    /// Into the file that comes along.
    File,
    /// By lines, to the socket that comes along.
    Lines,
}

/// What is to become of the streams of a worker that has no task yet. With a descriptor for each
/// that needs one, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Routes {
    pub(crate) stdin: bool,
    pub(crate) stdout: Option<Route>,
    pub(crate) stderr: Option<Route>,
    /// Whether a memory file comes with them, of a value that is too large for the worker's setup.
    pub(crate) value: bool,
    /// The socket that its events go to.
    pub(crate) events: bool,
}

/// Those, and their descriptors, on their way to the fork server.
pub(crate) type SentRoutes = (Routes, Vec<OwnedFd>);

/// What the worker itself needs to know of its streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnStreams {
    /// These come through its descriptor socket, in this order.
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    /// Whether it tells its tasks in stdout and in stderr.
    pub(crate) marks: [bool; 2],
    /// A memory file comes behind its streams.
    pub(crate) value: bool,
    /// A socket comes behind that, to which its events go: those up to this level, from 1, errors
    /// alone, to 5.
    pub(crate) events: Option<u8>,
}

/// The numbers under which they come through the descriptor socket, or that they do not come. Those
/// of attachments count from 0.
pub(crate) const STREAMS: u64 = u64::MAX;
pub(crate) const NO_STREAMS: u64 = u64::MAX - 1;

/// How a mark begins. No text has it.
const BEGIN: &[u8; 16] = b"\0brigade: task \0";

/// How long a mark is: two words in hexadecimal digits, and the line's end.
pub(crate) const MARK: usize = BEGIN.len() + 32 + 1;

/// A task's function, as a plan has it.
pub(crate) type PlanWords = [u64; 2];

/// The mark of a task.
pub(crate) fn mark([entry, function]: PlanWords) -> String {
    let begin = String::from_utf8_lossy(BEGIN);
    format!("{begin}{entry:016x}{function:016x}\n")
}

/// A line, with its end, without the mark at its end, if it has one.
pub(crate) fn split_mark(line: &[u8]) -> (&[u8], Option<PlanWords>) {
    let read = || {
        let (text, mark) = line.split_at(line.len().checked_sub(MARK)?);
        let words = mark.strip_prefix(BEGIN)?.strip_suffix(b"\n")?;
        let words = std::str::from_utf8(words).ok()?;
        let word = |digits| u64::from_str_radix(digits, 16).ok();
        Some((text, [word(words.get(..16)?)?, word(words.get(16..)?)?]))
    };
    match read() {
        Some((text, function)) => (text, Some(function)),
        None => (line, None),
    }
}

/// Where the beginning of a mark may stand at the end of a text whose rest has not come.
pub(crate) fn mark_begins(text: &[u8]) -> Option<usize> {
    let from = text.len().saturating_sub(MARK - 1);
    (from..text.len()).find(|&at| {
        let shared = (text.len() - at).min(BEGIN.len());
        text[at..at + shared] == BEGIN[..shared]
    })
}

/// What a worker has written, without marks.
pub(crate) fn without_marks(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|&b| b == b'\n');
    lines.flat_map(|line| split_mark(line).0).copied().collect()
}

/// A line on its way to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineFrame<'a> {
    pub(crate) pid: u32,
    pub(crate) is_stderr: bool,
    /// The line's end was there.
    pub(crate) is_whole: bool,
    /// How many of this worker's stream were lost before it.
    pub(crate) lost: u64,
    pub(crate) function: PlanWords,
    pub(crate) text: &'a [u8],
}

/// Bytes before the text.
pub(crate) const HEADER: usize = 4 + 4 + 8 + 16;

impl<'a> LineFrame<'a> {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let flags = u32::from(self.is_stderr) | u32::from(self.is_whole) << 1;
        let mut bytes = Vec::with_capacity(HEADER + self.text.len());
        bytes.extend(self.pid.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        for word in [self.lost, self.function[0], self.function[1]] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(self.text);
        bytes
    }

    /// `None`: that is none.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<LineFrame<'a>> {
        let (header, text) = bytes.split_at_checked(HEADER)?;
        let (head, words) = header.split_at(8);
        let half = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let word = |at: usize| Some(u64::from_ne_bytes(words.get(at..at + 8)?.try_into().ok()?));
        let flags = half(4)?;
        Some(LineFrame {
            pid: half(0)?,
            is_stderr: flags & 1 != 0,
            is_whole: flags & 2 != 0,
            lost: word(0)?,
            function: [word(8)?, word(16)?],
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_at_the_end_of_a_line_and_nowhere_else() {
        let function = [7, u64::MAX];
        let mark = mark(function);
        assert_eq!(mark.len(), MARK);
        assert_eq!(split_mark(mark.as_bytes()), (&b""[..], Some(function)));
        let after_text = format!("begun{mark}");
        let split = split_mark(after_text.as_bytes());
        assert_eq!(split, (&b"begun"[..], Some(function)));
        for other in ["", "text\n", "\0brigade: task \0\n", &mark[1..]] {
            assert_eq!(split_mark(other.as_bytes()), (other.as_bytes(), None));
        }
        let spoilt = mark.replace('7', "x");
        assert_eq!(split_mark(spoilt.as_bytes()), (spoilt.as_bytes(), None));
        let text = format!("one\ntw{mark}two\n{mark}");
        assert_eq!(without_marks(text.as_bytes()), b"one\ntwtwo\n");
    }

    #[test]
    fn the_beginning_of_a_mark_may_have_come_alone() {
        let mark = mark([1, 2]);
        for cut in 1..MARK {
            let text = format!("x{}", &mark[..cut]);
            assert_eq!(mark_begins(text.as_bytes()), Some(1), "{cut}");
        }
        assert_eq!(mark_begins(b"text"), None);
        assert_eq!(mark_begins(b"text\0bri\0ade"), None);
    }

    #[test]
    fn a_line_arrives_as_it_was_and_what_is_none_is_refused() {
        let line = LineFrame {
            pid: 4711,
            is_stderr: true,
            is_whole: false,
            lost: 3,
            function: [1, u64::MAX],
            text: b"text",
        };
        assert_eq!(LineFrame::read(&line.to_bytes()), Some(line));
        assert_eq!(LineFrame::read(&line.to_bytes()[..HEADER - 1]), None);
    }
}
