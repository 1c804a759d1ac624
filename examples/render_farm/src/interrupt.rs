//! Ctrl-C, and SIGTERM: the first is heard of, and the second ends the program.

use std::io;
use std::thread::JoinHandle;

use futures::channel::oneshot;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

/// While it lives, the two signals do not end the program.
#[derive(Debug)]
pub(crate) struct Interrupts {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Interrupts {
    /// Waits for them from now on. What it gives beside itself is the first one's number.
    pub(crate) fn new() -> io::Result<(Interrupts, oneshot::Receiver<i32>)> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let (first, received) = oneshot::channel();
        let mut first = Some(first);
        let thread = std::thread::Builder::new().name("signals".to_owned());
        let thread = thread.spawn(move || {
            for signal in signals.forever() {
                match first.take() {
                    // It may have ended meanwhile.
                    Some(first) => drop(first.send(signal)),
                    None => drop(emulate_default_handler(signal)),
                }
            }
        })?;
        let thread = Some(thread);
        Ok((Interrupts { handle, thread }, received))
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
