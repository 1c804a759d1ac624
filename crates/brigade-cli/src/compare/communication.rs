//! Row 5: what it costs to tell another worker something.

use brigade::Kind;
use brigade::channel::Transport;

use super::format::{Unit, ratio};
use super::row::{Axis, Figure, Measured, Value, Views};
use super::stats::Summary;
use super::verdict::{self, Condition};
use super::{Context, Experiment, channels, pooled};
use crate::cores;
use crate::fail::Failure;
use crate::raw::{Job, Over, Plan, peer};
use crate::workers::KINDS;

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "communication",
    title: "Communication",
    claim: "Threads communicate through shared variables, fast. Processes need interprocess communication (IPC): pipe, socket, message queue, shared memory.",
    needs: &[],
    run,
};

const SMALL: usize = 64;
const LARGE: usize = 1024 * 1024;

/// A transport, the mechanism that it stands on, and the names of their figures: of the channel,
/// and of the mechanism by itself.
struct Means {
    transport: Transport,
    over: Over,
    round_trip: [&'static str; 2],
    bandwidth: [&'static str; 2],
}

static MEANS: [Means; 4] = [
    Means {
        transport: Transport::SharedMemory,
        over: Over::Page,
        round_trip: [ROUND_TRIP, "round-trip-page"],
        bandwidth: ["bandwidth-channel-shm", "bandwidth-page"],
    },
    Means {
        transport: Transport::Pipe,
        over: Over::Pipe,
        round_trip: [PIPE, "round-trip-pipe"],
        bandwidth: ["bandwidth-channel-pipe", "bandwidth-pipe"],
    },
    Means {
        transport: Transport::Socket,
        over: Over::Socket,
        round_trip: ["round-trip-channel-socket", "round-trip-socket"],
        bandwidth: ["bandwidth-channel-socket", "bandwidth-socket"],
    },
    Means {
        transport: Transport::Queue,
        over: Over::Queue,
        round_trip: ["round-trip-channel-queue", "round-trip-queue"],
        bandwidth: ["bandwidth-channel-queue", "bandwidth-queue"],
    },
];

/// Round trips that another row works with: by a channel over shared memory, and over a pipe.
pub(super) const ROUND_TRIP: &str = "round-trip-channel-shm";
pub(super) const PIPE: &str = "round-trip-channel-pipe";

/// The sizes in between, which only the charts show: bytes, a name, and that in an id; and how many
/// messages make a batch of round trips and one of messages one way.
const SIZES: [(usize, &str, &str, usize, usize); 5] = [
    (SMALL, "64 B", "64b", 100, 2_000),
    (1 << 10, "1 KiB", "1kib", 100, 2_000),
    (16 << 10, "16 KiB", "16kib", 50, 400),
    (256 << 10, "256 KiB", "256kib", 8, 40),
    (LARGE, "1 MiB", "1mib", 2, 16),
];

/// Channels of every transport, by the size of the message.
fn by_size(batches: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    for means in &MEANS {
        for (size, name, id, there_and_back, one_way) in SIZES {
            let plan = |job, rounds| Plan {
                job,
                size,
                rounds,
                batches,
                cores: cores::pair(),
            };
            let sides = |plan| KINDS.map(|kind| channels::measure(means.transport, kind, plan));
            let mut add =
                |figure: &str, label: String, unit, sides: [Result<Summary, Failure>; 2]| {
                    let [thread, process] = sides.map(Value::from_result);
                    let figure =
                        Figure::new(format!("{figure}-{id}"), label, unit, thread, process);
                    let line = means.transport.to_string();
                    figures.push(figure.at(Axis::Message, size as f64, line).detail());
                };
            // The ends of the lines are figures of their own already.
            if size != SMALL {
                let label = format!("{name} round trip, {} channel", means.transport);
                let plan = plan(Job::Echo, there_and_back);
                add(means.round_trip[0], label, Unit::Nanoseconds, sides(plan));
            }
            if size != LARGE {
                let label = format!("{name} messages, {} channel", means.transport);
                let rates = sides(plan(Job::Sink, one_way)).map(|cost| by_bytes(cost, size));
                add(means.bandwidth[0], label, Unit::BytesPerSecond, rates);
            }
        }
    }
    figures
}

fn round_trips(batches: usize) -> Plan {
    Plan {
        job: Job::Echo,
        size: SMALL,
        rounds: 100,
        batches,
        cores: cores::pair(),
    }
}

fn large_ones(batches: usize) -> Plan {
    Plan {
        job: Job::Sink,
        size: LARGE,
        rounds: 16,
        batches,
        cores: cores::pair(),
    }
}

/// Nanoseconds per message: by the channel, and by the mechanism alone.
fn measure(means: &Means, kind: Kind, plan: Plan) -> [Result<Summary, Failure>; 2] {
    [
        channels::measure(means.transport, kind, plan),
        raw(means.over, kind, plan),
    ]
}

fn raw(over: Over, kind: Kind, plan: Plan) -> Result<Summary, Failure> {
    Summary::of(&peer::measure(over, kind, plan)?)
}

fn by_bytes(per_message: Result<Summary, Failure>, size: usize) -> Result<Summary, Failure> {
    per_message.map(|nanoseconds| nanoseconds.per(size as f64 * 1e9))
}

/// The two lines of a transport: the channel's, and under it what the mechanism does by itself.
fn lines(
    ids: [&'static str; 2],
    labels: [String; 2],
    unit: Unit,
    [thread, process]: [[Result<Summary, Failure>; 2]; 2],
) -> Vec<Figure> {
    let sides = thread.into_iter().zip(process);
    ids.into_iter()
        .zip(labels)
        .zip(sides)
        .map(|((id, label), (thread, process))| {
            let [thread, process] = [thread, process].map(Value::from_result);
            Figure::new(id, label, unit, thread, process)
        })
        .collect()
}

/// The channel's figure, the first of its two, is a point of the line of its transport.
fn on_line(means: &Means, size: usize, lines: Vec<Figure>) -> impl Iterator<Item = Figure> {
    let line = means.transport.to_string();
    lines.into_iter().enumerate().map(move |(index, figure)| {
        if index == 0 {
            figure.at(Axis::Message, size as f64, line.clone())
        } else {
            figure
        }
    })
}

fn run(context: &Context<'_>) -> Result<Measured, Failure> {
    let batches = context.pick(15, 5);
    let plan = round_trips(batches);
    let mut figures = Vec::new();
    for means in &MEANS {
        let labels = [
            format!("64 B round trip, {} channel", means.transport),
            format!("64 B round trip, raw {}", means.transport),
        ];
        let both = KINDS.map(|kind| measure(means, kind, plan));
        let lines = lines(means.round_trip, labels, Unit::Nanoseconds, both);
        figures.extend(on_line(means, SMALL, lines));
    }
    // What placement does.
    let [core, _] = plan.cores;
    let together = Plan {
        cores: [core, core],
        ..plan
    };
    let labels = [
        "64 B round trip, pipe, one core".to_owned(),
        "64 B round trip, raw, one core".to_owned(),
    ];
    let both = KINDS.map(|kind| measure(&MEANS[1], kind, together));
    let ids = [
        "round-trip-channel-pipe-one-core",
        "round-trip-pipe-one-core",
    ];
    figures.extend(lines(ids, labels, Unit::Nanoseconds, both));
    figures.push(Figure::new(
        "round-trip-std",
        "64 B round trip, std's mpsc",
        Unit::Nanoseconds,
        Value::from_result(channels::measure_std(plan)),
        Value::None,
    ));
    for means in &MEANS {
        let labels = [
            format!("1 MiB messages, {} channel", means.transport),
            format!("1 MiB messages, raw {}", means.transport),
        ];
        let both = KINDS.map(|kind| {
            measure(means, kind, large_ones(batches)).map(|cost| by_bytes(cost, LARGE))
        });
        let lines = lines(means.bandwidth, labels, Unit::BytesPerSecond, both);
        figures.extend(on_line(means, LARGE, lines));
    }
    figures.extend(pooled::inputs(context.pick(7, 3)));
    figures.extend(by_size(context.pick(5, 2)));
    let conditions = conditions(&figures)?;
    let views = views(&figures);
    Ok(Measured {
        done: "The library's channels, with the far end in a thread and in a process of the library's: 64 bytes there and back; 1 MiB \
               messages one way, each a vector that is allocated, sent and dropped. Raw: the mechanism by itself, with bytes that \
               stay where they are, and the far end in a thread and in another program. Each end stays on a core of its own, where there are \
               two; over shared memory both look again for a moment before they sleep. Input: a task is given a \
               vector of bytes and does nothing with it; it moves to a thread and is written and read back for a process."
            .to_owned(),
        views: Some(views),
        verdict: verdict::of_size(&conditions, "the transport"),
        notes: vec![
            "The verdict compares each channel between processes with the one over shared memory between threads.".to_owned(),
            same_mechanism(&figures),
        ],
        figures,
    })
}

/// Each channel between processes, and the quickest between threads.
fn conditions(figures: &[Figure]) -> Result<Vec<Condition>, Failure> {
    let line = |id: &str| figures.iter().find(|figure| figure.id == id);
    let between_threads = line(ROUND_TRIP)
        .and_then(|figure| figure.thread.summary())
        .ok_or_else(|| Failure::new("a channel between two threads could not be measured"))?;
    Ok(MEANS
        .iter()
        .filter_map(|means| {
            let between_processes = line(means.round_trip[0])?.process.summary()?;
            let name = means.transport.to_string();
            Some(Condition::new(name, between_processes, between_threads))
        })
        .collect())
}

fn views(figures: &[Figure]) -> Views {
    Views::of(|side| {
        let said = |id: &str| {
            let figure = figures.iter().find(|figure| figure.id == id);
            figure.map_or_else(String::new, |figure| side(figure).said(figure.unit))
        };
        format!(
            "64 bytes there and back take {} over shared memory and {} over a pipe; a pool's task with 1 MiB of input takes {}.",
            said(ROUND_TRIP),
            said(PIPE),
            said("input-pooled-1mib")
        )
    })
}

/// What the same transport costs between processes, by what it costs between threads: from the
/// least to the most.
fn same_mechanism(figures: &[Figure]) -> String {
    let ratios = figures
        .iter()
        .filter(|figure| figure.id.starts_with("round-trip") && !figure.detail)
        .filter_map(Figure::ratio);
    let (least, most) = ratios.fold((f64::INFINITY, 0.0_f64), |(least, most), one| {
        (least.min(one), most.max(one))
    });
    format!(
        "Over one and the same transport a round trip between processes takes {} to {} that between threads.",
        ratio(Some(least)),
        ratio(Some(most))
    )
}
