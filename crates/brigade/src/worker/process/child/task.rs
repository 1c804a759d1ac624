//! One task in a worker: what its input brings along is received, it runs, and its outcome goes to
//! the host. That is the same in a worker for one task and in one of a pool. What is not is a
//! [`Service`].

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::time::Timespec;

use crate::sys::value_file::ValueFile;
use crate::sys::{futex, process};
use crate::task::codec::Encoded;
use crate::task::entry::{EncodedResult, EncodedValue, EntryOutcome, KeptValue, Plan, ValuePlace};
use crate::task::library;
use crate::task::panic::Unwound;
use crate::task::text::floor_char_boundary;
use crate::transport::attachment;
use crate::worker::process::child::flush::{self, FlushedStreams};
use crate::worker::process::child::limits;
use crate::worker::process::child::worker::Worker;
use crate::worker::process::ipc::fd_socket;
use crate::worker::process::ipc::mailbox::{INLINE_MAX, Mailbox};
use crate::worker::process::ipc::order::Payload;
use crate::worker::process::ipc::reply::{self, Reply};

/// How a worker of one sort serves a task.
pub(super) trait Service {
    /// What is flushed before the reply.
    const STREAMS: FlushedStreams;

    fn mailbox(&self) -> &'static Mailbox;

    /// Whether this process is the worker, and no child of its task.
    fn is_the_worker(&self) -> bool;

    /// Whether its fork server has ended.
    fn has_lost_fork_server(&self) -> bool;

    /// Sends what the next reply needs through the descriptor socket.
    fn send_descriptors(&mut self, descriptors: &[OwnedFd]) -> io::Result<()>;

    /// Writes the reply to the task.
    fn reply(&mut self, reply: Reply<'_>);
}

/// Within this time the kernel kills a worker whose fork server has closed its descriptors.
const UNTIL_KILLED: Duration = Duration::from_millis(500);

/// A task's input, and its descriptors.
pub(super) type ReceivedInput<'a> = (Encoded<'a>, Vec<OwnedFd>);

/// Waits for what the descriptor socket carries of an input. The error is a text for the host.
#[inline(always)]
pub(super) fn receive<'a>(
    worker: &Worker,
    payload: Payload<'a>,
) -> Result<ReceivedInput<'a>, String> {
    match payload {
        Payload::Inline(bytes) => Ok((Encoded::Here(bytes), Vec::new())),
        Payload::Accompanied { attachment, bytes } => receive_descriptors(worker, attachment)
            .map(|descriptors| (Encoded::Here(bytes), descriptors)),
        Payload::Large { attachment, len } => receive_large(worker, attachment, len)
            .map(|(file, descriptors)| (Encoded::File(file), descriptors)),
    }
}

#[cold]
fn receive_descriptors(worker: &Worker, attachment: u64) -> Result<Vec<OwnedFd>, String> {
    worker
        .fd_socket()
        .and_then(|fd_socket| fd_socket::recv_numbered(fd_socket, attachment))
        .map_err(|e| format!("the descriptors of its input did not arrive: {e}"))
}

#[cold]
fn receive_large(
    worker: &Worker,
    attachment: u64,
    len: u64,
) -> Result<(ValueFile, Vec<OwnedFd>), String> {
    worker
        .fd_socket()
        .and_then(|fd_socket| fd_socket::recv_numbered(fd_socket, attachment))
        .and_then(|descriptors| fd_socket::open_large(descriptors, len))
        .map_err(|e| format!("its input of {len} bytes did not arrive: {e}"))
}

/// Waits for a value that is kept, encoded. The error is a text for the host.
pub(super) fn receive_value(worker: &Worker, payload: Payload<'_>) -> Result<EncodedValue, String> {
    let (place, attachment) = match payload {
        Payload::Inline(bytes) => (ValuePlace::Here(bytes.to_vec()), None),
        Payload::Accompanied { attachment, bytes } => {
            (ValuePlace::Here(bytes.to_vec()), Some(attachment))
        }
        Payload::Large { attachment, len } => {
            let mut descriptors = receive_attachment(worker, attachment)?;
            if descriptors.is_empty() {
                return Err("its context came without its memory file".to_owned());
            }
            return Ok(EncodedValue {
                place: ValuePlace::File(descriptors.remove(0), len),
                descriptors,
            });
        }
    };
    let descriptors = attachment.map_or(Ok(Vec::new()), |attachment| {
        receive_attachment(worker, attachment)
    })?;
    Ok(EncodedValue { place, descriptors })
}

fn receive_attachment(worker: &Worker, attachment: u64) -> Result<Vec<OwnedFd>, String> {
    worker
        .fd_socket()
        .and_then(|fd_socket| fd_socket::recv_numbered(fd_socket, attachment))
        .map_err(|e| format!("its context did not arrive: {e}"))
}

/// Runs a task, whose encoded result is appended to `result`. `kept`: what it borrows of what
/// the worker keeps.
#[inline(always)]
pub(super) fn run(
    service: &impl Service,
    plan: Plan,
    kept: Option<&mut KeptValue>,
    input: Encoded<'_>,
    descriptors: Vec<OwnedFd>,
    result: &mut EncodedResult,
) -> EntryOutcome {
    let mailbox = service.mailbox();
    limits::begin_task();
    let phase = |phase| mailbox.set_phase(phase);
    let outcome = match kept {
        None => plan.run(input, descriptors, result, &phase),
        Some(kept) => plan.run_with(kept, input, descriptors, result, &phase),
    };
    // The task forked, and this is a child that returned from it. Only the worker itself replies.
    if !service.is_the_worker() {
        process::exit_now(0);
    }
    outcome
}

/// What a task has printed is out before the host hears that it is done. `false`: it is not, as
/// the task has left a thread behind that holds a stream; the mailbox says so.
#[inline]
pub(super) fn flush<S: Service>(service: &S) -> bool {
    let is_flushed = flush::flush(S::STREAMS);
    if !is_flushed {
        service.mailbox().note_unflushed();
    }
    is_flushed
}

/// Replies with the outcome of a task, of which `result` is the encoded result. Says whether
/// something went through the descriptor socket.
#[inline]
pub(super) fn reply_outcome(
    service: &mut impl Service,
    outcome: EntryOutcome,
    result: &mut EncodedResult,
) -> bool {
    if service.has_lost_fork_server() {
        // What the task returns because its pipes broke is not its result.
        wait_to_be_killed();
    }
    match outcome {
        EntryOutcome::Returned(descriptors)
            if descriptors.is_empty()
                && result.bytes.len() <= INLINE_MAX
                && result.file.is_none() =>
        {
            service.reply(Reply::Returned(&result.bytes));
            false
        }
        EntryOutcome::Returned(descriptors) => {
            reply_through_fd_socket(service, descriptors, result);
            true
        }
        EntryOutcome::Undeliverable(why) => {
            reply_undeliverable(service, why);
            false
        }
        EntryOutcome::Panicked(unwound) => {
            reply_panicked(service, unwound);
            false
        }
    }
}

/// The fork server ends: it has closed the pipes that it reads, and the kernel kills its workers
/// next (PR_SET_PDEATHSIG).
#[cold]
fn wait_to_be_killed() {
    futex::rest(UNTIL_KILLED);
}

#[cold]
fn reply_undeliverable(service: &mut impl Service, mut why: String) {
    why.truncate(floor_char_boundary(&why, INLINE_MAX));
    service.reply(Reply::Undeliverable(why.as_bytes()));
}

#[cold]
fn reply_panicked(service: &mut impl Service, mut unwound: Unwound) {
    if has_broken_streams() {
        // As above, where the kernel does not mark the fork server's end. If this worker lives on,
        // the task has broken the pipe itself.
        wait_to_be_killed();
    }
    shorten(&mut unwound);
    service.reply(Reply::Panicked(&reply::encoded(&unwound)));
}

#[cold]
fn reply_through_fd_socket(
    service: &mut impl Service,
    mut descriptors: Vec<OwnedFd>,
    result: &mut EncodedResult,
) {
    let len = result.len();
    let bytes = &result.bytes;
    let file = match result.file.take() {
        Some((file, _)) => Some(Ok(file)),
        None if bytes.len() > INLINE_MAX => Some(attachment::file_of(&[bytes])),
        None => None,
    };
    let is_large = file.is_some();
    let sent = file.transpose().and_then(|file| {
        descriptors.splice(0..0, file);
        service.send_descriptors(&descriptors)
    });
    match sent {
        Ok(()) if is_large => service.reply(Reply::LargeReturned(Some(len))),
        Ok(()) => service.reply(Reply::AccompaniedReturned(bytes)),
        Err(e) => {
            let why = format!("its result of {len} bytes could not be sent: {e}");
            service.reply(Reply::Undeliverable(why.as_bytes()));
        }
    }
}

/// Whether no process reads what this process prints. A stream that is closed is none of these.
fn has_broken_streams() -> bool {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut polled = streams.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::empty()));
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let is_broken = |stream: &PollFd<'_>| stream.revents().contains(PollFlags::ERR);
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled.iter().any(is_broken)
}

/// Notes a library that the host tells of. `None`: what it says makes no sense.
#[cold]
pub(super) fn receive_library(encoded: &[u8]) -> Option<()> {
    library::receive(postcard::from_bytes(encoded).ok()?);
    Some(())
}

/// Shortens a panic's message so that the report of it fits a ring.
pub(super) fn shorten(unwound: &mut Unwound) {
    let end = floor_char_boundary(&unwound.message, INLINE_MAX / 2);
    unwound.message.truncate(end);
}
