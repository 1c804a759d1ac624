//! The host's side of its fork server: starts it at first use, keeps spare workers at hand, hears
//! its events.

mod fd_sockets;
mod greeting;
mod listener;
mod live;
mod observers;
mod outgoing;
mod privilege;
mod question;
mod spares;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::sync::liveness::{LivenessTable, Token};
use crate::sys::epoll::Epoll;
use crate::sys::error::{Call, THREAD};
use crate::sys::opened;
use crate::sys::original::Original;
use crate::sys::per_process::PerProcess;
use crate::sys::privilege::Privilege;
use crate::sys::remote_error::RemoteError;
use crate::sys::service_thread;
use crate::sys::signal::Blocked;
use crate::sys::timer::Timer;
use crate::task::entry::Plan;
use crate::task::name::TaskName;
use crate::task::symbols::Symbols;
use crate::worker::process::Inheritance;
use crate::worker::process::fork_server::start;
use crate::worker::process::host::groups::{self, Groups};
use crate::worker::process::host::program::{self, NamedProgram};
use crate::worker::process::host::start_method::StartMethod;
use crate::worker::process::ipc::exit_table::ExitTable;
use crate::worker::process::ipc::protocol::{self, Build, Limits, ModuleAt, Request};
use crate::worker::process::ipc::streams::SentRoutes;
use crate::worker::process::ipc::wake_socket::{self, HostWakeSocket};
use fd_sockets::FdSockets;
use greeting::{Greeting, greet};
pub(crate) use live::{LiveWorker, live_workers};
use observers::ObserverEntry;
pub(crate) use observers::PoolObserver;
use outgoing::Outgoing;
#[cfg(not(shuttle))]
pub(crate) use question::Question;
pub(crate) use spares::SpareWorker;
use watch::Watch;

/// A fork server, as the host sees it.
pub(crate) struct ForkServerClient {
    /// The host that started it: a fork of the host must not use it.
    host: Original,
    pid: u32,
    /// The fork server itself.
    process: OwnedFd,
    socket: OwnedFd,
    outgoing: Outgoing,
    /// What the listener waits for.
    epoll: Epoll,
    pub(crate) exit_table: ExitTable,
    events: OwnedFd,
    /// What workers write to when they wake the listener: see
    /// [`wake_socket`](crate::worker::process::ipc::wake_socket).
    wake_socket: HostWakeSocket,
    /// Goes off when it is time to ask for new spares.
    rest: Timer,
    /// Goes off when an observer wants to be called.
    timer: Timer,
    /// Goes off when it is to be seen whether the fork server still answers.
    watch: Timer,
    /// What its workers may do.
    privilege: Privilege,
    /// The task that lists what its program exports.
    pub(crate) catalogue: Option<Plan>,
    /// Where things are in its workers' memory.
    pub(crate) symbols: Arc<Symbols>,
    start_method: StartMethod,
    /// How often it was asked to show what workers have written to stderr.
    asked_for_stderr: AtomicU32,
    state: Mutex<ClientState>,
    arrived: Condvar,
}

#[derive(Default)]
struct ClientState {
    spares: Vec<SpareWorker>,
    /// Asked for, and not here yet.
    expected: usize,
    /// Whether `rest` will go off.
    resting: bool,
    /// More workers are asked for than are made: a caller had to wait for one, and there have not
    /// been enough since.
    scarce: bool,
    /// Callers that have no worker yet.
    waiting: usize,
    /// Failures that no caller has been given yet.
    failures: Vec<RemoteError>,
    fd_sockets: FdSockets,
    watch: Watch,
    /// The last worker of each slot used so far.
    last: Vec<LastWorker>,
    /// The tokens of the workers that were asked for, in the order in which they will come.
    tokens: VecDeque<Option<Token>>,
    async_waiters: HashMap<u32, AsyncWaiter>,
    observers: HashMap<u64, ObserverEntry>,
    next_observer: u64,
    /// The fork server knows where the control groups of workers are.
    knows_groups: bool,
    /// Another has taken its place, because the program has other privileges: see [`privilege`].
    retired: bool,
    /// The fork server is retired, and the host has asked it to end.
    unused: bool,
    gone: bool,
    /// The fork server is gone, and the end of every worker is on the exit table.
    ends_reported: bool,
}

/// The last worker of a slot.
#[derive(Default)]
struct LastWorker {
    pid: u32,
    /// In the liveness table.
    token: Option<Token>,
    /// The task that it was started for, if it has just one, and since when it has it.
    task: Option<(TaskName, Instant)>,
}

/// A future that waits for a worker.
struct AsyncWaiter {
    ready: Box<dyn Fn() -> bool + Send>,
    /// A descriptor socket that it waits for instead.
    fd_socket: Option<u64>,
    waker: Waker,
}

/// This process's, once there is one. A fork of the host begins without: what the parent shares
/// with its own is left alone.
static CURRENT: PerProcess<Servers> = PerProcess::new(Servers::default);

/// Which fork server makes a worker: that of a named program or this program's own; each has two,
/// by what workers have of this program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'p> {
    pub(crate) program: Option<&'p Arc<NamedProgram>>,
    pub(crate) inheritance: Inheritance,
}

impl Origin<'static> {
    /// This program's own.
    pub(crate) fn own(inheritance: Inheritance) -> Origin<'static> {
        Origin {
            program: None,
            inheritance,
        }
    }
}

/// The fork servers of one program, by [`Inheritance`].
pub(in crate::worker::process) type Servers = [Mutex<Option<Arc<ForkServerClient>>>; 2];

/// Where this process keeps the fork server of an origin.
pub(in crate::worker::process) fn servers_of(
    of: Origin<'_>,
) -> &Mutex<Option<Arc<ForkServerClient>>> {
    let servers = of
        .program
        .map_or_else(|| CURRENT.get(), |program| program.servers());
    &servers[of.inheritance as usize]
}

/// What the host shares with a fork server and its workers.
pub(in crate::worker::process) struct ForkServerLinks {
    pub(in crate::worker::process) socket: OwnedFd,
    pub(in crate::worker::process) exit_table: ExitTable,
    pub(in crate::worker::process) events: OwnedFd,
    pub(in crate::worker::process) wake_socket: HostWakeSocket,
}

impl fmt::Debug for ForkServerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkServerClient")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl ForkServerClient {
    /// This process's fork server, started if there is none.
    pub(crate) fn get(of: Origin<'_>) -> io::Result<Arc<ForkServerClient>> {
        let mut current = servers_of(of)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = current.as_ref().filter(|server| !server.lock().gone) {
            return Ok(Arc::clone(server));
        }
        let server = ForkServerClient::start(of)?;
        *current = Some(Arc::clone(&server));
        Ok(server)
    }

    fn start(of: Origin<'_>) -> io::Result<Arc<ForkServerClient>> {
        let started = match of.program {
            None => start::check()
                .needed_to("see whether this program can be started again")
                .and_then(|()| ForkServerClient::try_start(of, &Build::of_this_process()?)),
            Some(program) => program
                .check()
                .and_then(|()| ForkServerClient::try_start(of, &Build::of_file(program.file())))
                .at(|| format!("the program {}", program.path().display())),
        };
        started.needed_to("start the fork server, which makes worker processes")
    }

    fn try_start(of: Origin<'_>, build: &Build) -> io::Result<Arc<ForkServerClient>> {
        let inheritance = of.inheritance;
        let ours = Privilege::of_this_thread()?;
        if let Some(why) = ours.why_not_inherited() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let (socket, theirs) = opened::socket_pair()?;
        let exit_table_file = ExitTable::file()?;
        let exit_table = ExitTable::map(&exit_table_file)?;
        let events = opened::event()?;
        let (wake_socket, workers_wake_socket) = wake_socket::pair()?;
        let host = opened::pidfd(rustix::process::getpid())?;
        let liveness = LivenessTable::get()?;
        let mut descriptors = vec![
            exit_table_file.as_fd(),
            host.as_fd(),
            events.as_fd(),
            workers_wake_socket.as_fd(),
            liveness.file().get().ok_or_else(|| {
                io::Error::other("the program closed a descriptor that was not its own")
            })?,
        ];
        let to_write = liveness.to_write();
        descriptors.extend(to_write.as_ref().map(AsFd::as_fd));
        let begin = Request::Begin {
            inheritance,
            privilege: Box::new(ours.clone()),
        };
        protocol::send(&socket, &begin, &descriptors)?;
        drop(to_write);
        let file = of.program.map(|program| program.file());
        let pid = start::launch(&theirs, &ours, inheritance, file)?;
        drop(theirs);
        let Greeting {
            process,
            modules,
            threads,
            catalogue,
        } = greet(&socket, pid, &ours, build)?;

        // It has mapped the liveness table, if it can, and has no worker yet.
        liveness.seal()?;
        let mut modules: Vec<_> = modules.into_iter().map(ModuleAt::into_module).collect();
        if let (Some(program), Some(first)) = (of.program, modules.first_mut()) {
            first.path = program.path().into();
        }
        let paths: Vec<_> = modules.iter().map(|m| m.path.to_string_lossy()).collect();
        let start_method = StartMethod::new(threads, &paths);
        start_method.log_once();
        let symbols = Symbols::new(modules);
        let lines = ForkServerLinks {
            socket,
            exit_table,
            events,
            wake_socket,
        };
        let mut server = ForkServerClient::new(pid, process, ours, lines, symbols, start_method)?;
        server.catalogue = Some(catalogue);
        server.try_timers()?;
        let server = Arc::new(server);
        server.start_listener()?;
        live::enter(&server);
        Ok(server)
    }

    /// Starts the thread that hears the fork server.
    fn start_listener(self: &Arc<Self>) -> io::Result<()> {
        let epoll = &self.epoll;
        epoll.try_wait()?;
        epoll.add_readable(&self.socket, SOCKET)?;
        epoll.add_readable(&self.events, EVENTS)?;
        epoll.add_readable(&self.wake_socket, WAKE_SOCKET)?;
        epoll.add_readable(&self.rest, RESTED)?;
        epoll.add_readable(&self.timer, TIMER)?;
        epoll.add_readable(&self.watch, WATCH)?;
        let listener = Arc::clone(self);
        // The host's signals are for the host's own threads.
        let blocked = Blocked::all();
        std::thread::Builder::new()
            .name("brigade-listener".to_owned())
            .spawn(move || {
                service_thread::mark();
                listener.listen()
            })
            .call(THREAD)
            .needed_to("hear of worker processes")?;
        drop(blocked);
        Ok(())
    }

    pub(in crate::worker::process) fn new(
        pid: u32,
        process: OwnedFd,
        privilege: Privilege,
        lines: ForkServerLinks,
        symbols: Symbols,
        start_method: StartMethod,
    ) -> io::Result<ForkServerClient> {
        let ForkServerLinks {
            socket,
            exit_table,
            events,
            wake_socket,
        } = lines;
        Ok(ForkServerClient {
            host: Original::this_process(),
            pid,
            process,
            socket,
            outgoing: Outgoing::default(),
            epoll: Epoll::new()?,
            exit_table,
            events,
            wake_socket,
            privilege,
            catalogue: None,
            rest: Timer::new()?,
            timer: Timer::new()?,
            watch: Timer::new()?,
            symbols: Arc::new(symbols),
            start_method,
            asked_for_stderr: AtomicU32::new(0),
            state: Mutex::default(),
            arrived: Condvar::new(),
        })
    }

    /// The process numbers of this program's fork servers that are in use.
    pub(in crate::worker::process) fn pids() -> Vec<u32> {
        let mut pids = pids_of(CURRENT.get());
        program::all().for_each(|program| pids.extend(pids_of(program.servers())));
        pids
    }

    /// The process that it is.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn start_method(&self) -> &StartMethod {
        &self.start_method
    }

    fn lock(&self) -> MutexGuard<'_, ClientState> {
        // No code of the user's runs under this lock: wakers are cloned, woken and dropped outside.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before a worker is given limits: the fork server is to remove the control groups that it
    /// makes for them, or else to look at its memory.
    pub(crate) fn tell_limits(&self, limits: &Limits, slot: u32, pid: u32) -> io::Result<()> {
        if let (Some(bytes), true) = (limits.memory, limits.memory_group.is_empty()) {
            self.send(Request::WatchMemory { slot, pid, bytes })?;
        }
        let (memory, processes) = (&limits.memory_group, &limits.processes_group);
        if memory.is_empty() && processes.is_empty() {
            return Ok(());
        }
        if limits.of_pool {
            return self.send(Request::Groups {
                memory: memory.clone(),
                processes: processes.clone(),
                of_pool: true,
            });
        }
        let mut state = self.lock();
        if state.knows_groups {
            return Ok(());
        }
        let here = groups::here();
        self.send(Request::Groups {
            memory: Groups::bytes(&here.memory),
            processes: Groups::bytes(&here.processes),
            of_pool: false,
        })?;
        state.knows_groups = true;
        Ok(())
    }

    /// Before a worker has its setup: it is to have streams of its own.
    pub(crate) fn tell_streams(
        &self,
        routes: Option<SentRoutes>,
        slot: u32,
        pid: u32,
    ) -> io::Result<()> {
        let Some((routes, descriptors)) = routes else {
            return Ok(());
        };
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        self.send_with(Request::Streams { slot, pid, routes }, &descriptors)
    }

    /// A worker that had ended was released, and its result not fetched.
    pub(crate) fn released(&self) {
        // If the fork server is gone, so is what it kept.
        let _ = self.send(Request::Released);
    }

    /// Has `waker` woken when `ready` says so, asked again at each event; or when this descriptor
    /// socket has come.
    pub(crate) fn wake_when(
        &self,
        slot: u32,
        ready: Box<dyn Fn() -> bool + Send>,
        fd_socket: Option<u64>,
        waker: Waker,
    ) {
        let sleeper = AsyncWaiter {
            ready,
            fd_socket,
            waker,
        };
        // The old one is dropped after the lock: a waker's destructor is the executor's code.
        let old = self.lock().async_waiters.insert(slot, sleeper);
        drop(old);
    }

    /// Whether it has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// Whether the fork server has ended, and the ends of all its workers are on the exit table.
    pub(crate) fn has_reported_ends(&self) -> bool {
        self.lock().ends_reported
    }

    /// Whether this process is a fork of the one that started the fork server: what those share
    /// belongs to the other.
    pub(crate) fn is_fork_of_owner(&self) -> bool {
        !self.host.is_this_process()
    }
}

/// The process numbers of those that there are.
fn pids_of(servers: &Servers) -> Vec<u32> {
    let lock = |server: &Mutex<Option<Arc<ForkServerClient>>>| {
        let server = server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().map(|server| server.pid)
    };
    servers.iter().filter_map(lock).collect()
}

const SOCKET: u64 = 0;
const EVENTS: u64 = 1;
const RESTED: u64 = 2;
const WAKE_SOCKET: u64 = 3;
const TIMER: u64 = 4;
const WATCH: u64 = 5;
