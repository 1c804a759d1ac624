//! Workers that are made by executing the program again, where the fork server has other threads.
//!
//! Problem: fork(2) copies the thread that calls it and no other, so that a fork of a process with
//! threads is a copy in which locks are held by no thread. A library that starts a thread in its
//! constructor (OpenBLAS, jemalloc's background threads) does so in the fork server too, before
//! anything of ours runs there. Such a fork server does not fork; it executes the program once
//! more, which becomes a worker in the same constructor (see [`bootstrap`](super::bootstrap)), and
//! has that library's threads as the program has them. It takes about a millisecond, which spare
//! workers hide.
//!
//! What a fork copies, such a worker is sent: [`Begin`], the first message on its socket, with the
//! descriptors. Its memory is another, so addresses of code are sent as they are in the fork server
//! ([`image::as_there`]), which the host knows.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::sync::liveness::{LivenessTable, Token};
use crate::sys::privilege::Privilege;
use crate::sys::{fds, image, opened, process};
use crate::worker::process::child::oom_score;
use crate::worker::process::child::startup::{self, Surplus, WorkerArgs};
use crate::worker::process::child::warm_up::warm_up;
use crate::worker::process::child::worker::EXIT_NOT_STARTED;
use crate::worker::process::fork_server::prepare;
use crate::worker::process::fork_server::start;
use crate::worker::process::ipc::protocol::{self, ModuleAt, ReceivedMessage};
use crate::worker::process::ipc::stderr_count::StderrCount;

/// What a fork would have copied, and such a worker is sent. With six descriptors; with seven where
/// stdout is not the program's.
#[derive(Debug, Serialize, Deserialize)]
struct Begin {
    server: u32,
    slot: u32,
    token: Option<u32>,
    /// What the soft limit of descriptors was, if that is known; within, `None`: none.
    open_files: Option<Option<u64>>,
    privilege: Box<Privilege>,
    modules: Vec<ModuleAt>,
}

/// What the fork server has for each of its workers that it executes.
#[derive(Debug)]
pub(in crate::worker::process) struct Executing {
    privilege: Box<Privilege>,
    modules: Vec<ModuleAt>,
}

impl Executing {
    pub(in crate::worker::process) fn new(
        privilege: Box<Privilege>,
        modules: &[ModuleAt],
    ) -> Executing {
        Executing {
            privilege,
            modules: modules.to_vec(),
        }
    }

    /// Makes a worker. Gives its process id.
    pub(in crate::worker::process) fn make(
        &self,
        args: &WorkerArgs<'_>,
        slot: u32,
        stderr_counts: &OwnedFd,
    ) -> io::Result<u32> {
        let (socket, theirs) = opened::socket_pair()?;
        let begin = Begin {
            server: args.server,
            slot,
            token: args.token.map(Token::to_bits),
            open_files: args.open_files.map(|limit| limit.current),
            privilege: self.privilege.clone(),
            modules: self.modules.clone(),
        };
        let liveness = LivenessTable::get()?
            .file()
            .get()
            .ok_or(io::ErrorKind::NotFound)?;
        let mut descriptors = vec![
            args.mailbox.as_fd(),
            args.fd_socket.as_fd(),
            args.stderr.as_fd(),
            args.wake_socket.as_fd(),
            liveness,
            stderr_counts.as_fd(),
        ];
        descriptors.extend(args.stdout.map(AsFd::as_fd));
        // It is there before the worker is: there is always room for the first.
        protocol::send(&socket, &begin, &descriptors)?;
        start::launch_worker(theirs, &self.privilege)
    }
}

/// Lives and ends as the worker at the other end of this socket.
pub(in crate::worker::process) fn begin(socket: &OwnedFd) -> ! {
    match ExecutedWorker::receive(socket) {
        Ok(made) => made.run(),
        // Its stderr is the program's still.
        Err(e) => {
            eprintln!("brigade: a worker could not begin: {e}");
            process::exit_now(EXIT_NOT_STARTED)
        }
    }
}

/// A worker that has what it needs.
struct ExecutedWorker {
    begin: Begin,
    files: [OwnedFd; 4],
    stderr_count: StderrCount,
    surplus: [i32; 3],
}

impl ExecutedWorker {
    fn receive(socket: &OwnedFd) -> io::Result<ExecutedWorker> {
        let Some(ReceivedMessage {
            content: mut begin,
            mut descriptors,
            ..
        }) = protocol::recv_first::<Begin>(socket, false)?
        else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let stdout = (descriptors.len() == 7)
            .then(|| descriptors.pop())
            .flatten();
        let [mailbox, fd_socket, stderr, wake_socket, liveness, counts] =
            <[OwnedFd; 6]>::try_from(descriptors).map_err(|_| io::ErrorKind::InvalidData)?;
        let there = std::mem::take(&mut begin.modules);
        image::lies_elsewhere(there.into_iter().map(ModuleAt::into_module).collect());
        let prepared = fds::become_stderr(&stderr).and_then(|()| {
            stdout.as_ref().map_or(Ok(()), fds::become_stdout)?;
            begin.privilege.assume();
            prepare::prepare_program()?;
            LivenessTable::adopt(liveness, None)?;
            StderrCount::map(&counts, begin.slot)
        });
        let stderr_count = prepared.unwrap_or_else(|e| startup::could_not_start(&fd_socket, e));
        drop((counts, stdout));
        warm_up();
        Ok(ExecutedWorker {
            surplus: [socket.as_raw_fd(), mailbox.as_raw_fd(), stderr.as_raw_fd()],
            begin,
            files: [mailbox, fd_socket, stderr, wake_socket],
            stderr_count,
        })
    }

    fn run(&self) -> ! {
        let [mailbox, fd_socket, stderr, wake_socket] = &self.files;
        let now = process::limit(Resource::Nofile);
        let open_files = now.zip(self.begin.open_files);
        let open_files = open_files.map(|(now, current)| Rlimit { current, ..now });
        startup::run(&WorkerArgs {
            server: self.begin.server,
            mailbox,
            fd_socket,
            stdout: None,
            stderr,
            stderr_count: self.stderr_count,
            wake_socket,
            token: self.begin.token.and_then(Token::from_bits),
            open_files,
            // It moves when it is limited.
            groups: &[],
            oom_score_adj: Some(oom_score::HIGHEST),
            surplus: Surplus::These(self.surplus),
        })
    }
}
