//! The fork server: a small process with one thread that makes the workers, hears of their ends,
//! and ends them.
//!
//! One loop over descriptors. Nothing in it waits for a peer: not for the host, not for the process
//! that reads the host's stderr (see [`streams`]), not for a worker.

mod endings;
mod keys;
mod outbox;
mod output;
mod redirect;
mod workers;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Rlimit;

use crate::export;
use crate::sync::liveness::{LivenessTable, LivenessWriter, Token};
use crate::sys::epoll::Epoll;
use crate::sys::error::Call;
use crate::sys::opened;
use crate::sys::original;
use crate::sys::privilege::Privilege;
use crate::sys::process::{self, Ended};
use crate::sys::remote_error::RemoteError;
use crate::sys::signal;
use crate::worker::process::Inheritance;
use crate::worker::process::child::warm_up;
use crate::worker::process::fork_server::exec::Executing;
use crate::worker::process::fork_server::groups::GroupDirectories;
use crate::worker::process::fork_server::memory_watch::{Looks, WatchedWorker};
use crate::worker::process::fork_server::oom::OomKills;
use crate::worker::process::fork_server::oom_score::OomScore;
use crate::worker::process::fork_server::orphans::Children;
use crate::worker::process::fork_server::prepare;
use crate::worker::process::fork_server::streams::{PerStream, Stream, StreamReader, StreamWriter};
use crate::worker::process::ipc::exit_table::ExitTable;
use crate::worker::process::ipc::protocol::{
    self, Build, ForkServerEvent, ModuleAt, NextMessage, ReceivedMessage, Request,
};
use crate::worker::process::ipc::stderr_count::StderrCounts;
use endings::end;
use keys::{
    About, CHILD_ENDED, HOST, HOST_ENDED, HOST_FREE, LEFT_LINES_FREE, LISTENER_ENDED, STDERR_FREE,
    STDOUT_FREE, about_of,
};
use outbox::Outbox;

/// How soon it is tried again to watch what a worker writes.
const REWATCH: Duration = Duration::from_millis(20);

/// How long a worker's end is kept back because its children are not gone yet, though they were
/// killed: a process in an uninterruptible wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves the host at the other end of `socket` until it is gone; then ends, with everything that
/// it started.
pub(crate) fn serve(socket: OwnedFd) -> ! {
    process::set_name(c"brigade-server");
    original::share_nothing();
    let status = match EventLoop::start(&socket).needed_to("be a fork server") {
        Ok(mut server) => {
            let ended = server.run();
            server.end_all();
            match ended {
                Ok(()) => 0,
                Err(_) => 1,
            }
        }
        Err(e) => {
            let why = RemoteError::from(&e);
            // What is left unread when a socket is closed has the other end get an error instead of
            // what was sent.
            let _ = protocol::recv_first::<Request>(&socket, false);
            if protocol::send_last(&socket, &ForkServerEvent::Unfit { why }).is_err() {
                // The host may be gone; or it is the sending that is denied.
                say_on_stderr(&e);
            }
            1
        }
    };
    process::exit_now(status)
}

/// The last way to report an error.
fn say_on_stderr(why: &io::Error) {
    let text = format!("brigade: the fork server could not begin: {why}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

struct ForkedWorker {
    slot: u32,
    /// The worker's token in the liveness table; `None`: it is an outsider there.
    token: Option<Token>,
    /// The host's end of its descriptor socket.
    fd_socket: Arc<OwnedFd>,
    written: PerStream<StreamReader>,
    /// Where its stdout and its stderr go, if not where those of others go.
    redirected: [Option<Box<StreamWriter>>; 2],
    /// The OOM killer's count at its birth.
    oom_kills: Option<u64>,
    /// Was asked to end, and is killed at this time.
    kill_at: Option<Instant>,
    /// The fork server has asked the worker where it is, asks it to end at this time, and kills it
    /// when this grace is over.
    ends_at: Option<(Instant, Duration)>,
    /// Since when it is stopped.
    stopped: Option<Instant>,
    main_thread: MainThread,
    /// What it may have, where that is looked at here.
    memory: Option<WatchedWorker>,
}

/// A worker's main thread, which runs its tasks, as it was when it was last looked at.
#[derive(Clone, Copy)]
enum MainThread {
    Lives,
    /// It has ended, and others of the worker's threads live.
    SeenEnded(Ended),
    /// So it was at two looks, and the worker was killed.
    Followed(Ended),
}

/// A worker that was reaped, whose end the host does not know yet because its children may be
/// alive.
struct Closing {
    pid: u32,
    worker: Box<ForkedWorker>,
    ended: Ended,
    since: Instant,
}

/// What is kept of a worker until the host releases it.
struct Gone {
    slot: u32,
    pid: u32,
    /// If there is something in it.
    fd_socket: Option<Arc<OwnedFd>>,
}

struct EventLoop<'a> {
    pid: u32,
    socket: &'a OwnedFd,
    /// A copy of the socket's descriptor, so that the event loop can wait for room in it too.
    socket_out: OwnedFd,
    outbox: Outbox,
    /// A pidfd of the host. The event loop watches it; a clone of the socket in some child of the
    /// host's would hide its end.
    _host: OwnedFd,
    /// A pidfd of the host's listener, where threads can have one: it ends with the program also
    /// where the host's process goes on as another program.
    listener: Option<OwnedFd>,
    exit_table: ExitTable,
    /// `None`: the host alone may write the liveness table.
    liveness_writer: Option<LivenessWriter>,
    /// How workers are made where this process cannot be forked.
    executing: Option<Executing>,
    events: OwnedFd,
    /// The workers' way to do the same: a socket, from which they cannot take what others have
    /// sent.
    wake_socket: OwnedFd,
    /// The limit of descriptors before it was raised.
    open_files: Option<Rlimit>,
    child_events: OwnedFd,
    epoll: Epoll,
    /// By process number. In boxes, and so are a table and a list of a few hundred bytes: after
    /// each fork the pages that are touched are copied.
    workers: HashMap<u32, Box<ForkedWorker>>,
    closing: Vec<Closing>,
    /// Slots never used start here.
    next_slot: u32,
    free_slots: Vec<u32>,
    /// Workers that have ended, but that the host has not released: a large result may still be in
    /// the descriptor socket.
    unreleased: Vec<Gone>,
    children: Children,
    outputs: PerStream<StreamWriter>,
    /// What workers that have ended have left for the reader of their lines.
    left_lines: Vec<StreamWriter>,
    stderr_counts: StderrCounts,
    /// Some worker's stream could not be added to the event loop.
    unwatched: bool,
    oom: OomKills,
    groups: GroupDirectories,
    /// At the memory of workers.
    looks: Looks,
    /// How many workers were looked at, in turn, for their main thread.
    looked_at: usize,
    oom_score: OomScore,
    /// Orphans that did not end though they were killed: another user's, or in an uninterruptible
    /// wait. They are not waited for a second time.
    given_up: Vec<u32>,
    /// The host asks for no workers any more.
    retired: bool,
}

/// The message in which this fork server tells the host what it is; and, where it has threads and
/// so cannot fork, what it executes workers with.
fn introduce(privilege: Box<Privilege>) -> io::Result<(ForkServerEvent, Option<Executing>)> {
    let modules = ModuleAt::of_this_process();
    let mut threads = Vec::new();
    let mut executing = None;
    if !process::one_thread() {
        threads = process::other_threads();
        executing = Some(Executing::new(privilege, &modules));
    }
    let hello = ForkServerEvent::Hello {
        pid: std::process::id(),
        build: Build::of_this_process()?,
        privilege: Box::new(Privilege::of_this_thread()?),
        modules,
        threads,
        catalogue: export::catalogue().to_words(),
    };
    Ok((hello, executing))
}

impl<'a> EventLoop<'a> {
    fn start(socket: &'a OwnedFd) -> io::Result<EventLoop<'a>> {
        let open_files = prepare::prepare()?;
        let Some(ReceivedMessage {
            content:
                Request::Begin {
                    privilege,
                    inheritance,
                },
            mut descriptors,
            ..
        }) = protocol::recv_first(socket, true)?
        else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        privilege.assume();
        let liveness_to_write = (descriptors.len() == 6)
            .then(|| descriptors.pop())
            .flatten();
        let [exit_table, host, events, wake_socket, liveness] =
            <[OwnedFd; 5]>::try_from(descriptors).map_err(|_| io::ErrorKind::InvalidData)?;
        let exit_table = ExitTable::map(exit_table)?;
        exit_table.keep_from_workers()?;
        let liveness_writer = LivenessTable::adopt(liveness, liveness_to_write)?;
        let child_events = signal::child_events().needed_to("hear of workers' ends")?;
        let epoll = Epoll::new()?;
        epoll.try_wait()?;
        epoll.add_readable(socket, HOST)?;
        epoll.add_readable(&host, HOST_ENDED)?;
        epoll.add_readable(&child_events, CHILD_ENDED)?;
        let (hello, executing) = introduce(privilege)?;
        warm_up::warm_up();
        let passes_stdout = (inheritance == Inheritance::Nothing).then_some(Stream::Stdout);
        let outputs = PerStream {
            stdout: passes_stdout.map(StreamWriter::open).transpose()?,
            stderr: StreamWriter::open(Stream::Stderr)?,
        };
        let children = Children::of_this_process()?;
        let stderr_counts = StderrCounts::new()?;
        stderr_counts.leave_last_word();
        let server = EventLoop {
            pid: std::process::id(),
            socket_out: opened::copy(socket)?,
            socket,
            outbox: Outbox::default(),
            _host: host,
            listener: None,
            exit_table,
            liveness_writer,
            oom_score: OomScore::of_this_process(executing.is_some()),
            executing,
            events,
            wake_socket,
            open_files,
            child_events,
            epoll,
            workers: HashMap::new(),
            closing: Vec::new(),
            next_slot: 0,
            free_slots: Vec::new(),
            unreleased: Vec::new(),
            children,
            outputs,
            left_lines: Vec::new(),
            stderr_counts,
            unwatched: false,
            oom: OomKills::watch(),
            groups: GroupDirectories::default(),
            looks: Looks::new(),
            looked_at: 0,
            given_up: Vec::new(),
            retired: false,
        };
        warm_up::leave_memory();
        // Last: from here on the host counts on it.
        protocol::send(socket, &hello, &[])?;
        Ok(server)
    }

    /// Until the host is gone. What fails meanwhile fails for the caller that asked for it; the
    /// work of the others goes on. An error is that of a wait for events (epoll_wait(2)), which no
    /// lack of anything explains: without it nothing can be done any more.
    fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            self.epoll.wait(&mut ready, self.next_deadline())?;
            for key in ready.drain(..) {
                match key {
                    HOST_ENDED | LISTENER_ENDED => return Ok(()),
                    HOST => {
                        if !self.requests() {
                            return Ok(());
                        }
                    }
                    CHILD_ENDED => self.reap_ended(),
                    STDERR_FREE => self.output_free(Stream::Stderr),
                    STDOUT_FREE => self.output_free(Stream::Stdout),
                    HOST_FREE => {}
                    LEFT_LINES_FREE => self.left_lines_free(),
                    key => match about_of(key) {
                        (slot, About::Written(stream)) => self.pass(slot, stream),
                        (slot, About::Room(stream)) => self.own_free(slot, stream),
                    },
                }
            }
            self.kill_overdue();
            self.look_at_memory();
            self.pass_held();
            if self.unwatched {
                self.watch_workers();
            }
            self.close_finished();
            if !self.send_outbox() || self.retired && self.has_nothing_left() {
                return Ok(());
            }
        }
    }

    /// No worker, and nothing that one has left to be fetched.
    fn has_nothing_left(&self) -> bool {
        self.workers.is_empty()
            && self.closing.is_empty()
            && self.outbox.is_empty()
            && self.left_lines.is_empty()
            && self.unreleased.iter().all(|gone| gone.fd_socket.is_none())
    }

    fn next_deadline(&self) -> Option<Duration> {
        let kills = self.workers.values().filter_map(|w| w.kill_at);
        let ends = self.workers.values().filter_map(|w| Some(w.ends_at?.0));
        let closings = self.closing.iter().map(|c| c.since + PATIENCE);
        let workers = self.workers.values();
        let held = workers.filter_map(|w| w.next_deadline(&self.outputs));
        kills
            .chain(ends)
            .chain(closings)
            .chain(held)
            .chain(self.outbox.again_at())
            .chain(self.looks.at())
            .chain(self.unwatched.then(|| Instant::now() + REWATCH))
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Obeys what the host has asked for. `false`: the host is gone.
    fn requests(&mut self) -> bool {
        loop {
            let message = match protocol::next(self.socket) {
                NextMessage::Message(message) => message,
                NextMessage::Nothing => return true,
                NextMessage::Gone => return false,
            };
            match message.content {
                Request::Begin { .. } => {}
                Request::Listens => self.watch_listener(message.descriptors),
                Request::Retire => {
                    self.retired = true;
                    // What was released since is not reported, and nothing else may come any more.
                    self.collect_released();
                }
                Request::Fork { count, tokens } => {
                    let oom_kills = self.oom.count();
                    let own_score = self.oom_score.raise();
                    for i in 0..count as usize {
                        let token = tokens.get(i).and_then(|&bits| Token::from_bits(bits));
                        match self.make_worker(token, oom_kills) {
                            Ok((slot, pid, mailbox)) => self.send_event(
                                ForkServerEvent::Forked { slot, pid },
                                Some(Arc::new(mailbox)),
                            ),
                            Err(e) => {
                                self.mark_dead(token);
                                let why = RemoteError::from(&e);
                                self.send_event(ForkServerEvent::NotForked { why }, None);
                            }
                        }
                    }
                    self.oom_score.lower(own_score);
                }
                Request::Kill {
                    slot,
                    pid,
                    grace_ms,
                    asks,
                } => self.kill(slot, pid, Duration::from_millis(grace_ms), asks),
                Request::Ask { slot, pid } => {
                    self.ask(slot, pid);
                }
                Request::Released => self.collect_released(),
                Request::FdSocket {
                    slot,
                    pid,
                    request_number,
                } => {
                    let fd_socket = self.fd_socket(slot, pid);
                    self.send_event(
                        ForkServerEvent::FdSocket {
                            request_number,
                            errno: 0,
                        },
                        fd_socket,
                    );
                }
                Request::Groups {
                    memory,
                    processes,
                    of_pool,
                } => self.groups.are_below([memory, processes], of_pool),
                Request::WatchMemory { slot, pid, bytes } => self.watch_memory(slot, pid, bytes),
                Request::Streams { slot, pid, routes } => {
                    let descriptors = (!message.descriptors_lost).then_some(message.descriptors);
                    self.redirect((slot, pid), routes, descriptors);
                }
                Request::ShowStderr => self.show_stderr(),
                Request::AreYouThere { number } => {
                    self.send_event(ForkServerEvent::Here { number }, None);
                    self.end_without_main_thread();
                }
            }
        }
    }

    fn watch_listener(&mut self, mut descriptors: Vec<OwnedFd>) {
        // Without it, or without memory to watch it, this process learns of the host's own end and
        // of that of the socket.
        let watched = |listener: &OwnedFd| self.epoll.add_readable(listener, LISTENER_ENDED);
        self.listener = descriptors.pop().filter(|l| watched(l).is_ok());
    }

    /// Has the host look at the exit table.
    fn call_host(&self) {
        // Full means that the host has a call already.
        let _ = rustix::io::write(&self.events, &1_u64.to_ne_bytes());
    }

    fn send_event(&mut self, event: ForkServerEvent, descriptor: Option<Arc<OwnedFd>>) {
        self.outbox.push(event, descriptor);
        // At once: the host waits for it. That the host is gone is found at the end of the
        // turn.
        self.send_outbox();
    }

    /// Sends what there is room for. `false`: the host is gone.
    fn send_outbox(&mut self) -> bool {
        let sent = self.outbox.send(self.socket, &self.socket_out, &self.epoll);
        for (slot, pid) in sent.refused {
            // The host does not know of this worker.
            end(pid);
            self.exit_table.release(slot);
        }
        sent.heard
    }
}
