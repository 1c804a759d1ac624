//! The fork server: a small process with one thread that makes the workers, hears of their ends,
//! and ends them.
//!
//! One loop over descriptors. Nothing in it waits for anybody: not for the host, not for whoever
//! reads the host's stderr (see [`stderr`]), not for a worker.

mod outbox;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Rlimit};

use crate::sync::roster::{Registrar, Roster, Token};
use crate::sys::epoll::Epoll;
use crate::sys::error::{Call, RemoteError};
use crate::sys::opened;
use crate::sys::privilege::Privilege;
use crate::sys::process::{self, Ended, Fork};
use crate::sys::{fds, futex, signal};
use crate::worker::process::child::startup::{self, Birth, Surplus};
use crate::worker::process::fork_server::exec::Executing;
use crate::worker::process::fork_server::oom::{self, OomKills};
use crate::worker::process::fork_server::orphans::Children;
use crate::worker::process::fork_server::prepare;
use crate::worker::process::fork_server::stderr::{self, Found, Input, Output};
use crate::worker::process::ipc::board::{Board, SLOTS};
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol::{self, Build, Event, Message, ModuleAt, Request};
use crate::worker::process::ipc::stderr_count::Counts;
use outbox::Outbox;

/// Keys of the event loop; above them, a worker's slot.
const HOST: u64 = 0;
const HOST_ENDED: u64 = 1;
const CHILD_ENDED: u64 = 2;
const STDERR_FREE: u64 = 3;
const HOST_FREE: u64 = 4;
const LISTENER_ENDED: u64 = 5;
const FIRST_SLOT: u64 = 16;

/// How soon it is tried again to watch a worker's stderr.
const REWATCH: Duration = Duration::from_millis(20);

/// How long it is waited for memory.
const PAUSE: Duration = Duration::from_millis(1);

/// How long a worker's end is kept back because its children are not gone yet, though they were
/// killed: a process in an uninterruptible wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves the host at the other end of `socket` until it is gone; then ends, with everything that
/// it started.
pub(crate) fn serve(socket: OwnedFd) -> ! {
    process::set_name(c"brigade-server");
    let status = match Server::start(&socket).needed_to("be a fork server") {
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
            if protocol::send_last(&socket, &Event::Unfit { why }).is_err() {
                // Nobody may be there any more; or it is the sending that is denied.
                say_on_stderr(&e);
            }
            1
        }
    };
    process::exit_now(status)
}

/// The last way to be heard.
fn say_on_stderr(why: &io::Error) {
    let text = format!("brigade: the fork server could not begin: {why}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

struct Worker {
    slot: u32,
    /// Who it is in the roster; `None`: an outsider there.
    token: Option<Token>,
    /// The host's end of its lane.
    lane: Arc<OwnedFd>,
    stderr: Input,
    /// The OOM killer's count at its birth.
    oom_kills: Option<u64>,
    /// Was asked to end, and is killed at this time.
    kill_at: Option<Instant>,
    /// Since when it is stopped.
    stopped: Option<Instant>,
}

/// A worker that was reaped, whose end is not told yet because its children may be alive.
struct Closing {
    pid: u32,
    worker: Worker,
    ended: Ended,
    since: Instant,
}

/// What is kept of a worker until the host releases it.
struct Gone {
    slot: u32,
    pid: u32,
    /// If there is something in it.
    lane: Option<Arc<OwnedFd>>,
}

struct Server<'a> {
    own: u32,
    socket: &'a OwnedFd,
    /// The same socket, so that the event loop can wait for room in it too.
    socket_out: OwnedFd,
    outbox: Outbox,
    /// A pidfd of the host. The event loop watches it; a clone of the socket in some child of the
    /// host's would hide its end.
    _host: OwnedFd,
    /// A pidfd of the host's listener, where threads can have one: it ends with the program also
    /// where the host's process goes on as another program.
    listener: Option<OwnedFd>,
    board: Board,
    /// `None`: the host alone may write the roster.
    registrar: Option<Registrar>,
    /// How workers are made where this process cannot be forked.
    executing: Option<Executing>,
    events: OwnedFd,
    /// The workers' way to do the same: a socket, from which they cannot take what others have
    /// sent.
    bell: OwnedFd,
    /// The limit of descriptors before it was raised.
    open_files: Option<Rlimit>,
    child_events: OwnedFd,
    epoll: Epoll,
    workers: HashMap<u32, Worker>,
    closing: Vec<Closing>,
    /// Slots never used start here.
    next_slot: u32,
    free_slots: Vec<u32>,
    /// Workers that have ended, but that the host has not released: a large result may still be in
    /// the lane.
    unreleased: Vec<Gone>,
    children: Children,
    output: Output,
    stderr_counts: Counts,
    stderr_blocked: bool,
    /// Some worker's stderr could not be added to the event loop.
    unwatched: bool,
    oom: OomKills,
    /// Orphans that did not end though they were killed: another user's, or in an uninterruptible
    /// wait. Nobody waits for them a second time.
    hopeless: Vec<u32>,
    /// Nobody asks for workers any more.
    retired: bool,
}

impl<'a> Server<'a> {
    fn start(socket: &'a OwnedFd) -> io::Result<Server<'a>> {
        let open_files = prepare::prepare()?;
        let Some(Message {
            content: Request::Begin { privilege },
            mut descriptors,
            ..
        }) = protocol::recv_first(socket, true)?
        else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        privilege.assume();
        let roster_to_write = (descriptors.len() == 6)
            .then(|| descriptors.pop())
            .flatten();
        let [board, host, events, bell, roster] =
            <[OwnedFd; 5]>::try_from(descriptors).map_err(|_| io::ErrorKind::InvalidData)?;
        let board = Board::map(board)?;
        board.keep_from_workers()?;
        let registrar = Roster::adopt(roster, roster_to_write)?;
        let child_events = signal::child_events().needed_to("hear of workers' ends")?;
        let epoll = Epoll::new()?;
        epoll.try_wait()?;
        epoll.add_readable(socket, HOST)?;
        epoll.add_readable(&host, HOST_ENDED)?;
        epoll.add_readable(&child_events, CHILD_ENDED)?;
        let modules = ModuleAt::of_this_process();
        let mut threads = Vec::new();
        let mut executing = None;
        if !process::one_thread() {
            threads = process::other_threads();
            executing = Some(Executing::new(privilege, &modules));
        }
        let hello = Event::Hello {
            pid: std::process::id(),
            build: Build::of_this_process()?,
            privilege: Box::new(Privilege::of_this_thread()?),
            modules,
            threads,
        };
        startup::rehearse();
        let output = Output::open()?;
        let children = Children::of_this_process()?;
        let server = Server {
            own: std::process::id(),
            socket_out: opened::copy(socket)?,
            socket,
            outbox: Outbox::default(),
            _host: host,
            listener: None,
            board,
            registrar,
            executing,
            events,
            bell,
            open_files,
            child_events,
            epoll,
            workers: HashMap::new(),
            closing: Vec::new(),
            next_slot: 0,
            free_slots: Vec::new(),
            unreleased: Vec::new(),
            children,
            output,
            stderr_counts: Counts::new()?,
            stderr_blocked: false,
            unwatched: false,
            oom: OomKills::watch(),
            hopeless: Vec::new(),
            retired: false,
        };
        // Last: from here on the host counts on it.
        protocol::send(socket, &hello, &[])?;
        Ok(server)
    }

    /// Until the host is gone. What fails meanwhile fails for who asked for it; everybody else's
    /// work goes on. An error is that of a wait for events (epoll_wait(2)), which no lack of
    /// anything explains: without it nothing can be done any more.
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
                    CHILD_ENDED => self.children_ended(),
                    STDERR_FREE => self.stderr_free(),
                    HOST_FREE => {}
                    slot => self.stderr_of((slot - FIRST_SLOT) as u32),
                }
            }
            self.kill_overdue();
            self.pass_held();
            if self.unwatched && !self.stderr_blocked {
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
            && self.unreleased.iter().all(|gone| gone.lane.is_none())
    }

    fn next_deadline(&self) -> Option<Duration> {
        let kills = self.workers.values().filter_map(|w| w.kill_at);
        let closings = self.closing.iter().map(|c| c.since + PATIENCE);
        let held = self.workers.values().filter_map(|w| w.stderr.held_until());
        kills
            .chain(closings)
            .chain(held.filter(|_| !self.stderr_blocked))
            .chain(self.outbox.again_at())
            .chain(self.unwatched.then(|| Instant::now() + REWATCH))
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Obeys what the host has asked for. `false`: the host is gone.
    fn requests(&mut self) -> bool {
        loop {
            let message = match protocol::recv(self.socket, false) {
                Ok(Some(message)) => message,
                Ok(None) => return false,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                // There is no memory for it. It stays where it is, and is tried again.
                Err(e) if protocol::is_temporary(&e) => {
                    futex::rest(PAUSE);
                    return true;
                }
                // What makes no sense is nobody's request.
                Err(e) if e.kind() == io::ErrorKind::InvalidData => continue,
                // Not even the kernel understands the socket any more.
                Err(_) => return false,
            };
            match message.content {
                Request::Begin { .. } => {}
                Request::Listens => self.watch_listener(message.descriptors),
                Request::Retire => self.retired = true,
                Request::Hire { count, tokens } => {
                    let oom_kills = self.oom.count();
                    for i in 0..count as usize {
                        let token = tokens.get(i).and_then(|&bits| Token::from_bits(bits));
                        match self.hire(token, oom_kills) {
                            Ok((slot, pid, mailbox)) => {
                                self.tell(Event::Hired { slot, pid }, Some(Arc::new(mailbox)))
                            }
                            Err(e) => {
                                self.bury(token);
                                let why = RemoteError::from(&e);
                                self.tell(Event::NotHired { why }, None);
                            }
                        }
                    }
                }
                Request::Kill {
                    slot,
                    pid,
                    grace_ms,
                } => self.kill(slot, pid, Duration::from_millis(grace_ms)),
                Request::Released => self.collect_released(),
                Request::Lane { slot, pid, ticket } => {
                    let lane = self.lane(slot, pid);
                    self.tell(Event::Lane { ticket, errno: 0 }, lane);
                }
                Request::AreYouThere { number } => self.tell(Event::Here { number }, None),
            }
        }
    }

    fn watch_listener(&mut self, mut descriptors: Vec<OwnedFd>) {
        // Without it, or without memory to watch it, the host's own end and that of the socket are
        // what is heard of.
        let watched = |listener: &OwnedFd| self.epoll.add_readable(listener, LISTENER_ENDED);
        self.listener = descriptors.pop().filter(|l| watched(l).is_ok());
    }

    fn kill(&mut self, slot: u32, pid: u32, grace: Duration) {
        let Some(worker) = self.workers.get_mut(&pid).filter(|w| w.slot == slot) else {
            return;
        };
        if grace.is_zero() {
            return end(pid);
        }
        process::kill(pid, libc::SIGTERM);
        if worker.stopped.is_some() {
            // Or it would not hear of it before its time of grace is over.
            process::kill(pid, libc::SIGCONT);
        }
        worker.kill_at = Instant::now().checked_add(grace);
    }

    fn lane(&self, slot: u32, pid: u32) -> Option<Arc<OwnedFd>> {
        let alive = self.workers.get(&pid).filter(|w| w.slot == slot);
        let closing = self
            .closing
            .iter()
            .find(|c| c.pid == pid && c.worker.slot == slot)
            .map(|c| &c.worker);
        let gone = self
            .unreleased
            .iter()
            .find(|g| g.pid == pid && g.slot == slot);
        alive
            .or(closing)
            .map(|w| Arc::clone(&w.lane))
            .or_else(|| gone?.lane.clone())
    }

    /// Makes a worker, which sleeps until the host gives it something to do.
    fn hire(
        &mut self,
        token: Option<Token>,
        oom_kills: Option<u64>,
    ) -> io::Result<(u32, u32, OwnedFd)> {
        let slot = self.take_slot()?;
        let made = self.fork_worker(slot, token, oom_kills);
        match made.needed_to("make a worker process") {
            Ok((pid, mailbox)) => Ok((slot, pid, mailbox)),
            Err(e) => {
                self.free_slots.push(slot);
                Err(e)
            }
        }
    }

    fn fork_worker(
        &mut self,
        slot: u32,
        token: Option<Token>,
        oom_kills: Option<u64>,
    ) -> io::Result<(u32, OwnedFd)> {
        let mailbox = Mailbox::file()?;
        let (lane, their_lane) = opened::socket_pair()?;
        let (input, their_stderr) = stderr::pipe()?;
        let count = self.stderr_counts.begin(slot);
        let birth = Birth {
            server: self.own,
            stderr_count: self.stderr_counts.seen_by_worker(slot),
            mailbox: &mailbox,
            lane: &their_lane,
            stderr: &their_stderr,
            bell: &self.bell,
            token,
            open_files: self.open_files,
            surplus: Surplus::All,
        };
        let pid = match &self.executing {
            Some(executing) => executing.make(&birth, slot, self.stderr_counts.file())?,
            None => match process::fork_single_threaded()? {
                Fork::Child => startup::run(&birth),
                Fork::Parent(pid) => pid,
            },
        };
        // Both sides do it, so that it is done before either relies on it. The worker has no task
        // yet, and has not become another program; so this fails only where it is denied.
        let id = Pid::from_raw(pid as i32);
        let leads = match self.executing {
            None => rustix::process::setpgid(id, id),
            // It has done so before it became the program, or was refused.
            Some(_) => match rustix::process::getpgid(id) {
                Ok(group) if Some(group) == id => Ok(()),
                Ok(_) => Err(Errno::PERM),
                Err(e) => Err(e),
            },
        };
        if let Err(e) = leads {
            // An orphan like any other from here on.
            process::kill(pid, libc::SIGKILL);
            return Err(e)
                .call("setpgid(2)")
                .needed_to("end a worker with what it has started");
        }
        let worker = Worker {
            slot,
            token,
            lane: Arc::new(lane),
            stderr: Input::new(input, count),
            oom_kills,
            kill_at: None,
            stopped: None,
        };
        self.board.reset(slot);
        if !self.stderr_blocked {
            // If there is no memory to watch it, it is tried again: a worker whose pipe nobody
            // reads would wait for ever.
            self.unwatched |= self
                .epoll
                .add_readable(worker.stderr.pipe(), FIRST_SLOT + u64::from(slot))
                .is_err();
        }
        self.workers.insert(pid, worker);
        Ok((pid, mailbox))
    }

    /// This worker is dead, or was not made: whoever waits for something that it held hears of it.
    fn bury(&mut self, token: Option<Token>) {
        match (token, &self.registrar) {
            (Some(token), Some(registrar)) => registrar.bury(token),
            // Sent before the loop waits again.
            (Some(token), None) => {
                let token = token.to_bits();
                self.outbox.push(Event::Dead { token }, None);
            }
            (None, _) => {
                if let Ok(roster) = Roster::get() {
                    roster.stir();
                }
            }
        }
    }

    fn take_slot(&mut self) -> io::Result<u32> {
        if self.free_slots.is_empty() {
            self.collect_released();
        }
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        if self.next_slot == SLOTS {
            return Err(io::Error::other(format!(
                "a fork server has no more than {SLOTS} worker processes"
            )));
        }
        self.next_slot += 1;
        Ok(self.next_slot - 1)
    }

    fn collect_released(&mut self) {
        self.unreleased.retain(|gone| {
            let is_free = self.board.is_free(gone.slot);
            if is_free {
                self.free_slots.push(gone.slot);
            }
            !is_free
        });
    }

    /// Reaps what has ended, and ends what the dead left behind.
    fn children_ended(&mut self) {
        let mut info = [0_u8; 128];
        while rustix::io::read(&self.child_events, &mut info[..]).is_ok() {}
        self.children_stopped();
        while let Some(pid) = process::peek_ended() {
            // Before it is reaped: while it is a zombie, its group's number is nobody else's.
            if let Some((slot, token)) = self.workers.get(&pid).map(|w| (w.slot, w.token)) {
                // None of its threads runs any more: this is when its locks are free for others.
                self.bury(token);
                process::kill_group(pid, libc::SIGKILL);
                self.board.reap(slot);
            }
            let Some(ended) = process::reap(pid) else {
                break;
            };
            if let Some(worker) = self.workers.remove(&pid) {
                self.closing.push(Closing {
                    pid,
                    worker,
                    ended,
                    since: Instant::now(),
                });
            }
        }
    }

    /// Takes notice of workers that were stopped, and of those that go on.
    fn children_stopped(&mut self) {
        let mut news = false;
        while let Some((pid, stopped)) = process::stopped_child() {
            let Some(worker) = self.workers.get_mut(&pid) else {
                continue;
            };
            let now = Instant::now();
            let before = std::mem::replace(&mut worker.stopped, stopped.then_some(now));
            let stood = before.map_or(Duration::ZERO, |since| now - since);
            self.board.note_stop(worker.slot, stopped, stood);
            // It was asked to end before we heard of its stop: it is to hear of that.
            if stopped && worker.kill_at.is_some() {
                process::kill(pid, libc::SIGCONT);
            }
            news = true;
        }
        if news {
            self.call_host();
        }
    }

    /// Has the host look at the board.
    fn call_host(&self) {
        // Full means that it has been told already.
        let _ = rustix::io::write(&self.events, &1_u64.to_ne_bytes());
    }

    /// Tells of the workers whose children are gone too.
    fn close_finished(&mut self) {
        if self.closing.is_empty() {
            return;
        }
        let orphans = self.kill_orphans();
        if !orphans.is_empty() {
            if self.closing.iter().all(|c| c.since.elapsed() < PATIENCE) {
                return;
            }
            self.hopeless.extend(orphans);
        }
        for Closing {
            pid,
            mut worker,
            ended,
            ..
        } in std::mem::take(&mut self.closing)
        {
            // Its last words come before the news of its end.
            worker.stderr.drain(&mut self.output);
            self.epoll.remove(worker.stderr.pipe());
            let oom_killed = ended == Ended::Signaled(libc::SIGKILL)
                && oom::is_more(self.oom.count(), worker.oom_kills);
            let unstarted = (ended == Ended::Exited(startup::NOT_STARTED))
                .then(|| startup::why_not_started(&worker.lane))
                .flatten();
            let (notify, free) = match unstarted {
                Some(why) => self.board.end_unstarted(worker.slot, &why),
                None => {
                    let tail = worker.stderr.tail();
                    self.board.end(worker.slot, Some(ended), oom_killed, tail)
                }
            };
            if free {
                self.free_slots.push(worker.slot);
            } else {
                let lane = holds_data(&worker.lane).then_some(worker.lane);
                self.unreleased.push(Gone {
                    slot: worker.slot,
                    pid,
                    lane,
                });
            }
            if notify {
                self.call_host();
            }
        }
        self.collect_released();
        self.watch_output();
    }

    /// Kills every child that is no worker, and gives those that there are hopes of; their ends
    /// come as events.
    fn kill_orphans(&mut self) -> Vec<u32> {
        let mut all = Vec::new();
        self.children.list(&mut all);
        self.hopeless.retain(|pid| all.contains(pid));
        let relay = self.output.relay;
        all.retain(|pid| !self.workers.contains_key(pid) && Some(*pid) != relay);
        for &pid in &all {
            process::kill(pid, libc::SIGKILL);
        }
        all.retain(|pid| !self.hopeless.contains(pid));
        all
    }

    fn kill_overdue(&mut self) {
        let now = Instant::now();
        for (&pid, worker) in &mut self.workers {
            if worker.kill_at.is_some_and(|at| at <= now) {
                worker.kill_at = None;
                end(pid);
            }
        }
    }

    fn stderr_of(&mut self, slot: u32) {
        // Few workers write at a time; a map by slot would have to be kept for all.
        let Some(worker) = self.workers.values_mut().find(|w| w.slot == slot) else {
            return;
        };
        if worker.stderr.pass(&mut self.output) == Found::End {
            self.epoll.remove(worker.stderr.pipe());
        }
        self.watch_output();
    }

    /// Passes on the beginnings of lines whose ends have not come.
    fn pass_held(&mut self) {
        if self.stderr_blocked {
            return;
        }
        let now = Instant::now();
        for worker in self.workers.values_mut() {
            if worker.stderr.held_until().is_some_and(|at| at <= now) {
                worker.stderr.pass_held(&mut self.output);
            }
        }
        self.watch_output();
    }

    /// While too much waits for the host's stderr, workers' pipes are left alone.
    fn watch_output(&mut self) {
        if self.stderr_blocked {
            return;
        }
        let Some(fd) = self.output.blocked_on() else {
            return;
        };
        if self.epoll.add_writable(fd, STDERR_FREE).is_ok() {
            self.stderr_blocked = true;
            for worker in self.workers.values() {
                self.epoll.remove(worker.stderr.pipe());
            }
        }
    }

    fn stderr_free(&mut self) {
        if let Some(fd) = self.output.blocked_on() {
            self.epoll.remove(fd);
        }
        self.stderr_blocked = false;
        self.output.flush();
        self.watch_output();
        if !self.stderr_blocked {
            self.watch_workers();
        }
    }

    /// Has the loop read what workers write. Those that it reads already are an error, too, which
    /// is none.
    fn watch_workers(&mut self) {
        self.unwatched = false;
        for worker in self.workers.values() {
            let key = FIRST_SLOT + u64::from(worker.slot);
            let added = self.epoll.add_readable(worker.stderr.pipe(), key);
            self.unwatched |= added.is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists);
        }
    }

    fn tell(&mut self, event: Event, descriptor: Option<Arc<OwnedFd>>) {
        self.outbox.push(event, descriptor);
        // At once: somebody waits for it. That nobody hears it any more is found at the end of the
        // turn.
        self.send_outbox();
    }

    /// Sends what there is room for. `false`: nobody hears it any more.
    fn send_outbox(&mut self) -> bool {
        let sent = self.outbox.send(self.socket, &self.socket_out, &self.epoll);
        for (slot, pid) in sent.refused {
            // Nobody has heard of this worker.
            end(pid);
            self.board.release(slot);
        }
        sent.heard
    }

    /// The host is gone: so is everything that was done for it.
    fn end_all(&mut self) {
        for &pid in self.workers.keys() {
            end(pid);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.children_ended();
            let orphans = self.kill_orphans();
            if (self.workers.is_empty() && orphans.is_empty()) || Instant::now() >= deadline {
                break;
            }
            // Needs no descriptor of its own: there may be none left.
            let _ = fds::wait_readable(&self.child_events, Duration::from_millis(20));
        }
        for closing in &mut self.closing {
            closing.worker.stderr.drain(&mut self.output);
        }
        self.output.flush();
        self.end_relay();
    }

    /// The relay has what it was given; it gets a moment to pass that on.
    fn end_relay(&mut self) {
        let Some(pid) = self.output.close() else {
            return;
        };
        let deadline = Instant::now() + Duration::from_millis(20);
        while process::reap(pid).is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                process::kill(pid, libc::SIGKILL);
                break;
            }
            let _ = fds::wait_readable(&self.child_events, left);
            let mut info = [0_u8; 128];
            while rustix::io::read(&self.child_events, &mut info[..]).is_ok() {}
        }
    }
}

fn holds_data(lane: &OwnedFd) -> bool {
    fds::wait_readable(lane, Duration::ZERO).unwrap_or(false)
}

/// Kills a worker and its group; it may have left the group.
fn end(pid: u32) {
    process::kill_group(pid, libc::SIGKILL);
    process::kill(pid, libc::SIGKILL);
}
