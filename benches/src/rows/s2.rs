//! S2, fresh thread: `thread::spawn` of a task that does nothing, and join.

use std::io;

use brigade::thread;

use crate::peers::floor;
use crate::report::{Goal, Row};
use crate::rounds::{Contender, each, take_turns};
use crate::rows;

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    const MANY: u32 = 200;
    let ours = || thread::spawn(|()| (), ())?.join().map_err(io::Error::other);
    let all = take_turns(
        if quick { 30 } else { 200 },
        vec![
            Contender::new("brigade", || each(MANY, ours)),
            Contender::new(floor::THREAD, || each(MANY, floor::thread)),
        ],
    )?;
    let row = Row::new(
        "S2",
        "fresh thread: spawn + join",
        "µs",
        &all,
        &[(floor::THREAD, Goal::AtMost(1.1))],
    );
    Ok(vec![row.ok_or_else(rows::empty)?])
}
