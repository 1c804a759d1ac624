//! How pools grow: with the length of their tasks, with the size of the inputs, with the number of
//! workers, and with the number of tasks.

mod inputs;
mod lengths;
mod tasks;
mod workers;

use std::io;

use crate::report::{Row, figure};

const PROCESSES: &str = "brigade, Pool::processes";
const THREADS: &str = "brigade, Pool::threads";

/// Nanoseconds, from microseconds.
fn nanoseconds(micro: f64) -> f64 {
    micro * 1e3
}

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let mut rows = lengths::measure(quick)?;
    rows.extend(inputs::measure(quick)?);
    rows.extend(workers::measure(quick)?);
    rows.extend(tasks::measure(quick)?);
    Ok(rows)
}

/// A note for the last of rows that are to be alike: how alike they are.
fn flat(rows: &mut [Row]) {
    let medians = |of: &dyn Fn(&Row) -> Option<f64>| {
        let figures = rows.iter().filter_map(of);
        figures.fold((f64::INFINITY, 0.0_f64), |(low, high), figure| {
            (low.min(figure), high.max(figure))
        })
    };
    let told = |name: &str, (low, high): (f64, f64)| {
        format!(
            "{name}: the dearest of these {} × the cheapest",
            figure(high / low)
        )
    };
    let processes = told(PROCESSES, medians(&|row| Some(row.ours.median)));
    let threads = told(
        THREADS,
        medians(&|row| {
            let threads = row.anchors.iter().find(|anchor| anchor.name == THREADS);
            threads.map(|anchor| anchor.figure.median)
        }),
    );
    if let Some(last) = rows.last_mut() {
        last.notes.extend([processes, threads]);
    }
}
