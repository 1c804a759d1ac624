//! A [`Status`] for a terminal.

use std::fmt;

use super::Status;
use crate::escape::visible;

/// How long names may be.
const NAME: usize = 40;
/// How long what is told of an error may be.
const ERROR: usize = 300;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} of {} tasks queued: {} wait, {} run; {} results, {} dead letters; nats-server {}",
            visible(&self.app, NAME),
            self.queued,
            self.max_tasks,
            self.pending,
            self.running,
            self.results,
            self.dead,
            visible(&self.server, NAME),
        )?;
        let mut builds = vec![row(&["build", "wait", "run", "workers", "slots", ""])];
        for build in &self.builds {
            let note = if build.workers == 0 {
                "no worker of this build is running"
            } else {
                ""
            };
            builds.push(vec![
                visible(&build.name, NAME),
                build.pending.to_string(),
                build.running.to_string(),
                build.workers.to_string(),
                build.slots.to_string(),
                note.to_owned(),
            ]);
        }
        table(f, &builds)?;
        let mut workers = vec![row(&[
            "worker",
            "build",
            "host",
            "pid",
            "version",
            "run",
            "slots",
            "ended",
            "given back",
            "lost",
            "refused",
            "dead",
        ])];
        for worker in &self.workers {
            let mut cells = vec![
                visible(&worker.name, NAME),
                visible(&worker.build, NAME),
                visible(&worker.host, NAME),
                worker.pid.to_string(),
                visible(&worker.version, NAME),
            ];
            let counts = [
                worker.running,
                worker.slots,
                worker.ended,
                worker.given_back,
                worker.lost,
                worker.refused,
                worker.dead,
            ];
            cells.extend(counts.iter().map(u64::to_string));
            workers.push(cells);
        }
        table(f, &workers)?;
        if !self.dead_letters.is_empty() {
            writeln!(f)?;
        }
        for letter in &self.dead_letters {
            writeln!(
                f,
                "dead: {} {}, begun {} times: {}",
                visible(&letter.task, NAME),
                visible(&letter.name, NAME),
                letter.attempts,
                visible(&letter.error, ERROR),
            )?;
        }
        Ok(())
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}

/// Columns as wide as they have to be; nothing where there is only a head.
fn table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    if rows.len() < 2 {
        return Ok(());
    }
    writeln!(f)?;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(f, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}
