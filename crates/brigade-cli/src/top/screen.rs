//! The terminal: taken over, and given back however this program ends.

use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::mpsc;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// The terminal, until this is dropped.
pub(super) struct Screen {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(super) fn open() -> io::Result<Screen> {
        // Before anything is changed: a signal or a panic from here on gives it back.
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    restore_in_time();
                    // Ends the program, as that signal does.
                    let _ = emulate_default_handler(signal);
                }
            })?;
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
        enable_raw_mode()?;
        let screen = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match screen {
            Ok(terminal) => Ok(Screen { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// How long a signal waits for a terminal that takes nothing: one that was stopped (Ctrl-S), or
/// whose other end does not read.
const TAKES_WITHIN: Duration = Duration::from_secs(1);

/// As [`restore`], beside a thread that may be in the middle of a write, with stdout's lock, for as
/// long as the terminal takes nothing. Then its modes alone are given back.
fn restore_in_time() {
    let _ = disable_raw_mode();
    let (done, is_done) = mpsc::channel();
    let restoring = std::thread::Builder::new().spawn(move || {
        restore();
        // The other side has gone on by then, or waits for this.
        let _ = done.send(());
    });
    if restoring.is_ok() {
        let _ = is_done.recv_timeout(TAKES_WITHIN);
    }
}

/// Whether this can be undone is not asked: a terminal that is gone needs nothing.
fn restore() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
