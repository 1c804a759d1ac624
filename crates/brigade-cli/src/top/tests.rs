//! Screens of made-up programs: each size, each state.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Next, Order, Page};
use super::sample::{Role, Row, Sample};
use super::view;
use crate::published::{Crash, Pool, Published, Stats, Written};
use crate::terminal::Paint;

fn row(id: u32, role: Role, cpu: f64) -> Row {
    Row {
        id,
        nth: 0,
        thread_of: None,
        role,
        name: format!("name{id}"),
        state: "running".into(),
        cpu: Some(cpu),
        resident: Some(u64::from(id) << 20),
        task: Some("program::task".into()),
        for_ns: Some(u64::from(id) * 1_000_000_000),
        ahead: 2,
    }
}

fn app(rows: Vec<Row>) -> App {
    let mut app = App::of_program(7);
    let Page::Program(shown) = &mut app.page else {
        unreachable!("a program was asked for");
    };
    shown.sample = Sample {
        pid: 7,
        name: "program".into(),
        published: Some(Ok(Published {
            pools: vec![Pool {
                number: 1,
                kind: "process".into(),
                name: Some("images".into()),
                workers: 2,
                stats: Stats {
                    queued: 31,
                    crashed: 1,
                    ..Stats::default()
                },
                ..Pool::default()
            }],
            crashes: vec![Crash {
                pool: 1,
                pid: 99,
                cause: "SIGSEGV".into(),
                task: "program::bad".into(),
                stderr: "first\nlast words".into(),
                ..Crash::default()
            }],
            ..Published::default()
        })),
        rows,
    };
    app
}

fn screen(app: &App, width: u16, height: u16, paint: Paint) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| view::draw(frame, app, paint))
        .unwrap();
    if !paint.on {
        let cells = terminal.backend().buffer().content().iter();
        assert!(
            cells
                .clone()
                .all(|cell| cell.fg == ratatui::style::Color::Reset)
        );
    }
    terminal.backend().to_string()
}

const PLAIN: Paint = Paint { on: false };

fn key(app: &mut App, code: KeyCode) -> Next {
    app.on_key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn everything_is_on_a_screen_of_80_by_24() {
    let rows = vec![
        row(7, Role::Program, 0.0),
        row(8, Role::Worker(1), 99.5),
        row(9, Role::ForkServer, 0.0),
    ];
    let text = screen(&app(rows), 80, 24, PLAIN);
    for expected in [
        "program (7): 3 processes, CPU 100 %",
        "pool 1 “images”, 2 processes: 31 queued, 0 running, 0 done, 1 crashed",
        "worker of 1",
        "fork server",
        "99.5",
        "8.0 MiB",
        "running program::task for 7.0 s, 2 tasks ahead",
        "99 died of SIGSEGV with program::bad",
        "stderr: last words",
        "q quit",
        "> 7",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let rows: Vec<Row> = (1..300).map(|id| row(id, Role::Worker(1), 1.0)).collect();
    let app = app(rows);
    for (width, height) in [
        (1, 1),
        (5, 2),
        (20, 5),
        (80, 24),
        (300, 100),
        (40, 1),
        (1, 40),
    ] {
        screen(&app, width, height, PLAIN);
        screen(&app, width, height, Paint { on: true });
    }
}

#[test]
fn a_small_screen_shows_the_table_with_the_columns_that_fit() {
    let rows = vec![row(7, Role::Program, 0.0), row(8, Role::Worker(1), 99.5)];
    let app = app(rows);
    let small = screen(&app, 20, 5, PLAIN);
    for expected in ["ID      STATE", "> 7       running", "  8       running"] {
        assert!(small.contains(expected), "no {expected:?} in\n{small}");
    }
    assert!(!small.contains("TASK"), "{small}");
    let narrow = screen(&app, 40, 6, PLAIN);
    assert!(narrow.contains("ID      STATE       CPU% TASK"), "{narrow}");
    assert!(narrow.contains("program::tas"), "{narrow}");
    let wide = screen(&app, 65, 8, PLAIN);
    for title in super::view::COLUMNS {
        assert!(wide.contains(title.title), "no {}: {wide}", title.title);
    }
}

#[test]
fn the_selected_row_stays_selected_and_is_on_the_screen() {
    let rows: Vec<Row> = (1..100)
        .map(|id| row(id, Role::Worker(1), f64::from(id)))
        .collect();
    let mut app = app(rows);
    assert_eq!(key(&mut app, KeyCode::End), Next::Draw);
    assert!(screen(&app, 80, 24, PLAIN).contains("> 99"));
    // By processor time it is the first.
    assert_eq!(key(&mut app, KeyCode::Char('s')), Next::Draw);
    assert_eq!(app.order, Order::Cpu);
    let text = screen(&app, 80, 24, PLAIN);
    assert!(text.contains("> 99"), "{text}");
    let Page::Program(shown) = &app.page else {
        unreachable!("a program is shown");
    };
    assert_eq!(shown.index(), 0);
    key(&mut app, KeyCode::Up);
    key(&mut app, KeyCode::Down);
    assert!(screen(&app, 80, 24, PLAIN).contains("> 98"));
}

#[test]
fn workers_without_a_process_are_passed_one_by_one() {
    let mut rows = vec![row(7, Role::Program, 0.0), row(9, Role::ForkServer, 0.0)];
    rows.extend((0..2).map(|nth| Row {
        nth,
        state: "starting".into(),
        ..row(0, Role::Worker(1), 0.0)
    }));
    let mut app = app(rows);
    for expected in [1, 2, 3, 3] {
        key(&mut app, KeyCode::Down);
        let Page::Program(shown) = &app.page else {
            unreachable!("a program is shown");
        };
        assert_eq!(shown.index(), expected);
    }
}

#[test]
fn the_last_lines_of_the_selected_worker_are_shown() {
    let rows = vec![row(7, Role::Program, 0.0), row(8, Role::Worker(1), 1.0)];
    let mut app = app(rows);
    let Page::Program(shown) = &mut app.page else {
        unreachable!("a program is shown");
    };
    let Some(Ok(published)) = &mut shown.sample.published else {
        unreachable!("it publishes");
    };
    let lines: Vec<String> = (1..=9).map(|line| format!("line {line}")).collect();
    published.stderr = vec![Written {
        id: 8,
        text: lines.join("\n"),
        ..Written::default()
    }];
    let of_program = screen(&app, 80, 40, PLAIN);
    assert!(!of_program.contains("stderr: line"), "{of_program}");
    key(&mut app, KeyCode::Down);
    let text = screen(&app, 80, 40, PLAIN);
    assert!(
        !text.contains("stderr: line 5") && text.contains("stderr: line 6"),
        "{text}"
    );
    assert!(text.contains("stderr: line 9"), "{text}");
    let Page::Program(shown) = &mut app.page else {
        unreachable!("a program is shown");
    };
    let Some(Ok(published)) = &mut shown.sample.published else {
        unreachable!("it publishes");
    };
    published.stderr.clear();
    published.stderr_left_out = 1;
    assert!(screen(&app, 80, 40, PLAIN).contains("stderr: there was no room for it"));
}

#[test]
fn keys_quit_and_refresh() {
    let mut app = app(Vec::new());
    for (code, next) in [
        (KeyCode::Char('q'), Next::Quit),
        (KeyCode::Esc, Next::Quit),
        (KeyCode::Char('r'), Next::Look),
        (KeyCode::Char('x'), Next::Nothing),
        (KeyCode::Enter, Next::Nothing),
        (KeyCode::Down, Next::Draw),
    ] {
        assert_eq!(key(&mut app, code), next, "{code:?}");
    }
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.on_key(control_c), Next::Quit);
}

#[test]
fn what_is_not_published_is_said() {
    let mut app = app(vec![row(7, Role::Program, 0.0)]);
    let Page::Program(shown) = &mut app.page else {
        unreachable!("a program is shown");
    };
    shown.sample.published = None;
    assert!(screen(&app, 80, 24, PLAIN).contains("brigade::publish()"));
    let Page::Program(shown) = &mut app.page else {
        unreachable!("a program is shown");
    };
    shown.sample.published = Some(Err("what it publishes: not permitted".into()));
    assert!(screen(&app, 80, 24, PLAIN).contains("not permitted"));
}
