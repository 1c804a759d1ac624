//! Draws it. Nothing is told by a colour alone.

use std::time::{SystemTime, UNIX_EPOCH};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row as TableRow, Table, TableState, Wrap};

use super::app::{App, Page, Programs, Shown};
use super::programs::hidden;
use super::sample::{Role, Row};
use crate::inspect::pools::{counts, died};
use crate::inspect::text::size;
use crate::published::{Crash, Published, age};
use crate::terminal::Paint;

/// Pools that have a line each.
const POOLS: usize = 4;
/// Lines of stderr of the selected worker.
const STDERR: usize = 4;
/// Lines that the table has on any screen that is so high: its header and two rows.
const TABLE: u16 = 3;

pub(super) struct Column {
    pub(super) title: &'static str,
    width: u16,
    /// On a narrow screen those with the highest rank are left out.
    rank: u8,
}

const fn column(title: &'static str, width: u16, rank: u8) -> Column {
    Column { title, width, rank }
}

/// In the order of [`cells`].
pub(super) const COLUMNS: [Column; 7] = [
    column("ID", 7, 0),
    column("WHAT", 11, 4),
    column("STATE", 9, 1),
    column("  CPU%", 6, 3),
    column("   MEMORY", 9, 6),
    column("    FOR", 7, 5),
    // It takes what is left.
    column("TASK", 8, 2),
];
/// What stands before the selected row.
const SELECTED: &str = "> ";

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, paint: Paint) {
    let [body, last] = rows(frame.area(), [Constraint::Min(0), Constraint::Length(1)]);
    let keys = match &app.page {
        Page::Programs(programs) => {
            draw_programs(frame, body, programs);
            "↑↓ select  Enter open  r refresh  q quit".to_owned()
        }
        Page::Program(shown) => {
            draw_program(frame, body, shown, paint);
            let back = if shown.came_from_list {
                "Esc programs  "
            } else {
                ""
            };
            let order = app.order.word();
            format!("↑↓ select  s sort ({order})  r refresh  {back}q quit")
        }
    };
    let line = match &app.message {
        Some(message) => Line::styled(message.clone(), bold()),
        None => Line::from(keys),
    };
    frame.render_widget(line, last);
}

fn rows<const N: usize>(area: Rect, heights: [Constraint; N]) -> [Rect; N] {
    Layout::vertical(heights).areas(area)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn selected() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

fn draw_programs(frame: &mut Frame<'_>, area: Rect, programs: &Programs) {
    let [title, body] = rows(area, [Constraint::Length(1), Constraint::Min(0)]);
    let hidden = hidden(programs.not_permitted);
    let text = format!("Programs that publish what their pools do{hidden}");
    frame.render_widget(Line::styled(text, bold()), title);
    if programs.list.is_empty() {
        let text = "None. A program is shown that calls `brigade::publish()`.";
        frame.render_widget(Paragraph::new(text), body);
        return;
    }
    let lines = programs
        .list
        .iter()
        .map(|program| TableRow::new([program.pid.to_string(), program.name.clone()]));
    let table = Table::new(lines, [Constraint::Length(8), Constraint::Min(10)])
        .header(TableRow::new(["PID", "NAME"]).style(bold()))
        .row_highlight_style(selected())
        .highlight_symbol("> ");
    let mut state = TableState::new().with_selected(programs.selected);
    frame.render_stateful_widget(table, body, &mut state);
}

fn draw_program(frame: &mut Frame<'_>, area: Rect, shown: &Shown, paint: Paint) {
    let head = head(shown, paint);
    let detail = detail(shown);
    let height = |line: &Line<'_>| line.width().div_ceil(usize::from(area.width).max(1)).max(1);
    let head_height = head.iter().map(height).sum::<usize>() as u16;
    let head_height = head_height.min(area.height.saturating_sub(TABLE).max(1));
    let left = area.height.saturating_sub(head_height);
    let detail_height = (detail.len() as u16 + 1)
        .min(left.saturating_sub(6))
        .min(14);
    let [top, middle, bottom] = rows(
        area,
        [
            Constraint::Length(head_height),
            Constraint::Min(0),
            Constraint::Length(detail_height),
        ],
    );
    frame.render_widget(Paragraph::new(head).wrap(Wrap { trim: false }), top);
    draw_table(frame, middle, shown, paint);
    let title = shown.sample.rows.get(shown.index());
    let title = title.map_or_else(String::new, |row| match row.id {
        0 => format!(" process {} ", row.name),
        id => format!(" {id} {} ", row.name),
    });
    let block = Block::new().borders(Borders::TOP).title(title);
    frame.render_widget(Paragraph::new(detail).block(block), bottom);
}

fn head(shown: &Shown, paint: Paint) -> Vec<Line<'static>> {
    let sample = &shown.sample;
    let cpu: f64 = sample
        .rows
        .iter()
        .filter(|row| row.thread_of.is_none())
        .filter_map(|row| row.cpu)
        .sum();
    let processes = sample
        .rows
        .iter()
        .filter(|row| row.thread_of.is_none() && row.id != 0);
    let processes = match processes.count() {
        1 => "1 process".to_owned(),
        many => format!("{many} processes"),
    };
    let mut lines = vec![Line::styled(
        format!(
            "{} ({}): {processes}, CPU {cpu:.0} %",
            sample.name, sample.pid
        ),
        bold(),
    )];
    match &sample.published {
        None => lines.push(Line::from(
            "It publishes nothing of its pools: `brigade::publish()` does.",
        )),
        Some(Err(why)) => lines.push(Line::from(why.clone())),
        Some(Ok(published)) => {
            if published.is_stale {
                lines.push(Line::styled(
                    "It does not answer: pools as they were before.",
                    bad(paint),
                ));
            }
            for pool in published.pools.iter().take(POOLS) {
                let bad_news = pool.stats.crashed > 0 || pool.stats.timed_out > 0;
                let style = if bad_news { bad(paint) } else { Style::new() };
                lines.push(Line::from(vec![
                    Span::raw(format!("{}: ", pool.title())),
                    Span::styled(counts(pool), style),
                ]));
            }
            let more = published.pools.len().saturating_sub(POOLS);
            if more > 0 {
                lines.push(Line::from(format!("and {more} more pools")));
            }
        }
    }
    lines
}

fn bad(paint: Paint) -> Style {
    if paint.on {
        Style::new().fg(Color::Red)
    } else {
        Style::new()
    }
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, shown: &Shown, paint: Paint) {
    let fits = fitting(area.width);
    let of_fitting = |cells: [Cell<'static>; COLUMNS.len()]| {
        let all = cells.into_iter().zip(fits);
        TableRow::new(all.filter_map(|(cell, fits)| fits.then_some(cell)))
    };
    let rows = shown.sample.rows.iter();
    let lines = rows.map(|row| of_fitting(cells(row, paint)));
    let all = COLUMNS.iter().zip(fits).filter(|(_, fits)| *fits);
    let widths = all.map(|(column, _)| match column.title {
        "TASK" => Constraint::Min(column.width),
        _ => Constraint::Length(column.width),
    });
    let header = of_fitting(COLUMNS.map(|column| Cell::from(column.title)));
    let table = Table::new(lines, widths)
        .header(header.style(bold()))
        .row_highlight_style(selected())
        .highlight_symbol(SELECTED);
    let mut state = TableState::new().with_selected(shown.index());
    frame.render_stateful_widget(table, area, &mut state);
}

/// Which columns have room. The first in rank has a place on every screen.
fn fitting(width: u16) -> [bool; COLUMNS.len()] {
    let mut fits = [false; COLUMNS.len()];
    let mut taken = SELECTED.len() as u16;
    for rank in 0..COLUMNS.len() {
        let of_rank = |column: &Column| usize::from(column.rank) == rank;
        let index = COLUMNS.iter().position(of_rank).unwrap_or(rank);
        // A space stands between two.
        taken += COLUMNS[index].width + u16::from(rank > 0);
        if taken > width && rank > 0 {
            break;
        }
        fits[index] = true;
    }
    fits
}

fn cells(row: &Row, paint: Paint) -> [Cell<'static>; COLUMNS.len()] {
    let what = match row.role {
        Role::Program => "program".to_owned(),
        Role::Worker(pool) if row.thread_of.is_some() => format!("thread of {pool}"),
        Role::Worker(pool) => format!("worker of {pool}"),
        Role::Task => "one task".to_owned(),
        Role::SomeWorker => "worker".to_owned(),
        Role::ForkServer => "fork server".to_owned(),
        Role::Spare => "spare".to_owned(),
        Role::Child => "child".to_owned(),
    };
    let mut task = row.task.clone().unwrap_or_default();
    if matches!(row.role, Role::Child) {
        task.clone_from(&row.name);
    }
    let style = match row.state.as_str() {
        "stopped" | "zombie" => bad(paint),
        _ => Style::new(),
    };
    let id = match row.id {
        0 => "-".to_owned(),
        id => id.to_string(),
    };
    let cpu = row
        .cpu
        .map_or_else(|| format!("{:>6}", "-"), |cpu| format!("{cpu:>6.1}"));
    let memory = row.resident.map_or_else(
        || format!("{:>9}", "-"),
        |bytes| format!("{:>9}", size(bytes)),
    );
    let for_how_long = row
        .for_ns
        .map_or_else(String::new, |nanos| format!("{:>7}", age(nanos)));
    [
        Cell::from(id),
        Cell::from(what),
        Cell::from(Span::styled(row.state.clone(), style)),
        Cell::from(cpu),
        Cell::from(memory),
        Cell::from(for_how_long),
        Cell::from(task),
    ]
}

/// Of the selected one: its memory, what it waits in, and how those before it died.
fn detail(shown: &Shown) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let Some(row) = shown.sample.rows.get(shown.index()) else {
        return lines;
    };
    if let Some(task) = &row.task {
        let for_how_long = row
            .for_ns
            .map_or_else(String::new, |nanos| format!(" for {}", age(nanos)));
        let ahead = match row.ahead {
            0 => String::new(),
            1 => ", one task ahead".into(),
            many => format!(", {many} tasks ahead"),
        };
        lines.push(Line::from(format!(
            "{} {task}{for_how_long}{ahead}",
            row.state
        )));
    }
    let details = shown.details.as_ref();
    let details = details.filter(|details| details.id == row.id);
    if let Some(details) = details {
        lines.extend(details.memory_text().map(Line::from));
    }
    lines.extend(stderr(shown, row));
    if let Some(details) = details {
        for (thread, waits) in &details.waits {
            lines.push(Line::from(format!("~ {thread}: {waits}")));
        }
        if details.more_threads > 0 {
            lines.push(Line::from(format!(
                "~ and {} more threads",
                details.more_threads
            )));
        }
    }
    if let Some(Ok(published)) = &shown.sample.published {
        lines.extend(crashes(published, row.role));
    }
    lines
}

/// What the selected worker has written last.
fn stderr(shown: &Shown, row: &Row) -> Vec<Line<'static>> {
    let Some(Ok(published)) = &shown.sample.published else {
        return Vec::new();
    };
    let is_worker = matches!(row.role, Role::Worker(_) | Role::Task | Role::SomeWorker);
    match published
        .stderr_of(row.id)
        .filter(|_| row.thread_of.is_none())
    {
        Some(text) => last_lines(text, STDERR)
            .map(|line| Line::from(format!("stderr: {line}")))
            .collect(),
        None if is_worker && published.stderr_left_out > 0 => {
            vec![Line::from("stderr: there was no room for it")]
        }
        None => Vec::new(),
    }
}

fn last_lines(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let lines = text.lines().count();
    text.lines().skip(lines.saturating_sub(most))
}

fn crashes(published: &Published, role: Role) -> Vec<Line<'static>> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let of_role = |crash: &&Crash| match role {
        Role::Worker(pool) => crash.pool == pool,
        Role::Program => true,
        _ => false,
    };
    let mut lines = Vec::new();
    for crash in published.crashes.iter().filter(of_role).take(3) {
        let ago = (now.as_millis() as u64).saturating_sub(crash.unix_ms);
        let ago = age(ago.saturating_mul(1_000_000));
        lines.push(Line::from(format!(
            "{ago} ago {} died of {} with {}",
            died(crash),
            crash.cause,
            crash.task
        )));
        for line in last_lines(&crash.stderr, 2) {
            lines.push(Line::from(format!("    stderr: {line}")));
        }
    }
    lines
}
