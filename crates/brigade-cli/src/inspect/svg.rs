//! The picture as SVG: a box for each process, a wavy line in it for each thread, and beside the
//! boxes a line for each connection, with a stub to each process that has an end of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::xml;
use super::picture::{Connection, Kind, Picture, Process, Seen};
use super::text::{self, Tree, cut};

/// In pixels.
const MARGIN: usize = 16;
const WIDTH: usize = 560;
const INDENT: usize = 28;
const NARROWEST: usize = 280;
const LINE: usize = 17;
const GAP: usize = 14;
const LANE: usize = 26;
/// Of the font, which is monospaced.
const CHARACTER: f64 = 7.3;
/// Children are no further in than this many steps.
const DEEPEST: usize = 8;
/// Lines of pools, and threads, that are drawn of one process.
const POOL_LINES: usize = 8;
const THREADS: usize = 12;

const STYLE: &str = "\
text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#1a1a1a}.t{font-weight:bold}.s{font-size:11px}.l{font-size:11px;paint-order:stroke;stroke:#fafafa;stroke-width:4px}\
.box{fill:#fff;stroke:#333;stroke-width:1.5}.out{fill:#f3f3f3;stroke:#777;stroke-dasharray:5 4}.bg{fill:#fafafa}\
.thread{fill:none;stroke:#333;stroke-width:1.5}.tree{fill:none;stroke:#999}\
.c{fill:none;stroke-width:2}.dot{stroke:none}\
.pipe{stroke:#0b62a8;fill:#0b62a8}.unix{stroke:#8a4b08;fill:#8a4b08;stroke-dasharray:8 3}.tcp{stroke:#8a4b08;fill:#8a4b08;stroke-dasharray:2 3}\
.queue{stroke:#6b2fa0;fill:#6b2fa0;stroke-dasharray:12 3 2 3}.region{stroke:#1b7a3d;fill:#1b7a3d;stroke-width:3.5}\
line.c{fill:none}\
@media(prefers-color-scheme:dark){text{fill:#e8e8e8}.l{stroke:#161616}.bg{fill:#161616}.box{fill:#222;stroke:#bbb}.out{fill:#1a1a1a;stroke:#888}\
.thread{stroke:#ccc}.pipe{stroke:#6db3f2;fill:#6db3f2}.unix,.tcp{stroke:#e0a050;fill:#e0a050}.queue{stroke:#c79bf0;fill:#c79bf0}.region{stroke:#6fcf8e;fill:#6fcf8e}}";

/// Where a process is.
#[derive(Debug, Clone, Copy)]
struct Place {
    top: usize,
    right: usize,
    /// How many stubs there are at it already.
    stubs: usize,
    lines: usize,
}

type Point = (usize, usize);

/// Where a connection meets a process.
#[derive(Debug, Clone, Copy)]
struct Stub {
    pid: u32,
    y: usize,
    /// Of [`Connection::one`].
    is_one: bool,
}

pub(super) fn draw(picture: &Picture) -> String {
    let mut body = String::new();
    let mut places = BTreeMap::new();
    let mut y = MARGIN;
    boxes(&mut body, picture, &mut places, &mut y);
    for outside in &picture.outside {
        let place = Place {
            top: y,
            right: MARGIN + NARROWEST,
            stubs: 0,
            lines: 1,
        };
        let label = format!("{} {} (not in this picture)", outside.pid, outside.name);
        rectangle(&mut body, "out", MARGIN, y, NARROWEST, LINE + 10);
        line(
            &mut body,
            "s",
            MARGIN + 8,
            y + LINE,
            &fit(&label, NARROWEST),
        );
        places.insert(outside.pid, place);
        y += LINE + 10 + GAP;
    }
    let lanes = connections(&mut body, picture, &mut places);
    legend(&mut body, picture, &mut y);
    let width = MARGIN * 3 + WIDTH + lanes * LANE;
    let height = y + MARGIN;
    let name = picture
        .processes
        .first()
        .map_or("", |process| &process.name);
    let title = xml(&format!(
        "Process {} ({name}) and what it is connected with",
        picture.root
    ));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\
         <title>{title}</title><style>{STYLE}</style>\n\
         <defs><marker id=\"to\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" class=\"pipe\" stroke=\"none\"/></marker></defs>\n\
         <rect class=\"bg\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

fn boxes(out: &mut String, picture: &Picture, places: &mut BTreeMap<u32, Place>, y: &mut usize) {
    let tree = Tree::of(picture);
    // Each with its depth, and where the line from its parent comes from.
    let mut next: Vec<(usize, usize, Option<Point>)> =
        tree.tops.iter().rev().map(|&at| (at, 0, None)).collect();
    while let Some((at, depth, parent)) = next.pop() {
        let process = &picture.processes[at];
        let x = MARGIN + INDENT * depth.min(DEEPEST);
        let width = WIDTH - INDENT * depth.min(DEEPEST);
        let (height, lines) = process_box(out, process, x, *y, width);
        if let Some((from_x, from_y)) = parent {
            let to = *y + LINE / 2 + 4;
            let _ = writeln!(
                out,
                "<path class=\"tree\" d=\"M{from_x} {from_y}V{to}H{x}\"/>"
            );
        }
        let place = Place {
            top: *y,
            right: x + width,
            stubs: 0,
            lines,
        };
        places.insert(process.pid, place);
        let below = (x + INDENT / 2, *y + height);
        for &child in tree
            .children
            .get(&at)
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .rev()
        {
            next.push((child, depth + 1, Some(below)));
        }
        *y += height + GAP;
    }
}

/// Draws one process. Its height, and how many lines of text it has.
fn process_box(
    out: &mut String,
    process: &Process,
    x: usize,
    y: usize,
    width: usize,
) -> (usize, usize) {
    let mut lines = text::facts(process);
    if let Some(Seen::Seen(published)) = &process.published {
        let mut pools = super::pools::lines(published);
        let more = pools.len().saturating_sub(POOL_LINES);
        pools.truncate(POOL_LINES);
        if more > 0 {
            pools.push(format!("and {more} more lines"));
        }
        lines.extend(pools);
    }
    let threads = process.threads.ok().map_or(&[][..], Vec::as_slice);
    let shown = threads.len().min(THREADS);
    let more = threads.len() - shown;
    let count = 1 + lines.len() + shown + usize::from(more > 0);
    let height = count * LINE + 12;
    let _ = writeln!(
        out,
        "<g><title>{}</title>",
        xml(&process.command.say(|words| words.join(" ")))
    );
    rectangle(out, "box", x, y, width, height);
    let mut at = y + LINE;
    line(
        out,
        "t",
        x + 8,
        at,
        &fit(&format!("{} {}", process.pid, process.name), width),
    );
    for text in &lines {
        at += LINE;
        line(out, "s", x + 8, at, &fit(text, width));
    }
    for thread in &threads[..shown] {
        at += LINE;
        let mut wave = format!("M{} {}", x + 10, at - 4);
        for _ in 0..4 {
            wave.push_str("q4 -8 8 0t8 0");
        }
        let _ = writeln!(out, "<path class=\"thread\" d=\"{wave}\"/>");
        let label = format!(
            "{} {}, {}, CPU {:.2} s",
            thread.tid,
            thread.name,
            thread.state.word(),
            thread.cpu_seconds
        );
        line(out, "s", x + 84, at, &fit(&label, width - 76));
    }
    if more > 0 {
        at += LINE;
        line(out, "s", x + 84, at, &format!("and {more} more threads"));
    }
    out.push_str("</g>\n");
    (height, count)
}

/// Draws the connections. How many lanes they take.
fn connections(out: &mut String, picture: &Picture, places: &mut BTreeMap<u32, Place>) -> usize {
    let left = MARGIN * 2 + WIDTH;
    // The last line that is taken in each lane.
    let mut lanes: Vec<usize> = Vec::new();
    let mut all: Vec<(&Connection, Vec<Stub>)> = Vec::new();
    for connection in &picture.connections {
        let ends = connection.one.iter().map(|end| (end, true));
        let ends = ends.chain(connection.other.iter().map(|end| (end, false)));
        let mut stubs = Vec::new();
        for (end, is_one) in ends {
            if let Some(place) = places.get_mut(&end.pid) {
                // Each has a height of its own, as long as there is room.
                let y = place.top + 10 + (place.stubs * 7) % (place.lines * LINE);
                place.stubs += 1;
                stubs.push(Stub {
                    pid: end.pid,
                    y,
                    is_one,
                });
            }
        }
        all.push((connection, stubs));
    }
    all.sort_by_key(|(_, stubs)| stubs.iter().map(|stub| stub.y).min());
    let mut labels = String::new();
    for (connection, stubs) in all {
        let heights = stubs.iter().map(|stub| stub.y);
        let (Some(from), Some(to)) = (heights.clone().min(), heights.max()) else {
            continue;
        };
        let end = to.max(from + 90);
        let lane = lanes
            .iter()
            .position(|&taken| taken + 8 < from)
            .unwrap_or(lanes.len());
        match lanes.get_mut(lane) {
            Some(taken) => *taken = end,
            None => lanes.push(end),
        }
        let label = wire(
            out,
            connection,
            &stubs,
            places,
            left + lane * LANE,
            from,
            to,
        );
        labels.push_str(&label);
    }
    // Over all lines.
    out.push_str(&labels);
    lanes.len()
}

/// Draws one connection, and gives its label.
fn wire(
    out: &mut String,
    connection: &Connection,
    stubs: &[Stub],
    places: &BTreeMap<u32, Place>,
    x: usize,
    from: usize,
    to: usize,
) -> String {
    let class = class(connection.kind);
    let name = format!("{} {}", connection.kind.word(), connection.name);
    let _ = writeln!(out, "<g><title>{}</title>", xml(&name));
    let _ = writeln!(
        out,
        "<line class=\"c {class}\" x1=\"{x}\" y1=\"{from}\" x2=\"{x}\" y2=\"{to}\"/>"
    );
    for Stub { pid, y, is_one } in stubs {
        let Some(place) = places.get(pid) else {
            continue;
        };
        let right = place.right;
        // Bytes of a pipe come out here.
        let arrow = if connection.kind == Kind::Pipe && !is_one {
            " marker-end=\"url(#to)\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "<line class=\"c {class}\" x1=\"{x}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\"{arrow}/>"
        );
        if arrow.is_empty() {
            let _ = writeln!(
                out,
                "<circle class=\"dot {class}\" cx=\"{right}\" cy=\"{y}\" r=\"3.5\"/>"
            );
        }
    }
    out.push_str("</g>\n");
    // Beside the middle of the line, where the fewest others cross.
    let (at, y) = (x + 12, (from + to).saturating_sub(160) / 2 + 4);
    let label = xml(&cut(&name, 24));
    format!(
        "<text class=\"l\" transform=\"translate({at} {y}) rotate(90)\" dy=\"4\">{label}</text>\n"
    )
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Pipe => "pipe",
        Kind::Unix => "unix",
        Kind::Tcp => "tcp",
        Kind::Queue => "queue",
        Kind::Region => "region",
    }
}

/// What the lines mean, where one can listen to, and what was not seen.
fn legend(out: &mut String, picture: &Picture, y: &mut usize) {
    for (kind, words) in [
        (Kind::Pipe, "pipe, from writer to reader"),
        (Kind::Unix, "pair of sockets"),
        (Kind::Tcp, "TCP connection"),
        (Kind::Queue, "POSIX message queue"),
        (Kind::Region, "shared region of memory"),
    ] {
        if picture
            .connections
            .iter()
            .any(|connection| connection.kind == kind)
        {
            let at = *y + LINE / 2;
            let class = class(kind);
            let _ = writeln!(
                out,
                "<line class=\"c {class}\" x1=\"{MARGIN}\" y1=\"{at}\" x2=\"{}\" y2=\"{at}\"/>",
                MARGIN + 60
            );
            line(out, "s", MARGIN + 72, *y + LINE - 4, words);
            *y += LINE;
        }
    }
    let listeners = picture.listeners.iter().map(|listener| {
        let pids: Vec<String> = listener.pids().iter().map(u32::to_string).collect();
        format!(
            "listens on {} {}: {}",
            listener.kind.word(),
            listener.name,
            pids.join(", ")
        )
    });
    let notes = picture.notes.iter().map(|note| format!("not seen: {note}"));
    for text in listeners.chain(notes) {
        line(out, "s", MARGIN, *y + LINE - 4, &fit(&text, WIDTH));
        *y += LINE;
    }
}

fn rectangle(out: &mut String, class: &str, x: usize, y: usize, width: usize, height: usize) {
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>"
    );
}

fn line(out: &mut String, class: &str, x: usize, y: usize, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>",
        xml(text)
    );
}

/// Cuts what is wider than a box.
fn fit(text: &str, width: usize) -> String {
    cut(text, (width.saturating_sub(16) as f64 / CHARACTER) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::look;

    #[test]
    fn the_picture_of_this_process_is_well_formed() {
        let mut picture = look::look(std::process::id()).unwrap();
        picture.processes[0].name = "<script>&\"'\u{1b}]0;x".into();
        let svg = draw(&picture);
        assert!(!svg.contains("<script>") && !svg.contains('\u{1b}'));
        assert!(svg.contains("&lt;script&gt;&amp;&quot;&#39;"));
        // Each element that is opened is closed.
        for name in ["svg", "g", "text", "title", "style", "defs"] {
            let opened = svg.matches(&format!("<{name}>")).count()
                + svg.matches(&format!("<{name} ")).count();
            assert_eq!(opened, svg.matches(&format!("</{name}>")).count(), "{name}");
        }
    }
}
