//! A worker in the models of `scripts/shuttle`.
//!
//! It is a thread that does what [`worker_loop`](crate::worker::process::child::worker_loop) does,
//! with the same [`Handoff`](crate::worker::process::ipc::handoff::Handoff) and the same rings, on
//! tasks that are a [`Deed`] each. It may die, or be killed, between any two steps.

#![expect(unsafe_code, reason = "a mailbox outlives the ends of its rings")]

use std::io;

use serde::{Deserialize, Serialize};

use super::fork_server::ForkServerClient;
use crate::sim::shuttle_os::{AtomicU32, Life, futex, one_in, pause};
use crate::task::codec;
use crate::task::crash::Phase;
use crate::worker::process::ipc::mailbox::{Mailbox, WorkerRings};
use crate::worker::process::ipc::order::{MAX_CONTEXTS, Order, OrderFrame, Payload};
use crate::worker::process::ipc::protocol::{NotReady, Setup};
use crate::worker::process::ipc::reply::{self, Reply};

/// The tag of no reply.
const NONSENSE: u32 = 77;

/// A task of the model, as its input says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Deed {
    /// Returns twice this.
    Double(u64),
    /// Takes some steps, and returns twice this.
    Plod(u64),
    /// Never ends by itself.
    Hang(u64),
    /// Kills its worker.
    Die(u64),
    /// Has its worker answer with nonsense, and go on.
    Garble(u64),
    /// Kills its worker the first time, and returns twice this the second.
    DieOnce(u64),
}

impl Deed {
    pub(crate) fn number(self) -> u64 {
        match self {
            Deed::Double(n) | Deed::Plod(n) | Deed::Hang(n) => n,
            Deed::Die(n) | Deed::Garble(n) | Deed::DieOnce(n) => n,
        }
    }
}

/// As `worker_loop` in a worker.
pub(super) struct ModelWorker<'w> {
    server: &'w ForkServerClient,
    life: &'w Life,
    mailbox: &'w Mailbox,
    ends: WorkerRings,
    begun: u32,
    /// The contexts that it has, and the one that its tasks use.
    contexts: Vec<u64>,
    uses: Option<u64>,
    finished: u32,
}

impl<'w> ModelWorker<'w> {
    pub(super) fn new(
        server: &'w ForkServerClient,
        life: &'w Life,
        mailbox: &'w Mailbox,
    ) -> ModelWorker<'w> {
        // SAFETY: the thread that this is called by has the mailbox for longer than the worker.
        let lasting: &'static Mailbox = unsafe { &*std::ptr::from_ref(mailbox) };
        ModelWorker {
            server,
            life,
            mailbox,
            ends: WorkerRings::new(lasting),
            begun: 0,
            contexts: Vec::new(),
            uses: None,
            finished: 0,
        }
    }

    /// Between two steps: others take some, and this may be the end of it.
    fn step(&self) {
        pause();
        self.life.check();
        if self.server.dies_now() {
            self.life.kill();
            self.life.check();
        }
    }

    pub(super) fn live(&mut self) {
        while !self.ends.orders.is_ready() {
            pause();
            self.life.check();
        }
        let mut frame = OrderFrame::default();
        assert_eq!(frame.take(&mut self.ends.orders), Ok(true));
        let Order::SetUp(setup) = frame.order() else {
            panic!("no setup: {frame:?}");
        };
        let setup: Setup = postcard::from_bytes(setup).expect("a setup");
        let mut left = setup.pool.and_then(|pool| pool.tasks).unwrap_or(u64::MAX);
        self.step();
        let why = NotReady::because(&io::Error::other("the model says so"));
        let why = reply::encoded(&why);
        let answer = if one_in(self.server.fate.unready) {
            Reply::NotReady(&why)
        } else {
            Reply::Ready
        };
        answer.push(&mut self.ends.replies).expect("there is room");
        self.ends.replies.show();
        self.step();
        if self.mailbox.wants_events() {
            self.server.wake_listener();
        }
        if answer != Reply::Ready {
            return;
        }
        loop {
            self.begin();
            self.serve_one();
            left -= 1;
            if left == 0 {
                self.say(Reply::Leaving);
                self.ends.replies.show();
                self.step();
                self.mailbox.handoff().leave(|| self.server.wake_listener());
                return;
            }
        }
    }

    fn begin(&mut self) {
        self.step();
        let handoff = self.mailbox.handoff();
        let first = handoff.begin_or_notify(
            self.begun,
            self.finished,
            || None,
            || self.server.wake_listener(),
        );
        let mut begun = first.expect("an honest host");
        while !begun {
            self.step();
            begun = handoff.claims.begin(self.begun).expect("an honest host");
            if !begun {
                handoff.sleep_until_more(self.begun);
            }
        }
        self.begun = self.begun.wrapping_add(1);
    }

    fn serve_one(&mut self) {
        self.step();
        self.ends.orders.assume_next_frame();
        let mut frame = OrderFrame::default();
        let input = loop {
            assert_eq!(frame.take(&mut self.ends.orders), Ok(true), "a task");
            match frame.order() {
                Order::Plan(_) => self.uses = None,
                Order::PlanWith(_, context) => self.uses = Some(context),
                Order::Context(number, _) => self.contexts.push(number),
                Order::KeepContexts(numbers) => self.contexts.retain(|it| numbers.contains(*it)),
                Order::Attempt(_) | Order::Library(_) => {}
                Order::Task(Payload::Inline(input)) => break input,
                other => panic!("no task: {other:?}"),
            }
        };
        if let Some(context) = self.uses {
            assert!(self.contexts.contains(&context), "its context");
        }
        assert!(self.contexts.len() <= MAX_CONTEXTS, "{:?}", self.contexts);
        self.mailbox.set_phase(Phase::Decoding);
        self.step();
        let deed: Deed = codec::decode(input, Vec::new()).expect("a deed");
        self.mailbox.set_phase(Phase::Running);
        let before = self.server.note(deed.number());
        match deed {
            Deed::Double(_) | Deed::Garble(_) => {}
            Deed::Plod(_) => (0..8).for_each(|_| self.step()),
            Deed::Hang(_) => {
                futex::wait_shared(&AtomicU32::new(0), 0, None);
            }
            Deed::DieOnce(_) if before > 0 => {}
            Deed::Die(_) | Deed::DieOnce(_) => self.life.kill(),
        }
        self.step();
        let mut result = Vec::new();
        codec::encode(&(2 * deed.number()), &mut result).expect("encodes");
        match deed {
            Deed::Garble(_) => self.say(Reply::Unknown(NONSENSE)),
            _ => self.say(Reply::Returned(&result)),
        }
        self.step();
        self.ends.replies.show();
        self.step();
        self.mailbox.set_phase(Phase::Idle);
        self.step();
        self.finished = self.finished.wrapping_add(1);
        self.mailbox.handoff().finish(self.finished);
    }

    fn say(&mut self, reply: Reply<'_>) {
        let replies = &mut self.ends.replies;
        while reply.push(replies).is_err() {
            let handoff = self.mailbox.handoff();
            handoff.wait_for_room(
                || replies.has_room(reply.len()),
                || self.server.wake_listener(),
            );
        }
    }
}
