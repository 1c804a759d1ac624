//! Tasks that wait for something real, for both kinds, and what they wait for: a gate in shared
//! memory, or the answer of a slow server over a socket.

use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::board::{self, Ticket};
use crate::fail::{Failure, OrFail as _};
use crate::workers::PATIENCE;

/// On a gate's board: how many have come, and whether it is open.
pub(crate) const CAME: usize = 0;
pub(crate) const OPEN: usize = 1;
/// The cells of a gate's board.
pub(crate) const GATE_CELLS: usize = 2;

/// A task: comes to the gate and waits until it opens.
pub(crate) fn at_gate(ticket: Ticket) -> Result<(), Failure> {
    let memory = ticket.open()?;
    board::arrive(memory.word(CAME));
    board::await_at_least(memory.word(OPEN), 1, PATIENCE)
}

/// A task: asks the server of that name and waits for its answer, as a client of a database would.
pub(crate) fn at_server(name: String) -> Result<(), Failure> {
    let address = SocketAddr::from_abstract_name(&name).or_fail("a socket's name")?;
    let failed = |what: &'static str| move |error: io::Error| Failure::of_line(what, &error);
    let mut connection = UnixStream::connect_addr(&address).map_err(failed("connecting"))?;
    connection
        .set_read_timeout(Some(PATIENCE))
        .or_fail("setting a timeout")?;
    connection.write_all(b"?").map_err(failed("asking"))?;
    let mut answer = [0];
    connection
        .read_exact(&mut answer)
        .map_err(failed("waiting for the answer"))
}

/// When the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// So long after each question.
    After(Duration),
    /// When it gets a byte by `control`.
    WhenTold,
}

/// A server in a thread of its own. Its name is abstract: no file, gone with the program.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    asked: std::sync::Arc<AtomicU32>,
    /// A byte here: answer all. Closed: end.
    control: Option<UnixStream>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    pub(crate) fn start(answers: Answers) -> Result<Self, Failure> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("brigade-compare-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).or_fail("a socket's name")?;
        let listener = UnixListener::bind_addr(&address).or_fail("opening a socket")?;
        let (control, told) = UnixStream::pair().or_fail("making a pair of sockets")?;
        let asked = std::sync::Arc::new(AtomicU32::new(0));
        let counter = std::sync::Arc::clone(&asked);
        let thread = std::thread::Builder::new()
            .name("slow-server".to_owned())
            .spawn(move || serve(&listener, told, answers, &counter))
            .or_fail("starting the server")?;
        Ok(Self {
            name,
            asked,
            control: Some(control),
            thread: Some(thread),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until `count` workers have asked.
    pub(crate) fn await_asked(&self, count: usize, within: Duration) -> Result<(), Failure> {
        let count = u32::try_from(count).or_fail("counting the questions")?;
        board::await_at_least(&self.asked, count, within)
    }

    /// Answers all who have asked.
    pub(crate) fn tell(&mut self) -> Result<(), Failure> {
        self.control
            .as_mut()
            .map_or(Ok(()), |control| control.write_all(b"!"))
            .or_fail("telling the server")
    }

    /// Ends the server and gives its error, if it had one.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        self.control = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(served)) => served.or_fail("the server"),
            Some(Err(_)) => Err(Failure::new("the server panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: &UnixListener,
    mut told: UnixStream,
    mut answers: Answers,
    asked: &AtomicU32,
) -> io::Result<()> {
    // In the order of the questions, and so in the order of the answers.
    let mut waiting: std::collections::VecDeque<(Instant, UnixStream)> =
        std::collections::VecDeque::new();
    loop {
        let timeout = match (answers, waiting.front()) {
            (Answers::After(delay), Some((at, _))) => {
                Some((*at + delay).saturating_duration_since(Instant::now()))
            }
            _ => None,
        };
        let timeout = timeout.map(|left| rustix::time::Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let (news, clients) = {
            let mut watched = [
                PollFd::new(&told, PollFlags::IN),
                PollFd::new(listener, PollFlags::IN),
            ];
            match poll(&mut watched, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            (
                !watched[0].revents().is_empty(),
                !watched[1].revents().is_empty(),
            )
        };
        if news {
            if told.read(&mut [0])? == 0 {
                return Ok(());
            }
            answers = Answers::After(Duration::ZERO);
        }
        if clients {
            let (mut client, _) = listener.accept()?;
            // Both kinds write right after they connect; one that died in between is an end of
            // file.
            if client.read(&mut [0])? == 1 {
                waiting.push_back((Instant::now(), client));
                board::arrive(asked);
            }
        }
        if let Answers::After(delay) = answers {
            while waiting.front().is_some_and(|(at, _)| at.elapsed() >= delay) {
                if let Some((_, mut client)) = waiting.pop_front() {
                    // A client that died meanwhile has its own report to make.
                    let _ = client.write_all(b"!");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_answers_after_its_delay() {
        let server = Server::start(Answers::After(Duration::from_millis(20))).unwrap();
        let start = Instant::now();
        at_server(server.name().to_owned()).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        server.stop().unwrap();
    }

    #[test]
    fn the_server_holds_its_answers_until_told() {
        let mut server = Server::start(Answers::WhenTold).unwrap();
        let name = server.name().to_owned();
        let client = std::thread::spawn(move || at_server(name));
        server.await_asked(1, PATIENCE).unwrap();
        assert!(!client.is_finished());
        server.tell().unwrap();
        client.join().unwrap().unwrap();
        server.stop().unwrap();
    }
}
