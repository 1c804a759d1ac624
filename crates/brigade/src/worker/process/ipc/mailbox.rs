//! One worker's memory file: a ring in, a ring out, its state, its crash record, and where it was
//! when it was asked. See `worker/README.md`.
//!
//! The host and the worker map it, and no other process. The host treats all of it as hostile.

#![expect(unsafe_code, reason = "memory shared with a worker")]

mod fault_record;
mod stack_record;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use self::fault_record::FaultRecord;
#[cfg(feature = "sandbox")]
pub(crate) use self::fault_record::REFUSED_TEXT;
pub(crate) use self::fault_record::RecordedFault;
use self::stack_record::StackRecord;
use crate::sys::mapping::{Mapping, sized_memfd};
use crate::sys::spin;
use crate::task::crash::Phase;
use crate::transport::ring::{Consumer, Control, Producer, RingPlace};
use crate::worker::process::ipc::handoff::Handoff;

const PAGE: usize = 4096;
const RING: usize = 64 * 1024;

// All that a small task needs is on two pages, for each costs both sides a fault and the kernel a
// page to clear: everything but the rings, with the beginning of the ring in, on the first; the
// beginning of the ring out on the other.
const OUT_CONTROL_AT: usize = size_of::<Control>();
const STATUS_AT: usize = OUT_CONTROL_AT + size_of::<Control>();
const HANDOFF_AT: usize = (STATUS_AT + size_of::<Status>()).next_multiple_of(LINES);
const RECORD_AT: usize = (HANDOFF_AT + size_of::<Handoff>()).next_multiple_of(LINES);
const IN: RingPlace = RingPlace {
    control: 0,
    data: (RECORD_AT + size_of::<FaultRecord>()).next_multiple_of(LINES),
    capacity: RING,
};
const OUT: RingPlace = RingPlace {
    control: OUT_CONTROL_AT,
    data: (IN.data + RING).next_multiple_of(PAGE),
    capacity: RING,
};
const STACK_AT: usize = OUT.data + RING;
const LEN: usize = STACK_AT + PAGE;

/// What two parts share no cache line by: two, for processors fetch them in pairs.
const LINES: usize = 128;

/// The largest value that goes through a ring; larger ones go in a memory file of their own, whose
/// descriptor goes through the descriptor socket.
pub(crate) const INLINE_MAX: usize = 32 * 1024;

/// What a worker says of itself.
#[repr(C)]
#[derive(Debug)]
struct Status {
    /// Index into [`Phase::ALL`].
    phase: AtomicU32,
    /// Not 0 where the host does not sleep on the ring's futex word but in its event loop: then the
    /// worker wakes it by the wake socket.
    notify: AtomicU32,
    /// The processor that it was on when it slept, or started its task, last.
    processor: AtomicU32,
    /// Not 0: the host waits for the next worker, and every processor is needed to make it.
    leave: AtomicU32,
    /// How many bytes had been written to its stderr before its task began.
    stderr_before: AtomicU64,
    /// Not 0: what its task has printed could not be written out.
    unflushed: AtomicU32,
    /// How many events it could not send, in 32 bits that wrap.
    lost_events: AtomicU32,
}

const _: () = assert!(STACK_AT % PAGE == 0 && size_of::<StackRecord>() <= PAGE);
const _: () = assert!(
    STATUS_AT % align_of::<Status>() == 0
        && HANDOFF_AT % align_of::<Handoff>() == 0
        && RECORD_AT % align_of::<FaultRecord>() == 0
);
// There is room for a small task behind them. In models the words are others, which are larger.
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(IN.data + 512 <= PAGE);

/// What a host and a worker of other builds have to agree on.
#[cfg(all(test, feature = "sandbox"))]
pub(super) const LAYOUT: [usize; 7] = [
    LEN,
    RING,
    STATUS_AT,
    HANDOFF_AT,
    size_of::<Status>(),
    size_of::<Handoff>(),
    size_of::<FaultRecord>(),
];

/// A mapped mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox {
    mapping: Mapping,
    /// The host: how often it has asked where the worker is. Not in the shared memory, so that the
    /// worker cannot have it repeat a number.
    questions: AtomicU32,
    #[cfg(shuttle)]
    handoff: Handoff,
}

impl Mailbox {
    /// A new memory file for a mailbox, zeroed, and sealed at its size. Not against writing: both
    /// sides write, and no other process ever has the file.
    pub(crate) fn file() -> io::Result<OwnedFd> {
        sized_memfd("brigade-mailbox", LEN)
    }

    pub(crate) fn map(file: impl AsFd) -> io::Result<Mailbox> {
        Ok(Mailbox {
            mapping: Mapping::writable(file, LEN)?,
            questions: AtomicU32::new(0),
            #[cfg(shuttle)]
            handoff: Handoff::default(),
        })
    }

    fn status(&self) -> &Status {
        // SAFETY: in bounds and aligned (constants, asserted above); atomics of any bit pattern are
        // valid.
        unsafe { self.mapping.at().add(STATUS_AT).cast().as_ref() }
    }

    /// Claims and the notify word: used for workers of pools only.
    #[cfg(shuttle)]
    pub(crate) fn handoff(&self) -> &Handoff {
        &self.handoff
    }

    /// Claims and the notify word: used for workers of pools only.
    #[cfg(not(shuttle))]
    pub(crate) fn handoff(&self) -> &Handoff {
        // SAFETY: as above.
        unsafe { self.mapping.at().add(HANDOFF_AT).cast().as_ref() }
    }

    fn record(&self) -> &FaultRecord {
        // SAFETY: as above.
        unsafe { self.mapping.at().add(RECORD_AT).cast().as_ref() }
    }

    fn stack(&self) -> &StackRecord {
        // SAFETY: as above.
        unsafe { self.mapping.at().add(STACK_AT).cast().as_ref() }
    }

    /// A hostile worker: it has taken `bytes` bytes more out of its ring than were published there,
    /// which its setup is.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(crate) fn pretend_to_have_taken(&self, bytes: u64) {
        Consumer::resume(&self.mapping, IN).pretend_to_have_taken(bytes);
    }

    /// Touches the pages that the first task will need, so that it does not pay for them.
    pub(crate) fn warm(&self) {
        for offset in [0, OUT.data] {
            // SAFETY: in bounds and aligned (constants); an atomic of any bit pattern is valid.
            let word: &AtomicU32 = unsafe { self.mapping.at().add(offset).cast().as_ref() };
            word.load(Ordering::Relaxed);
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::ALL
            .get(self.status().phase.load(Ordering::Acquire) as usize)
            .copied()
            .unwrap_or(Phase::Running)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        // The order of `Phase::ALL`, which a test holds to.
        self.status().phase.store(phase as u32, Ordering::Release);
    }

    /// The worker: a thread that its task has left behind holds its stdout, and what is in it is
    /// left.
    pub(crate) fn note_unflushed(&self) {
        self.status().unflushed.store(1, Ordering::Relaxed);
    }

    /// Whether what its task has printed could not be written out; the worker's word.
    pub(crate) fn is_unflushed(&self) -> bool {
        self.status().unflushed.load(Ordering::Relaxed) != 0
    }

    /// The worker: an event could not be sent, for the program reads more slowly than this writes.
    #[cfg(feature = "tracing")]
    pub(crate) fn count_lost_event(&self) {
        self.status().lost_events.fetch_add(1, Ordering::Relaxed);
    }

    /// How many events could not be sent, in 32 bits that wrap; the worker's word.
    #[cfg(feature = "tracing")]
    pub(crate) fn lost_events(&self) -> u32 {
        self.status().lost_events.load(Ordering::Relaxed)
    }

    /// How many bytes of its stderr are not of its task.
    pub(crate) fn stderr_before_task(&self) -> u64 {
        self.status().stderr_before.load(Ordering::Relaxed)
    }

    /// The worker, between two tasks.
    pub(crate) fn set_stderr_before_task(&self, bytes: u64) {
        self.status().stderr_before.store(bytes, Ordering::Relaxed);
    }

    /// The worker: where it is now.
    pub(crate) fn note_processor(&self) {
        self.status()
            .processor
            .store(rustix::thread::sched_getcpu() as u32, Ordering::Relaxed);
    }

    /// The host: whether looking for a reply can pay. On the worker's own processor it cannot: the
    /// worker does not run until we sleep.
    pub(crate) fn runs_elsewhere(&self) -> bool {
        // In models nothing may depend on where they run.
        cfg!(shuttle)
            || self.status().processor.load(Ordering::Relaxed)
                != rustix::thread::sched_getcpu() as u32
    }

    /// The host: wakes a worker that sleeps on another processor, because its first order comes in
    /// a moment.
    pub(crate) fn call(&self) {
        if spin::pays() && self.runs_elsewhere() {
            Producer::new(&self.mapping, IN).call();
        }
    }

    /// The host: do not rest after the task (see
    /// [`child`](crate::worker::process::child::startup)).
    pub(crate) fn ask_to_leave_at_once(&self) {
        self.status().leave.store(1, Ordering::Relaxed);
    }

    /// The worker: whether it may rest after the task.
    pub(crate) fn may_delay_exit(&self) -> bool {
        self.status().leave.load(Ordering::Relaxed) == 0
    }

    /// The host: from now on, tell me through the event descriptor.
    pub(crate) fn ask_for_events(&self) {
        self.status().notify.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker, after it published: whether the host asked. The ring's publication ended with
    /// the fence that pairs with the host's.
    pub(crate) fn wants_events(&self) -> bool {
        self.status().notify.load(Ordering::Relaxed) != 0
    }
}

/// The host's ends of a mailbox's rings. They keep it mapped.
#[derive(Debug)]
pub(crate) struct HostRings {
    // Before the mailbox: fields are dropped in order, and these borrow from it.
    pub(crate) orders: Producer<'static>,
    pub(crate) replies: Consumer<'static>,
    mailbox: Arc<Mailbox>,
}

impl HostRings {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> HostRings {
        // SAFETY: the mapping is on the heap behind the `Arc`, which lives in the same struct, and
        // is dropped after both ends. The compiler does not keep an end from being moved out of the
        // struct and outliving it: no code of this crate moves one.
        let mapping: &'static Mapping = unsafe { &*std::ptr::from_ref(&mailbox.mapping) };
        HostRings {
            orders: Producer::new(mapping, IN),
            replies: Consumer::new(mapping, OUT),
            mailbox,
        }
    }

    /// Whether there is a reply that was not taken.
    pub(crate) fn has_replied(mailbox: &Mailbox, seen: u64) -> bool {
        Consumer::at(&mailbox.mapping, OUT, seen).is_ready()
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// A question for another thread: has the worker replied since?
    pub(crate) fn replied_since_now(&self) -> impl Fn() -> bool + Send + use<> {
        let (mailbox, seen) = (Arc::clone(&self.mailbox), self.replies.position());
        move || Consumer::at(&mailbox.mapping, OUT, seen).is_ready()
    }
}

/// The worker's ends.
#[derive(Debug)]
pub(crate) struct WorkerRings {
    pub(crate) orders: Consumer<'static>,
    pub(crate) replies: Producer<'static>,
}

impl WorkerRings {
    pub(crate) fn new(mailbox: &'static Mailbox) -> WorkerRings {
        WorkerRings {
            orders: Consumer::new(&mailbox.mapping, IN),
            replies: Producer::new(&mailbox.mapping, OUT),
        }
    }
}

/// Both sides of a mailbox, in one process.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(super) struct Pair {
    pub(super) host: HostRings,
    pub(super) worker: WorkerRings,
}

#[cfg(all(test, not(any(loom, shuttle))))]
impl Pair {
    pub(super) fn new() -> Pair {
        let file = Mailbox::file().expect("memfd");
        let map = || Mailbox::map(&file).expect("mmap");
        Pair {
            host: HostRings::new(Arc::new(map())),
            worker: WorkerRings::new(Box::leak(Box::new(map()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_numbered_as_they_are_listed() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, index);
        }
        let mailbox = Mailbox::map(Mailbox::file().expect("memfd")).expect("mmap");
        mailbox.status().phase.store(77, Ordering::Relaxed);
        assert_eq!(mailbox.phase(), Phase::Running, "garbage is that");
    }

    #[test]
    fn rings_do_not_overlap() {
        let mailbox = Arc::new(Mailbox::map(Mailbox::file().expect("memfd")).expect("mmap"));
        let mut host = HostRings::new(Arc::clone(&mailbox));
        let mailbox: &'static Mailbox = Box::leak(Box::new(
            Mailbox::map(Mailbox::file().expect("memfd")).expect("mmap"),
        ));
        let mut worker = WorkerRings::new(mailbox);
        host.orders.push(1, &[1; INLINE_MAX + 16]).expect("fits");
        worker.replies.push(1, &[1; INLINE_MAX + 16]).expect("fits");
        assert_eq!(host.mailbox().phase(), Phase::Starting);
    }
}
