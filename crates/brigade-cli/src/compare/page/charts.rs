//! Which charts a row has, from which of its figures.

use super::super::advice::MARGIN;
use super::super::format::Unit;
use super::super::row::{self, Figure, Measured, Report, Value};
use super::super::{concurrency, creation};
use super::chart::{Axis, Chart, Line, Point};
use super::model::{Model, Task};
use super::scale::Scale;

type Side = fn(&Figure) -> &Value;

fn thread(figure: &Figure) -> &Value {
    &figure.thread
}

fn process(figure: &Figure) -> &Value {
    &figure.process
}

/// The charts of this row, each with a sentence on how to read it.
pub(super) fn of(id: &str, measured: &Measured, report: &Report) -> Vec<(Chart, &'static str)> {
    match id {
        "creation" => vec![creation(measured)],
        "communication" => communication(measured),
        "concurrency" => vec![concurrency(measured)],
        "advice" => break_even(report).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The points of this line, from left to right.
fn line(
    measured: &Measured,
    (axis, line, unit): (row::Axis, &str, Unit),
    side: Side,
    (name, style): (&str, usize),
) -> Line {
    let figures = measured.figures.iter().filter(|figure| figure.unit == unit);
    let mut points: Vec<Point> = figures
        .filter_map(|figure| {
            let at = figure.at.as_ref()?;
            let summary = side(figure).summary()?;
            let point = Point {
                x: at.value,
                y: summary.median,
                spread: (summary.samples > 1).then_some((summary.lower, summary.upper)),
            };
            (at.axis == axis && at.line == line).then_some(point)
        })
        .collect();
    points.sort_by(|one, other| one.x.total_cmp(&other.x));
    Line {
        name: name.to_owned(),
        points,
        style,
        has_marks: true,
    }
}

fn axis(label: &'static str, unit: Unit, scale: Scale) -> Axis {
    Axis { label, unit, scale }
}

fn creation(measured: &Measured) -> (Chart, &'static str) {
    let of = |name| (row::Axis::Heap, name, Unit::Nanoseconds);
    let chart = Chart {
        id: "chart-creation",
        title: "Time to create a worker, by the size of the program's heap".to_owned(),
        x: axis(
            "heap of the program that creates it",
            Unit::Bytes,
            Scale::Linear,
        ),
        y: axis("time until it has ended", Unit::Nanoseconds, Scale::Log),
        lines: vec![
            line(measured, of(creation::SPAWN), thread, ("thread", 0)),
            line(measured, of(creation::SPAWN), process, ("process", 1)),
            line(measured, of(creation::PROGRAM), process, ("program", 2)),
            line(measured, of(creation::FORK), process, ("bare fork", 3)),
        ],
        mark: None,
    };
    (
        chart,
        "Lower is quicker; each step of the grid is ten times the one below. A line that rises to the right says that a larger program pays more.",
    )
}

/// What a channel's transports are called in a chart.
const TRANSPORTS: [(&str, &str); 4] = [
    ("shm", "shared mem."),
    ("pipe", "pipe"),
    ("socket", "socket"),
    ("queue", "queue"),
];

fn communication(measured: &Measured) -> Vec<(Chart, &'static str)> {
    let by_transport = |unit| {
        TRANSPORTS
            .iter()
            .enumerate()
            .map(|(style, (id, name))| {
                let of = (row::Axis::Message, *id, unit);
                line(measured, of, process, (name, style))
            })
            .collect()
    };
    let size = || axis("size of the message", Unit::Bytes, Scale::Log);
    let input = |name| (row::Axis::Input, name, Unit::Nanoseconds);
    vec![
        (
            Chart {
                id: "chart-latency",
                title: "Latency: the round trip of a message between two processes, by its size".to_owned(),
                x: size(),
                y: axis("time there and back", Unit::Nanoseconds, Scale::Log),
                lines: by_transport(Unit::Nanoseconds),
                mark: None,
            },
            "Lower is quicker. The library's channels between two processes, over each of the kernel's means.",
        ),
        (
            Chart {
                id: "chart-bandwidth",
                title: "Bandwidth: bytes per second from one process to another, by the size of the message"
                    .to_owned(),
                x: size(),
                y: axis("bytes per second", Unit::BytesPerSecond, Scale::Log),
                lines: by_transport(Unit::BytesPerSecond),
                mark: None,
            },
            "Higher is quicker. The same channels, messages one way.",
        ),
        (
            Chart {
                id: "chart-input",
                title: "Time of a task that does nothing, by the size of its input".to_owned(),
                x: axis("size of the input", Unit::Bytes, Scale::Log),
                y: axis("time until its result", Unit::Nanoseconds, Scale::Log),
                lines: vec![
                    line(measured, input("pooled"), thread, ("thread", 0)),
                    line(measured, input("pooled"), process, ("pooled", 1)),
                    line(measured, input("fresh"), process, ("fresh", 2)),
                ],
                mark: None,
            },
            "Lower is quicker. A thread is given the input itself; for a process its bytes are copied.",
        ),
    ]
}

fn concurrency(measured: &Measured) -> (Chart, &'static str) {
    let of = (row::Axis::Workers, concurrency::SPEED_UP, Unit::Times);
    let chart = Chart {
        id: "chart-speed-up",
        title: "How many times as fast as one worker, by the number of workers".to_owned(),
        x: axis("workers at once", Unit::Count, Scale::Linear),
        y: axis("speed-up of CPU-bound work", Unit::Times, Scale::Linear),
        lines: vec![
            line(measured, of, thread, ("threads", 0)),
            line(measured, of, process, ("processes", 1)),
        ],
        mark: None,
    };
    (
        chart,
        "Higher is faster. More workers than cores gain nothing, of either kind.",
    )
}

/// Less than this share more than a thread is nothing: 0.01 %.
const NOTHING: f64 = 1e-4;

/// How much more a process costs than a thread, by the length of the task: from 1 µs to 10 s.
fn break_even(report: &Report) -> Option<(Chart, &'static str)> {
    let model = Model::of(report).ok()?;
    let lengths = (0..=70).map(|step| 10_f64.powf(3.0 + f64::from(step) / 10.0));
    let curves: Vec<[Point; 2]> = lengths
        .map(|length| {
            let task = Task {
                length,
                input: 0.0,
                crash: 0.0,
            };
            let [thread, pooled, fresh] = model.costs(task).map(|cost| cost.total());
            [pooled, fresh].map(|cost| Point {
                x: length,
                y: cost / thread - 1.0,
                spread: None,
            })
        })
        .collect();
    let curve = |index: usize, name: &str| Line {
        name: name.to_owned(),
        points: curves
            .iter()
            .map(|points| points[index])
            .filter(|point| point.y >= NOTHING)
            .collect(),
        style: index + 1,
        has_marks: false,
    };
    let chart = Chart {
        id: "chart-break-even",
        title: "How much more a process costs than a thread, by the length of the task".to_owned(),
        x: axis("length of the task", Unit::Nanoseconds, Scale::Log),
        y: axis("more than in a pool of threads", Unit::Share, Scale::Log),
        lines: vec![curve(0, "pooled"), curve(1, "fresh")],
        mark: Some((MARGIN, "5 % more")),
    };
    Some((
        chart,
        "Where a curve falls below the dashed line is the break-even: for longer tasks a process costs under 5 % more than a thread. Where a curve is missing it costs no more at all. No input, no crash.",
    ))
}
