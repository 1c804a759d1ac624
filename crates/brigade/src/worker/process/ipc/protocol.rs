//! What the host and its fork server tell each other, a datagram each, and what a worker gets
//! before its task.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sys::error::{Call, errno_of};
use crate::sys::fds;
use crate::sys::futex;
use crate::sys::image::Module;
use crate::sys::privilege::Privilege;
use crate::sys::program_file::ProgramFile;
use crate::sys::remote_error::RemoteError;
use crate::task::panic::Unwound;
use crate::worker::process::Inheritance;
use crate::worker::process::ipc::streams::{OwnStreams, Routes};

/// The environment variable that makes a start of the program a fork server: the number of its
/// socket. Two versions of this library in one program each have their own.
pub(crate) const MARKER: &str = concat!("BRIGADE_FORK_SERVER_", env!("CARGO_PKG_VERSION"));

/// The version of all that a host, a fork server and its workers share: messages, mailboxes,
/// exit tables, the encoding of values. Another build of another version of this library may be the
/// fork server of a named program: it is compared before that is started
/// (`host/program.rs`). Raise it with any change of them; a test pins them.
pub(crate) const PROTOCOL: u32 = 1;

/// What a program says of the library in it: that version, and above it whether it has the feature
/// `sandbox`, with which a [`Setup`] has more to say.
pub(crate) const SPOKEN: u32 = PROTOCOL | (cfg!(feature = "sandbox") as u32) << 16;

/// As [`MARKER`], for a start of a named program, whose library may be of another version: the
/// number is that of [`PROTOCOL`].
pub(crate) const PROGRAM_MARKER: &str = "BRIGADE_PROGRAM_SERVER_1";

/// The first datagrams are no longer than this: they have the paths of the fork server's modules,
/// and the groups of the host.
const MAX_DATAGRAM: usize = 64 * 1024;
/// All others are no longer than this.
const SHORT_DATAGRAM: usize = 512;
/// As many workers are asked for at once: their tokens are five bytes each at the most.
pub(crate) const FORKED_AT_ONCE: usize = 64;

/// How long a worker that is to be ended has to tell where it is.
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_millis(10);

/// From the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// First, with five descriptors: the exit table, a pidfd of the host, the fork server's event
    /// descriptor, the workers' wake socket, and the liveness table, to read; and the liveness
    /// table to write, where it is not sealed yet.
    Begin {
        privilege: Box<Privilege>,
        inheritance: Inheritance,
    },
    /// With a pidfd of the thread that hears what the fork server says: it is there for as long as
    /// the program is, and ends when that executes another.
    Listens,
    /// No spare is wanted any more, and there are no workers of pools: end when the last worker
    /// has.
    Retire,
    /// Make this many workers. Their tokens in the liveness table, in order; workers without a
    /// token are outsiders there.
    Fork { count: u32, tokens: Vec<u32> },
    /// End this worker and its children: SIGTERM first, and SIGKILL after `grace_ms`, unless that
    /// is 0. `asks`: before that it is asked where it is, and has [`ANSWERS_WITHIN`] for it.
    Kill {
        slot: u32,
        pid: u32,
        grace_ms: u64,
        asks: bool,
    },
    /// Ask this worker where it is, and say on the exit table how it looks from outside.
    Ask { slot: u32, pid: u32 },
    /// Some workers that had ended were released: what they left in their descriptor sockets has no
    /// reader any more.
    Released,
    /// Give me the socket of this worker's descriptor socket.
    FdSocket {
        slot: u32,
        pid: u32,
        request_number: u64,
    },
    /// Workers move to control groups of their own below these, each to one of its process number:
    /// the reports say what kills in there, and they are removed with their workers. `of_pool`:
    /// those of one pool; its host makes and removes these directories.
    Groups {
        memory: Vec<u8>,
        processes: Vec<u8>,
        of_pool: bool,
    },
    /// End this worker when it has more bytes of memory, with its children: no control group of its
    /// own does it.
    WatchMemory { slot: u32, pid: u32, bytes: u64 },
    /// What this worker's standard streams are, before it has its setup. With their descriptors;
    /// those that are its own go on through its descriptor socket.
    Streams { slot: u32, pid: u32, routes: Routes },
    /// Say on the exit table what living workers have written to stderr last.
    ShowStderr,
    /// Are you there? Answered by [`ForkServerEvent::Here`] with the same number.
    AreYouThere { number: u64 },
}

/// From the fork server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ForkServerEvent {
    /// First: its process, and where things lie in its memory, and so in its workers'.
    Hello {
        pid: u32,
        build: Build,
        privilege: Box<Privilege>,
        modules: Vec<ModuleAt>,
        /// The names of its threads beside the one that speaks. Where it has any, workers are
        /// executed.
        threads: Vec<String>,
        /// The task that lists what the program exports, as an encoded plan.
        catalogue: [u64; 2],
    },
    /// In its place: it cannot be a fork server.
    Unfit { why: RemoteError },
    /// A worker, with its mailbox.
    Forked { slot: u32, pid: u32 },
    /// A worker could not be made.
    NotForked { why: RemoteError },
    /// The worker with this token is dead, which the fork server could not write into the liveness
    /// table.
    Dead { token: u32 },
    /// With the socket. Without a descriptor, and without an error's number:
    /// there is no such worker any more.
    FdSocket { request_number: u64, errno: i32 },
    /// The answer to [`Request::AreYouThere`].
    Here { number: u64 },
}

/// Which program this is: addresses in it only mean the same in the same build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Build {
    /// The linker's build id; empty if it wrote none.
    id: Vec<u8>,
    /// The device and the number of the file.
    file: (u64, u64),
}

impl Build {
    pub(crate) fn of_this_process() -> io::Result<Build> {
        let file = rustix::fs::stat("/proc/self/exe")
            .call("stat(2)")
            .needed_to("know that a process runs the same program")?;
        Ok(Build {
            id: crate::sys::image::ProgramImage::this().build_id.clone(),
            file: (file.st_dev, file.st_ino),
        })
    }

    /// That of a program which this file is started as.
    pub(crate) fn of_file(file: &ProgramFile) -> Build {
        Build {
            id: file.build_id.clone(),
            file: file.state().file,
        }
    }
}

/// A [`Module`], as it travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ModuleAt {
    path: Vec<u8>,
    bias: usize,
    start: usize,
    end: usize,
}

impl ModuleAt {
    /// As many as a message has room for.
    pub(crate) fn of_this_process() -> Vec<ModuleAt> {
        let modules = crate::sys::image::modules().into_iter();
        modules.take(256).map(ModuleAt::from_module).collect()
    }

    pub(crate) fn from_module(m: Module) -> ModuleAt {
        ModuleAt {
            path: m.path.into_vec(),
            bias: m.bias,
            start: m.range.start,
            end: m.range.end,
        }
    }

    pub(crate) fn into_module(self) -> Module {
        Module {
            path: OsString::from_vec(self.path),
            bias: self.bias,
            range: self.start..self.end,
        }
    }
}

/// What a worker does to itself before its task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) name: Option<String>,
    pub(crate) env_clear: bool,
    pub(crate) env: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) current_dir: Option<Vec<u8>>,
    pub(crate) oom_score_adj: Option<i16>,
    pub(crate) limits: Limits,
    /// The offset of a `fn()` to run before all that is the program's.
    pub(crate) program_init: Option<u64>,
    /// Streams that its builder has given it.
    pub(crate) streams: Option<OwnStreams>,
    /// Shuts it in, after the initializer.
    #[cfg(feature = "sandbox")]
    pub(crate) sandbox: Option<Box<crate::sandbox::Rules>>,
    /// For a worker that runs one task after another; without it, it runs one.
    pub(crate) pool: Option<PoolWorkerSetup>,
}

/// What a worker may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Processor time: of its task, or of each task where it stays.
    pub(crate) cpu: Option<Duration>,
    pub(crate) open_files: Option<u64>,
    /// Bytes.
    pub(crate) file_size: Option<u64>,
    /// Processes and threads.
    pub(crate) processes: Option<u64>,
    pub(crate) nice: Option<i32>,
    pub(crate) processors: Vec<u32>,
    /// The directories below which it makes control groups of its own; empty: not there.
    pub(crate) memory_group: Vec<u8>,
    pub(crate) processes_group: Vec<u8>,
    /// Those are its pool's, which is limited as a whole.
    pub(crate) of_pool: bool,
}

impl Setup {
    /// What a worker of this setup may have of the program.
    pub(crate) fn inheritance(setup: Option<&Setup>) -> Inheritance {
        #[cfg(feature = "sandbox")]
        if setup.is_some_and(|setup| setup.sandbox.is_some()) {
            return Inheritance::Nothing;
        }
        let _ = setup;
        Inheritance::Environment
    }
}

/// What a worker of a pool gets beside that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolWorkerSetup {
    /// The offset of a `fn()` to run first.
    pub(crate) initializer: Option<u64>,
    /// The state that it loads, as `task::entry::encode_state` has made it.
    pub(crate) state: Option<EncodedState>,
    /// The worker leaves after this many tasks.
    pub(crate) tasks: Option<u64>,
    /// The worker leaves when it has more bytes than this after a task.
    pub(crate) bytes: Option<u64>,
    /// The worker tells when each task ran.
    pub(crate) tells_times: bool,
}

/// A state's load and configuration, and where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EncodedState {
    Inline(Vec<u8>),
    /// The value's length in bytes, in the memory file that comes with the worker's streams.
    InFile(u64),
}

/// Why a [`Setup`] could not be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NotReady {
    pub(crate) why: RemoteError,
    /// Whether that is what the program runs first in each worker, and nothing of a pool's.
    pub(crate) is_program_init: bool,
    /// The panic of the task, or of the initializer.
    pub(crate) panic: Option<Unwound>,
}

impl NotReady {
    pub(crate) fn because(error: &io::Error) -> NotReady {
        NotReady {
            why: error.into(),
            is_program_init: false,
            panic: None,
        }
    }
}

/// Sends one message. Does not block: a full socket is `WouldBlock`.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    fds::send(socket, &bytes, descriptors)
}

/// Sends the last message, also where the calls for sockets are denied: write(2) does as well.
pub(crate) fn send_last<T: Serialize>(socket: impl AsFd, message: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    match fds::send(&socket, &bytes, &[]) {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock && !is_hang_up(&e) => {
            rustix::io::write(socket, &bytes).call("write(2)").map(drop)
        }
        sent => sent,
    }
}

/// Whether a message that could not be sent or received may be tried again later: there is no room,
/// no memory, or too many descriptors of this user's are on their way (unix(7), `ETOOMANYREFS`).
pub(crate) fn is_temporary(error: &io::Error) -> bool {
    matches!(
        errno_of(error),
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::ETOOMANYREFS)
    )
}

/// Whether an error says that the other end is gone.
pub(crate) fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// A message that was received.
#[derive(Debug)]
pub(crate) struct ReceivedMessage<T> {
    pub(crate) content: T,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The message came with descriptors, but this process has as many as it may.
    pub(crate) descriptors_lost: bool,
}

/// What there is at a socket now.
#[derive(Debug)]
pub(crate) enum NextMessage<T> {
    Message(ReceivedMessage<T>),
    Nothing,
    /// The other end is gone, or the socket is not ours any more.
    Gone,
}

/// How long a receiver pauses where the kernel has no memory for a message.
const PAUSE: Duration = Duration::from_millis(1);

/// Receives the next message, if there is one. One that makes no sense is passed over: those behind
/// it do make sense, and only the sender of that one waits for it.
pub(crate) fn next<T: DeserializeOwned>(socket: impl AsFd) -> NextMessage<T> {
    loop {
        return match recv(&socket, false) {
            Ok(Some(message)) => NextMessage::Message(message),
            Ok(None) => NextMessage::Gone,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => NextMessage::Nothing,
            // It stays where it is, and is tried again.
            Err(e) if is_temporary(&e) => {
                futex::rest(PAUSE);
                NextMessage::Nothing
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => continue,
            Err(_) => NextMessage::Gone,
        };
    }
}

/// Receives one message. `None`: the other end is gone.
pub(crate) fn recv<T: DeserializeOwned>(
    socket: impl AsFd,
    wait: bool,
) -> io::Result<Option<ReceivedMessage<T>>> {
    // On the stack: a worker inherits the fork server's heap, page by page.
    recv_into(socket, &mut [0; SHORT_DATAGRAM], wait)
}

/// Receives the first message, which may be long.
pub(crate) fn recv_first<T: DeserializeOwned>(
    socket: impl AsFd,
    wait: bool,
) -> io::Result<Option<ReceivedMessage<T>>> {
    recv_into(socket, &mut vec![0; MAX_DATAGRAM], wait)
}

fn recv_into<T: DeserializeOwned>(
    socket: impl AsFd,
    bytes: &mut [u8],
    wait: bool,
) -> io::Result<Option<ReceivedMessage<T>>> {
    let mut descriptors = Vec::new();
    let is_reset = |e: &io::Error| e.kind() == io::ErrorKind::ConnectionReset;
    let received = match fds::recv(&socket, bytes, &mut descriptors, wait) {
        // The other end closed while it held unread data. The kernel reports that first, and once;
        // what it had sent comes after.
        Err(e) if is_reset(&e) => fds::recv(&socket, bytes, &mut descriptors, wait),
        received => received,
    };
    match received {
        Err(e) if is_reset(&e) => Ok(None),
        Err(e) => Err(e),
        Ok(fds::Received { bytes: 0, .. }) => Ok(None),
        Ok(fds::Received {
            bytes: len,
            descriptors_lost,
        }) => {
            let content = postcard::from_bytes(&bytes[..len])
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            Ok(Some(ReceivedMessage {
                content,
                descriptors,
                descriptors_lost,
            }))
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    #[cfg(feature = "sandbox")]
    use crate::{task::outline, worker::process::ipc::mailbox};

    #[test]
    fn the_marker_of_a_named_program_has_the_version() {
        assert!(PROGRAM_MARKER.ends_with(&format!("_{PROTOCOL}")));
    }

    /// What is written here is what programs of other builds read.
    #[cfg(feature = "sandbox")]
    #[test]
    fn what_other_builds_read_is_that_of_the_version() {
        let shared = [
            outline::of::<Request>(),
            outline::of::<ForkServerEvent>(),
            outline::of::<Setup>(),
            outline::of::<NotReady>(),
            format!("{:?}", mailbox::LAYOUT),
        ]
        .join("\n");
        assert_eq!(
            (PROTOCOL, outline::hash(shared.as_bytes())),
            (1, 13824654528730911107),
            "if a release speaks this version of the protocol, raise it; then pin this: {shared}"
        );
    }
}
