//! What users of pools ask for, and what it costs: a size that follows the work, streams, contexts,
//! actors, tasks by name, stacks, workers' events, and a product of matrices in place. None of it
//! has a goal.

mod forwarding;
mod growing;
mod matrix;
mod small;
mod stacks;

use std::io;

use crate::report::Row;

const PROCESSES: &str = "brigade, processes";
const THREADS: &str = "brigade, threads";

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let mut rows = growing::measure(quick)?;
    rows.extend(small::measure(quick)?);
    rows.extend(matrix::measure(quick)?);
    rows.extend(stacks::measure(quick)?);
    rows.extend(forwarding::measure(quick)?);
    Ok(rows)
}
