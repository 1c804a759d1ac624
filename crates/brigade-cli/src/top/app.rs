//! What is shown, what is selected, and what the keys do; without a terminal.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::programs::{self, Program};
use super::sample::{Details, Row, Sample, Watched};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Role,
    Cpu,
    Memory,
    Age,
}

impl Order {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Age => "age",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Role => Self::Cpu,
            Self::Cpu => Self::Memory,
            Self::Memory => Self::Age,
            Self::Age => Self::Role,
        }
    }
}

/// What comes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Draw again.
    Draw,
    /// Look again, now.
    Look,
    Nothing,
    Quit,
}

#[derive(Debug)]
pub(super) struct App {
    pub(super) page: Page,
    pub(super) order: Order,
    /// A message for the last line.
    pub(super) message: Option<String>,
}

#[derive(Debug)]
pub(super) enum Page {
    /// Which program?
    Programs(Programs),
    Program(Box<Shown>),
}

#[derive(Debug, Default)]
pub(super) struct Programs {
    pub(super) list: Vec<Program>,
    pub(super) not_permitted: usize,
    pub(super) selected: usize,
    /// If only programs of this name are meant.
    pub(super) name: Option<String>,
}

#[derive(Debug)]
pub(super) struct Shown {
    pub(super) watched: Watched,
    pub(super) sample: Sample,
    /// Of a row: its id, which of those without one, and the process that it is a thread of.
    pub(super) selected: Option<(u32, usize, Option<u32>)>,
    pub(super) details: Option<Details>,
    /// There is another page to go back to.
    pub(super) came_from_list: bool,
}

impl App {
    pub(super) fn of_program(pid: u32) -> App {
        App {
            page: shown(pid, false),
            order: Order::Role,
            message: None,
        }
    }

    pub(super) fn of_programs(programs: Programs) -> App {
        App {
            page: Page::Programs(programs),
            order: Order::Role,
            message: None,
        }
    }

    /// Looks at what is shown. `Err`: it has ended, and there is nothing else to show.
    pub(super) fn look(&mut self) -> Result<(), String> {
        match &mut self.page {
            Page::Programs(programs) => {
                programs.look();
                Ok(())
            }
            Page::Program(shown) => match shown.look(self.order) {
                Ok(()) => Ok(()),
                Err(why) if shown.came_from_list => {
                    self.message = Some(why);
                    self.back();
                    Ok(())
                }
                Err(why) => Err(why),
            },
        }
    }

    /// Whether the program has not answered.
    pub(super) fn is_stale(&self) -> bool {
        match &self.page {
            Page::Program(shown) => {
                matches!(&shown.sample.published, Some(Ok(published)) if published.is_stale)
            }
            Page::Programs(_) => false,
        }
    }

    fn back(&mut self) {
        let mut programs = Programs::default();
        programs.look();
        self.page = Page::Programs(programs);
    }

    pub(super) fn on_key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Nothing;
        }
        self.message = None;
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Next::Quit,
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('r' | ' ') => return Next::Look,
            KeyCode::Char('s') => {
                self.order = self.order.next();
                if let Page::Program(shown) = &mut self.page {
                    shown.sort(self.order);
                }
                return Next::Draw;
            }
            KeyCode::Esc | KeyCode::Backspace => {
                return match &self.page {
                    Page::Program(shown) if shown.came_from_list => {
                        self.back();
                        Next::Look
                    }
                    _ => Next::Quit,
                };
            }
            _ => {}
        }
        let by: isize = match key.code {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -10,
            KeyCode::PageDown => 10,
            KeyCode::Home => isize::MIN,
            KeyCode::End => isize::MAX,
            KeyCode::Enter => return self.open(),
            _ => return Next::Nothing,
        };
        match &mut self.page {
            Page::Programs(programs) => {
                programs.selected = moved(programs.selected, by, programs.list.len());
            }
            Page::Program(shown) => {
                let at = moved(shown.index(), by, shown.sample.rows.len());
                shown.select(at);
                // Of what is selected there is more to read.
                shown.read_details();
            }
        }
        Next::Draw
    }

    fn open(&mut self) -> Next {
        let Page::Programs(programs) = &self.page else {
            return Next::Nothing;
        };
        let Some(program) = programs.list.get(programs.selected) else {
            return Next::Nothing;
        };
        self.page = shown(program.pid, true);
        Next::Look
    }
}

/// What makes a row the same one at the next look.
fn key(row: &Row) -> (u32, usize, Option<u32>) {
    (row.id, row.nth, row.thread_of)
}

fn shown(pid: u32, came_from_list: bool) -> Page {
    Page::Program(Box::new(Shown {
        watched: Watched::new(pid),
        sample: Sample {
            pid,
            ..Sample::default()
        },
        selected: None,
        details: None,
        came_from_list,
    }))
}

fn moved(at: usize, by: isize, len: usize) -> usize {
    at.saturating_add_signed(by).min(len.saturating_sub(1))
}

impl Programs {
    pub(super) fn look(&mut self) {
        let Ok((list, not_permitted)) = programs::all() else {
            return;
        };
        let selected = self.list.get(self.selected).map(|program| program.pid);
        self.list = list;
        if let Some(name) = &self.name {
            self.list.retain(|program| program.name == *name);
        }
        self.not_permitted = not_permitted;
        let at = self
            .list
            .iter()
            .position(|program| Some(program.pid) == selected);
        self.selected = at.unwrap_or(moved(self.selected, 0, self.list.len()));
    }
}

impl Shown {
    fn look(&mut self, order: Order) -> Result<(), String> {
        self.sample = self.watched.look()?;
        self.sort(order);
        let at = self.index();
        self.select(at);
        self.read_details();
        Ok(())
    }

    fn read_details(&mut self) {
        let row = self.sample.rows.get(self.index());
        self.details = row.and_then(|row| self.watched.details(row));
    }

    /// Where the selected row is; if it is gone, the first.
    pub(super) fn index(&self) -> usize {
        let rows = self.sample.rows.iter();
        let mut rows = rows.map(|row| Some(key(row)));
        rows.position(|row| row == self.selected).unwrap_or(0)
    }

    fn select(&mut self, at: usize) {
        self.selected = self.sample.rows.get(at).map(key);
    }

    fn sort(&mut self, order: Order) {
        let rows = &mut self.sample.rows;
        match order {
            Order::Role => rows.sort_by_key(|row| (row.role, row.thread_of.is_some(), row.id)),
            Order::Cpu => {
                let cpu = |row: &Row| row.cpu.unwrap_or(-1.0);
                rows.sort_by(|a, b| cpu(b).total_cmp(&cpu(a)));
            }
            Order::Memory => rows.sort_by_key(|row| std::cmp::Reverse(row.resident)),
            Order::Age => rows.sort_by_key(|row| std::cmp::Reverse(row.for_ns)),
        }
    }
}
