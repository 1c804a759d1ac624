//! Row 3: what a worker takes of the machine, with a thousand of them at once.

use brigade::Kind;

use super::format::Unit;
use super::row::{Figure, Measured, Value, Views};
use super::stats::Summary;
use super::verdict::{self, Condition};
use super::{Context, Experiment};
use crate::fail::Failure;
use crate::helper::{CrowdReport, launch};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "resources",
    title: "Resources",
    claim: "A thread is lightweight: a stack and a few registers. A process is heavyweight: an address space, open files and tables of its own.",
    needs: &[],
    run,
};

const CROWD: usize = 1_000;

fn crowd(kind: Kind) -> Result<CrowdReport, Failure> {
    launch::ask(&[
        "crowd".to_owned(),
        kind.to_string(),
        CROWD.to_string(),
        "gate".to_owned(),
    ])
}

fn view(report: &CrowdReport) -> String {
    format!(
        "each of {} takes {} of memory and {} of page tables, {} descriptors and {} mapped areas.",
        report.count,
        Unit::Bytes.one(report.proportional),
        Unit::Bytes.one(report.page_tables),
        Unit::Count
            .one(report.host_descriptors + report.server_descriptors + report.own_descriptors),
        Unit::Count.one(report.mappings),
    )
}

fn run(_: &Context<'_>) -> Result<Measured, Failure> {
    let (thread, process) = (crowd(Kind::Thread)?, crowd(Kind::Process)?);
    let figure = |id, label: &str, unit, of: fn(&CrowdReport) -> f64| {
        let side = |report| Value::Measured(Summary::exact(of(report)));
        Figure::new(id, label, unit, side(&thread), side(&process))
    };
    let figures = vec![
        figure("count", "up at once", Unit::Count, |report| {
            report.count as f64
        }),
        figure(
            "start",
            "time until all are up",
            Unit::Nanoseconds,
            |report| report.start,
        ),
        figure("memory", "memory, shares included", Unit::Bytes, |report| {
            report.proportional
        }),
        figure("page-tables", "page tables", Unit::Bytes, |report| {
            report.page_tables
        }),
        figure(
            "host-descriptors",
            "descriptors open in the host",
            Unit::Count,
            |report| report.host_descriptors,
        ),
        figure(
            "server-descriptors",
            "descriptors in the fork server",
            Unit::Count,
            |report| report.server_descriptors,
        ),
        figure(
            "own-descriptors",
            "descriptors of its own",
            Unit::Count,
            |report| report.own_descriptors,
        ),
        figure("mappings", "mapped areas", Unit::Count, |report| {
            report.mappings
        }),
    ];
    let condition = |name: &str, of: fn(&CrowdReport) -> f64| {
        Condition::new(
            name,
            Summary::exact(of(&process)),
            Summary::exact(of(&thread)),
        )
    };
    let conditions = [
        condition("memory", |report| report.proportional + report.page_tables),
        condition("descriptors", |report| {
            report.host_descriptors + report.server_descriptors + report.own_descriptors
        }),
        condition("mapped areas", |report| report.mappings),
    ];
    let mut notes = vec![
        "Each figure is per worker, except the first two; memory includes what the worker adds to the host and the fork \
         server. In the kernel either kind is one task with one kernel stack; a process adds an address space and a table of \
         descriptors."
            .to_owned(),
    ];
    for (kind, report) in [(Kind::Thread, &thread), (Kind::Process, &process)] {
        notes.extend(
            report
                .reduced
                .as_ref()
                .map(|why| format!("Fewer than {CROWD} ({kind}): {why}.")),
        );
    }
    Ok(Measured {
        done: format!(
            "{CROWD} workers of each kind are started in a fresh program and wait until all are up. Then what they have is \
             counted in /proc, and they are let go. The limit of descriptors is raised as far as it goes."
        ),
        figures,
        views: Some(Views {
            thread: view(&thread),
            process: view(&process),
        }),
        verdict: verdict::of_size(&conditions, "the resource"),
        notes,
    })
}
