//! `brigade top`: what a program's pools do, live.
//!
//! - programs: which programs can be shown; sample: one look at one of them; waits: what a thread
//!   waits in
//! - app: what is shown and selected; view: drawn; screen: the terminal

mod app;
mod programs;
mod sample;
mod screen;
#[cfg(test)]
mod tests;
mod view;
mod waits;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event};

use self::app::{App, Next, Page, Programs};
use self::programs::Meant;
use self::screen::Screen;
use crate::cli::TopArgs;
use crate::exit;
use crate::terminal::{self, COLUMNS, Color, Paint};

/// Between two looks at a program; and at all there are, which costs more.
const EACH: Duration = Duration::from_secs(1);
const EACH_LIST: Duration = Duration::from_secs(3);

/// `brigade top`.
pub(crate) fn run(args: &TopArgs) -> ExitCode {
    let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    let done = if args.once {
        once(args)
    } else if !is_terminal {
        Err("top draws on a terminal, and this is none; `top --once` prints one picture".into())
    } else {
        watch(args)
    };
    match done {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(why) => {
            eprintln!("brigade: {why}");
            ExitCode::from(exit::FAILED)
        }
    }
}

fn start(args: &TopArgs) -> Result<App, String> {
    let which = args.program.as_deref();
    Ok(match programs::find(which)? {
        Meant::One(pid) => App::of_program(pid),
        Meant::Choice(list, not_permitted) => App::of_programs(Programs {
            list,
            not_permitted,
            selected: 0,
            name: which.map(str::to_owned),
        }),
    })
}

fn watch(args: &TopArgs) -> Result<(), String> {
    let mut app = start(args)?;
    app.look()?;
    let paint = Color::Auto.decide();
    let mut screen = Screen::open().map_err(|error| format!("the terminal: {error}"))?;
    let ended = watch_on(&mut screen, &mut app, paint);
    // The terminal is given back before anything is said on it.
    drop(screen);
    ended
}

fn watch_on(screen: &mut Screen, app: &mut App, paint: Paint) -> Result<(), String> {
    let said = |error: io::Error| format!("the terminal: {error}");
    let mut looked = Instant::now();
    loop {
        let drawn = screen.terminal.draw(|frame| view::draw(frame, app, paint));
        drawn.map_err(said)?;
        loop {
            let each = match app.page {
                Page::Programs(_) => EACH_LIST,
                Page::Program(_) => EACH,
            };
            let left = each.saturating_sub(looked.elapsed());
            if !event::poll(left).map_err(said)? {
                app.look()?;
                looked = Instant::now();
                break;
            }
            let next = match event::read().map_err(said)? {
                Event::Key(key) => app.on_key(key),
                Event::Resize(..) => Next::Draw,
                _ => Next::Nothing,
            };
            match next {
                Next::Draw => break,
                Next::Look => {
                    app.look()?;
                    looked = Instant::now();
                    break;
                }
                Next::Nothing => {}
                Next::Quit => return Ok(()),
            }
        }
    }
}

/// How many looks one picture is waited for at most.
const MOST_LOOKS: u32 = 10;

/// One picture, as text. It looks twice, for what is used between two looks.
fn once(args: &TopArgs) -> Result<(), String> {
    const BETWEEN: rustix::time::Timespec = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    let mut app = start(args)?;
    app.look()?;
    if matches!(app.page, Page::Program(_)) {
        // Nothing is waited for but the time.
        let _ = rustix::event::poll(&mut [], Some(&BETWEEN));
        app.look()?;
        // It may take a moment to find the names of its tasks.
        for _ in 0..MOST_LOOKS {
            if !app.is_stale() {
                break;
            }
            app.look()?;
        }
    }
    let text = picture(&app)?;
    terminal::print(&text).map_err(|error| format!("writing the picture: {error}"))
}

fn picture(app: &App) -> Result<String, String> {
    let rows = match &app.page {
        Page::Programs(programs) => programs.list.len(),
        Page::Program(shown) => shown.sample.rows.len(),
    };
    let height = u16::try_from(rows + 24).unwrap_or(u16::MAX).min(4096);
    let backend = TestBackend::new(COLUMNS as u16, height);
    let Ok(mut terminal) = Terminal::new(backend);
    let Ok(_) = terminal.draw(|frame| view::draw(frame, app, Paint { on: false }));
    let buffer = terminal.backend().buffer();
    let mut lines: Vec<String> = buffer
        .content()
        .chunks(COLUMNS)
        .map(|cells| {
            let line: String = cells.iter().map(|cell| cell.symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect();
    // The last line is about keys.
    lines.pop();
    lines.dedup_by(|a, b| a.is_empty() && b.is_empty());
    Ok(lines.join("\n") + "\n")
}
