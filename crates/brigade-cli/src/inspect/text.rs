//! The picture as text: each process a box of its own memory, with its threads inside.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::picture::{
    Access, Connection, Descriptor, DescriptorKind, End, Kind, Picture, Process, Seen, Thread,
};
use super::pools;
use crate::terminal::{Paint, pad, wrap};

/// Threads that are drawn of one process. The JSON has all.
const THREADS: usize = 12;

/// Columns of a command line.
const COMMAND: usize = 180;

/// A box is not narrower than this, however deep it lies.
const NARROWEST: usize = 40;

pub(super) fn report(picture: &Picture, columns: usize, paint: Paint) -> String {
    let mut out = String::new();
    let tree = Tree::of(picture);
    for &top in &tree.tops {
        draw(
            &mut out,
            picture,
            &tree,
            top,
            &mut Vec::new(),
            columns,
            paint,
        );
    }
    section(
        &mut out,
        "Connections",
        &picture.connections,
        picture,
        columns,
        paint,
    );
    section(
        &mut out,
        "Listens",
        &picture.listeners,
        picture,
        columns,
        paint,
    );
    if !picture.notes.is_empty() {
        let _ = writeln!(out, "\n{}", paint.bold("Not seen"));
        for note in &picture.notes {
            for (at, line) in wrap(note, columns - 4).into_iter().enumerate() {
                let mark = if at == 0 { "- " } else { "  " };
                let _ = writeln!(out, "  {mark}{}", paint.middling(&line));
            }
        }
    }
    out
}

/// Who is whose child, by index.
pub(super) struct Tree {
    pub(super) tops: Vec<usize>,
    pub(super) children: BTreeMap<usize, Vec<usize>>,
}

impl Tree {
    pub(super) fn of(picture: &Picture) -> Tree {
        let by_pid: BTreeMap<u32, usize> = picture
            .processes
            .iter()
            .enumerate()
            .map(|(at, process)| (process.pid, at))
            .collect();
        let mut tree = Tree {
            tops: Vec::new(),
            children: BTreeMap::new(),
        };
        for (at, process) in picture.processes.iter().enumerate() {
            match by_pid.get(&process.parent) {
                // A parent stands before its children, so there is no circle.
                Some(&parent) if parent < at => tree.children.entry(parent).or_default().push(at),
                _ => tree.tops.push(at),
            }
        }
        tree
    }
}

fn draw(
    out: &mut String,
    picture: &Picture,
    tree: &Tree,
    top: usize,
    above: &mut Vec<bool>,
    columns: usize,
    paint: Paint,
) {
    // Without recursion: a chain of processes may be long.
    let mut next = vec![(top, 0_usize, true)];
    while let Some((at, depth, is_last)) = next.pop() {
        above.truncate(depth.saturating_sub(1));
        let indent: String = above
            .iter()
            .map(|&goes_on| if goes_on { " │ " } else { "   " })
            .collect();
        let branch = match depth {
            0 => ("", ""),
            _ if is_last => (" └─", "   "),
            _ => (" ├─", " │ "),
        };
        if depth > 0 {
            above.push(!is_last);
        }
        let children = tree.children.get(&at).map_or(&[][..], Vec::as_slice);
        let width = columns
            .saturating_sub(indent.width() + branch.0.width())
            .max(NARROWEST);
        let lines = boxed(&picture.processes[at], width, !children.is_empty(), paint);
        for (line, text) in lines.iter().enumerate() {
            let branch = if line == 0 { branch.0 } else { branch.1 };
            let _ = writeln!(out, "{indent}{branch}{text}");
        }
        for (number, &child) in children.iter().enumerate().rev() {
            next.push((child, depth + 1, number + 1 == children.len()));
        }
    }
}

fn boxed(process: &Process, width: usize, has_children: bool, paint: Paint) -> Vec<String> {
    let inner = width - 4;
    let mut lines = Vec::new();
    let title = cut(&format!(" {} {} ", process.pid, process.name), inner);
    let rule = "─".repeat(inner + 1 - title.width());
    lines.push(format!("┌─{}{rule}┐", paint.bold(&title)));
    for text in body(process, inner) {
        lines.push(format!("│ {} │", pad(&cut(&text, inner), inner)));
    }
    let first = if has_children { "└┬" } else { "└─" };
    lines.push(format!("{first}{}┘", "─".repeat(inner + 1)));
    lines
}

fn body(process: &Process, inner: usize) -> Vec<String> {
    let facts = facts(process);
    let mut lines: Vec<String> = facts.iter().flat_map(|fact| wrap(fact, inner)).collect();
    match &process.published {
        Some(Seen::Seen(published)) => lines.extend(pools::lines(published)),
        Some(Seen::Not { unknown }) => lines.push(format!("pools: {unknown}")),
        None => {}
    }
    match process.threads.ok() {
        Some(threads) => lines.extend(thread_lines(threads)),
        None => lines.push(format!(
            "threads: {}",
            process.threads.say(|_| String::new())
        )),
    }
    lines
}

/// What there is to say of a process beside its pools and threads. The command line is cut.
pub(super) fn facts(process: &Process) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(because) = &process.because {
        lines.push(format!("({because})"));
    }
    let command = process.command.say(|words| words.join(" "));
    if !command.is_empty() {
        lines.push(cut(&command, COMMAND));
    }
    lines.push(format!(
        "user {}, {}, CPU {:.2} s",
        process.user.say(Clone::clone),
        process.state.word(),
        process.cpu_seconds
    ));
    lines.push(format!("memory: {}", process.memory.words()));
    let descriptors = process.descriptors.say(|all| by_kind(all));
    lines.push(format!("descriptors: {descriptors}"));
    lines
}

/// `12: 3 files, 2 sockets`.
fn by_kind(all: &[Descriptor]) -> String {
    let mut kinds: BTreeMap<DescriptorKind, usize> = BTreeMap::new();
    for descriptor in all {
        *kinds.entry(descriptor.kind).or_default() += 1;
    }
    let mut words: Vec<String> = Vec::new();
    words.extend(kinds.into_iter().map(|(kind, count)| kind.words(count)));
    match words.len() {
        0 => "none".into(),
        _ => format!("{}: {}", all.len(), words.join(", ")),
    }
}

fn thread_lines(threads: &[Thread]) -> Vec<String> {
    let mut lines: Vec<String> = threads
        .iter()
        .take(THREADS)
        .map(|thread| {
            format!(
                "~ {:<7} {}  {}  CPU {:.2} s",
                thread.tid,
                pad(&cut(&thread.name, 16), 16),
                pad(thread.state.word(), 13),
                thread.cpu_seconds
            )
        })
        .collect();
    if threads.len() > THREADS {
        lines.push(format!("~ and {} more threads", threads.len() - THREADS));
    }
    lines
}

fn section(
    out: &mut String,
    title: &str,
    connections: &[Connection],
    picture: &Picture,
    columns: usize,
    paint: Paint,
) {
    if connections.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.bold(title));
    let is_listener = title == "Listens";
    for connection in connections {
        let mut name = connection.name.clone();
        if let Some(bytes) = connection.size {
            let _ = write!(name, ", {}", size(bytes));
        }
        let text = sides(connection, picture, is_listener);
        let head = format!("  {:<7} ", connection.kind.word());
        let lines = wrap(
            &format!("{name}: {text}"),
            columns.saturating_sub(head.len()).max(20),
        );
        for (at, line) in lines.into_iter().enumerate() {
            let head = if at == 0 {
                head.clone()
            } else {
                " ".repeat(head.len())
            };
            let _ = writeln!(out, "{head}{line}");
        }
    }
}

/// `12 nginx (5) → 13 nginx (6)`.
fn sides(connection: &Connection, picture: &Picture, is_listener: bool) -> String {
    let all = |ends: &[End], with_access: bool| -> String {
        let ends: Vec<String> = ends
            .iter()
            .map(|end| say_end(end, picture, with_access))
            .collect();
        ends.join(", ")
    };
    let or_unseen = |text: String| match (text.is_empty(), &connection.remark) {
        (false, _) => text,
        (true, Some(remark)) => format!("{remark} (no process here)"),
        (true, None) => "closed, or not seen".into(),
    };
    match connection.kind {
        _ if is_listener => all(&connection.one, false),
        Kind::Queue | Kind::Region => all(&connection.one, true),
        Kind::Pipe => format!(
            "{} → {}",
            or_unseen(all(&connection.one, false)),
            or_unseen(all(&connection.other, false))
        ),
        Kind::Unix | Kind::Tcp => format!(
            "{} ↔ {}",
            all(&connection.one, false),
            or_unseen(all(&connection.other, false))
        ),
    }
}

fn say_end(end: &End, picture: &Picture, with_access: bool) -> String {
    let inside = picture
        .processes
        .iter()
        .find(|process| process.pid == end.pid);
    let outside = picture
        .outside
        .iter()
        .find(|process| process.pid == end.pid);
    let name = inside
        .map(|process| process.name.as_str())
        .or(outside.map(|process| process.name.as_str()))
        .unwrap_or_default();
    let mut what = Vec::new();
    if with_access {
        what.push(
            match (end.mapped, end.access) {
                (false, _) if end.descriptors.is_empty() => "",
                (_, Access::ReadWrite) => "reads and writes",
                (_, Access::Read) => "reads",
                (_, Access::Write) => "writes",
                (_, Access::None) => "has it",
            }
            .to_owned(),
        );
        if !end.mapped && end.descriptors.is_empty() {
            what.clear();
        }
    }
    match end.descriptors.as_slice() {
        [] => {}
        [one] => what.push(format!("descriptor {one}")),
        several => {
            let numbers: Vec<String> = several.iter().take(4).map(u32::to_string).collect();
            let more = if several.len() > 4 { "…" } else { "" };
            what.push(format!("descriptors {}{more}", numbers.join(" ")));
        }
    }
    format!("{} {name} ({})", end.pid, what.join(", "))
}

/// Cuts what is too wide, and says that by `…`.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        out.push(c);
    }
    out.push('…');
    out
}

/// `3.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (36 << 20, "36 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn what_is_too_wide_is_cut_and_says_so() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("メモリメモリ", 6), "メモ…");
    }
}
