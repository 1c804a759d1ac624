//! Row 5: what it costs to tell another worker something.

use brigade::Kind;

use super::format::{Unit, ratio};
use super::row::{Figure, Measured, Value};
use super::stats::Summary;
use super::verdict::{self, Condition};
use super::{Context, Experiment};
use crate::cores;
use crate::fail::Failure;
use crate::raw::{Job, Over, Plan, peer};
use crate::workers::KINDS;

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "communication",
    title: "Communication",
    claim: "Threads talk through variables, fast. Processes need the kernel's means: pipe, socket, message queue, shared memory.",
    needs: &[],
    run,
};

const SMALL: usize = 64;
const LARGE: usize = 1024 * 1024;

/// A mechanism and the names of its figures.
struct Means {
    over: Over,
    name: &'static str,
    round_trip: &'static str,
    bandwidth: &'static str,
}

static MEANS: [Means; 4] = [
    Means {
        over: Over::Page,
        name: "shared memory",
        round_trip: ROUND_TRIP,
        bandwidth: "bandwidth-page",
    },
    Means {
        over: Over::Pipe,
        name: "pipe",
        round_trip: PIPE,
        bandwidth: "bandwidth-pipe",
    },
    Means {
        over: Over::Socket,
        name: "socket",
        round_trip: "round-trip-socket",
        bandwidth: "bandwidth-socket",
    },
    Means {
        over: Over::Queue,
        name: "message queue",
        round_trip: "round-trip-queue",
        bandwidth: "bandwidth-queue",
    },
];

/// Round trips that another row works with: over shared memory, and over a pipe.
pub(super) const ROUND_TRIP: &str = "round-trip-page";
pub(super) const PIPE: &str = "round-trip-pipe";

struct Speed {
    /// Nanoseconds there and back.
    round_trip: Result<Summary, Failure>,
    /// Bytes per second one way.
    bandwidth: Result<Summary, Failure>,
}

fn speed(over: Over, kind: Kind, batches: usize) -> Speed {
    let cores = cores::pair();
    let small = Plan {
        job: Job::Echo,
        size: SMALL,
        rounds: 200,
        batches,
        cores,
    };
    let large = Plan {
        job: Job::Sink,
        size: LARGE,
        rounds: 16,
        batches,
        cores,
    };
    Speed {
        round_trip: measure(over, kind, small),
        bandwidth: measure(over, kind, large).map(|per| per.per(LARGE as f64 * 1e9)),
    }
}

fn measure(over: Over, kind: Kind, plan: Plan) -> Result<Summary, Failure> {
    Summary::of(&peer::measure(over, kind, plan)?)
}

/// The pipe's round trip once more, with both ends on one core: what placement does.
fn on_one_core(batches: usize) -> Figure {
    let [core, _] = cores::pair();
    let plan = Plan {
        job: Job::Echo,
        size: SMALL,
        rounds: 200,
        batches,
        cores: [core, core],
    };
    let [thread, process] = KINDS.map(|kind| Value::from_result(measure(Over::Pipe, kind, plan)));
    Figure::new(
        "round-trip-pipe-one-core",
        "64 B round trip, pipe, one core",
        Unit::Nanoseconds,
        thread,
        process,
    )
}

fn run(context: &Context<'_>) -> Result<Measured, Failure> {
    let batches = context.pick(41, 9);
    let measured: Vec<_> = MEANS
        .iter()
        .map(|means| {
            (
                means,
                speed(means.over, Kind::Thread, batches),
                speed(means.over, Kind::Process, batches),
            )
        })
        .collect();
    let Some((
        _,
        Speed {
            round_trip: Ok(variable),
            ..
        },
        _,
    )) = measured.first()
    else {
        return Err(Failure::new(
            "a variable between two threads could not be measured",
        ));
    };
    let mut figures = Vec::new();
    let mut conditions = Vec::new();
    for (means, thread, process) in &measured {
        let label = match means.over {
            Over::Page => "64 B round trip, variable".to_owned(),
            _ => format!("64 B round trip, {}", means.name),
        };
        let sides =
            [&thread.round_trip, &process.round_trip].map(|side| Value::from_result(side.clone()));
        let [by_thread, by_process] = sides;
        figures.push(Figure::new(
            means.round_trip,
            label,
            Unit::Nanoseconds,
            by_thread,
            by_process,
        ));
        if let Ok(process) = process.round_trip {
            conditions.push(Condition::new(means.name, process, *variable));
        }
    }
    figures.push(on_one_core(batches));
    for (means, thread, process) in &measured {
        let label = format!("1 MiB messages, {}", means.name);
        let sides =
            [&thread.bandwidth, &process.bandwidth].map(|side| Value::from_result(side.clone()));
        let [by_thread, by_process] = sides;
        figures.push(Figure::new(
            means.bandwidth,
            label,
            Unit::BytesPerSecond,
            by_thread,
            by_process,
        ));
    }
    Ok(Measured {
        done: "The raw mechanisms, with the far end in a thread and in another program: 64 bytes there and back; 1 MiB \
               messages one way. Each end stays on a core of its own, where there are two. Over shared memory (for threads: \
               a variable) both then look again for a moment before they sleep; otherwise the kernel puts them to sleep."
            .to_owned(),
        verdict: verdict::of_size(&conditions, "the mechanism"),
        notes: vec![
            "The verdict compares each mechanism between processes with a variable between threads.".to_owned(),
            same_mechanism(&figures),
        ],
        figures,
    })
}

/// What the same mechanism costs between processes, by what it costs between threads: from the least to the most.
fn same_mechanism(figures: &[Figure]) -> String {
    let ratios = figures
        .iter()
        .filter(|figure| figure.unit == Unit::Nanoseconds)
        .filter_map(Figure::ratio);
    let (least, most) = ratios.fold((f64::INFINITY, 0.0_f64), |(least, most), one| {
        (least.min(one), most.max(one))
    });
    format!(
        "Over one and the same mechanism a round trip between processes takes {} to {} that between threads.",
        ratio(Some(least)),
        ratio(Some(most))
    )
}
